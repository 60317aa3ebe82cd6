"""Plots in or near the house: cooking, repair, illness, garden. See ``parts.py``."""

from __future__ import annotations

from lang_jepa.data.stories.parts import (
    Plot,
    both,
    company,
    effect,
    either,
    ending,
    one,
    promise_kept,
    weather,
)
from lang_jepa.data.stories.world import World


def cook(world: World) -> Plot:
    """A dinner for a guest; somebody who worries burns it."""
    yield one("cook.plan")
    if (yield either("cook.missing", 0.6, "cook.mix")) == "cook.missing":
        if (yield either("cook.borrow", 0.55, "cook.buy")) == "cook.buy":
            yield from weather(world)
            yield effect(world)
        else:
            world.facts.add("joined")
        yield one("cook.mix")
    else:
        yield from weather(world)
    worried = (yield either("mind.rest", 0.5, "mind.worry")) == "mind.worry"
    burned = (yield either("cook.burn", 0.75 if worried else 0.15, "cook.smell")) == "cook.burn"
    if burned:
        yield one("pal.joke")
    else:
        yield one("cook.serve")
        yield from both("pal.joke", 0.8, "feast.dance")
    yield from ending(world, not burned)


def fix(world: World) -> Plot:
    """Something is broken, a tool is missing; a lent tool works better than a bought one."""
    yield one("fix.broke")
    yield from both("fix.open", 0.8, "mind.worry")
    yield one("fix.need")
    lent = (yield either("fix.lend", 0.55, "fix.buy")) == "fix.lend"
    promised = False
    if lent:
        world.facts.add("joined")
        promised = (yield either("pal.promise", 0.55, "pal.joke")) == "pal.promise"
    else:
        yield from weather(world)
        yield effect(world)
    yield one("fix.work")
    if promised:
        lent = (yield promise_kept(world)) == "pal.keep"
    else:
        yield either("mind.wait", 0.55, "mind.rest")
    works = (yield either("fix.works", 0.85 if lent else 0.35, "fix.worse")) == "fix.works"
    yield from ending(world, works)


def ill(world: World) -> Plot:
    """In bed; a friend with a remedy or a doctor, and a turn for the worse."""
    yield one("ill.wake")
    yield from both("ill.bed", 0.8, "mind.rest")
    called = (yield either("ill.call", 0.6, "ill.doctor")) == "ill.call"
    if called:
        world.facts.add("joined")
        yield one("ill.remedy")
        promised = (yield either("pal.promise", 0.6, "pal.joke")) == "pal.promise"
        worse = (yield either("ill.worse", 0.6, "ill.better")) == "ill.worse"
        if promised:
            worse = (yield promise_kept(world)) == "pal.forget" and worse
    else:
        yield from weather(world)
        worse = (yield either("ill.worse", 0.6, "mind.worry")) == "ill.worse"
        if worse:
            yield one("ill.call")
            worse = (yield either("ill.remedy", 0.7, "end.tell")) != "ill.remedy"
    yield from ending(world, not worse)


def grow(world: World) -> Plot:
    """A garden; who fights the pests may harvest and share, who only waits finds a bare bed."""
    yield one("grow.plan")
    yield from weather(world)
    yield from company(world, 0.5, "grow.dig")
    if "joined" in world.facts:
        yield one("grow.dig")
    yield effect(world)
    yield one("grow.water")
    yield one("grow.pest")
    fought = (yield either("grow.fence", 0.6, "mind.worry")) == "grow.fence"
    yield either("pal.joke", 0.8, "mind.wait") if "joined" in world.facts else one("mind.rest")
    ripe = (yield either("grow.harvest", 0.85 if fought else 0.15, "grow.wither")) == "grow.harvest"
    if ripe:
        yield either("grow.share", 0.9 if "joined" in world.facts else 0.4, "end.again")
    yield from ending(world, ripe)
