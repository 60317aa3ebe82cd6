"""Plots on the way and outdoors: a lost thing, journey, storm, fishing. See ``parts.py``."""

from __future__ import annotations

from lang_jepa.data.stories.parts import (
    Plot,
    both,
    company,
    effect,
    either,
    ending,
    moment,
    one,
    promise_kept,
    weather,
)
from lang_jepa.data.stories.world import World


def lost(world: World) -> Plot:
    """A lost thing; with two people, or without fog, it is likely to be found."""
    yield one("lost.notice")
    yield from weather(world)
    yield one("lost.last")
    yield from company(world, 0.55, "lost.search")
    if "joined" in world.facts:
        yield one("lost.search")
    yield from both("lost.ask", 0.8, f"effect.{world.weather}")
    yield either("pal.joke", 0.7, "lost.sign") if "joined" in world.facts else one("lost.sign")
    yield either("mind.wait", 0.55, "mind.rest")
    chance = 0.9 if "joined" in world.facts else 0.2
    found = (yield either("lost.found", chance, "lost.gone")) == "lost.found"
    yield from ending(world, found)


def go(world: World) -> Plot:
    """A journey to deliver something; what was not packed with care may be lost."""
    yield one("go.plan")
    packed = (yield either("go.pack", 0.6, "mind.worry")) == "go.pack"
    yield from weather(world)
    yield one("go.board")
    yield from both("go.view", 0.8, "go.stranger")
    if (yield either("go.late", 0.5, "go.arrive")) == "go.late":
        yield either("mind.wait", 0.55, "mind.rest")
        yield one("go.arrive")
    yield effect(world)
    whole = (yield either("go.deliver", 0.9 if packed else 0.25, "go.broken")) == "go.deliver"
    if whole:
        world.facts.add("joined")
    yield from ending(world, whole)


def storm(world: World) -> Plot:
    """A storm over a farm; animals that were brought inside are safe in the morning."""
    yield one("storm.news")
    secured = (yield either("storm.secure", 0.55, "mind.worry")) == "storm.secure"
    yield from weather(world)
    yield one("storm.break")
    yield from both("storm.dark", 0.8, f"effect.{world.weather}")
    yield either("mind.wait", 0.55, "mind.rest")
    safe = (yield either("storm.safe", 0.9 if secured else 0.2, "storm.escape")) == "storm.safe"
    yield one("storm.damage")
    if (yield either("storm.mend", 0.6, "pal.promise")) == "storm.mend":
        world.facts.add("joined")
    else:
        safe = (yield promise_kept(world)) == "pal.keep" and safe
    yield from ending(world, safe)


def fish(world: World) -> Plot:
    """A day at the water; in company the fish is eaten, alone it is set free."""
    yield one("fish.plan")
    yield from weather(world)
    yield from company(world, 0.5, "fish.bait")
    if "joined" in world.facts:
        yield one("fish.bait")
    yield from both("fish.wait", 0.8, f"effect.{world.weather}")
    yield moment(world)
    yield one("fish.bite")
    caught = (yield either("fish.catch", 0.6, "fish.escape")) == "fish.catch"
    if caught:
        together = "joined" in world.facts
        yield either("fish.eat", 0.9, "fish.free") if together else one("fish.free")
    yield from ending(world, caught)
