"""Rules that give the vector expected at a position of a document: from a predictor, from neighbours, or from both.

A position is where a sentence is or could be, with the sentences before and after it. Every rule gives one unit vector
per position, which is compared with a sentence by a dot product. Shapes: Q positions, S sentences, D dimensions.
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
"""Sentences on either side that the rules without a predictor use, as in the recency-weighted mean."""


@runtime_checkable
class BothSides(Embedder, Protocol):
    """A model whose predictor also reads the sentences after a position."""

    @property
    def sees_both_sides(self) -> bool:
        """Whether it was trained to do so."""

    def predict_between(self, before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Predict the sentence between, float32 [n, D], unit rows; one of the two sides may be empty."""


@dataclass(frozen=True)
class Positions:
    """Positions of documents.

    Attributes:
        sentences: [S] distinct sentences.
        before: for each position the rows of `sentences` before it, oldest first; may be empty.
        after: the rows after it (after the sentence at the position), in reading order; may be empty.
    """

    sentences: list[str]
    before: list[Rows]
    after: list[Rows]

    def __len__(self) -> int:
        return len(self.before)

    @classmethod
    def of(cls, sentences: list[str], documents: Sequence[Rows], *, reach: int, gaps: bool = False) -> Self:
        """Return all positions of documents, in order.

        Args:
            sentences: [S], distinct sentences.
            documents: each as rows of `sentences`.
            reach: most sentences on either side.
            gaps: take the positions between two sentences instead; `after` then begins with the very next sentence.
        """
        before, after = [], []
        for rows in documents:
            for position in range(int(gaps), len(rows)):
                skipped = position if gaps else position + 1
                before.append(rows[max(0, position - reach) : position])
                after.append(rows[skipped : skipped + reach])
        return cls(sentences, before, after)

    def texts(self, rows: Rows) -> list[str]:
        """Return the sentences at some rows."""
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
"""Rules for positions with a known past only, and with both sides known."""
AnyRule = TypeVar("AnyRule", bound=str)

Part = Literal["last", "past", "following", "future", "next", "between", "backward"]
_SIDES: Mapping[str, tuple[bool, Callable[[list[Rows], Floats], Floats]]] = {
    "last": (False, copy_forward),
    "past": (False, recency_mean),
    "following": (True, copy_forward),
    "future": (True, recency_mean),
}
"""For each part that needs no predictor, whether it uses what comes after, and how; the other parts are predictions."""
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
"""For each rule, the parts whose sum it expects."""


def learned(rule: str) -> bool:
    """Return whether a rule uses the predictor."""
    return rule.startswith("prediction")


@dataclass
class Reading:
    """A model's view of some positions. Each distinct sentence is encoded once; predictions are made on first use.

    Attributes:
        model: the model; rules without a predictor only need an encoder.
        positions: the positions.
        embeddings: float32 [S, D], unit rows.
        name: name of the model in errors.
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
        """Return the sentences prepared for comparison, [S, D]."""
        if kind not in self._spaces:
            self._spaces[kind] = prepare(self.embeddings, self.statistics, kind)
        return self._spaces[kind]

    def expected(self, rule: Rule, kind: Similarity) -> Floats:
        """Return the vector that a rule expects at each position, unit rows [Q, D]; zeros without any context."""
        parts = [self.part(name, kind) for name in _PARTS[rule]]
        return parts[0] if len(parts) == 1 else unit_rows(np.sum(parts, axis=0))

    def part(self, name: Part, kind: Similarity) -> Floats:
        """Return one of the vectors that a rule adds up, unit rows [Q, D]; zeros without any context."""
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
            raise LangJepaError(f"{self.name} has no predictor, so this rule cannot be used.")
        model, texts = self.model, self.positions.texts
        return _where(
            self.positions.before, lambda some: predict(model, [texts(rows) for rows in some], self.name), model.dim
        )

    def _predict(self, *, both: bool) -> Floats:
        """Predict from both sides, or backwards from only the sentences after a position."""
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
    """Return whether a model has what a rule needs."""
    if rule.startswith(("prediction between", "prediction both ways")):
        return isinstance(model, BothSides) and model.sees_both_sides
    return not learned(rule) or isinstance(model, Embedder)


def _where(rows: Sequence[Rows], make: Callable[[list[Rows]], Floats], dim: int) -> Floats:
    """Apply `make` to the non-empty row lists; zeros for the others, [Q, D]."""
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
        board: scoreboard that gets a row for each.
        readings: readings by model, the evaluated one first.
        rules: rules to try; those that a model does not allow are left out.
        options: returns the scores of a rule in each of its settings.
        note: note of the rows.
    """
    for position, (name, reading) in enumerate(readings.items()):
        allowed = [rule for rule in rules if allows(reading.model, rule)]
        predicting = [option for rule in allowed if learned(rule) for option in options(reading, rule)]
        if predicting:
            board.add(name, predicting, own=position == 0, note=note)
        for rule in allowed:
            if not learned(rule):
                board.add(f"{rule} ({name})", options(reading, rule), own=position == 0, note=note)
