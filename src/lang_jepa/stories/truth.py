"""What is true about the corpus: graded paraphrases, and the oracle's score of a continuation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np

from lang_jepa.errors import LangJepaError
from lang_jepa.stories.generate import (
    Story,
    StorySentence,
    arguments_of,
    check_split,
    open_world,
    story,
    story_rng,
)
from lang_jepa.stories.parse import read
from lang_jepa.stories.teller import LEADS, PRONOUNS, Teller
from lang_jepa.stories.wordings import Event, events
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
    World,
)

_IMPOSSIBLE = math.log(1e-6)
_STRANGER = 0.02  # how far an argument that contradicts the story is still believed
_POOL = {"person": 24, "companion": 24, "object": 6, "second": 5, "place": 15, "found": 15,
         "quality": 8}  # fmt: skip
_MINOR = ("quality", "second", "place", "found")
_MAJOR = ("object", "person", "companion")


@dataclass(frozen=True, slots=True)
class ParaphrasePair:
    """Two sentences and how alike their meanings are, 0 to 5."""

    first: str
    second: str
    score: float


def oracle_scores(
    story: Story, position: int, candidates: Sequence[StorySentence]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Score candidates as sentence ``position`` of ``story`` given the sentences before it.

    The score is log P(event | hidden state) plus, for every argument that the candidate's text
    shows and the story has fixed before ``position``, the log-likelihood ratio of that argument
    against a random one (a pronoun shows the gender only). Float64 ``[len(candidates)]``, nats.
    Raises ``LangJepaError`` if the story has no such position.
    """
    if not 0 <= position < len(story.sentences):
        raise LangJepaError(f"story {story.id} has sentences 0 to {len(story.sentences) - 1}, not {position}")
    known: dict[str, str] = {}
    for sentence in story.sentences[:position]:
        known.update(sentence.arguments)
    odds = story.oracle[position]
    scores = [
        (math.log(odds[c.event]) if c.event in odds else _IMPOSSIBLE) + _match(c, known) for c in candidates
    ]
    return np.array(scores, dtype=np.float64)


def _match(candidate: StorySentence, known: dict[str, str]) -> float:
    """The log-likelihood ratio of what the candidate's text shows of its arguments."""
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


def paraphrase_pairs(count: int, seed: int = 0, split: str = "heldout") -> list[ParaphrasePair]:
    """Make ``count`` graded pairs of sentences, every grade equally often, in mixed order.

    5: same event and arguments, other wording; 4: one minor argument differs (quality, second
    object, place); 3: one major argument differs (object, person, companion); 2: another event of
    the same story that names one of the same entities; 1: another event of another story of the
    same kind; 0: another kind of story. In grades 0 and 1 no named entity is shared.

    A grade is about what the two texts SHOW (``parse_event``), as a human judge would see it: an
    argument that one of the wordings leaves out or hides behind a pronoun counts as not there.
    Raises ``LangJepaError`` for an unknown split.
    """
    check_split(split)
    rng = story_rng("pairs", seed, split)
    return [_pair((5, 4, 3, 2, 1, 0)[i % 6], rng, seed, split) for i in range(count)]


def same_meaning(first: str, second: str) -> bool:
    """Whether two sentences of the corpus show the same event with the same arguments."""
    one, other = read(first), read(second)
    return (
        one is not None and other is not None and (one.event, one.arguments) == (other.event, other.arguments)
    )


def _pair(grade: int, rng: Random, seed: int, split: str) -> ParaphrasePair:
    while True:
        index = rng.randrange(1 << 30)
        tale = story(index, seed, split)
        sentence = tale.sentences[rng.randrange(len(tale.sentences))]
        if grade >= 3:
            _, world = open_world(index, seed, split)
            pair = _retold(grade, events()[sentence.event], world, rng, split)
            if pair is not None:
                return ParaphrasePair(pair[0], pair[1], float(grade))
            continue
        other = tale if grade == 2 else story(rng.randrange(1 << 30), seed, split)
        second = other.sentences[rng.randrange(len(other.sentences))]
        if _related(tale, other, sentence.text, second.text) == grade:
            return ParaphrasePair(sentence.text, second.text, float(grade))


def _related(tale: Story, other: Story, first: str, second: str) -> int:
    """The grade of two sentences of different events, or -1 where the texts do not bear it out."""
    one, two = read(first), read(second)
    if one is None or two is None or one.event == two.event:
        return -1
    shared = set(one.arguments.values()) & set(two.arguments.values())
    if tale is other:
        return 2 if shared else -1
    if shared:
        return -1
    plots = {tale.sentences[0].event, other.sentences[0].event}
    families = [event.partition(".")[0] for event in (one.event, two.event)]
    if len(plots) == 1:  # quiet sentences fit any plot and do not show which
        return 1 if families[0] == families[1] and families[0] in SETTINGS else -1
    return 0 if families[0] != families[1] else -1


def _retold(grade: int, event: Event, world: World, rng: Random, split: str) -> tuple[str, str] | None:
    """Two tellings of an event, the second with another argument unless ``grade`` is 5; None if
    the event has no fitting argument or the wordings show more or less difference than that."""
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
        first, template = Teller(world, rng, reserved, explicit=True).tell(event)
        second, other = Teller(changed, rng, reserved, explicit=True).tell(event)
        if template != other and _differ_in(first, second) == ({role} if role else set()):
            return first, second
    return None


def _differ_in(first: str, second: str) -> set[str] | None:
    """The roles that both texts show with different entities; None if one shows a role that the other does not."""
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


def event_types() -> tuple[str, ...]:
    """The names of all event types, sorted."""
    return tuple(sorted(events()))


@cache
def vocabulary() -> frozenset[str]:
    """All lower-cased words that the corpus can tell: runs of letters, without the possessive 's."""
    text = ["the a an some", *MEN, *WOMEN, *QUALITIES, *TIMES, *TRADES, *PLACES, *WATERS]
    text += [*MALE_RELATIONS, *FEMALE_RELATIONS, *PRONOUNS[True], *PRONOUNS[False]]
    text += [lead.replace("{d}", "") for group in LEADS.values() for lead in group]
    text += [word for s in SETTINGS.values() for word in s.objects + s.seconds]
    for event in events().values():
        for template in event.templates:
            text += [literal for pieces in template.variants for literal, _ in pieces]
    return frozenset(re.findall("[a-z]+", " ".join(text).lower().replace("'s", "")))
