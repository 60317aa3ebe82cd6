"""The quick-start: every part of it, and that it takes up where it was stopped."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.comparison.trial import stages
from lang_jepa.evaluation import tasks
from lang_jepa.evaluation.tasks import Budget
from lang_jepa.inference.model import ConceptModel
from lang_jepa.training.checkpoint import LAST
from stopping import signal_once
from typed import DECODER, Type, options_of, run_command

STEPS, BUDGET = 30, {"queries": 30, "stories": 8, "train_stories": 20, "paraphrases": 60, "decoded": 40}
_ALONE = f"""
from lang_jepa.evaluation import tasks
tasks.QUICK = tasks.Budget(**{BUDGET})
from lang_jepa.cli import app
app.main()
"""


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "QUICK", Budget(**BUDGET))


def _words(place: Path, run: str, *more: str) -> list[str]:
    options = (
        f"optimization.max_steps={STEPS}",
        "logging.checkpoint_steps=10",
        "logging.eval_freq=10",
        "data.limit=300",
        "data.train_file=stories",
        "data.val_fraction=0.2",
        *more,
    )
    decoding = (*DECODER, "optimization.max_steps=80", "logging.checkpoint_steps=20")
    return ["quickstart", *options_of(place, run, *options), *(part for one in decoding for part in ("-d", one))]


def _killed(words: list[str], there: Path) -> None:
    ended = signal_once([sys.executable, "-c", _ALONE, *words], there, signal.SIGKILL)
    assert ended.status == -signal.SIGKILL, "it ended before it was killed"


def _scores(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "scores.json").read_text())["rows"]
    return found


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The run directory of a quick-start that nothing disturbed; what it said is beside it."""
    ran = run_command(sys.executable, "-c", _ALONE, *_words(place, "quick"), warm=True)
    assert ran.status == 0, ran.err
    (place / "quick.txt").write_text(ran.out)
    return place / "quick"


def _weights(run: Path) -> dict[Path, bytes]:
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*.safetensors")}


def test_every_part_of_it(whole: Path) -> None:
    """Small: samples, one table, one story with what was expected, one picture, three commands."""
    out = whole.with_suffix(".txt").read_text()
    assert out.count("half a 95 % interval") == 1
    assert "stories: next sentence, heldout" in out
    assert len({(row["task"], row["split"]) for row in _scores(whole)}) >= 8, "all tasks are in the file"
    assert set(ConceptModel.load(whole).choices) >= {"next", "outliers", "segment"}
    assert out.count("reconstruction  ") >= 3
    for shown in (
        "fits worse than shuffled ones do; below 0: better",
        "   <- from another story\n      what the story has there:    ",
        "the most surprising.\n",
        "      expected of 257 sentences:   ",
        "      imagined in its place:       ",
    ):
        assert out.count(shown) == 1, shown
    assert str(whole / "story.png") in out
    assert (whole / "story.png").read_bytes()[:4] == b"\x89PNG"
    for name in ("model/decoder.safetensors", "scores.json"):
        assert (whole / name).is_file(), name
    shown = [line[2:].split(maxsplit=1) for line in out.splitlines() if line[2:3] in "+-" and line[3:4].isdigit()]
    (foreign,) = (float(one) for one, sentence in shown if sentence.endswith("   <- from another story"))
    highest = foreign == max(float(one) for one, _ in shown)
    assert f"The foreign sentence is {'' if highest else 'not '}the most surprising.\n" in out
    auc = {
        row["name"]: row for row in _scores(whole) if row["task"] == "intruders, same group" and row["metric"] == "AUC"
    }
    assert (
        f"in {auc['model']['value']:.0%} of all pairs (untrained: {auc['untrained']['value']:.0%}; TF-IDF, both" in out
    )
    story = (whole / "story.txt").read_text().splitlines()
    assert all(sentence.removesuffix("   <- from another story") in story for _, sentence in shown)
    assert f"lang-jepa document {whole} {whole / 'story.txt'}" in out
    assert "Kept: " not in out


def test_killed_in_both_trainings_it_ends_as_if_it_had_not_been(place: Path, whole: Path) -> None:
    run, words = place / "pieces", _words(place, "pieces")
    _killed(words, run / LAST)
    _killed(words, run / "decoder" / "last_decoder.pt")
    ran = run_command(sys.executable, "-c", _ALONE, *words, warm=True)
    assert ran.status == 0, ran.err
    assert f"Kept: {run}, trained for {STEPS} steps (to begin anew, remove that folder)." in ran.out
    assert "Evaluating on held-out stories: kept, as the model is the same." in ran.out
    assert "of 80, to the last checkpoint." in ran.out
    assert _weights(run) == _weights(whole)
    assert _scores(run) == _scores(whole)
    assert ConceptModel.load(run).choices == ConceptModel.load(whole).choices
    undisturbed = whole.with_suffix(".txt").read_text().replace(str(whole), str(run))
    ends = [out[out.index("A held-out story") :] for out in (ran.out, undisturbed)]
    assert ends[0] == ends[1]


def test_what_is_finished_is_kept(place: Path, whole: Path, type_in: Type) -> None:
    run = Path(shutil.copytree(whole, place / "finished"))
    again = type_in(*_words(place, "finished"))
    assert again.status == 0, again.err
    assert again.out.count("Kept: ") == 2
    assert again.out.count(": kept, as the model is the same.") == 2
    assert "Trained" not in again.out
    assert "A held-out story" in again.out
    assert _weights(run) == _weights(whole)


@pytest.mark.parametrize("other", ["settings", "version"])
def test_runs_that_differ_are_not_mixed(
    place: Path, whole: Path, type_in: Type, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    run = Path(shutil.copytree(whole, place / other))
    words = _words(place, other)
    if other == "settings":
        words += ["--seed", "1"]
        why = f"{run} holds a run with other settings, so training starts anew: meta.seed was 0, now 1."
    else:
        monkeypatch.setattr(stages, "__version__", "0.0.0")
        why = f"{run} holds a run of another command, version or text, so training starts anew."
    ran = type_in(*words)
    assert ran.status == 0, ran.err
    assert why in ran.out
    assert f"an older run was moved to {run}-1" in ran.out
    assert "Kept: " not in ran.out
    assert _weights(place / f"{other}-1") == _weights(whole)
