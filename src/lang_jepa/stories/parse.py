"""From a sentence's text alone back to its event: the templates, read backwards.

A text is reduced to a skeleton: its opening phrase is dropped, every person becomes ``@``, every
thing, place and relation ``#``, every time of day ``%``. The skeletons of all templates are an
index, so that parsing is one look-up and a check of the few words that were replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

from lang_jepa.stories import teller
from lang_jepa.stories.generate import StorySentence
from lang_jepa.stories.wordings import ROLE_OF_SLOT, Piece, events
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
_THINGS = frozenset(
    word for setting in SETTINGS.values() for word in setting.objects + setting.seconds
).union(PLACES, WATERS, _RELATIONS)
_ARTICLES = frozenset(("a", "an", "some"))
_SLOT_TEXT = {"x": "the #", "ax": "a #", "y": "the #", "ay": "a #", "p": "the #", "q": "the #"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text shows: its event, template, the entities it names, the genders it reveals."""

    event: str
    template: str
    arguments: dict[str, str]
    women: dict[str, bool]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A word that the skeleton replaced, and the quality before it."""

    word: str
    quality: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A template's skeleton in reverse: per replaced word its slot, or the literal word itself."""

    event: str
    template: str
    slots: tuple[str, ...]
    literals: tuple[str, ...]


def parse_event(text: str) -> StorySentence | None:
    """Recognize a sentence of the corpus, of any split, by its wording alone.

    Returns its event, template and the arguments that the text names (a pronoun names nobody), or
    None for a text that no template could have made.
    """
    reading = read(text)
    if reading is None:
        return None
    return StorySentence(text, reading.event, reading.arguments, reading.template)


@lru_cache(maxsize=65536)
def read(text: str) -> Reading | None:
    """Parse ``text``; like ``parse_event``, with the genders that pronouns and names reveal."""
    if text[-1:] not in (".", "!", "?") or not text[:1].isupper():
        return None
    body = text[:-1].lower()
    lead, comma, rest = body.partition(", ")
    if comma and lead in _leads():
        reading = _match(rest)
        if reading is not None:
            return reading
    return _match(body)


def _match(body: str) -> Reading | None:
    skeleton, marks = _skeleton(body)
    for pattern in _index().get(skeleton, ()):
        reading = _check(pattern, marks)
        if reading is not None:
            return reading
    return None


def _skeleton(body: str) -> tuple[str, list[_Mark]]:
    """Reduce a lower-cased text without its final mark."""
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
            marks.append(_Mark(word, ""))
        elif word in _THINGS:
            out.append("#")
            marks.append(_Mark(word, quality))
        else:
            out.append("%" if word in TIMES else "a" if word in _ARTICLES else word)
        quality = ""
    return " ".join(out), marks


def _check(pattern: _Pattern, marks: list[_Mark]) -> Reading | None:
    """Fill the pattern's slots with the words of the text, or None if one does not fit."""
    arguments: dict[str, str] = {}
    women: dict[str, bool] = {}
    for slot, literal, mark in zip(pattern.slots, pattern.literals, marks, strict=True):
        if not slot:
            if mark.word != literal:
                return None
            continue
        role = ROLE_OF_SLOT[slot]
        if role in ("person", "companion"):
            woman = _GENDERS.get(mark.word)
            if woman is not None and women.setdefault(role, woman) != woman:
                return None
            entity = _NAMES.get(mark.word, "")
        elif mark.word in _fillers(pattern.event, role):
            entity = mark.word
        else:
            return None
        if role == "relation" or not entity:
            continue
        if arguments.setdefault(role, entity) != entity:
            return None
        if role == "object" and mark.quality:
            arguments["quality"] = mark.quality
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
    groups = teller.LEADS.values()
    return frozenset(
        lead.replace("{d}", time).lower() for group in groups for lead in group for time in TIMES
    )


def _reverse(event: str, template: str, pieces: tuple[Piece, ...]) -> tuple[str, _Pattern]:
    """The skeleton of a variant, and what stands behind its replaced words."""
    skeleton: list[str] = []
    slots: list[str] = []
    literals: list[str] = []
    for literal, slot in pieces:
        part, marks = _skeleton(literal.rstrip(".!?").lower())
        skeleton.append(part)
        slots += [""] * len(marks)
        literals += [mark.word for mark in marks]
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
    """Skeleton -> the patterns that have it (built once per process, about half a second)."""
    index: dict[str, dict[_Pattern, None]] = {}
    for event in events().values():
        for template in event.templates:
            for pieces in template.variants:
                skeleton, pattern = _reverse(event.name, template.id, pieces)
                index.setdefault(skeleton, {})[pattern] = None
    return {skeleton: tuple(patterns) for skeleton, patterns in index.items()}
