"""Answers about whole texts: surprise, units out of place, topics, repetitions, a map of the units, and for each unit
the most similar ones and those expected in its place.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import (
    as_read,
    as_turns,
    names_before,
    names_of_turns,
    speaker_of,
    text_in_units,
    without_text,
)
from lang_jepa.data.sources.speakers import Speakers
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.errors import counted, one_line, shorten
from lang_jepa.evaluation.baselines.document_rules import Rule, learned
from lang_jepa.evaluation.metrics.similarity import Similarity
from lang_jepa.inference import document
from lang_jepa.inference.document_reading import Read, numbered
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.texts import texts_of
from lang_jepa.serving import shapes
from lang_jepa.serving.refusals import Refused
from lang_jepa.serving.served import Served, as_hit
from lang_jepa.settings.data import DataSettings

MOST_UNITS = 5000
"""Most units that a document may have."""
_EXPECTED = 50
"""For how many of the most surprising units the answer says what was expected instead."""
_TITLE = 80
"""Most characters of a title."""
_BLOCK = 256
"""Units compared with all others at a time."""
_TOP = 3
"""Similar and expected units that are named for each unit."""
_UNITS = {"prose": "sentences", "lines": "lines", "turns": "turns"}


def study(served: Served, asked: shapes.Document) -> shapes.Study:
    """Study a document: surprise, units out of place, topics, repetitions, and a map of its units."""
    begun = time.perf_counter()
    units, read, notes = _read(served.encoder, asked)
    speakers = [unit.speaker for unit in units]
    found = document.study_read(read, speakers, segments=asked.segments, using=asked.using)
    fits, places, topics = found.surprise, found.outliers, found.topics
    for unit, fit, place in zip(units, fits.sentences, places.sentences, strict=True):
        unit.surprise, unit.out_of_place = fit.surprise, place.surprise
    _add_expected(served, read, units, asked.using)
    short = [] if any(unit.surprise is not None for unit in units) else [_too_short(len(units))]
    return shapes.Study(
        units=units,
        by={"surprise": _by(fits.used), "out_of_place": _by(places.used), "segments": _by(topics.used)},
        against=fits.against,
        boundaries=topics.boundaries,
        segments=_segments(units, read, topics.boundaries),
        repeated=[
            shapes.Repeated(unit=one.position, earlier=one.earlier, cosine=one.cosine)
            for one in found.repetitions
            if one.repeats
        ],
        map=flat_map(read.embeddings[read.rows]),
        notes=[*notes, *short, *([found.hint] if found.hint else []), f"repetitions by {found.repeated}"],
        seconds=time.perf_counter() - begun,
    )


def surprise(served: Served, asked: shapes.Document) -> shapes.Study:
    """Measure how surprising each unit of a document is; `segments` does not apply here and is refused."""
    if asked.segments is not None:
        raise Refused(400, "segments has no effect with /surprise: ask /segment or /document", param="segments")
    begun = time.perf_counter()
    units, read, notes = _read(served.encoder, asked)
    found = document.fits_of(read, "next", asked.using, None)
    for unit, fit in zip(units, found.sentences, strict=True):
        unit.surprise = fit.surprise
    _add_expected(served, read, units, asked.using)
    by, seconds = {"surprise": _by(found.used)}, time.perf_counter() - begun
    return shapes.Study(units=units, by=by, against=found.against, notes=notes, seconds=seconds)


def segment(served: Served, asked: shapes.Document) -> shapes.Study:
    """Split a document into topics."""
    begun = time.perf_counter()
    units, read, notes = _read(served.encoder, asked)
    topics = document.topics_of(read, asked.segments, asked.using)
    return shapes.Study(
        units=units,
        by={"segments": _by(topics.used)},
        boundaries=topics.boundaries,
        segments=_segments(units, read, topics.boundaries),
        notes=notes,
        seconds=time.perf_counter() - begun,
    )


def neighbours(served: Served, asked: shapes.Document) -> shapes.Neighbours:
    """Find, for each unit of a document, the units most similar to it and those most expected in its place."""
    if asked.segments is not None:
        raise Refused(400, "segments has no effect with /neighbours: ask /segment or /document", param="segments")
    begun = time.perf_counter()
    model = served.encoder
    _, read, _ = _read(model, asked)
    way, said = document.way_of(model, "next", asked.using)
    kind = cast(Similarity, way.similarity)
    reading = read.reading()
    expected = reading.expected(cast(Rule, way.rule), kind)
    group = numbered(model.as_read(read.sentences, turns=model.knows_speakers))[1]
    first = np.unique(group, return_index=True)[1]  # where each group of units that are read as the same begins
    space = reading.space(kind)[read.rows[first]]
    found: list[shapes.Around] = []
    for begin in range(0, len(group), _BLOCK):
        rows = group[begin : begin + _BLOCK]
        alike, fits = space[rows] @ space.T, expected[begin : begin + _BLOCK] @ space.T
        alike[np.arange(len(rows)), rows] = -np.inf  # itself
        for row, like, fit in zip(rows, alike, fits, strict=True):
            known = bool(np.any(fit))
            rank = 1 + int(np.sum(fit > fit[row])) if known else None
            best = _best(fit, first) if known else []
            found.append(shapes.Around(similar=_best(like, first), expected=best, rank=rank))
    return shapes.Neighbours(units=found, different=len(space), by=_by(said), seconds=time.perf_counter() - begun)


def _best(scores: NDArray[np.float32], first: NDArray[np.int64]) -> list[shapes.Near]:
    """Return the highest scores [G] of groups, each with the position where its group first occurs."""
    top = np.argsort(-scores, kind="stable")[:_TOP]
    return [shapes.Near(unit=int(first[row]), score=float(scores[row])) for row in top if np.isfinite(scores[row])]


def flat_map(vectors: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Project vectors [n, D] onto their first two principal axes, whose entries of largest magnitude are positive."""
    centred = vectors.astype(np.float64) - vectors.mean(0)
    flat = np.zeros((len(vectors), 2))
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, np.argsort(-values)[:2]]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    flat[:, : axes.shape[1]] = centred @ axes
    return [(float(x), float(y)) for x, y in flat]


def _read(model: ConceptModel, asked: shapes.Document) -> tuple[list[shapes.Unit], Read, list[str]]:
    """Split a document into units: as they are shown, as the model reads them, and what a reader should know.

    Raises:
        Refused: neither or both of `text` and `units` are given, they hold no text, or there are too many units.
    """
    if (asked.text is None) == (asked.units is None):
        raise Refused(400, "give either text or units", param="text")
    settings = _settings(model, asked)
    notes: list[str] = []
    own = model.settings.data.units
    if settings.units != own and model.has_predictor:
        notes.append(f"the model was trained on {own}, and this text was split into {settings.units}")
    if asked.units is not None:
        texts, speakers = texts_of(asked.units, "unit"), list[str]()
        if settings.units == "turns" and settings.speakers == "none":
            spoken = as_turns(texts)
            texts, speakers = as_read(spoken, settings), names_before(spoken)
        lines: list[int | None] = list(range(1, len(texts) + 1))
    else:
        text = str(asked.text)
        if settings.units == "turns" and (silent := without_text(text)):
            notes.append(f"left out: {counted(silent, 'message without text', 'messages without text')}")
        texts = split_text(text_in_units(text, settings), make_splitter(settings))
        speakers, lines = names_of_turns(text, settings), _lines(text, texts)
    if not texts:
        raise Refused(400, "the document holds no text", param="text", code="empty")
    if len(texts) > MOST_UNITS:
        message = f"the document has {len(texts):,} {settings.units}, and at most {MOST_UNITS:,} are read"
        raise Refused(400, message, param="text", code="too_many_units")
    read = as_turns(texts) if model.knows_speakers else texts
    speakers = speakers if len(speakers) == len(texts) else [""] * len(texts)
    shown = [
        shapes.Unit(text=text.removeprefix(f"{who or '-'}: "), line=line, speaker=who)
        for text, line, who in zip(texts, lines, speakers, strict=True)
    ]
    return shown, Read.by(model, read), notes


def _settings(model: ConceptModel, asked: shapes.Document) -> DataSettings:
    """Return the model's data settings, with the units that the request asks for."""
    data = model.settings.data
    units = _UNITS.get(asked.format, data.units)
    if asked.format == "auto" and asked.text is not None and not model.has_predictor:
        lines = [line for line in asked.text.split("\n") if line.strip()]
        named = sum(map(Speakers(lines).names_one, lines))
        units = "turns" if len(lines) > 1 and 3 * named >= 2 * len(lines) else data.units
    return data if units == data.units else data.model_copy(update={"units": units})


def _lines(text: str, units: Sequence[str]) -> list[int | None]:
    """Return the line of a text on which each unit begins, from 1 (None: not found); units are in order."""
    found: list[int | None] = []
    position, line = 0, 1
    for unit in units:
        said = speaker_of(unit)[1].partition("\n")[0]
        begin = next((at for part in (unit, said) if part and (at := text.find(part, position)) >= 0), None)
        if begin is None:
            found.append(None)
            continue
        line += text.count("\n", position, begin)
        position = begin
        found.append(line)
    return found


def _add_expected(served: Served, read: Read, units: list[shapes.Unit], using: document.Using) -> None:
    """Add to the most surprising units what the model expected in their place, from the index."""
    index = served.index
    known = [number for number, unit in enumerate(units) if unit.surprise is not None]
    if index is None or not known:
        return
    some = sorted(known, key=lambda number: -cast(float, units[number].surprise))[:_EXPECTED]
    way, _ = document.way_of(read.model, "next", using)
    expected = read.reading().expected(cast(Rule, way.rule), read.model.similarity_kind)
    for number, hits in zip(some, index.nearest_prepared(expected[some], top_k=3), strict=True):
        units[number].expected = list(map(as_hit, hits))


def _by(said: str) -> shapes.By:
    """Return a method in words, and whether it uses the predictor or copying."""
    choice: Literal["prediction", "copying"] = "prediction" if learned(said) else "copying"
    return shapes.By(choice=choice, words=said)


def _segments(units: Sequence[shapes.Unit], read: Read, boundaries: Sequence[int]) -> list[shapes.Segment]:
    """Return the topics; the title of each is the unit closest to the mean of its units."""
    vectors, found = read.embeddings[read.rows], []
    for begin, end in pairwise([0, *boundaries, len(units)]):
        part = vectors[begin:end]
        title = one_line(units[begin + int(np.argmax(part @ part.mean(0)))].text)
        found.append(shapes.Segment(start=begin, end=end, title=shorten(title, _TITLE)))
    return found


def _too_short(count: int) -> str:
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'unit')} {verb} too few to say what is usual, so there is no surprise"
