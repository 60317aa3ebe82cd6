"""Compare candidates on one set of questions: rows with intervals, paired leads, and which candidate to use.

Settings (a similarity, a penalty, a threshold) are selected on some questions, and scores are reported on the others.
Every candidate gets its best setting, baselines included, so none loses by a bad setting. Shapes: Q questions.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.table import LEAD, Row, join, mean_row, score_row
from lang_jepa.files.atomic import read_json, write_json

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Option:
    """One setting of a candidate and its scores.

    Attributes:
        values: for each metric one value per question, float64 [Q], in the order of the rows.
        similarity: the kind of similarity (empty: none).
        setting: other settings by name, shown in the row's note.
        rule: the rule used (empty: a baseline on words).
        predicts: the rule uses the predictor.
    """

    values: Mapping[str, Values]
    similarity: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    rule: str = ""
    predicts: bool = False


@dataclass(frozen=True)
class Candidate:
    """A way in which a tool can work, with its selected setting.

    Attributes:
        rule: name of a rule in `lang_jepa.evaluation.baselines.document_rules`, or of a gap score.
        similarity, setting: as selected.
        merit: mean of the judging metric on the selection questions, by which it was selected.
    """

    rule: str
    similarity: str
    setting: dict[str, Any]
    merit: float

    def __str__(self) -> str:
        return f"{self.rule} [{self.similarity}]"


class TooFew(LangJepaError):
    """Documents are too few, or too short, to select settings on some and report scores on others."""


@dataclass
class Scoreboard:
    """The rows of one set of questions. The first candidate is the evaluated one; later ones get rows of its lead.

    Attributes:
        task, split: names in the rows.
        judge: the metric by which settings are selected.
        clusters: int64 [Q], questions that resemble each other share a number.
        items: what distinguishes this set of questions from others; anything JSON can hold.
        choosing: bool [Q], questions on which settings are selected (None: no selection, all are reported).
        lower: whether lower values of the judging metric are better.
        leads: metrics with a row for the lead (None: all).
        about: description of the questions, at the start of every note.
        seed: seed of the bootstrap.
        sizes: float64 [Q], a score is the sum of the values over the sum of these, which average 1 both over the
            selection questions and over the reported ones (None: the mean of the values).
        groups: rows by candidate, in the order in which they were added.
        chosen: the selected option by the candidate's name.

    Raises:
        TooFew: there are too few questions for selection, or clusters to report.
    """

    task: str
    split: str
    judge: str
    clusters: Rows
    items: object
    choosing: NDArray[np.bool_] | None = None
    lower: bool = False
    leads: Collection[str] | None = None
    about: str = ""
    seed: int = 0
    sizes: Values | None = None
    groups: list[list[Row]] = field(default_factory=list, init=False)
    chosen: dict[str, Option] = field(default_factory=dict, init=False)
    _own: list[tuple[bool, Candidate]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._reported = np.ones(len(self.clusters), dtype=bool)
        if self.choosing is not None:
            self._reported = ~self.choosing
            if not self.choosing.any() or len(np.unique(self.clusters[self._reported])) < 2:
                raise TooFew(f"{self.task}: too few documents, or too short ones")

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group]

    def add(
        self, name: str, options: Iterable[Option], *, own: bool = False, every: bool = False, note: str = ""
    ) -> None:
        """Record a candidate, given its scores under each of its settings.

        Args:
            name: the candidate's name in the rows.
            options: its settings with their scores, at least one.
            own: it belongs to the evaluated model, so the model's tools could use it.
            every: also add rows of the settings that were not selected.
            note: note of the rows.
        """
        found = list(options)
        merits = [0.0]
        if self.choosing is not None:
            merits = [float(option.values[self.judge][self.choosing].mean()) for option in found]
        best = int(np.argmin(merits) if self.lower else np.argmax(merits))
        one, first = found[best], not self.chosen
        if own:
            self._own.append((one.predicts, Candidate(one.rule, one.similarity, dict(one.setting), merits[best])))
        self.chosen[name] = one
        rows = []
        for option in found if every else [one]:
            setting = ", ".join(f"{key} {value}" for key, value in option.setting.items())
            items = self.items if first and option is one else None
            said = join([self.about, option.rule if option.rule not in name else "", setting, note])
            rows += [
                self._row(metric, name, values, option, said, chosen=option is one, items=items)
                for metric, values in option.values.items()
            ]
        if not first:
            lead, theirs = next(iter(self.chosen.items()))
            rows += [
                self._row(f"{metric}: {lead} {LEAD}", name, theirs.values[metric] - values, one, "paired")
                for metric, values in one.values.items()
                if self.leads is None or metric in self.leads
            ]
        self.groups.append(rows)

    def add_analytic(self, name: str, values: Mapping[str, Values]) -> None:
        """Record expected values [Q] by metric, which have no interval and no lead."""
        self.groups.append(
            [
                score_row((self.task, self.split, metric), name, float(some.mean()), None, len(some))
                for metric, each in values.items()
                for some in [each[self._reported]]
            ]
        )

    def choice(self) -> "Choice":
        """Return the best of the evaluated model's own candidates with the predictor, and the best without."""
        best = min if self.lower else max
        ways = {
            predicts: best((way for uses, way in self._own if uses == predicts), key=attrgetter("merit"), default=None)
            for predicts in (True, False)
        }
        baseline = ways[False]
        assert baseline is not None  # every scoreboard has rules that only need an encoder
        assert self.choosing is not None
        documents = len(np.unique(self.clusters[self.choosing]))
        return Choice(f"{self.task}, {self.judge}", self.lower, documents, ways[True], baseline)

    def _row(self, metric: str, name: str, values: Values, option: Option, note: str, **more: Any) -> Row:
        return mean_row(
            (self.task, self.split, metric),
            name,
            values[self._reported],
            clusters=self.clusters[self._reported],
            seed=self.seed,
            shares=not metric.endswith(LEAD),
            sizes=None if self.sizes is None else self.sizes[self._reported],
            similarity=option.similarity,
            note=note,
            **more,
        )


def interleaved(boards: Iterable[Scoreboard]) -> Iterator[Row]:
    """Yield the rows of scoreboards with the same candidates, candidate by candidate."""
    for groups in zip(*(board.groups for board in boards), strict=True):
        for group in groups:
            yield from group


FORMAT = 1
FILE = "document.json"
"""File beside the weights in a model directory."""

Tool = Literal["next", "outliers", "segment", "redundant"]
"""Tools for which the better candidate is measured. `surprise` uses that of `next`."""


@dataclass(frozen=True)
class Choice:
    """The two candidates for one tool.

    Attributes:
        metric: the metric by which they were compared, on selection documents only.
        lower: whether lower values are better.
        documents: number of selection documents.
        predictor: the best candidate with the predictor (None: the model has none).
        baseline: the best candidate without it.
    """

    metric: str
    lower: bool
    documents: int
    predictor: Candidate | None
    baseline: Candidate

    @property
    def used(self) -> Candidate:
        """The better candidate; if they are equal, the one that needs no predictor."""
        if self.predictor is None:
            return self.baseline
        lead = self.predictor.merit - self.baseline.merit
        return self.predictor if (lead < 0 if self.lower else lead > 0) else self.baseline

    def describe(self) -> str:
        """Return the choice in words."""
        other = self.predictor if self.used is self.baseline else self.baseline
        beside = "no predictor" if other is None else f"{other} {other.merit:.3f}"
        where = counted(self.documents, "document")
        return f"{self.used}: {self.metric} {self.used.merit:.3f} on {where} ({beside})"


@dataclass(frozen=True)
class Choices:
    """The choices of all tools that were measured.

    Attributes:
        tools: choices by tool.
        model: fingerprint of the weights with which they were measured.
    """

    tools: dict[str, Choice] = field(default_factory=dict)
    model: str = ""

    def save(self, folder: Path) -> None:
        """Write to a model directory, atomically."""
        write_json(folder / FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path, *, model: str) -> Self | None:
        """Read what `save` wrote; None if nothing was measured yet.

        Args:
            folder: a model directory.
            model: fingerprint of its weights.

        Raises:
            LangJepaError: the file is damaged, has another format, or was measured with other weights.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        found = read_json(path, what="choices of the document tools")
        try:
            if found["format"] != FORMAT:
                raise LangJepaError(f"{path} has format {found['format']}, this version reads {FORMAT}; {_AGAIN}")
            tools, measured = choices_from(found["tools"]), str(found["model"])
        except (KeyError, TypeError, AttributeError) as error:
            raise LangJepaError(f"{path} is damaged ({error!r}); {_AGAIN}") from error
        if measured != model:
            raise LangJepaError(f"{path} was measured with other weights than those beside it; {_AGAIN}")
        return cls(tools, measured)


_AGAIN = "delete it, or measure again: lang-jepa evaluate RUN --tasks document"


def choices_from(found: Mapping[str, Any]) -> dict[str, Choice]:
    """Construct choices from plain data, as stored in a report or a file."""
    choices = {}
    for tool, one in found.items():
        predictor = None if one["predictor"] is None else Candidate(**one["predictor"])
        baseline = one["counterpart"] if "counterpart" in one else one["baseline"]  # its earlier name
        if baseline is None:
            raise KeyError("baseline")
        choices[tool] = Choice(one["metric"], one["lower"], one["documents"], predictor, Candidate(**baseline))
    return choices
