"""Graded paraphrases: pairs of sentences of the corpus and the similarity of their meanings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from random import Random

from lang_jepa.stories.generate import (
    Narrator,
    Story,
    StorySentence,
    arguments_of,
    check_split,
    kind_of,
    open_world,
    story,
    story_rng,
)
from lang_jepa.stories.plots import KINDS
from lang_jepa.stories.truth import read
from lang_jepa.stories.wordings import Event, events
from lang_jepa.stories.world import MEN, QUALITIES, SETTINGS, WOMEN, World

_MINOR = ("quality", "second", "place", "found")
_MAJOR = ("object", "person", "companion")


@dataclass(frozen=True, slots=True)
class ParaphrasePair:
    """Two sentences and the similarity of their meanings, 0 to 5."""

    first: str
    second: str
    score: float


def paraphrase_pairs(count: int, seed: int = 0, split: str = "heldout") -> list[ParaphrasePair]:
    """Generate ``count`` graded pairs of sentences, every grade equally often, in alternating order.

    5: same event and arguments, other wording; 4: one minor argument differs (quality, second
    object, place); 3: one major argument differs (object, person, companion); 2: another event of
    the same story that names one of the same entities; 1: another event of another story of the
    same kind; 0: another kind of story. In grades 0 and 1 no named entity is shared.

    A grade is about what the two texts SHOW (``parse_event``), as a human judge would see it: an
    argument that a wording omits or hides behind a pronoun counts as absent.
    Raises ``LangJepaError`` for an unknown split.
    """
    check_split(split)
    drawn, rng = _sequence(seed, split)
    while len(drawn) < count:
        drawn.append(_pair((5, 4, 3, 2, 1, 0)[len(drawn) % 6], rng, seed, split))
    return drawn[:count]


@cache
def _sequence(seed: int, split: str) -> tuple[list[ParaphrasePair], Random]:
    """The pairs that have been drawn, kept since several tasks ask for them, and the generator that draws the next."""
    return [], story_rng("pairs", seed, split)


def _pair(grade: int, rng: Random, seed: int, split: str) -> ParaphrasePair:
    while True:
        tale = _Tale(rng.randrange(1 << 30), seed, split)
        position = tale.draw_position(rng)
        if grade >= 3:
            _, world = open_world(tale.index, seed, split)
            event = events()[tale.story.sentences[position].event]
            pair = _reworded(grade, event, world, rng, split)
            if pair is not None:
                return ParaphrasePair(pair[0], pair[1], float(grade))
            continue
        other = tale if grade == 2 else _Tale(rng.randrange(1 << 30), seed, split)
        beside = other.draw_position(rng)
        if grade < 2 and (tale.kind == other.kind) != (grade == 1):
            continue
        first, second = tale.story.sentences[position], other.story.sentences[beside]
        if _fits(grade, first, second):
            return ParaphrasePair(first.text, second.text, float(grade))


class _Tale:
    """A story that is generated lazily, since most draws only need its kind.

    Args:
        index, seed, split: index, seed and split of the story.
    """

    def __init__(self, index: int, seed: int, split: str) -> None:
        self.index, self._seed, self._split = index, seed, split
        self.kind = kind_of(index, seed, split)

    @cached_property
    def story(self) -> Story:
        return story(self.index, self._seed, self._split)

    def draw_position(self, rng: Random) -> int:
        """Draw a position in the story, with the same result as ``rng.randrange(len(sentences))``.

        ``randrange`` draws numbers with as many bits as the length until one is below it. Most of them are below the
        length of every story of the kind, or not below that of any, so the story is rarely needed.
        """
        shortest, longest = _lengths(self.kind)
        bits = shortest.bit_length()
        if bits != longest.bit_length():
            return rng.randrange(len(self.story.sentences))
        while True:
            drawn = rng.getrandbits(bits)
            if drawn < shortest or (drawn < longest and drawn < len(self.story.sentences)):
                return drawn


@cache
def _lengths(kind: str) -> tuple[int, int]:
    """Return the lengths of the shortest and the longest story of a kind, by following all paths of its plot."""
    ends: set[int] = set()
    open_courses: list[tuple[str, ...]] = [()]
    while open_courses:
        course = open_courses.pop()
        plot = KINDS[kind](World(kind, {}, True, "", "", ""))
        odds = next(plot)
        try:
            for event in course:
                odds = plot.send(event)
        except StopIteration:
            ends.add(len(course))
            continue
        open_courses += [(*course, event) for event in odds]
    return min(ends), max(ends)


def _fits(grade: int, one: StorySentence, other: StorySentence) -> bool:
    """Return whether two sentences match a grade: of one story in grade 2, else of two stories of one kind or two."""
    first, second = read(one.text), read(other.text)
    if first is None or second is None or first.event == second.event:
        return False
    shared = set(first.arguments.values()) & set(second.arguments.values())
    if grade == 2 or shared:
        return grade == 2 and bool(shared)
    families = [event.partition(".")[0] for event in (first.event, second.event)]
    if grade == 1:  # quiet sentences fit any plot and do not show which
        return families[0] == families[1] and families[0] in SETTINGS
    return families[0] != families[1]


def _reworded(grade: int, event: Event, world: World, rng: Random, split: str) -> tuple[str, str] | None:
    """Return two wordings of an event, the second with another argument unless ``grade`` is 5; None if
    the event has no fitting argument, or the wordings do not differ in exactly that argument.
    """
    arguments = arguments_of(event, world)
    changed, role = world, ""
    if grade < 5:
        roles = [role for role in (_MINOR if grade == 4 else _MAJOR) if role in arguments]
        if not roles:
            return None
        role = roles[rng.randrange(len(roles))]
        changed = replace(world, roles={**world.roles, role: _another(role, world, rng)})
    reserved = split == "unseen"
    for _ in range(8):
        first, template = Narrator(world, rng, reserved, explicit=True).narrate(event)
        second, other = Narrator(changed, rng, reserved, explicit=True).narrate(event)
        if template != other and _differ_in(first, second) == ({role} if role else set()):
            return first, second
    return None


def _differ_in(first: str, second: str) -> set[str] | None:
    """Return the roles that both texts show with different entities; None if they do not show the same roles."""
    one, two = read(first), read(second)
    if one is None or two is None or one.arguments.keys() != two.arguments.keys():
        return None
    return {role for role, entity in one.arguments.items() if two.arguments[role] != entity}


def _another(role: str, world: World, rng: Random) -> str:
    setting = SETTINGS[world.kind]
    woman = world.woman if role == "person" else not world.woman
    pool = {
        "person": WOMEN if woman else MEN,
        "companion": WOMEN if woman else MEN,
        "object": setting.objects,
        "second": setting.seconds,
        "place": setting.places,
        "found": setting.places,
        "quality": QUALITIES,
    }[role]
    others = [entity for entity in pool if entity != world.roles[role]]
    return others[rng.randrange(len(others))]
