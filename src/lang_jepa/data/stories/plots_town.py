"""Plots in town: market, exam, party, visit. See ``parts.py``."""

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


def shop(world: World) -> Plot:
    """The market: a purse may be gone, and then only a companion can pay."""
    yield one("shop.list")
    yield from weather(world)
    yield from company(world, 0.55, "mind.worry")
    yield from both("shop.crowd", 0.8, f"effect.{world.weather}")
    yield one("shop.price")
    paid = (yield either("shop.haggle", 0.6, "shop.purse")) == "shop.haggle"
    if not paid and "joined" in world.facts:
        yield one("pal.promise")
        paid = (yield promise_kept(world)) == "pal.keep"
    if not paid:
        yield either("mind.wait", 0.55, "mind.rest")
        yield from ending(world, False)
        return
    yield one("shop.buy")
    yield either("pal.joke", 0.8, "shop.carry") if "joined" in world.facts else one("shop.carry")
    yield from ending(world, True)


def exam(world: World) -> Plot:
    """An exam; who studies passes, who plays does not, whatever was told in between."""
    yield one("exam.announce")
    studied = (yield either("exam.study", 0.55, "exam.party")) == "exam.study"
    yield from weather(world)
    helped = (yield either("exam.notes", 0.5, "mind.worry")) == "exam.notes"
    if helped:
        world.facts.add("joined")
        yield either("pal.joke", 0.6, "pal.promise")
    yield effect(world)
    yield from both("exam.start", 0.8, "mind.wait")
    chance = 0.9 if studied else 0.1
    passed = (yield either("exam.pass", chance, "exam.fail")) == "exam.pass"
    yield from ending(world, passed)


def feast(world: World) -> Plot:
    """A surprise party; a present that was bought is unwrapped, treats that were made are eaten."""
    yield one("feast.plan")
    bought = (yield either("feast.present", 0.5, "feast.treats")) == "feast.present"
    yield from weather(world)
    if bought:
        yield from both("feast.decorate", 0.8, f"effect.{world.weather}")
    else:
        yield effect(world)
        yield either("feast.decorate", 0.7, "mind.worry")
    yield either("mind.wait", 0.55, "mind.rest")
    yield one("feast.arrive")
    if bought:
        yield from both("feast.gift", 0.8, "feast.dance")
    else:
        yield from both("feast.dance", 0.8, "pal.joke")
    world.facts.add("joined")
    yield from ending(world, True)


def visit(world: World) -> Plot:
    """A visit; somebody who brings a present gives it, somebody who is late finds nobody."""
    yield one("visit.invite")
    bought = (yield either("visit.choose", 0.5, "mind.worry")) == "visit.choose"
    yield from weather(world)
    yield effect(world)
    yield one("visit.knock")
    if (yield either("visit.hug", 0.75, "visit.empty")) == "visit.empty":
        yield either("mind.wait", 0.6, "end.again")
        yield either("end.sad", 0.7, "end.home")
        yield either("end.tell", 0.5, "end.rest")
        return
    yield either("visit.give", 0.9, "visit.photos") if bought else one("visit.photos")
    yield one("visit.drink")
    yield either("pal.joke", 0.6, "pal.promise")
    yield from ending(world, True)
