"""Scores as rows (scorer, task, metric, value, interval, count), in tables and on disk."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.intervals import Interval, mean_interval, ratio_interval
from lang_jepa.files.atomic import atomic_file, fingerprint, read_json, write_json

LEAD = "minus this"
"""Suffix of the metric name of a paired difference between the evaluated model and another scorer."""


@dataclass(frozen=True)
class Detail:
    """The values behind a score of the evaluated model, so that two models can be compared question by question.

    Attributes:
        values: float64 [Q], per question: hits, reciprocal ranks, squared distances, or cosines of pairs.
        clusters: int64 [Q], questions that resemble each other (those of one document) share a number.
        labels: float64 [Q] if the score is Spearman's correlation of `values` with them; None if it is a mean.
        items: fingerprint of the questions; only scores with equal fingerprints may be paired.
        sizes: float64 [Q] if the score is the sum of `values` over the sum of these, such as bits over bytes.
    """

    values: NDArray[np.float64]
    clusters: NDArray[np.int64]
    labels: NDArray[np.float64] | None
    items: str
    sizes: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Row:
    """One score.

    Attributes:
        task, split, metric: what was measured.
        name: the scorer: `model`, a baseline, or a baseline in some model's space.
        value: the score. low, high: its 95 % interval, None if the value is analytic.
        n: number of queries, pairs or sentences that the value averages.
        similarity: `raw`, `centred`, `whitened` or `predictable`; empty if there is no choice.
        chosen: False for a similarity that another one beat on development data; True for the headline.
        note: how it was obtained.
        judged: False for a metric that a comparison shows without a verdict, since others cover it already.
        detail: values per question, for the evaluated model's selected similarity; not part of the JSON.
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
    judged: bool = True
    detail: Detail | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Report:
    """All rows of an evaluation.

    Attributes:
        rows: rows in the order of the tasks.
        similarity: for each task, the model's similarity as selected on development data.
        sources: for each task, where its data came from and how much there was.
        settings: settings of the evaluation (seed, budget, window).
        tools: from the task `document`, what each tool should use (`lang_jepa.evaluation.scoreboard`).
    """

    rows: list[Row]
    similarity: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a JSON file, without the values per question."""
        plain = asdict(replace(self, rows=[replace(row, detail=None) for row in self.rows]))
        for row in plain["rows"]:
            del row["detail"]
        return plain

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """Build a report from what `to_json` returned; it has no values per question.

        Raises:
            LangJepaError: something is missing, unknown or of another type; the message says what.
        """
        _check_fields(cls, tree, "the report")
        rows = tree["rows"]
        if not isinstance(rows, list):
            raise LangJepaError("its rows are not a list")
        for number, row in enumerate(rows):
            _check_fields(Row, row, f"row {number}")
            _check_numbers(row, f"row {number}")
        return cls(**(tree | {"rows": [Row(**row) for row in rows]}))

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, self.to_json())

    def save_details(self, path: Path) -> None:
        """Write the values per question as .npz, atomically: arrays `task|split|metric|field`."""
        arrays: dict[str, Any] = {}
        for row in self.rows:
            if row.detail is not None:
                key = f"{row.task}|{row.split}|{row.metric}"
                parts = asdict(row.detail).items()
                arrays |= {f"{key}|{name}": np.asarray(part) for name, part in parts if part is not None}
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def value(self, task: str, split: str, metric: str, name: str) -> float:
        """Return the headline value of one row.

        Raises:
            LangJepaError: there is no such row.
        """
        for row in self.rows:
            if (row.task, row.split, row.metric, row.name, row.chosen) == (task, split, metric, name, True):
                return row.value
        raise LangJepaError(f"the report has no score of '{name}' for {task} / {split} / {metric}.")

    def table(self, *, everything: bool = False) -> list[tuple[str, ...]]:
        """Return text cells for printing: a header, then one tuple per row.

        Args:
            everything: include the similarities that were not selected, recall@5 and the paired leads.
        """
        header = ("task", "split", "metric", "name", "value", "95 % interval", "n", "note")
        return [header, *(_cells(row) for row in self.rows if everything or is_headline(row))]


def _check_fields(kind: type[Row] | type[Report], tree: object, what: str) -> None:
    """Raise unless a tree has the fields of a class that have no default, and no others."""
    if not isinstance(tree, dict):
        raise LangJepaError(f"{what} is not an object")
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    known = {one.name for one in fields(kind)} - {"detail"}
    for word, names in (("lacks", [one for one in needed if one not in tree]), ("also has", sorted({*tree} - known))):
        if names:
            raise LangJepaError(f"{what} {word} {', '.join(names)}")


def _check_numbers(row: Mapping[str, Any], what: str) -> None:
    """Raise unless the numbers of a row are numbers; an analytic value has no interval."""
    for name in ("value", "low", "high", "n"):
        one = row[name]
        absent = one is None and name in ("low", "high")
        if not absent and (isinstance(one, bool) or not isinstance(one, int | float)):
            raise LangJepaError(f"{what}: {name} is {one!r}, not a number")


def score_row(
    task: tuple[str, str, str], name: str, value: float, interval: Interval | None, n: int, **more: Any
) -> Row:
    """Return a row from `(task, split, metric)` and an interval; `more` are attributes of `Row` that have defaults."""
    low, high = interval if interval is not None else (None, None)
    return Row(*task, name, value, low, high, n, **more)


def mean_row(
    task: tuple[str, str, str],
    name: str,
    values: NDArray[np.float64],
    *,
    clusters: NDArray[Any] | None = None,
    seed: int = 0,
    shares: bool = True,
    sizes: NDArray[np.float64] | None = None,
    items: object = None,
    **more: Any,
) -> Row:
    """Return the mean of values per question with its interval, as a row.

    Args:
        task, name, more: as in `score_row`.
        values: [Q]. clusters, seed, shares: as in `mean_interval`.
        sizes: [Q], the score is the sum of the values over the sum of these (None: the mean of the values).
        items: what distinguishes these questions from others; with it the row keeps the values (None: it does not).
    """
    if sizes is None:
        interval, value = mean_interval(values, clusters, seed=seed, shares=shares), values.mean()
    else:
        interval, value = ratio_interval(values, sizes, clusters, seed=seed), values.sum() / sizes.sum()
    detail = None if items is None else detail_of(values, clusters=clusters, sizes=sizes, items=items)
    return score_row(task, name, float(value), interval, len(values), detail=detail, **more)


def join(notes: Iterable[str]) -> str:
    """Join the notes that are not empty with semicolons."""
    return "; ".join(note for note in notes if note)


def detail_of(
    values: NDArray[np.float64],
    *,
    clusters: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    sizes: NDArray[Any] | None = None,
    items: object,
) -> Detail:
    """Return values per question in the form stored in a row.

    Args:
        values: [Q]. clusters: [Q] (None: every question is its own cluster). labels, sizes: [Q] or None.
        items: anything JSON can hold that distinguishes one set of questions from another.
    """
    own = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    gold, over = (None if one is None else np.asarray(one, dtype=np.float64) for one in (labels, sizes))
    return Detail(np.asarray(values, dtype=np.float64), own.astype(np.int64), gold, fingerprint(items), over)


def is_headline(row: Row) -> bool:
    """Return whether a row belongs in the short table."""
    return row.chosen and row.metric != "recall@5" and not row.metric.endswith(LEAD)


MOST_ROWS = 12
"""Most names in a shortened table."""
_ALWAYS = ("model", "chance", "untrained")
RAW = ", raw"
"""Suffix of a row's name if the row scores a model by raw cosine, whatever similarity was selected for it."""


def shortened(rows: Sequence[Row], asked: Collection[str] = ()) -> tuple[list[Row], int]:
    """Shorten one table (one task and split) to at most `MOST_ROWS` names, and count the names left out.

    The model, chance, the untrained model, the best TF-IDF and the names in `asked` always stay, and of the others
    those that are best by the table's first metric. The order is unchanged. If a model's raw cosine was selected, its
    separate raw row would repeat it and is left out.
    """
    chosen = {row.name for row in rows if row.similarity == "raw"}
    rows = [row for row in rows if not (row.name.endswith(RAW) and row.name.removesuffix(RAW) in chosen)]
    names = list(dict.fromkeys((row.name, row.similarity) for row in rows))
    if len(names) <= MOST_ROWS:
        return rows, 0
    first = rows[0].metric
    sign = -1.0 if "lower is better" in first else 1.0
    merit = {(row.name, row.similarity): sign * row.value for row in rows if row.metric == first}
    best = sorted(names, key=lambda name: -merit.get(name, -math.inf))
    words = [name for name in best if "TF-IDF" in name[0]][:1]
    always = [name for name in names if name[0] in (*_ALWAYS, *asked)] + words
    kept = {*always, *[name for name in best if name not in always][: max(0, MOST_ROWS - len(always))]}
    return [row for row in rows if (row.name, row.similarity) in kept], len(names) - len(kept)


def shown(metric: str, value: float, *, sign: bool = False) -> str:
    """Format a metric's value, or with `sign` a difference of two, with a suitable number of digits.

    >>> shown("recall@1", 0.12345), shown("bits per byte (lower is better)", 1.23456, sign=True)
    ('0.123', '+1.2346')
    >>> shown("bytes of the file (lower is better)", 1149504.0)
    '1,149,504'
    """
    fine = "bits per byte" in metric.replace("_", " ")
    digits = 0 if metric.startswith("bytes") else 4 if fine else 3
    return f"{value:{'+' if sign else ''},.{digits}f}"


def _cells(row: Row) -> tuple[str, ...]:
    value, low, high = ("" if one is None else shown(row.metric, one) for one in (row.value, row.low, row.high))
    interval = f"{low} to {high}" if low else ""
    kind = f"{row.name} [{row.similarity}]" if row.similarity else row.name
    return (row.task, row.split, row.metric, kind, value, interval, f"{row.n:,}", row.note)


MODEL = "model"
"""Key in a report's settings: the digest of the scored weights."""
EARLIER = "earlier"
"""Key in a report's settings: the settings of earlier evaluations whose rows are kept."""


class NotSaved(LangJepaError):
    """The scores could not be saved.

    Attributes:
        report: the scores.
    """

    def __init__(self, report: Report, problem: LangJepaError) -> None:
        super().__init__(f"the scores were not saved: {problem} Or say where with --output FILE.")
        self.report = report


class Saver:
    """Saves a report after each of its tasks, for `Request.on_task`.

    Rows of tasks that this evaluation does not cover stay in the file if they are of the same weights; the file names
    the budget of each evaluation. Rows of other weights are dropped, since together they would seem to be of one model.

    Args:
        path: path of the JSON file.
        model: digest of the scored weights.

    Raises:
        LangJepaError: the file exists but does not hold scores.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = path, model
        self.problem: LangJepaError | None = None
        cure = "move it away, or write to another file with --output"
        found = read_report(path, cure) if path.is_file() else None
        self.earlier = found if found is not None and found.settings.get(MODEL) == model else None

    def __call__(self, report: Report) -> None:
        """Write the report so far. If that fails, the evaluation continues and `end` raises."""
        report.settings[MODEL] = self.model
        try:
            (report if self.earlier is None else beside(report, self.earlier)).save(self.path)
            self.problem = None
        except LangJepaError as error:
            self.problem = error

    def end(self, report: Report) -> None:
        """Raise NotSaved if the last write failed."""
        if self.problem is not None:
            raise NotSaved(report, self.problem) from self.problem


def beside(report: Report, earlier: Report) -> Report:
    """Return a report with the rows of an earlier one added whose task and split it lacks."""
    own = {(row.task, row.split) for row in report.rows}
    others = [row for row in earlier.rows if (row.task, row.split) not in own]
    if not others:
        return report
    settings = {name: one for name, one in earlier.settings.items() if name != EARLIER}
    before = [*earlier.settings.get(EARLIER, []), settings]
    return replace(
        report,
        rows=[*report.rows, *others],
        similarity=earlier.similarity | report.similarity,
        sources=earlier.sources | report.sources,
        settings=report.settings | {EARLIER: before},
        tools=earlier.tools | report.tools,
    )


def read_report(
    path: Path, cure: str = "score the model again with lang-jepa evaluate, or move the file away"
) -> Report:
    """Read a report that `Report.save` wrote; it has no values per question.

    Args:
        path: of the file.
        cure: what to do if it does not hold scores, for the message.

    Raises:
        LangJepaError: the file does not hold scores, or those of another version.
    """
    tree = read_json(path, what="scores")
    try:
        return Report.from_json(tree)
    except LangJepaError as error:
        raise LangJepaError(f"{path} does not hold scores as this version writes them ({error}): {cure}") from error
