"""What is expected at a position of a document: by a predictor, by its neighbours without one, or by both.

A position is where a sentence stands or might stand, with the sentences before and after it. Every rule gives one unit
vector for each, to be compared with a sentence by a dot product. Legend: Q positions, S sentences, D dimensions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import copy_forward, recency_mean
from lang_jepa.evaluation.embedder import Embedder, Encoder, checked_vectors, predict
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, Statistics, prepare, unit_rows
from lang_jepa.evaluation.scoreboard import Option, Scoreboard

REACH = 8
"""Sentences on either side that the rules without a predictor use, as the recency-weighted mean does."""


@runtime_checkable
class BothSides(Embedder, Protocol):
    """A model whose predictor reads what comes after a position too."""

    @property
    def sees_both_sides(self) -> bool:
        """Whether it was trained to."""

    def predict_between(self, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Float32 [n, D], unit rows: the sentence between; one of the two sides may be empty."""


@dataclass(frozen=True)
class Positions:
    """Positions of documents.

    Attributes:
        sentences: [S] distinct sentences.
        before: for each position the rows of `sentences` before it, oldest first; may be empty.
        after: those after it (after the sentence that stands there), in reading order; may be empty.
    """

    sentences: list[str]
    before: list[Rows]
    after: list[Rows]

    def __len__(self) -> int:
        return len(self.before)

    @classmethod
    def of(cls, sentences: list[str], documents: Sequence[Rows], *, reach: int, gaps: bool = False) -> Self:
        """All positions of documents, in order.

        Args:
            sentences: [S].
            documents: each as rows of `sentences`.
            reach: sentences on either side at most.
            gaps: the positions between two sentences instead, so that what comes after begins with the very next one.
        """
        before, after = [], []
        for rows in documents:
            for position in range(int(gaps), len(rows)):
                skipped = position if gaps else position + 1
                before.append(rows[max(0, position - reach) : position])
                after.append(rows[skipped : skipped + reach])
        return cls(sentences, before, after)

    def texts(self, rows: Rows) -> list[str]:
        """Some rows as sentences."""
        return [self.sentences[row] for row in rows]


Rule = Literal[
    "last sentence",
    "recency mean",
    "neighbours",
    "adjacent",
    "prediction",
    "prediction + recency mean",
    "prediction + what follows",
    "prediction between",
    "prediction between + neighbours",
]
PAST: tuple[Rule, ...] = ("prediction", "prediction + recency mean", "recency mean", "last sentence")
BOTH: tuple[Rule, ...] = (
    *PAST,
    "prediction + what follows",
    "prediction between",
    "prediction between + neighbours",
    "neighbours",
    "adjacent",
)
"""Rules for positions of which the past alone is known, and of which both sides are."""
AnyRule = TypeVar("AnyRule", bound=str)

Part = Literal["last", "past", "following", "future", "next", "between", "backward"]
_SIDES: Mapping[str, tuple[bool, Callable[[list[Rows], Floats], Floats]]] = {
    "last": (False, copy_forward),
    "past": (False, recency_mean),
    "following": (True, copy_forward),
    "future": (True, recency_mean),
}
"""Without a predictor: whether it uses what comes after, and how; the rest are predictions."""
_PARTS: Mapping[str, tuple[Part, ...]] = {
    "last sentence": ("last",),
    "recency mean": ("past",),
    "neighbours": ("past", "future"),
    "adjacent": ("last", "following"),
    "prediction": ("next",),
    "prediction + recency mean": ("next", "past"),
    "prediction + what follows": ("next", "future"),
    "prediction between": ("between",),
    "prediction between + neighbours": ("between", "past", "future"),
}
"""Of each rule the vectors whose sum it expects."""


def learned(rule: str) -> bool:
    """Whether a rule uses the predictor."""
    return rule.startswith("prediction")


@dataclass
class Reading:
    """A model's view of some positions: each distinct sentence encoded once, predictions made when they are first used.

    Attributes:
        model: the model; the rules without a predictor need an encoder only.
        positions: where something is expected.
        embeddings: float32 [S, D], unit rows.
        name: of the model in errors.
    """

    model: Encoder
    positions: Positions
    embeddings: Floats
    name: str = "model"
    _made: dict[str, Floats] = field(default_factory=dict)
    _spaces: dict[str, Floats] = field(default_factory=dict)
    _sides: dict[tuple[str, str], Floats] = field(default_factory=dict)

    @property
    def statistics(self) -> Statistics:
        return self.model.statistics

    def space(self, kind: Similarity) -> Floats:
        """The sentences, ready to be compared, [S, D]."""
        if kind not in self._spaces:
            self._spaces[kind] = prepare(self.embeddings, self.statistics, kind)
        return self._spaces[kind]

    def expected(self, rule: Rule, kind: Similarity) -> Floats:
        """What a rule expects at every position, unit rows [Q, D]; zeros where there is nothing to go by."""
        parts = [self.part(name, kind) for name in _PARTS[rule]]
        return parts[0] if len(parts) == 1 else unit_rows(np.sum(parts, axis=0))

    def part(self, name: Part, kind: Similarity) -> Floats:
        """One of the vectors that a rule adds up, [Q, D]: unit rows, zeros where there is nothing to go by."""
        if name in _SIDES:
            if (name, kind) not in self._sides:
                after, rule = _SIDES[name]
                rows = [some[::-1] for some in self.positions.after] if after else self.positions.before
                space = self.space(kind)
                self._sides[name, kind] = _where(rows, lambda some: rule(some, space), self.model.dim)
            return self._sides[name, kind]
        if name not in self._made:
            self._made[name] = self._predict_next() if name == "next" else self._predict(both=name == "between")
        made = self._made[name]
        known = np.abs(made).sum(1) > 0
        result = np.zeros_like(made)
        result[known] = prepare(made[known], self.statistics, kind, side="predictions")
        return result

    def _predict_next(self) -> Floats:
        if not isinstance(self.model, Embedder):
            raise LangJepaError(f"{self.name} has no predictor, so it expects nothing.")
        model, texts = self.model, self.positions.texts
        return _where(
            self.positions.before, lambda some: predict(model, [texts(rows) for rows in some], self.name), model.dim
        )

    def _predict(self, *, both: bool) -> Floats:
        """From both sides, or backwards, from what comes after alone."""
        model, texts = self.model, self.positions.texts
        if not isinstance(model, BothSides):
            raise LangJepaError(f"{self.name} does not predict from both sides.")
        past = self.positions.before if both else [rows[:0] for rows in self.positions.before]
        pairs = list(zip(past, self.positions.after, strict=True))
        known = np.array([bool(len(before) + len(after)) for before, after in pairs])
        asked = [pair for pair, some in zip(pairs, known, strict=True) if some]
        made = model.predict_between([texts(before) for before, _ in asked], [texts(after) for _, after in asked])
        result = np.zeros((len(pairs), model.dim), dtype=np.float32)
        result[known] = checked_vectors(made, len(asked), model.dim, f"predictions of {self.name}")
        return result


def allows(model: Encoder, rule: str) -> bool:
    """Whether a model has what a rule needs."""
    if rule.startswith(("prediction between", "prediction both ways")):
        return isinstance(model, BothSides) and model.sees_both_sides
    return not learned(rule) or isinstance(model, Embedder)


def _where(rows: Sequence[Rows], make: Callable[[list[Rows]], Floats], dim: int) -> Floats:
    """`make` of the row lists that are not empty, zeros for the others, [Q, D]."""
    result = np.zeros((len(rows), dim), dtype=np.float32)
    known = np.array([len(some) > 0 for some in rows], dtype=bool)
    if known.any():
        result[known] = make([some for some in rows if len(some)])
    return result


def add_rules(
    board: Scoreboard,
    readings: Mapping[str, Reading],
    rules: Sequence[AnyRule],
    options: Callable[[Reading, AnyRule], Iterable[Option]],
    *,
    note: str = "",
) -> None:
    """Record each model by the best of its rules with a predictor, and by each rule that needs none.

    Args:
        board: gets a row for each.
        readings: by model, the evaluated one first.
        rules: those that a model does not allow are left out.
        options: the scores of a rule in each of its settings.
        note: for the rows.
    """
    for position, (name, reading) in enumerate(readings.items()):
        allowed = [rule for rule in rules if allows(reading.model, rule)]
        predicting = [option for rule in allowed if learned(rule) for option in options(reading, rule)]
        if predicting:
            board.add(name, predicting, own=position == 0, note=note)
        for rule in allowed:
            if not learned(rule):
                board.add(f"{rule} ({name})", options(reading, rule), own=position == 0, note=note)
