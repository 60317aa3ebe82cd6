"""Topic boundaries in the task `document`: how far the sentences after each gap are from what was expected.

A gap's score by a rule is minus the cosine of what the rule expects after the gap and the mean of the next `block`
sentences. The rules are the prediction; the recency-weighted mean of the last eight sentences; and `blocks`, the mean
of the last `block` sentences, which is neighbour similarity without a predictor. A predictor that reads both sides also
predicts backwards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lang_jepa.evaluation.baselines.document_rules import Positions, Reading, add_rules, learned
from lang_jepa.evaluation.baselines.words import WordSpace, cutoff, sparse_cosines, texttiling_depths
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.segmentation import (
    LEAST_SEGMENT,
    Gaps,
    cut,
    depths,
    pick,
    pk,
    ranked,
    standardised,
    window_diff,
)
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, unit_rows
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, Values
from lang_jepa.evaluation.tasks.document_data import PIECE, SEGMENTS, Made

METRICS = ("Pk", "WindowDiff", "Pk, count unknown", "WindowDiff, count unknown")
BLOCKS = (1, 3, 5, 8)
LEAST = (LEAST_SEGMENT, PIECE[0])
"""Fewest sentences of a found segment, to choose from; the second is the shortest piece of a joined document."""
THRESHOLDS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
"""Thresholds, in standard deviations above the mean of a document's scores."""
RULES = ("prediction", "prediction + blocks", "prediction both ways", "recency mean", "blocks")
_DRAWS = 20


@dataclass(frozen=True)
class GapSetting:
    """How gaps are scored and boundaries picked.

    Attributes:
        rule: one of `RULES`.
        similarity: similarity of sentences and predictions.
        block: number of sentences after a gap to compare.
        depth: whether scores become depth scores first.
        threshold: threshold of standardised scores if the number of boundaries is unknown.
        least: fewest sentences of a segment.
    """

    rule: str
    similarity: Similarity
    block: int
    depth: bool
    threshold: float = 1.0
    least: int = LEAST_SEGMENT


def gap_scores(reading: Reading, rule: str, kind: Similarity, block: int) -> Values:
    """Return the scores of gaps (a reading of `Positions.of(..., gaps=True)`), float64 [Q], higher at boundaries."""
    after = _means(reading, reading.positions.after, block, kind)
    if rule in ("prediction", "recency mean"):
        return -_cosines(reading.expected("prediction" if rule == "prediction" else "recency mean", kind), after)
    before = _means(reading, [rows[::-1] for rows in reading.positions.before], block, kind)
    if rule == "blocks":
        return -_cosines(before, after)
    if rule == "prediction + blocks":
        return -_cosines(unit_rows(reading.expected("prediction", kind) + before), after)
    if rule == "prediction both ways":
        return -_cosines(reading.expected("prediction", kind), after) - _cosines(reading.part("backward", kind), before)
    raise ValueError(f"there is no gap score {rule!r}")


def boundaries(scores: Gaps, setting: GapSetting, count: int | None = None) -> Rows:
    """Pick the boundaries of a document from its gap scores [n - 1]: `count` of them, or those above the threshold."""
    shaped = shape(scores, depth=setting.depth)
    threshold = None if count is not None else setting.threshold
    return pick(shaped, count=count, threshold=threshold, least=setting.least)


def shape(scores: Gaps, *, depth: bool) -> Gaps:
    """Standardise scores over the document, converted to depth scores first if `depth`."""
    return standardised(depths(scores) if depth else scores)


def segmentation(readings: Mapping[str, Reading], made: Made, *, task: str, seed: int) -> Scoreboard:
    """Compute Pk and WindowDiff of all candidates on joined documents; lower is better.

    The number of boundaries is either known (the highest scores that leave no tiny segment) or unknown (scores above a
    threshold that, like similarity, block and depth, was selected on the selection documents).

    Args:
        readings: readings of the documents' gaps by model, the evaluated one first.
        made: documents from `joined`.
        task: name of the task in the rows.
        seed: seed of the bootstrap.
    """
    positions = next(iter(readings.values())).positions
    board = made.board(positions.sentences, task, METRICS[0], seed=seed, lower=True)
    add_rules(board, readings, RULES, lambda reading, rule: _options(reading, made, rule))
    _add_words(board, made, positions)
    _add_nothing(board, made)
    return board


def _options(reading: Reading, made: Made, rule: str) -> Iterator[Option]:
    for kind in reading.statistics.similarities:
        for block in BLOCKS:
            yield from _shapes(gap_scores(reading, rule, kind, block), made, block, kind, rule)


def _shapes(scores: Values, made: Made, block: int, kind: str = "", rule: str = "") -> Iterator[Option]:
    """Yield the ways to turn the scores of all gaps [Q] into boundaries."""
    parts = np.split(scores, np.cumsum([len(rows) - 1 for rows in made.documents])[:-1])
    for depth in (False, True):
        shaped = [shape(one, depth=depth) for one in parts]
        for least in LEAST:
            yield _scored(shaped, made, kind, {"block": block, "depth": depth, "least": least}, rule)


def _scored(shaped: list[Gaps], made: Made, kind: str, setting: dict[str, Any], rule: str) -> Option:
    """Evaluate scores of gaps, with the threshold that is best on the selection documents."""
    orders = [ranked(one, setting["least"]) for one in shaped]
    both = list(zip(orders, shaped, strict=True))
    choosing = np.flatnonzero(made.choosing).tolist()

    def merit(threshold: float) -> float:
        return float(np.mean([_pk(made, i, cut(*both[i], threshold=threshold)) for i in choosing]))

    threshold = min(THRESHOLDS, key=merit)
    known = [cut(*one, count=len(true)) for one, true in zip(both, made.truth, strict=True)]
    found = [cut(*one, threshold=threshold) for one in both]
    return Option(_values(made, known, found), kind, setting | {"threshold": threshold}, rule, learned(rule))


def _values(made: Made, known: Sequence[Rows], found: Sequence[Rows]) -> dict[str, Values]:
    both = {"": known, ", count unknown": found}
    values: dict[str, Values] = {}
    for end, ones in both.items():
        values[f"Pk{end}"] = np.array([_pk(made, i, one) for i, one in enumerate(ones)])
        values[f"WindowDiff{end}"] = np.array(
            [window_diff(made.truth[i], one, len(made.documents[i])) for i, one in enumerate(ones)]
        )
    return values


def _pk(made: Made, index: int, found: Rows) -> float:
    return pk(made.truth[index], found, len(made.documents[index]))


def _add_words(board: Scoreboard, made: Made, positions: Positions) -> None:
    """Add TF-IDF similarity drop and TextTiling."""
    space = WordSpace(positions.sentences)
    options: list[Option] = []
    for block in BLOCKS:
        sides = ([rows[::-1][:block] for rows in positions.before], [rows[:block] for rows in positions.after])
        options += _shapes(-sparse_cosines(*(space.sums(rows, np.ones) for rows in sides)), made, block)
    board.add("TF-IDF drop", options)
    deep = [texttiling_depths(positions.texts(rows)) for rows in made.documents]
    options = []
    for least in LEAST:
        known = [pick(one, count=len(true), least=least) for one, true in zip(deep, made.truth, strict=True)]
        found = [pick(one, threshold=cutoff(one), least=least) for one in deep]
        options.append(Option(_values(made, known, found), setting={"least": least}))
    board.add("TextTiling", options)


def _add_nothing(board: Scoreboard, made: Made) -> None:
    """Add boundaries at equal distances and random ones; if their number is unknown, none."""
    even = [
        np.unique(np.linspace(0, len(rows), len(true) + 2).round().astype(np.int64)[1:-1])
        for rows, true in zip(made.documents, made.truth, strict=True)
    ]
    none = [rows[:0] for rows in made.truth]
    board.add("even spacing", [Option(_values(made, even, none))], note="no boundary where unknown")
    generator = np.random.default_rng(board.seed)
    drawn = [
        _values(made, [pick(generator.random(len(rows) - 1), count=SEGMENTS - 1) for rows in made.documents], none)
        for _ in range(_DRAWS)
    ]
    mean = {metric: np.mean([one[metric] for one in drawn], axis=0) for metric in METRICS}
    board.add("chance", [Option(mean)], note=f"{_DRAWS} random draws; no boundary where unknown")


def _means(reading: Reading, rows: Sequence[Rows], block: int, kind: Similarity) -> Floats:
    """Return the unit mean of the first `block` rows of each list, [Q, D]."""
    space = reading.space(kind)
    heads = [some[:block] for some in rows]
    starts = np.cumsum([0, *(len(some) for some in heads[:-1])])
    return unit_rows(np.add.reduceat(space[np.concatenate(heads)], starts, axis=0))


def _cosines(one: Floats, other: Floats) -> Values:
    product: Values = np.einsum("qd,qd->q", one, other, dtype=np.float64)
    return product
