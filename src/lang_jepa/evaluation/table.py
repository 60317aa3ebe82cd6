"""Scores as rows: who, on what, by which metric, how much, how sure, out of how many."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.intervals import Interval
from lang_jepa.files import write_json

LEAD = "minus this"
"""End of the metric name of a paired difference between the examined model and another scorer."""


@dataclass(frozen=True)
class Row:
    """One score.

    Attributes:
        task, split, metric: what was measured.
        name: who was scored: `model`, a baseline, or a baseline in some model's space.
        value: the score. low, high: its 95 % interval, None where the value is analytic.
        n: queries, pairs or sentences the value is a mean over.
        similarity: `raw`, `centred` or `whitened`; empty where there is no choice.
        chosen: False for a similarity that another one beat on development data; the headline is True.
        note: how it was obtained.
    """

    task: str
    split: str
    metric: str
    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    similarity: str = ""
    chosen: bool = True
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All rows of an evaluation.

    Attributes:
        rows: in the order of the tasks.
        similarity: for each task, the model's similarity as chosen on development data.
        sources: for each task, where its data came from and how much there was.
        settings: what the evaluation was asked to do (seed, budget, window).
    """

    rows: list[Row]
    similarity: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, self.to_json())

    def value(self, task: str, split: str, metric: str, name: str) -> float:
        """The headline value of one row.

        Raises:
            LangJepaError: there is no such row.
        """
        for row in self.rows:
            if (row.task, row.split, row.metric, row.name, row.chosen) == (task, split, metric, name, True):
                return row.value
        raise LangJepaError(f"the report has no score of '{name}' for {task} / {split} / {metric}.")

    def table(self, *, everything: bool = False) -> list[tuple[str, ...]]:
        """Text cells for printing: a header, then one tuple per row.

        Args:
            everything: also the similarities that were not chosen, recall@5 and the paired leads.
        """
        header = ("task", "split", "metric", "name", "value", "95 % interval", "n", "note")
        return [header, *(_cells(row) for row in self.rows if everything or is_headline(row))]


def score_row(
    task: tuple[str, str, str],
    name: str,
    value: float,
    interval: Interval | None,
    n: int,
    *,
    similarity: str = "",
    chosen: bool = True,
    note: str = "",
) -> Row:
    """A row from `(task, split, metric)` and an interval."""
    low, high = interval if interval is not None else (None, None)
    return Row(*task, name, value, low, high, n, similarity, chosen, note)


def join(notes: Iterable[str]) -> str:
    """Notes that are not empty, separated by semicolons."""
    return "; ".join(note for note in notes if note)


def is_headline(row: Row) -> bool:
    """Whether a row belongs into the short table."""
    return row.chosen and row.metric != "recall@5" and not row.metric.endswith(LEAD)


def _cells(row: Row) -> tuple[str, ...]:
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    kind = f"{row.name} [{row.similarity}]" if row.similarity else row.name
    return (row.task, row.split, row.metric, kind, f"{row.value:.3f}", interval, f"{row.n:,}", row.note)
