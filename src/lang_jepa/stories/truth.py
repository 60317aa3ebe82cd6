"""Ground truth of the corpus: a text's event, and the oracle's score of a continuation.

To find its event, a text is reduced to a skeleton: its opening phrase is dropped, every person becomes ``@``, every
thing, place and relation ``#``, every time of day ``%``. The skeletons of all templates form an index, so parsing takes
one lookup and a check of the few replaced words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from lang_jepa.errors import LangJepaError
from lang_jepa.stories.generate import (
    PRONOUNS,
    Story,
    StorySentence,
)
from lang_jepa.stories.wordings import ROLE_OF_SLOT, Piece, events, leads
from lang_jepa.stories.world import (
    FEMALE_RELATIONS,
    MALE_RELATIONS,
    MEN,
    PLACES,
    QUALITIES,
    SETTINGS,
    TIMES,
    TRADES,
    WATERS,
    WOMEN,
)

_GENDERS = {
    **dict.fromkeys(("she", "her", "herself", *(name.lower() for name in WOMEN)), True),
    **dict.fromkeys(("he", "him", "his", "himself", *(name.lower() for name in MEN)), False),
}
_NAMES = {name.lower(): name for name in WOMEN + MEN}
_RELATIONS = frozenset(FEMALE_RELATIONS + MALE_RELATIONS)
_THINGS = frozenset(word for setting in SETTINGS.values() for word in setting.objects + setting.seconds).union(
    PLACES, WATERS, _RELATIONS
)
_ARTICLES = frozenset(("a", "an", "some"))
_SLOT_TEXT = {"x": "the #", "ax": "a #", "y": "the #", "ay": "a #", "p": "the #", "q": "the #"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text shows: its event, its template, the entities it names and the genders it reveals."""

    event: str
    template: str
    arguments: dict[str, str]
    women: dict[str, bool]


_Mark = tuple[str, str]
"""A replaced word, and the quality before it."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """The replaced words of a template's skeleton: for each its slot, or the literal word."""

    event: str
    template: str
    slots: tuple[str, ...]
    literals: tuple[str, ...]


def parse_event(text: str) -> StorySentence | None:
    """Recognise a sentence of the corpus, of any split, by its wording alone.

    Returns its event, its template and the arguments that the text names (a pronoun names nobody),
    or None for a text that no template could have produced.
    """
    reading = read(text)
    if reading is None:
        return None
    return StorySentence(text, reading.event, reading.arguments, reading.template)


@lru_cache(maxsize=65536)
def read(text: str) -> Reading | None:
    """Parse ``text`` as ``parse_event`` does, including the genders that pronouns and names reveal."""
    if text[-1:] not in (".", "!", "?") or not text[:1].isupper():
        return None
    body = text[:-1].lower()
    lead, comma, rest = body.partition(", ")
    found = _read_body(rest) if comma and lead in _leads() else None
    return found or _read_body(body)


def _read_body(body: str) -> Reading | None:
    skeleton, marks = _skeleton(body)
    readings = (_check(pattern, marks) for pattern in _index().get(skeleton, ()))
    return next((reading for reading in readings if reading is not None), None)


def _skeleton(body: str) -> tuple[str, list[_Mark]]:
    """Reduce a lower-cased text without its final punctuation to a skeleton, and collect the replaced words."""
    words = body.replace(",", "").split()
    out: list[str] = []
    marks: list[_Mark] = []
    quality, i = "", 0
    while i < len(words):
        word = words[i].removesuffix("'s")
        following = words[i + 1].removesuffix("'s") if i + 1 < len(words) else ""
        i += 1
        if word == "the" and following in TRADES:
            i += 1
            word = following
            if i < len(words) and words[i].removesuffix("'s") in _NAMES:
                word = words[i].removesuffix("'s")
                i += 1
        if word in QUALITIES:
            quality = word
            continue
        if word in _GENDERS or word in TRADES:
            out.append("@")
            marks.append((word, ""))
        elif word in _THINGS:
            out.append("#")
            marks.append((word, quality))
        else:
            out.append("%" if word in TIMES else "a" if word in _ARTICLES else word)
        quality = ""
    return " ".join(out), marks


def _check(pattern: _Pattern, marks: list[_Mark]) -> Reading | None:
    """Fill the pattern's slots with the words of the text; return None if one does not fit."""
    arguments: dict[str, str] = {}
    women: dict[str, bool] = {}
    for slot, literal, (word, quality) in zip(pattern.slots, pattern.literals, marks, strict=True):
        if not slot:
            if word != literal:
                return None
            continue
        role = ROLE_OF_SLOT[slot]
        if role in ("person", "companion"):
            woman = _GENDERS.get(word)
            if woman is not None and women.setdefault(role, woman) != woman:
                return None
            entity = _NAMES.get(word, "")
        elif word in _fillers(pattern.event, role):
            entity = word
        else:
            return None
        if role == "relation" or not entity:
            continue
        if arguments.setdefault(role, entity) != entity:
            return None
        if role == "object" and quality:
            arguments["quality"] = quality
    if "person" in women and women["person"] == women.get("companion"):
        return None
    return Reading(pattern.event, pattern.template, arguments, women)


@cache
def _fillers(event: str, role: str) -> frozenset[str]:
    if role == "relation":
        return _RELATIONS
    if role in ("place", "found"):
        return frozenset(PLACES + WATERS)
    setting = SETTINGS.get(event.partition(".")[0])
    if setting is None:
        return frozenset()
    return frozenset(setting.objects if role == "object" else setting.seconds)


@cache
def _leads() -> frozenset[str]:
    phrases = [phrase for group in ("o", "tm", "w", "e") for phrase in leads()[group]]
    return frozenset(phrase.replace("{d}", time).lower() for phrase in phrases for time in TIMES)


def _reverse(event: str, template: str, pieces: tuple[Piece, ...]) -> tuple[str, _Pattern]:
    """Return the skeleton of a variant, and the pattern of its replaced words."""
    skeleton: list[str] = []
    slots: list[str] = []
    literals: list[str] = []
    for literal, slot in pieces:
        part, marks = _skeleton(literal.rstrip(".!?").lower())
        skeleton.append(part)
        slots += [""] * len(marks)
        literals += [word for word, _ in marks]
        if slot == "d":
            skeleton.append("%")
        elif slot:
            role = ROLE_OF_SLOT[slot]
            skeleton.append("@" if role in ("person", "companion") else _SLOT_TEXT.get(slot, "#"))
            slots.append(slot)
            literals.append("")
    text = " ".join(part for part in skeleton if part)
    return text, _Pattern(event, template, tuple(slots), tuple(literals))


@cache
def _index() -> dict[str, tuple[_Pattern, ...]]:
    """Map each skeleton to its patterns (built once per process, about half a second)."""
    index: dict[str, dict[_Pattern, None]] = {}
    for event in events().values():
        for template in event.templates:
            for pieces in template.variants:
                skeleton, pattern = _reverse(event.name, template.id, pieces)
                index.setdefault(skeleton, {})[pattern] = None
    return {skeleton: tuple(patterns) for skeleton, patterns in index.items()}


_IMPOSSIBLE = math.log(1e-6)
_STRANGER = 0.02  # probability of an argument that contradicts the story
_POOL = {"person": 24, "companion": 24, "object": 6, "second": 5, "place": 15, "found": 15,
         "quality": 8}  # fmt: skip


def oracle_scores(
    story: Story, position: int, candidates: Sequence[StorySentence]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Score candidates as sentence ``position`` of ``story`` given the sentences before it.

    The score is log P(event | hidden state) plus, for every argument that the candidate's text
    shows and that the story fixed before ``position``, the log-likelihood ratio of that argument
    to a random one (a pronoun only shows the gender). Returns float64 ``[len(candidates)]``, in
    nats. Raises ``LangJepaError`` if the story has no such position.
    """
    if not 0 <= position < len(story.sentences):
        raise LangJepaError(f"story {story.id} has sentences 0 to {len(story.sentences) - 1}, not {position}")
    known: dict[str, str] = {}
    for sentence in story.sentences[:position]:
        known.update(sentence.arguments)
    odds = story.oracle[position]
    scores = [(math.log(odds[c.event]) if c.event in odds else _IMPOSSIBLE) + _match(c, known) for c in candidates]
    return np.array(scores, dtype=np.float64)


def _match(candidate: StorySentence, known: dict[str, str]) -> float:
    """Return the log-likelihood ratio of the arguments that the candidate's text shows."""
    reading = read(candidate.text)
    shown = candidate.arguments if reading is None else reading.arguments
    score = 0.0
    for role, entity in shown.items():
        if role in known:
            pool = _POOL[role]
            agrees = known[role] == entity
            score += math.log((1.0 - _STRANGER) * pool if agrees else _STRANGER)
    for role, woman in ({} if reading is None else reading.women).items():
        if role in known and role not in shown:
            agrees = (known[role] in WOMEN) == woman
            score += math.log(2.0 * ((1.0 - _STRANGER) if agrees else _STRANGER))
    return score


def same_meaning(first: str, second: str) -> bool:
    """Return whether two sentences of the corpus express the same event with the same arguments."""
    one, other = read(first), read(second)
    return one is not None and other is not None and (one.event, one.arguments) == (other.event, other.arguments)


def event_types() -> tuple[str, ...]:
    """Return the names of all event types, sorted."""
    return tuple(sorted(events()))


@cache
def vocabulary() -> frozenset[str]:
    """Return all lower-cased words the corpus can use: runs of letters, without the possessive 's."""
    text = ["the a an some", *MEN, *WOMEN, *QUALITIES, *TIMES, *TRADES, *PLACES, *WATERS]
    text += [*MALE_RELATIONS, *FEMALE_RELATIONS, *PRONOUNS[True], *PRONOUNS[False]]
    text += [lead.replace("{d}", "") for group in ("o", "tm", "w", "e") for lead in leads()[group]]
    text += [word for s in SETTINGS.values() for word in s.objects + s.seconds]
    for event in events().values():
        for template in event.templates:
            text += [literal for pieces in template.variants for literal, _ in pieces]
    return frozenset(re.findall("[a-z]+", " ".join(text).lower().replace("'s", "")))
