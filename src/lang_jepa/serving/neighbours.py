"""For each unit of a document: the most similar units of the same document, and those expected in its place."""

import time
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from lang_jepa.evaluation.baselines.document_rules import Rule
from lang_jepa.evaluation.metrics.similarity import Similarity
from lang_jepa.inference.document import way_of
from lang_jepa.inference.document_reading import Read
from lang_jepa.serving import shapes
from lang_jepa.serving.documents import by_words, read_units
from lang_jepa.serving.refusals import Refused
from lang_jepa.serving.served import Served

_BLOCK = 256
"""Units compared with all others at a time."""
_TOP = 3


class Near(BaseModel):
    """A unit of the document, with its score."""

    unit: int = Field(description="Its number, from 0; of units that the model reads as the same the first.")
    score: float = Field(description="Cosine, in the similarity that the method uses.")


class Around(BaseModel):
    """The neighbours of one unit."""

    similar: list[Near] = Field(description="The units that are most like it, best first.")
    expected: list[Near] = Field(description="The units closest to what was expected here; empty for the first unit.")
    rank: int | None = Field(
        description="Rank of this unit among all different units, by how strongly it was expected."
    )


class Neighbours(BaseModel):
    """The neighbours of each unit of a document, in order."""

    units: list[Around]
    different: int = Field(
        description="Units that the model reads differently: without the speaker, and masked where it masks."
    )
    by: shapes.By
    seconds: float


def neighbours(served: Served, asked: shapes.Document) -> Neighbours:
    """Find, for each unit of a document, the units most similar to it and those most expected in its place."""
    if asked.segments is not None:
        raise Refused(400, "segments has no effect with /neighbours: ask /segment or /document", param="segments")
    begun = time.perf_counter()
    model = served.encoder
    read = Read.by(model, read_units(model, asked).read)
    way, said = way_of(model, "next", asked.using)
    kind = cast(Similarity, way.similarity)
    reading = read.reading()
    expected = reading.expected(cast(Rule, way.rule), kind)
    group, first = _groups(model.as_read(read.sentences, turns=model.knows_speakers))
    space = reading.space(kind)[read.rows[first]]
    found: list[Around] = []
    for begin in range(0, len(group), _BLOCK):
        rows = group[begin : begin + _BLOCK]
        alike, fits = space[rows] @ space.T, expected[begin : begin + _BLOCK] @ space.T
        alike[np.arange(len(rows)), rows] = -np.inf  # itself
        for row, like, fit in zip(rows, alike, fits, strict=True):
            known = bool(np.any(fit))
            rank = 1 + int(np.sum(fit > fit[row])) if known else None
            best = _best(fit, first) if known else []
            found.append(Around(similar=_best(like, first), expected=best, rank=rank))
    return Neighbours(units=found, different=len(space), by=by_words(said), seconds=time.perf_counter() - begun)


def _groups(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the group of each text, [n], and the position of the first text of each group of equal ones, [G]."""
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    group = np.array([number[text] for text in texts], dtype=np.int64)
    return group, np.unique(group, return_index=True)[1]


def _best(scores: NDArray[np.float32], first: NDArray[np.int64]) -> list[Near]:
    """Return the highest scores [G] of groups, each with the position where its group first occurs."""
    top = np.argsort(-scores, kind="stable")[:_TOP]
    return [Near(unit=int(first[row]), score=float(scores[row])) for row in top if np.isfinite(scores[row])]
