"""2n steps equal n steps, a stop, and n steps more: weights, target, optimizer, generators, loader and metrics."""

from pathlib import Path

import pytest
import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import read_settings
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.train import resume_settings, train
from tiny import (
    MODES,
    VIEWS,
    StopAt,
    assert_same_run,
    tiny_decoder,
    tiny_encoder,
    tiny_gpt,
    tiny_settings,
    train_in_two_parts,
    write_parquet,
)

STREAM = ("data.streaming=true", "data.shuffle_buffer=6", "data.batch_size=2", *MODES["concepts"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run with dropout: 40 steps, a checkpoint after every second one."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(_long(folder))
    return folder


def _long(folder: Path, *overrides: str) -> Settings:
    fast = ("optimization.max_steps=40", "logging.eval_freq=20")
    return tiny_settings(folder, *MODES["concepts"], *fast, *overrides)


@pytest.mark.parametrize("workers", [0, 2])
def test_with_dropout_and_loader_processes(workers: int, whole: Path, tmp_path: Path) -> None:
    """Every part of the state, whoever reads the batches; what was read ahead is neither lost nor skipped."""
    train_in_two_parts(_long(tmp_path / "parts", f"data.num_workers={workers}"), stop=7)
    assert_same_run(whole, tmp_path / "parts")


@pytest.mark.parametrize(("mode", "stop"), [("window", 3), ("causal", 3)])
def test_other_contexts(mode: str, stop: int, tmp_path: Path) -> None:
    """Accumulation and a running centre; a regularizer, and a stop at the very end of an epoch."""
    train(tiny_settings(tmp_path / "whole", *MODES[mode]))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *MODES[mode]), stop=stop)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_causal_run_above_stops_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", *MODES["causal"], "optimization.max_steps=3")
    train(settings)
    assert [r["train/step"] for r in read_metrics(tmp_path / "run" / "metrics.csv") if "epoch/loss" in r] == [3]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream(workers: int, tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "texts", documents=40, files=2)
    overrides = (*STREAM, f"data.train_file={source}", f"data.num_workers={workers}")
    train(tiny_settings(tmp_path / "whole", *overrides))
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=3)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("view", ["masked", "spans"])
def test_a_stream_of_another_view(view: str, tmp_path: Path) -> None:
    """What is drawn for an example is drawn again, in the second epoch of the stream too."""
    source = write_parquet(tmp_path / "texts", documents=10, files=1)
    short = ("data.batch_size=4", "optimization.max_steps=16")
    overrides = (*STREAM, *VIEWS[view], *short, f"data.train_file={source}")
    train(tiny_settings(tmp_path / "whole", *overrides))
    rows = read_metrics(tmp_path / "whole" / "metrics.csv")
    assert max(row.get("train/epoch", 0) for row in rows) >= 1
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=13)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_stream_at_the_end_of_its_only_block(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "texts", documents=10, files=1)
    overrides = (*STREAM, f"data.train_file={source}", "data.shuffle_buffer=100", "optimization.max_steps=8")
    train(tiny_settings(tmp_path / "whole", *overrides))
    rows = read_metrics(tmp_path / "whole" / "metrics.csv")
    end = max(int(row["train/step"]) for row in rows if row.get("train/epoch") == 0)
    assert end < 8, "the run is shorter than an epoch"
    train_in_two_parts(tiny_settings(tmp_path / "parts", *overrides), stop=end)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_stop_before_the_first_step(whole: Path, tmp_path: Path) -> None:
    """The validation at step 0 is not made, and not written, a second time."""
    train_in_two_parts(_long(tmp_path / "parts"), stop=0)
    assert_same_run(whole, tmp_path / "parts")


def test_a_refused_checkpoint_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    """The message sends people to settings.yaml, so that file must still be the one of the run."""
    train(tiny_settings(tmp_path / "run", "optimization.max_steps=1"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    other = tiny_settings(tmp_path / "run", "optimization.max_steps=2", "meta.load_checkpoint=true")
    with pytest.raises(LangJepaError, match=r"optimization\.max_steps: checkpoint 1, now 2"):
        train(other)
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert after == before
    assert read_settings(tmp_path / "run" / "settings.yaml").optimization.max_steps == 1


def test_a_new_run_never_overwrites_an_older_one(tmp_path: Path) -> None:
    one = train(tiny_settings(tmp_path / "run", "optimization.max_steps=1"))
    old = (one.folder / LAST).read_bytes()
    train(tiny_settings(tmp_path / "run", "optimization.max_steps=2"))
    assert (tmp_path / "run-1" / LAST).read_bytes() == old
    assert load_checkpoint(tmp_path / "run" / LAST)["step"] == 2


def test_the_best_validation_by_one_metric_is_not_that_by_another(tmp_path: Path) -> None:
    """The metric may be changed on the way; a count of candidates, which is above any rank, must not stay the best."""
    counted = ("logging.best_metric=val/retrieval/candidates", "logging.best_mode=max")
    train(tiny_settings(tmp_path / "run", *counted), StopAt(5))
    assert load_checkpoint(tmp_path / "run" / LAST)["best"][0] == 3
    ranked = ("logging.best_metric=val/retrieval/mrr", "logging.best_mode=max")
    train(tiny_settings(tmp_path / "run", *ranked, "meta.load_checkpoint=true"))
    last_look = [r for r in read_metrics(tmp_path / "run" / "metrics.csv") if "val/loss" in r][-1]
    assert load_checkpoint(tmp_path / "run" / LAST)["best"] == [6, last_look["val/retrieval/mrr"]]
    assert load_checkpoint(tmp_path / "run" / BEST)["step"] == 6


class Warned(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "GPT"])
def test_another_number_of_threads_is_reported(kind: str, tmp_path: Path) -> None:
    """A run that goes on with it is not the same to the bit; with the same number nothing is said."""
    folder, encoder = tmp_path / "run", tmp_path / "encoder"
    if kind == "decoder":
        tiny_encoder(encoder)

    def go_on(reporter: Reporter, *, first: bool = False) -> None:
        (folder / "summary.json").unlink(missing_ok=True)  # as if it had not been finished
        if kind == "encoder":
            one = tiny_settings(folder, "optimization.max_steps=1") if first else resume_settings(folder)
            train(one, reporter)
        elif kind == "decoder":
            two = tiny_decoder(folder, "optimization.max_steps=1") if first else resume_settings(folder)
            train(two.of(encoder), reporter)
        else:
            three = tiny_gpt(folder, "optimization.max_steps=1") if first else resume_settings(folder)
            train(three, reporter)

    go_on(Silent(), first=True)
    same, other = Warned(), Warned()
    go_on(same)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        go_on(other)
    finally:
        torch.set_num_threads(before)
    change = f"not bit for bit: threads {before} in the checkpoint, {before + 1} now. "
    assert [change in text for text in other.warnings if "bit for bit" in text] == [True]
    assert not [text for text in same.warnings if "bit for bit" in text]


def test_several_threads_train_the_same_bits(tmp_path: Path) -> None:
    """Sums over rows that several predictions read keep their order, whichever thread is first."""
    more = (*MODES["causal"], "data.horizons=3", f"data.corpus_dir={tmp_path / 'corpora'}")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for name in ("one", "two"):
            train(tiny_settings(tmp_path / name, *more))
    finally:
        torch.set_num_threads(before)
    assert_same_run(tmp_path / "one", tmp_path / "two")
