"""A system of one's own, one file outside of the package: docs/own_parts.md has it, and nothing here is changed for it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from lang_jepa.comparison.budget import Measured, parse_budget, steps_for
from lang_jepa.comparison.kind import last_validation
from lang_jepa.comparison.plan import make_plan, settle
from lang_jepa.comparison.verdict import Metric
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.gpt import load_gpt
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.load import load_run_settings, load_settings
from lang_jepa.training.checkpoint import LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.train import resume_settings, train
from tiny import TEXT, StopAt, assert_same_checkpoint, environment, rows_of, write_own_system
from warm import Popen


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's two files and a text, as the current one."""
    write_own_system(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bigrams", raising=False)
    return tmp_path


def _settings(folder: Path, *overrides: str) -> object:
    return load_run_settings("bigrams.yaml", [f"logging.log_dir={folder}", *overrides])


def test_it_learns_and_leaves_what_it_made(here: Path) -> None:
    result = train(_settings(here / "run"))
    assert (result.step, result.interrupted, result.model) == (40, False, here / "run")
    table = load_file(here / "run" / "bigrams.safetensors")["weight"]
    data = torch.tensor(list(TEXT.encode())).unfold(0, 2, 1)
    held_out = data[len(data) - len(data) // 10 :]
    loss = float(cross_entropy(table[held_out[:, 0]], held_out[:, 1]))
    rows = [row["val/loss"] for row in rows_of(here / "run") if "val/loss" in row]
    assert result.metrics["val/loss"] == pytest.approx(loss, rel=1e-5)
    assert rows[-1] == pytest.approx(loss, rel=1e-5)
    assert loss < rows[0] / 2
    assert read_json(here / "run" / "summary.json", what="summary")["best"]["value"] == min(rows[1:])


def test_it_is_killed_and_goes_on_bit_for_bit(here: Path) -> None:
    """By SIGTERM, and by SIGKILL as a command of its own."""
    train(_settings(here / "whole"))
    stopped = train(_settings(here / "parts"), StopAt(13))
    assert (stopped.step, stopped.interrupted, stopped.exit_status) == (13, True, 143)
    moved = (here / "parts").rename(here / "moved")
    train(resume_settings(moved))
    assert_same_checkpoint(here / "whole" / LAST, moved / LAST)
    assert rows_of(here / "whole") == rows_of(moved)
    place = "logging.log_dir=killed"
    command = [
        sys.executable,
        "-m",
        "lang_jepa.cli",
        "train",
        "bigrams.yaml",
        "-o",
        place,
        "-o",
        "logging.log_freq=1",
    ]
    child = Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    next(line for line in child.stdout if line.startswith(b"step 5/"))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    resumed = ["train", "killed", "--resume"] if (here / "killed" / LAST).is_file() else command[3:]
    assert Popen([*command[:3], *resumed], env=environment(), stdout=subprocess.DEVNULL).wait(300) == 0
    assert_same_checkpoint(here / "whole" / LAST, here / "killed" / LAST)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            "AdamW",
            "Adam",
            "an optimizer in .*last.* does not fit these settings: it belongs to AdamW, and this run has Adam",
        ),
        (None, "AdamW", ""),
    ],
)
def test_another_class_of_optimizer_is_refused(before: str | None, now: str, said: str, here: Path) -> None:
    """Even one with the same settings in its groups; a checkpoint of a version that kept no class goes on."""
    assert train(_settings(here / "run"), StopAt(9)).interrupted
    if before is None:
        state = load_checkpoint(here / "run" / LAST)
        del state["format"], state["optimizers"][0]["class"]
        save_checkpoint(here / "run" / LAST, state)
    source = (here / "bigrams.py").read_text()
    assert source.count("optim.AdamW(") == 1
    (here / "bigrams.py").write_text(source.replace("optim.AdamW(", f"optim.{now}("))
    sys.modules.pop("bigrams")
    if said:
        with pytest.raises(LangJepaError, match=said):
            train(resume_settings(here / "run"))
    else:
        assert train(resume_settings(here / "run")).step == 40


@pytest.mark.parametrize(
    ("system", "said"),
    [
        (
            "bigrams:Bigram",
            r"system=bigrams:Bigram: the module bigrams has no class 'Bigram'; did you mean 'Bigrams'",
        ),
        ("bigram:Bigrams", r"system=bigram:Bigrams: there is no module 'bigram'"),
        ("bigrams:BigramData", r"has no class attribute settings_class"),
        ("biggrams", r"there is no system 'biggrams'"),
    ],
)
def test_a_wrong_name_is_refused(system: str, said: str, here: Path) -> None:
    (here / "wrong.yaml").write_text(f"system: {system}\n")
    with pytest.raises(LangJepaError, match=said):
        load_run_settings("wrong.yaml")


def _as(here: Path, name: str, body: str) -> object:
    """Settings of a system that is the page's but for what `body` says."""
    (here / "odd.py").write_text(f"from bigrams import Bigrams\n\n\nclass {name}(Bigrams):\n{body}\n")
    sys.modules.pop("odd", None)
    text = (here / "bigrams.yaml").read_text()
    (here / "odd.yaml").write_text(text.replace("bigrams:Bigrams", f"odd:{name}"))
    return load_run_settings("odd.yaml", ["logging.log_dir=odd"])


@pytest.mark.parametrize("key", ["step", "format", "rounding"])
def test_a_state_with_the_keys_of_the_engine_is_refused(key: str, here: Path) -> None:
    with pytest.raises(LangJepaError, match=f"gives {key}, which the engine saves itself"):
        train(_as(here, "Clash", f"    def state(self):\n        return super().state() | {{'{key}': 3}}"))


def test_a_validation_that_is_no_number_is_not_the_best(here: Path) -> None:
    body = (
        "    def validate(self, step, seconds, *, last=False):\n"
        "        found = super().validate(step, seconds, last=last)\n"
        "        return type(found)(dict.fromkeys(found.metrics, float('nan')))"
    )
    with pytest.raises(LangJepaError, match="measured val/loss as nan"):
        train(_as(here, "Nan", body))


def test_what_is_no_system_is_named(here: Path) -> None:
    sys.modules.pop("odd", None)
    (here / "odd.py").write_text(
        "from bigrams import Bigrams\n\n\nclass Odd:\n    settings_class = Bigrams.settings_class\n"
    )
    text = (here / "bigrams.yaml").read_text()
    for system, words in (
        ("odd:Odd", "is not a Method"),
        ("null", "system must be a name, not None"),
        ("3", "not 3"),
    ):
        (here / "odd.yaml").write_text(text.replace("bigrams:Bigrams", system))
        with pytest.raises(LangJepaError, match=words):
            train(load_run_settings("odd.yaml", ["logging.log_dir=odd"]))


BROKEN = {
    "the identity is a number": (
        "    def open_data(self):\n        super().open_data()\n        self.identity = 3",
        "identity is int 3; open_data sets it",
    ),
    "the total is no whole number": (
        "    def open_data(self):\n        super().open_data()\n        self.total = 4.5",
        "total is float 4.5; open_data sets it",
    ),
    "epochs end at no steps": ("    epoch_ends = (9, 3)", r"epoch_ends is tuple \(9, 3\), not rising whole numbers"),
    "what is free is a text": ("    free = 'data.file'", "free is str 'data.file'; beginnings of settings"),
    "a column of the engine is missing": (
        "    columns = ('train/step', 'train/loss', 'val/loss')",
        "columns must hold train/epoch, train/grad_norm, ",
    ),
    "the best is never measured": ("    def best(self):\n        return 'val/acc', 'max'", "best names val/acc, which"),
    "a weight is in two optimizers": (
        "    def build(self):\n        super().build()\n        self.optimizers = [*self.optimizers, *self.optimizers]",
        "weight of network is in several optimizers",
    ),
    "a weight is in no optimizer": (
        "    def build(self):\n        super().build()\n        self.optimizers[0].param_groups[0]['params'] = []",
        "weight of network is in no optimizer",
    ),
    "complaints is a text": (
        "    def complaints(self):\n        return 'no'",
        "complaints must yield strings, not str 'no'",
    ),
    "warnings is nothing": ("    def warnings(self):\n        pass", "warnings must yield strings, not NoneType None"),
    "info is a dictionary": ("    def info(self):\n        return {'a': 1}", "info gives dict .*, not a list of pairs"),
    "rates are nothing": ("    def set_rates(self, step, seconds):\n        pass", "set_rates gives NoneType None"),
    "the state is a list": ("    def state(self):\n        return []", r"state gives list \[\], not names with values"),
    "the sums are nothing": (
        "    def loss(self, batch, micro):\n        found = super().loss(batch, micro)\n"
        "        return type(found)(found.total, {})",
        "sums of the Loss must be names with tensors",
    ),
    "the sums have a gradient": (
        "    def loss(self, batch, micro):\n        found = super().loss(batch, micro)\n"
        "        return type(found)(found.total, {'loss': found.total})",
        "the sum loss of the Loss has a gradient: detach it",
    ),
    "a metric is several numbers": (
        "    def metrics(self, sums, micro):\n        return {'train/loss': sums['loss'].repeat(2)}",
        "metrics gives train/loss as a tensor of shape .*, which is not a number",
    ),
    "the summary is not JSON's": (
        "    def summary(self, folder, rows):\n        return {'found': {1, 2}}",
        "summary gives what JSON does not have",
    ),
    "the summary says what the engine says": (
        "    def summary(self, folder, rows):\n        return {'steps': 9}",
        "summary gives steps, which the engine writes itself",
    ),
    "there is no total": (
        "    def open_data(self):\n        super().open_data()\n        del self.total",
        "it has no total; open_data sets it",
    ),
    "the model is not set up": (
        "    def build(self):\n        super().build()\n        del self.model",
        "it has no model; build sets it, by set_up",
    ),
    "the best is one word": (
        "    def best(self):\n        return 'val/loss'",
        "best gives str 'val/loss', not a metric",
    ),
    "a batch is a tensor": (
        "    def draw(self, number):\n        return super().draw(number).rows",
        "a batch is Tensor|a batch is a tensor",
    ),
    "the loss is a tensor": (
        "    def loss(self, batch, micro):\n        return super().loss(batch, micro).total",
        "loss gives a tensor of shape .*, not a Loss",
    ),
    "the loss has no gradient": (
        "    def loss(self, batch, micro):\n        found = super().loss(batch, micro)\n"
        "        return type(found)(found.total.detach(), found.sums)",
        "without a gradient, not a scalar with a gradient",
    ),
    "a metric is no column": (
        "    def metrics(self, sums, micro):\n        return super().metrics(sums, micro) | {'train/perplexity': 2.0}",
        "gives train/perplexity, which its class attribute columns does not name",
    ),
    "a metric is no number": (
        "    def validate(self, step, seconds, *, last):\n"
        "        return type(super().validate(step, seconds, last=last))({'val/loss': 'low'})",
        "validate gives val/loss as str 'low', which is not a number",
    ),
    "a validation is a dictionary": (
        "    def validate(self, step, seconds, *, last):\n        return {'val/loss': 1.0}",
        "validate gives dict .*, not a Validation or None",
    ),
    "a set is in its state": (
        "    def state(self):\n        return super().state() | {'seen': {1, 2}}",
        r"state\['seen'\] is set \{1, 2\}: a checkpoint holds tensors",
    ),
    "a part of the state is missing": (
        "    contents = {**Bigrams.contents, 'memory': dict}",
        "a checkpoint of it is not whole: it lacks memory",
    ),
    "it never ends": (
        "    def ended(self, step, seconds):\n        return step >= 50",
        "ended says that training continues at step 40, and total is 40",
    ),
    "it makes a model that is not there": (
        "    def export(self, folder, end):\n        return folder / 'model'",
        "export gives .*, not the Path of what it wrote, or None",
    ),
}


@pytest.mark.parametrize(("body", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_system_that_breaks_the_contract_is_an_error(body: str, said: str, here: Path) -> None:
    with pytest.raises(LangJepaError, match=rf"^system odd:Broken: .*({said})"):
        train(_as(here, "Broken", body))
    late = any(word in said for word in ("continues at step 40", "export", "summary"))
    assert (here / "odd" / LAST).is_file() == late  # what can be known before is not found after a training


def test_a_function_that_cannot_be_called_is_named(here: Path) -> None:
    with pytest.raises(LangJepaError, match=r"validate is called as validate\(self, step, seconds, last\): .*last"):
        train(_as(here, "Short", "    def validate(self, step, seconds):\n        return None"))


def test_numbers_of_numpy_and_torch_are_numbers(here: Path) -> None:
    """As people write them: they are kept as plain ones."""
    body = (
        "    def validate(self, step, seconds, *, last):\n"
        "        found = super().validate(step, seconds, last=last)\n"
        "        return type(found)({name: kind(value) for name, value in found.metrics.items()})"
    )
    made = {}
    for name, kind in (
        ("Plain", "float"),
        ("Array", "__import__('numpy').float64"),
        ("Torch", "__import__('torch').tensor"),
    ):
        shutil.rmtree(here / "odd", ignore_errors=True)
        made[name] = train(_as(here, name, body.replace("kind(", f"{kind}("))).metrics["val/loss"]
    assert made["Plain"] == made["Array"] == pytest.approx(made["Torch"])


def test_settings_of_every_type_are_saved_and_read_again(here: Path) -> None:
    (here / "odd.py").write_text(
        "from pathlib import Path\nfrom bigrams import BigramData, Bigrams, BigramSettings\n\n\n"
        "class Data(BigramData):\n    sizes: tuple[int, ...] = (3, 4)\n    place: Path = Path('here')\n\n\n"
        "class Odd(Bigrams):\n    class settings_class(BigramSettings):\n        data: Data = Data()\n"
    )
    sys.modules.pop("odd", None)
    (here / "odd.yaml").write_text((here / "bigrams.yaml").read_text().replace("bigrams:Bigrams", "odd:Odd"))
    given = ["logging.log_dir=odd", "data.sizes=[5, 6]", "data.place=there"]
    assert train(load_run_settings("odd.yaml", given), StopAt(9)).interrupted
    settings = resume_settings(here / "odd")
    assert (settings.data.sizes, settings.data.place) == ((5, 6), Path("there"))  # type: ignore[attr-defined]
    assert train(settings).step == 40


def test_a_section_that_the_engine_reads_must_be_of_its_kind(here: Path) -> None:
    (here / "odd.py").write_text(
        "from bigrams import Bigrams, BigramSettings\nfrom lang_jepa.settings.data import Section\n\n\n"
        "class Rate(Section):\n    lr: float = 1.0\n\n\n"
        "class Odd(Bigrams):\n    class settings_class(BigramSettings):\n        optimization: Rate = Rate()\n"
    )
    sys.modules.pop("odd", None)
    (here / "odd.yaml").write_text("system: odd:Odd\n")
    with pytest.raises(LangJepaError, match=r"section optimization of settings_class must derive from .*Optimization"):
        load_run_settings("odd.yaml")


def test_what_reads_models_says_that_it_is_another_system(here: Path) -> None:
    train(_settings(here / "run"))
    for load in (ConceptModel.load, load_gpt):
        with pytest.raises(LangJepaError, match="run is a run of bigrams:Bigrams: its class says what it makes"):
            load(here / "run")


def test_recipes_of_two_systems_do_not_mix(here: Path) -> None:
    (here / "mixed.yaml").write_text("system: bigrams:Bigrams\nbase: concepts\n")
    with pytest.raises(LangJepaError, match=r"says system bigrams:Bigrams, and its base concepts is .* encoder"):
        load_run_settings("mixed.yaml")
    with pytest.raises(
        LangJepaError, match=r"bigrams\.yaml trains system bigrams:Bigrams, but a recipe for system encoder is"
    ):
        load_settings("bigrams.yaml")


def test_a_comparison_knows_which_way_its_metric_is_better(here: Path) -> None:
    train(_settings(here / "run"))
    report, _ = last_validation(here / "run", type(_settings(here / "run")))  # type: ignore[arg-type]
    (row,) = [row for row in report.rows if row.judged]
    assert row.metric == "val/loss (lower is better)"
    assert Metric(row.task, row.split, row.metric).lower_is_better


def test_a_comparison_is_resumed(here: Path) -> None:
    for seeds in (2, 3):
        plan = make_plan(["bigrams.yaml"], vary="optimization.lr=0.01,0.1", seeds=seeds, budget=parse_budget("steps=4"))
        settle(plan, here / "compared")


def test_a_budget_in_what_no_step_counts_is_refused() -> None:
    measured = Measured(flops=0.0, seconds=1.0)
    with pytest.raises(LangJepaError, match="nothing of a step counts as flops"):
        steps_for(parse_budget("flops=1e6"), measured)
