"""What `meta.precision=auto` is on a machine, and that a run keeps it wherever it goes on."""

from pathlib import Path

import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.models import precision
from lang_jepa.models.precision import choose_precision, native_bf16
from lang_jepa.settings.load import read_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.reporter import Silent
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt, assert_same_run, rows_of, tiny_settings

AUTO = "meta.precision=auto"
NAMES = {"AMX": "amx_bf16", "AVX512-BF16": "avx512_bf16"}
"""Instructions, and what Linux calls them."""


class Notes(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def on_a_machine_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything as here, but for what the processor says of itself."""
    monkeypatch.setattr(precision, "native_bf16", lambda: name)


def test_the_processor_is_asked_rightly() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("this system does not list what its processor can do")
    expected = [name for name, flag in NAMES.items() if flag in flags]
    assert native_bf16() == (expected[0] if expected else "")


@pytest.mark.parametrize(
    ("device", "name", "expected"),
    [("cpu", "AVX512-BF16", "bf16"), ("cpu", "", "fp32"), ("mps", "AMX", "fp32")],
)
def test_auto_is_what_the_device_has(device: str, name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine_with(name, monkeypatch)
    chosen, why = choose_precision(device, "auto")
    assert chosen == expected
    assert name in why if expected == "bf16" else "does not" in why
    assert [choose_precision(device, word) for word in ("fp32", "bf16")] == [("fp32", ""), ("bf16", "")]
    with pytest.raises(LangJepaError, match="fp32, bf16, not 'half'"):
        choose_precision(device, "half")


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was told to compute in bf16."""
    return train(tiny_settings(tmp_path_factory.mktemp("half"), "meta.precision=bf16", "meta.device=cpu")).folder


def test_auto_is_the_run_of_what_it_chose(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    on_a_machine_with("AMX", monkeypatch)
    train(tiny_settings(tmp_path / "new", AUTO, "meta.device=cpu"), notes)
    on_a_machine_with("", monkeypatch)
    train(tiny_settings(tmp_path / "old", AUTO, "meta.device=cpu"), notes)
    assert_same_run(tmp_path / "new", half)
    assert rows_of(tmp_path / "old") != rows_of(half), "the precision makes a difference"
    said = [text for text in notes.messages if text.startswith(AUTO)]
    assert [text.split(":")[0] for text in said] == [f"{AUTO} is bf16", f"{AUTO} is fp32"]


def test_a_run_keeps_its_precision_on_another_machine(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with("AVX512-BF16", monkeypatch)
    auto = tiny_settings(tmp_path / "run", AUTO, "meta.device=cpu")
    stopped = train(auto, StopAt(3)).folder
    assert read_settings(stopped / "settings.yaml", type(auto)).meta.precision == "bf16"
    assert load_checkpoint(stopped / LAST)["settings"]["meta"]["precision"] == "bf16"
    on_a_machine_with("", monkeypatch)
    again = tiny_settings(stopped, AUTO, "meta.device=cpu", "meta.load_checkpoint=true")
    with pytest.raises(LangJepaError, match=r"meta\.precision: checkpoint 'bf16', now 'fp32'"):
        train(again)
    train(resume_settings(stopped))
    assert_same_run(stopped, half)


def test_a_run_of_an_older_version_that_said_auto_goes_on_in_fp32_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is what `auto` was there, on a machine with bf16 too."""
    plain = tiny_settings(tmp_path / "whole", "meta.precision=fp32", "meta.device=cpu")
    train(plain)
    stopped = train(tiny_settings(tmp_path / "run", "meta.precision=fp32", "meta.device=cpu"), StopAt(3)).folder
    file = stopped / "settings.yaml"
    file.write_text(file.read_text().replace("precision: fp32", "precision: auto"))
    state = load_checkpoint(stopped / LAST)
    del state["format"]
    state["settings"]["meta"]["precision"] = "auto"
    save_checkpoint(stopped / LAST, state)
    on_a_machine_with("AMX", monkeypatch)
    train(resume_settings(stopped))
    assert_same_run(stopped, tmp_path / "whole")
