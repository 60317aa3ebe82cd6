"""What is known about the training of a model: curves, scores, verdicts, settings."""

import math
from pathlib import Path
from typing import Any

from lang_jepa.evaluation.conclusions import conclusions
from lang_jepa.evaluation.table import Report, Row, read_report
from lang_jepa.inference.model import ConceptModel
from lang_jepa.serving import shapes
from lang_jepa.serving.served import Served
from lang_jepa.training.metrics import STEP, read_metrics, series
from lang_jepa.training.outcome import worse_than_at_start

METRICS, SCORES = "metrics.csv", "scores.json"


def run_of(served: Served) -> shapes.Run:
    """Return the curves, scores, verdicts and settings of a model's training run; those that are missing stay empty.

    Raises:
        LangJepaError: one of the files is damaged.
    """
    folder = _folder(served.path)
    rows = read_metrics(folder / METRICS) if (folder / METRICS).is_file() else []
    names = sorted({name for row in rows for name in row} - {STEP})
    curves = {}
    for name in names:
        steps, values = series(rows, name)
        curves[name] = shapes.Curve(step=steps, value=[_finite(value) for value in values])
    report = read_report(folder / SCORES) if (folder / SCORES).is_file() else Report([])
    return shapes.Run(
        curves=curves,
        scores=report.to_json()["rows"],
        conclusions=_conclusions(report.rows),
        verdicts=_verdicts(served, rows),
        settings=_settings(served),
    )


def _conclusions(rows: list[Row]) -> list[shapes.Conclusion]:
    """Return what the intervals say, as `lang-jepa evaluate` prints it under each table."""
    tasks = dict.fromkeys((row.task, row.split) for row in rows)
    return [
        shapes.Conclusion(
            task=task, split=split, words=conclusions(row for row in rows if (row.task, row.split) == (task, split))
        )
        for task, split in tasks
    ]


def _folder(path: Path) -> Path:
    """Return a model's run directory: its own folder, or the one around that."""
    folder = path.parent if path.is_file() else path
    return folder.parent if folder.name == "model" and (folder.parent / METRICS).is_file() else folder


def _verdicts(served: Served, rows: list[dict[str, float]]) -> list[str]:
    """Return the warnings from training and what was measured for the document tools, in words."""
    model = served.model
    if not isinstance(model, ConceptModel):
        return []
    step = model.card.get("step")
    worse = worse_than_at_start(rows, step) if rows else None
    tools = [f"{tool}: {choice.describe()}" for tool, choice in model.choices.items()]
    return [*map(str, model.card.get("warnings", [])), *([worse] if worse else []), *tools]


def _settings(served: Served) -> dict[str, Any]:
    """Return the settings that say most about a model."""
    model = served.model
    if not isinstance(model, ConceptModel):
        network = model.model.settings
        return {"layers": network.num_layers, "width": network.model_dim, "reads_tokens": model.model.seq_len}
    settings, width = model.settings, {"width": model.dim, "max_length": model.settings.model.max_length}
    if not model.has_predictor:
        return {"pretrained": model.card["plain"], **width}
    return {
        "recipe": settings.recipe,
        "data.view": settings.data.view,
        "data.units": settings.data.units,
        "data.speakers": settings.data.speakers,
        "model.predictor": settings.model.predictor,
        "objective.target": settings.objective.target,
        "objective.regularizer": settings.objective.regularizer,
        "optimization.loss_fn": settings.optimization.loss_fn,
        **width,
        "similarity": model.similarity_kind,
        "step": model.card.get("step"),
    }


def _finite(value: Any) -> Any:
    """Return a value, or None if it is a number that JSON cannot represent."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
