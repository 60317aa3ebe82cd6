"""Generate stories by index: a story is a pure function of (index, seed, split)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from lang_jepa.errors import LangJepaError
from lang_jepa.stories.plots import KINDS
from lang_jepa.stories.wordings import PERSON_SLOTS, Event, Piece, Template, events, leads
from lang_jepa.stories.world import SETTINGS, World, make_world

LEAD_CHANCE = 0.7
PRONOUN_CHANCE = 0.25
TRADE_NAMED_CHANCE = 0.6
TRADE_CHANCE = 0.3
QUALITY_CHANCE = 0.4
PRONOUNS = {True: ("she", "her", "her", "herself"), False: ("he", "him", "his", "himself")}


class Narrator:
    """Turns one story's events into sentences. It tracks who was named, so pronouns are never ambiguous.

    ``reserved`` selects the templates of the split ``unseen``; ``explicit`` avoids pronouns.
    """

    def __init__(self, world: World, rng: Random, reserved: bool, explicit: bool = False) -> None:
        self._random = rng.random
        self._reserved = reserved
        self._pronoun_chance = 0.0 if explicit else PRONOUN_CHANCE
        self._named_person = explicit
        self._trade, self._trade_named = world.trade, False
        self._since_companion = 99
        self._leads_used: set[str] = set()
        roles, setting = world.roles, SETTINGS[world.kind]
        he, him, his, himself = PRONOUNS[world.woman]
        bhe, bhim, bhis, _ = PRONOUNS[not world.woman]
        self._person, self._companion = roles["person"], roles["companion"]
        self._a_forms = {"A": he, "Ao": him, "As": his}
        self._b_forms = {"B": bhe, "Bo": bhim, "Bs": bhis}
        self._quality = roles.get("quality")
        self._object, self._countable = roles["object"], setting.countable[0]
        second = roles.get("second", "")
        self._fixed = {
            "he": he, "him": him, "his": his, "himself": himself,
            "bhe": bhe, "bhim": bhim, "bhis": bhis, "kx": self._object,
            "y": f"the {second}", "ny": second, "ay": f"{article(second, setting.countable[1])} {second}",
            "p": f"the {roles['place']}", "q": f"the {roles['found']}",
            "r": world.relation, "d": world.time,
        }  # fmt: skip

    def narrate(self, event: Event) -> tuple[str, Template]:
        """Return the sentence and its template."""
        random = self._random
        templates = event.reserved if self._reserved else event.common
        template = templates[int(random() * len(templates))]
        pieces = template.variants[int(random() * len(template.variants))]
        self._since_companion += 1
        text = self._render(pieces)
        if random() < LEAD_CHANCE and pieces[0][0].partition(" ")[0].strip(",") not in leads()["bare"]:
            text = self._lead(event.leads, pieces, text)
        return text[0].upper() + text[1:], template

    def _lead(self, groups: str, pieces: tuple[Piece, ...], text: str) -> str:
        literal, slot = pieces[0]
        if groups == "tm" and (literal or slot not in PERSON_SLOTS):
            groups = "t"
        if groups == "o" and slot == "Bn":
            return text
        phrases = leads()[groups]
        lead = phrases[int(self._random() * len(phrases))].replace("{d}", self._fixed["d"])
        if lead in self._leads_used:
            return text
        self._leads_used.add(lead)
        return f"{lead}, {text}"

    def _render(self, pieces: tuple[Piece, ...]) -> str:
        fixed = self._fixed
        out = []
        for literal, slot in pieces:
            out.append(literal)
            if not slot:
                continue
            form = fixed.get(slot)
            out.append(form if form is not None else self._vary(slot))
        return "".join(out)

    def _vary(self, slot: str) -> str:
        if slot in self._a_forms:
            return self._name_person(slot)
        if slot in self._b_forms or slot == "Bn":
            pronoun_fits = slot != "Bn" and self._since_companion <= 1
            self._since_companion = 0
            if pronoun_fits and self._random() < self._pronoun_chance:
                return self._b_forms[slot]
            return self._companion + "'s" if slot == "Bs" else self._companion
        noun = self._object
        if self._quality and self._random() < QUALITY_CHANCE:
            noun = f"{self._quality} {noun}"
        if slot == "nx":
            return noun
        return f"the {noun}" if slot == "x" else f"{article(noun, self._countable)} {noun}"

    def _name_person(self, slot: str) -> str:
        point = self._random()
        name = self._person
        if not self._named_person:
            self._named_person = True
            if point < TRADE_NAMED_CHANCE:
                self._trade_named = True
                name = f"the {self._trade} {name}"
        elif point < self._pronoun_chance:
            return self._a_forms[slot]
        elif self._trade_named and point > 1.0 - TRADE_CHANCE:
            name = f"the {self._trade}"
        return name + "'s" if slot == "As" else name


def article(noun: str, countable: bool) -> str:
    """Return the indefinite article: "a" or "an" for countable singular nouns, otherwise "some"."""
    if not countable:
        return "some"
    return "an" if noun[:1] in "aeiou" else "a"


FORMAT = 1
"""Increased whenever the same (index, seed, split) would give a different story."""

SPLITS = ("train", "heldout", "unseen")


@dataclass(frozen=True, slots=True)
class StorySentence:
    """One sentence and its meaning.

    ``arguments`` maps the roles of the event (person, companion, object, quality, second, place,
    found) to entities, whether or not the wording names them; ``template`` is "event/number".
    """

    text: str
    event: str
    arguments: Mapping[str, str]
    template: str


@dataclass(frozen=True, slots=True)
class Story:
    """A story with its ground truth.

    ``oracle[i]`` is the distribution (event -> probability, summing to one) of the event of
    sentence ``i`` given the hidden state after the sentences before it.
    """

    id: str
    split: str
    sentences: tuple[StorySentence, ...]
    oracle: tuple[Mapping[str, float], ...]

    @property
    def text(self) -> str:
        """The sentences joined by a single space."""
        return " ".join(sentence.text for sentence in self.sentences)


def check_split(split: str) -> None:
    """Raise ``LangJepaError`` unless ``split`` is one of ``SPLITS``."""
    if split not in SPLITS:
        raise LangJepaError(f"stories have the splits {', '.join(SPLITS)}, not {split!r}")


def story_rng(*key: object) -> Random:
    """Return a generator seeded by ``key`` alone, the same in every process and on every machine."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def story(index: int, seed: int = 0, split: str = "train") -> Story:
    """Generate story ``index`` (>= 0) of a split, independently of all other stories.

    Raises ``LangJepaError`` for a negative index or an unknown split.
    """
    check_split(split)
    if index < 0:
        raise LangJepaError(f"a story's index must be 0 or more, got {index}")
    rng, world = open_world(index, seed, split)
    narrator = Narrator(world, rng, reserved=split == "unseen")
    sentences: list[StorySentence] = []
    oracle: list[Mapping[str, float]] = [dict.fromkeys(_OPENINGS, 1.0 / len(_OPENINGS))]
    plot = KINDS[world.kind](world)
    odds = next(plot)
    compiled = events()
    while True:
        name = _draw(odds, rng.random())
        event = compiled[name]
        text, template = narrator.narrate(event)
        sentences.append(StorySentence(text, name, arguments_of(event, world), template.id))
        try:
            odds = plot.send(name)
        except StopIteration:
            return Story(f"{split}-{seed}-{index}", split, tuple(sentences), tuple(oracle))
        oracle.append(odds)


def open_world(index: int, seed: int, split: str) -> tuple[Random, World]:
    """Return the random generator and the world of a story, before its first sentence."""
    rng = story_rng("story", seed, split, index)
    return rng, make_world(_draw_kind(rng), rng)


def kind_of(index: int, seed: int, split: str) -> str:
    """Return the kind of a story without generating the story."""
    return _draw_kind(story_rng("story", seed, split, index))


def generate(count: int, seed: int = 0, split: str = "train", start: int = 0) -> Iterator[Story]:
    """Yield the stories ``start`` to ``start + count - 1``. Raises as ``story`` does."""
    check_split(split)
    for index in range(start, start + count):
        yield story(index, seed, split)


def entropy(odds: Mapping[str, float]) -> float:
    """Return the Shannon entropy of a distribution, in bits."""
    return -sum(p * math.log2(p) for p in odds.values() if p > 0)


def _draw_kind(rng: Random) -> str:
    return _NAMES[int(rng.random() * len(_NAMES))]


def _draw(odds: Mapping[str, float], point: float) -> str:
    for event, chance in odds.items():
        point -= chance
        if point < 0:
            return event
    return next(reversed(tuple(odds)))


def arguments_of(event: Event, world: World) -> Mapping[str, str]:
    """Return the entities that fill the roles of ``event`` in ``world``."""
    roles = world.roles
    found = {role: roles[role] for role in event.roles}
    if "object" in found and "quality" in roles:
        found["quality"] = roles["quality"]
    return found


_NAMES = tuple(KINDS)
_OPENINGS = tuple(event for kind, plot in KINDS.items() for event in next(plot(World(kind, {}, True, "", "", ""))))
