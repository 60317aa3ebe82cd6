"""The event automaton: which event may follow, given the hidden state of the world.

Every kind of story is a coroutine: it yields the distribution of the next event (event ->
probability, summing to one) and is sent the event that was told. What it yields is therefore
exactly the oracle's distribution. Facts told early (the weather, a promise, who came along, what
was prepared) decide what happens several sentences later.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from lang_jepa.data.stories.world import SETTINGS, World

Odds: TypeAlias = dict[str, float]
Plot: TypeAlias = Generator[Odds, str, None]
Part: TypeAlias = Generator[Odds, str, str]

AT_HOME = frozenset(("cook", "fix", "ill", "grow", "feast", "storm"))


def one(event: str) -> Odds:
    """The distribution of an event that is certain."""
    return {event: 1.0}


def either(first: str, chance: float, second: str) -> Odds:
    """Two possible events: ``first`` with probability ``chance``."""
    return {first: chance, second: 1.0 - chance}


def both(first: str, chance: float, second: str) -> Part:
    """Two events in either order; returns the one told first."""
    told = yield either(first, chance, second)
    yield one(second if told == first else first)
    return told


def weather(world: World) -> Part:
    """Tell the weather of this story; its effect is decided by it, later."""
    told = yield {f"weather.{name}": p for name, p in SETTINGS[world.kind].weathers.items()}
    world.weather = told.removeprefix("weather.")
    return told


def effect(world: World) -> Odds:
    """What the weather that was told does to the person."""
    return one(f"effect.{world.weather}")


def company(world: World, chance: float, alone: str) -> Part:
    """Either the companion joins, or ``alone`` happens; the world remembers which."""
    told = yield either("pal.join", chance, alone)
    if told == "pal.join":
        world.facts.add("joined")
    return told


def moment(world: World) -> Odds:
    """A quiet moment in the middle: cheerful in company, slow or worried alone."""
    if "joined" in world.facts:
        return either("pal.joke", 0.8, "mind.wait")
    return either("mind.wait", 0.55, "mind.worry")


def promise_kept(world: World) -> Odds:
    """Whether the promise made earlier is kept."""
    return either("pal.keep", 0.75, "pal.forget")


def ending(world: World, good: bool) -> Part:
    """The last sentences: thanks if somebody helped, joy or sorrow, and the evening.

    Who was away from home may go home instead of showing a feeling.
    """
    if good and "joined" in world.facts:
        yield one("pal.thank")
    feeling = "end.happy" if good else "end.sad"
    yield one(feeling) if world.kind in AT_HOME else either(feeling, 0.65, "end.home")
    return (yield either("end.tell" if good else "end.again", 0.65, "end.rest"))
