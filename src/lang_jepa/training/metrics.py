"""Names of a run's metrics, metrics.csv, and the plot of its curves."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import append_text, atomic_file

STEP = "train/step"
COLUMNS = (
    STEP,
    "train/epoch",
    "train/loss",
    "train/distance",
    "train/regularizer",
    "train/repr_std",
    "train/learning_rate",
    "train/weight_decay",
    "train/momentum",
    "train/grad_norm",
    "train/padding_share",
    "train/targets_per_second",
    "train/seconds",
    "stats/cosine_similarity",
    "stats/target_features_norm",
    "stats/predicted_features_norm",
    "val/loss",
    "val/distance",
    "val/regularizer",
    "val/distance_shuffled",
    "val/distance_mean_target",
    "val/distance_copy_forward",
    "val/count",
    "val/semantic/avg_similarity",
    "val/semantic/hit_rate",
    "val/embeddings/norm",
    "val/embeddings/diversity",
    "val/embeddings/target_std_mean",
    "val/embeddings/target_std_relative",
    "val/embeddings/target_eff_rank",
    "val/embeddings/target_eff_rank_limit",
    "val/embeddings/target_off_diag_cov_l1",
    "val/embeddings/mean_pairwise_cosine",
    "val/embeddings/first_component_share",
    "val/embeddings/raw_std",
    "val/retrieval/recall@1",
    "val/retrieval/recall@5",
    "val/retrieval/mrr",
    "val/retrieval/candidates",
    "epoch/loss",
    "epoch/time",
    "train/pred_loss",
    "train/sigreg_loss",
    "val/pred_loss",
    "val/sigreg_loss",
    "val/repr_std",
)
"""All columns of an encoder's run. Training and validation never share a name; `val/` is only used for held-out data.
In every system `train/loss` is what is minimised; its terms are logged beside it."""

OTHER_NAMES = {
    "train/distance": "train/pred_loss",
    "train/regularizer": "train/sigreg_loss",
    "val/distance": "val/pred_loss",
    "val/regularizer": "val/sigreg_loss",
    "val/embeddings/raw_std": "val/repr_std",
}
"""Second names under which runs on spans log the same metrics."""

TIMES = ("train/targets_per_second", "train/seconds", "epoch/time")
"""Columns that measure the machine: the only ones in which two identical runs differ."""


def with_other_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics, and those with a second name in runs on spans again under that name."""
    return {**metrics, **{other: metrics[name] for name, other in OTHER_NAMES.items() if name in metrics}}


class MetricsFile:
    """metrics.csv: one row per step or validation, blank cells for what was not measured.

    Args:
        path: of the file.
        resume_step: None starts a new file; a step keeps the rows up to it, so that rows which a killed run wrote
            after its last checkpoint do not appear twice.
        columns: all permitted names, including STEP.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None, columns: Sequence[str] = COLUMNS) -> None:
        self.path, self.columns = path, columns
        kept = [] if resume_step is None else [row for row in read_metrics(path) if row[STEP] <= resume_step]
        with atomic_file(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(kept)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row.

        Raises:
            ValueError: a name is not among the columns.
            LangJepaError: the disk is full.
        """
        text = io.StringIO()
        csv.DictWriter(text, self.columns).writerow(row)
        append_text(self.path, text.getvalue())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics file without blank cells; an unfinished last line is ignored.

    Raises:
        LangJepaError: the file is missing or damaged.
    """
    if not path.is_file():
        raise LangJepaError(f"no metrics at {path}")
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a kill may leave half a line
        table = csv.DictReader(io.StringIO(whole), strict=True)
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in table]
    except (TypeError, ValueError, csv.Error) as error:
        raise LangJepaError(f"{path} is damaged: {error}") from error
    if any(STEP not in row for row in rows):
        raise LangJepaError(f"{path} is damaged: a row has no {STEP}")
    return rows


Rows = Sequence[Mapping[str, float]]


def series(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    """Return the steps at which one column has values, and the values."""
    points = [(row[STEP], row[name]) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]


_PANELS = (
    ("loss", {"train/loss": "training", "val/loss": "held out", "val/distance": "its distance"}),
    (
        "cosine of prediction and target",
        {"stats/cosine_similarity": "training", "val/semantic/avg_similarity": "held out"},
    ),
    (
        "next sentence among 256",
        {
            "val/retrieval/recall@1": "recall@1",
            "val/retrieval/recall@5": "recall@5",
            "val/retrieval/mrr": "MRR",
        },
    ),
    (
        "spread of held-out embeddings (1 = even)",
        {
            "val/embeddings/target_std_relative": "std x sqrt(D)",
            "val/embeddings/mean_pairwise_cosine": "mean cosine",
            "val/embeddings/first_component_share": "first direction's share",
        },
    ),
    (
        "effective rank",
        {"val/embeddings/target_eff_rank": "targets", "val/embeddings/target_eff_rank_limit": "limit"},
    ),
    ("learning rate", {"train/learning_rate": "learning rate"}),
)


def draw_run(rows: Rows, path: Path, *, title: str) -> None:
    """Plot a run's curves to a PNG file, written atomically.

    Args:
        rows: as returned by `read_metrics`.
        path: of the PNG file.
        title: above the panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7))
    # fixed, since the search for a layout takes as long as the drawing
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.07, top=0.9, wspace=0.16, hspace=0.28)
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)  # a path may contain dollar signs
    for axes, (name, lines) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        axes.set_title(name, fontsize=10)
        for column, label in lines.items():
            steps, values = series(rows, column)
            axes.plot(steps, values, label=label, marker="." if len(values) < 30 else None)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # a truncated axis makes small changes look large
        if len(lines) > 1:
            axes.legend(fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
