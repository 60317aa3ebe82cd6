"""What cannot train with weights that are shared out among processes is refused before anything is prepared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import load_settings
from lang_jepa.settings.run import RunSettings
from lang_jepa.training.methods.encoder import EncoderMethod
from lang_jepa.training.methods.lit import TextDataModule
from lang_jepa.training.train import train
from scripts import script
from tiny import tiny_decoder, tiny_gpt, tiny_settings

FSDP, NONE = "meta.strategy=fsdp", "objective.regularizer=none"


def _decoder(folder: Path) -> RunSettings:
    return tiny_decoder(folder / "decoder", FSDP).of(folder)


class Derived(EncoderMethod):
    """A system of one's own, which may use the weights in ways that the encoder's does not."""


REFUSED: dict[str, tuple[Callable[[Path], RunSettings], str]] = {
    "decoder": (_decoder, "system decoder cannot share out its weights among processes"),
    "derived": (
        lambda folder: tiny_settings(folder, FSDP).model_copy(update={"system": f"{__name__}:Derived"}),
        "system .*:Derived cannot share out its weights among processes",
    ),
    "compiled": (lambda folder: tiny_gpt(folder, FSDP, "meta.compile=eager"), "meta.compile has not been tried"),
    "frozen": (
        lambda folder: tiny_settings(folder, FSDP, "model.freeze_encoder=true", "objective.target=frozen", NONE),
        "does nothing for a frozen encoder",
    ),
}


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process that torchrun started as one of two."""
    names = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in {**names, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("two")
def test_what_cannot_share_out_its_weights_is_refused(name: str, tmp_path: Path) -> None:
    settings, reason = REFUSED[name]
    with pytest.raises(LangJepaError, match=reason):
        train(settings(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("two")
def test_an_encoder_that_runs_padded_is_refused(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    tokenizer = train_tokenizer(["The cat sat by the door. Then it went to the river."] * 3, 100)
    script("reliability/architectures").write("distilbert", encoder, vocab_size=tokenizer.vocab_size)
    tokenizer.save(encoder)
    settings = load_settings("pretrained", [FSDP, f"data.tokenizer_path={encoder}", f"logging.log_dir={tmp_path}/run"])
    with pytest.raises(LangJepaError, match="needs an encoder that runs packed, and 'distilbert' runs padded"):
        train(settings)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_has_nothing_to_share(strategy: str, tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=f"meta.strategy={strategy} is about several processes, and this is one"):
        train(tiny_settings(tmp_path / "run", f"meta.strategy={strategy}"))


def test_a_trainer_has_a_strategy_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"Trainer\(strategy=\.\.\.\) decides"):
        TextDataModule(tiny_settings(tmp_path, FSDP))
