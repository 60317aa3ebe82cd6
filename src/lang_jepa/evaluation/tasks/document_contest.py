"""Lets scorers with settings compete: settings are chosen on some documents, scores are reported on the others.

The same rules as in `lang_jepa.evaluation.tasks.exam`: every scorer gets its best setting, baselines too, and the
examined one a paired lead over each of the others. The outcome also says what a tool should use (`Contest.winner`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_rules import learned
from lang_jepa.evaluation.metrics.intervals import mean_interval
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.table import LEAD, Row, detail_of, join, score_row
from lang_jepa.evaluation.tasks.document_data import Made

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One setting of a scorer and what it got.

    Attributes:
        values: for each metric one value per made document, [C].
        similarity: the kind of similarity (empty: none).
        setting: what else was set, by name; joins the note.
        rule: the rule that was followed (empty: a baseline on words).
    """

    values: Mapping[str, Values]
    similarity: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    rule: str = ""


@dataclass(frozen=True)
class Contender:
    """A scorer of the examined model with its chosen setting.

    Attributes:
        rule: its name in `lang_jepa.evaluation.baselines.document_rules`, or of a gap score.
        similarity, setting: as chosen.
        merit: mean of the judging metric on the choosing documents, from which the choice was made.
    """

    rule: str
    similarity: str
    setting: dict[str, Any]
    merit: float


class TooFew(LangJepaError):
    """Documents are too few, or too short, to choose on some and to report others."""


class Contest:
    """Collects the rows of one task.

    Args:
        task: name in the rows.
        metrics: names; the first one judges.
        clusters: int64 [C], of each made document.
        choosing: bool [C].
        lower: whether a low value is good.
        split: in the rows.
        items: what tells this set of questions from others.
        seed: of the bootstrap.

    Raises:
        TooFew: documents to choose on or to report.
    """

    def __init__(
        self,
        task: str,
        metrics: tuple[str, ...],
        clusters: Rows,
        choosing: NDArray[np.bool_],
        *,
        lower: bool,
        split: str,
        items: object,
        seed: int = 0,
    ) -> None:
        if not choosing.any() or len(np.unique(clusters[~choosing])) < 2:
            raise TooFew(f"{task}: too few documents, or too short ones")
        self.task, self.metrics, self.clusters, self.choosing = task, metrics, clusters, choosing
        self.lower, self.split, self.items, self.seed = lower, split, items, seed
        self.rows: list[Row] = []
        self.contenders: list[Contender] = []
        self._lead: tuple[str, Mapping[str, Values]] | None = None

    @classmethod
    def over(
        cls,
        made: Made,
        sentences: list[str],
        *,
        task: str,
        metrics: tuple[str, ...],
        split: str,
        seed: int,
        lower: bool = False,
    ) -> Self:
        """A contest over documents that were made of `sentences`; arguments as above."""
        items = [sentences, [rows.tolist() for rows in made.documents], [one.tolist() for one in made.truth]]
        return cls(
            task, metrics, made.clusters, made.choosing, lower=lower, split=split, items=items, seed=seed
        )

    def enter(self, name: str, entries: Iterable[Entry], *, own: bool = False, note: str = "") -> None:
        """Record a scorer, given what each of its settings got. The first one recorded is the examined one.

        Args:
            name: in the rows.
            entries: at least one.
            own: it is a way of the examined model, which its tools could use.
            note: for the row.
        """
        options = list(entries)
        judge = self.metrics[0]
        merits = [float(option.values[judge][self.choosing].mean()) for option in options]
        best = int(np.argmin(merits) if self.lower else np.argmax(merits))
        chosen = options[best]
        if own:
            self.contenders.append(
                Contender(chosen.rule, chosen.similarity, dict(chosen.setting), merits[best])
            )
        setting = ", ".join(f"{key} {value}" for key, value in chosen.setting.items())
        note = join([chosen.rule if chosen.rule not in name else "", setting, note])
        kept = {metric: chosen.values[metric][~self.choosing] for metric in self.metrics}
        first = self._lead is None
        for metric, values in kept.items():
            self._row(metric, name, values, chosen.similarity, note, examined=first)
        if self._lead is None:
            self._lead = (name, kept)
            return
        lead, theirs = self._lead
        for metric, values in kept.items():
            self._row(f"{metric}: {lead} {LEAD}", name, theirs[metric] - values, chosen.similarity, "paired")

    def winner(self, *, uses_predictor: bool) -> Contender | None:
        """The best of the scorers with, or of those without, a predictor, by the choosing documents."""
        some = [one for one in self.contenders if learned(one.rule) == uses_predictor]
        best = min if self.lower else max
        return best(some, key=lambda one: one.merit) if some else None

    def _row(
        self, metric: str, name: str, values: Values, kind: str, note: str, examined: bool = False
    ) -> None:
        clusters = self.clusters[~self.choosing]
        detail = detail_of(values, clusters=clusters, items=self.items) if examined else None
        self.rows.append(
            score_row(
                (self.task, self.split, metric),
                name,
                float(values.mean()),
                mean_interval(values, clusters, seed=self.seed, shares=not metric.endswith(LEAD)),
                len(values),
                similarity=kind,
                note=note,
                detail=detail,
            )
        )
