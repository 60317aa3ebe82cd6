"""Stories by number: story ``index`` of (seed, split) is a pure function of the three."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from lang_jepa.errors import LangJepaError
from lang_jepa.stories.plots import KINDS
from lang_jepa.stories.teller import Teller
from lang_jepa.stories.wordings import Event, events
from lang_jepa.stories.world import World, make_world

FORMAT = 1
"""Counts up whenever the same (index, seed, split) would give another story."""

SPLITS = ("train", "heldout", "unseen")


@dataclass(frozen=True, slots=True)
class StorySentence:
    """One sentence and what it means.

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
    """A generator seeded by ``key`` alone, the same in every process and on every machine."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def story(index: int, seed: int = 0, split: str = "train") -> Story:
    """Make story number ``index`` (>= 0) of a split; no other story is made for it.

    Raises ``LangJepaError`` for a negative index or an unknown split.
    """
    check_split(split)
    if index < 0:
        raise LangJepaError(f"a story's index must be 0 or more, got {index}")
    rng, world = open_world(index, seed, split)
    teller = Teller(world, rng, reserved=split == "unseen")
    sentences: list[StorySentence] = []
    oracle: list[Mapping[str, float]] = [_first_events()]
    plot = KINDS[world.kind](world)
    odds = next(plot)
    compiled = events()
    while True:
        name = _draw(odds, rng.random())
        event = compiled[name]
        text, template = teller.tell(event)
        sentences.append(StorySentence(text, name, arguments_of(event, world), template.id))
        try:
            odds = plot.send(name)
        except StopIteration:
            return Story(f"{split}-{seed}-{index}", split, tuple(sentences), tuple(oracle))
        oracle.append(odds)


def open_world(index: int, seed: int, split: str) -> tuple[Random, World]:
    """The random generator and the world of a story, before its first sentence."""
    rng = story_rng("story", seed, split, index)
    return rng, make_world(_NAMES[int(rng.random() * len(_NAMES))], rng)


def generate(count: int, seed: int = 0, split: str = "train", start: int = 0) -> Iterator[Story]:
    """Yield the stories ``start`` to ``start + count - 1``. Raises as ``story`` does."""
    check_split(split)
    for index in range(start, start + count):
        yield story(index, seed, split)


def entropy(odds: Mapping[str, float]) -> float:
    """Shannon entropy of a distribution, in bits."""
    return -sum(p * math.log2(p) for p in odds.values() if p > 0)


def _draw(odds: Mapping[str, float], point: float) -> str:
    for event, chance in odds.items():
        point -= chance
        if point < 0:
            return event
    return next(reversed(tuple(odds)))


def _first_events() -> Mapping[str, float]:
    return dict.fromkeys(_OPENINGS, 1.0 / len(_OPENINGS))


def arguments_of(event: Event, world: World) -> Mapping[str, str]:
    """The entities that fill the roles of ``event`` in ``world``."""
    roles = world.roles
    found = {role: roles[role] for role in event.roles}
    if "object" in found and "quality" in roles:
        found["quality"] = roles["quality"]
    return found


_NAMES = tuple(KINDS)
_OPENINGS = tuple(
    event for kind, plot in KINDS.items() for event in next(plot(World(kind, {}, True, "", "", "")))
)
