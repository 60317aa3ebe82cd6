"""A run whose training did harm says so, and one that merely has bad luck does not."""

import json
from pathlib import Path

import pytest

from lang_jepa.export.export import export_run
from lang_jepa.inference.model import ConceptModel
from lang_jepa.training.outcome import since_start, worse_than_at_start
from tiny import corpora
from typed import Type


def _row(step: int, recall: float, count: int = 400) -> dict[str, float]:
    return {
        "train/step": float(step),
        "val/retrieval/recall@1": recall,
        "val/retrieval/candidates": 256.0,
        "val/count": float(count),
    }


@pytest.mark.parametrize(
    ("rows", "kept", "worse"),
    [
        ([_row(0, 0.5), _row(10, 0.4)], 10, True),  # twice the error: .070
        ([_row(0, 0.5), _row(10, 0.44)], 10, False),
        ([_row(0, 0.5, 40), _row(10, 0.4, 40)], 10, False),  # so few questions say nothing
        ([_row(0, 0.5), _row(10, 0.55), _row(20, 0.3)], 10, False),  # the weights that were kept are good
        ([_row(0, 0.5), _row(10, 0.55), _row(20, 0.3)], None, True),  # none was the best: the last are kept
        ([_row(0, 0.5), {"train/step": 5.0, "train/loss": 1.0}, _row(10, 0.2)], 10, True),
        ([_row(5, 0.5), _row(10, 0.2)], 10, False),  # nothing is known of the start
        ([_row(0, 0.5)], None, False),
        ([{"train/step": 5.0, "train/loss": 1.0}], None, False),
    ],
)
def test_worse_is_what_chance_does_not_explain(rows: list[dict[str, float]], kept: int | None, worse: bool) -> None:
    assert (worse_than_at_start(rows, kept) is not None) == worse


def test_the_figures_are_said() -> None:
    said = worse_than_at_start([_row(0, 0.5), _row(10, 0.4), _row(20, 0.3)], 10)
    assert said is not None
    assert all(part in said for part in ("0.500 before", "(step 10) it is 0.400", "400 questions", "0.070"))


def test_a_run_from_other_weights_says_what_became_of_them() -> None:
    """Also a fall that chance may explain, and one after which the weights of the start were kept."""
    assert since_start([_row(0, 0.5)], None) is None
    assert since_start([_row(5, 0.5), _row(10, 0.6)], None) is None
    said, fell = since_start([_row(0, 0.5), _row(10, 0.6)], 10) or ("", True)
    assert not fell
    assert said == "held-out recall@1 was 0.500 with the weights of --from, and is 0.600 at the end"
    said, fell = since_start([_row(0, 0.5), _row(10, 0.49)], 0) or ("", False)
    assert fell
    assert "is 0.490 at the end; the model is that of step 0, the best validation: it fell. Keep the model" in said


def test_a_run_that_unlearns_says_so_everywhere(tmp_path: Path, type_in: Type) -> None:
    """Logs that repeat, which a fresh encoder tells apart already; steps that are far too long."""
    (tmp_path / "logs").mkdir()
    for number in range(30):
        lines = [f"unit {number} of {line % 5} {('start', 'open', 'read', 'close')[line % 4]}" for line in range(20)]
        (tmp_path / "logs" / f"{number}.txt").write_text("\n".join(lines))
    run = tmp_path / "run"
    given = (f"data.train_file={tmp_path / 'logs'}", f"data.corpus_dir={corpora()}", f"logging.log_dir={run}",
             "data.units=lines", "data.min_length=1", "data.deduplicate=none", "data.prepare_workers=1",
             "data.val_fraction=0.4", "data.vocab_size=300", "data.batch_size=4", "model.score_sample=256",
             "model.embed_dim=32", "model.pred_dim=32", "model.num_heads=2", "model.predictor_heads=2",
             "model.head_sample=256", "logging.eval_freq=4", "optimization.max_steps=12", "optimization.lr=0.3",
             "optimization.warmup_steps=1", "objective.regularizer=none", "model.predictor=recency_transformer")  # fmt: skip
    done = type_in("train", "documents", *(part for one in given for part in ("-o", one)))
    assert done.status == 0, done.err
    summary = json.loads((run / "summary.json").read_text())
    (warning,) = summary["warnings"]
    assert "training made held-out retrieval worse" in warning
    assert "training made held-out retrieval worse" in " ".join(done.out.split())
    assert ConceptModel.load(run).card["warnings"] == [warning]
    export_run(run, tmp_path / "exported", "sentence-transformers")
    assert f"T{warning[1:]}." in (tmp_path / "exported" / "README.md").read_text()
    best, last = summary["best"], summary["last_validation"]["val/retrieval/recall@1"]
    assert best["step"] < 12
    assert f"those of step {best['step']}: recall@1 {best['value']:.4g}, and {last:.4g} at step 12" in done.out
