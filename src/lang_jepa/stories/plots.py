"""The kinds of story and their plots."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

from lang_jepa.stories.world import SETTINGS, World

Odds: TypeAlias = dict[str, float]
Plot: TypeAlias = Generator[Odds, str, None]
Part: TypeAlias = Generator[Odds, str, str]

AT_HOME = frozenset(("cook", "fix", "ill", "grow", "feast", "storm"))


def one(event: str) -> Odds:
    """Return the distribution of a certain event."""
    return {event: 1.0}


def either(first: str, chance: float, second: str) -> Odds:
    """Return the distribution of two events, ``first`` with probability ``chance``."""
    return {first: chance, second: 1.0 - chance}


def both(first: str, chance: float, second: str) -> Part:
    """Yield two events in either order; return the first."""
    happened = yield either(first, chance, second)
    yield one(second if happened == first else first)
    return happened


def weather(world: World) -> Part:
    """Yield the weather of this story, which later determines its effect."""
    happened = yield {f"weather.{name}": p for name, p in SETTINGS[world.kind].weathers.items()}
    world.weather = happened.removeprefix("weather.")
    return happened


def effect(world: World) -> Odds:
    """Return the event of the weather's effect on the person."""
    return one(f"effect.{world.weather}")


def company(world: World, chance: float, alone: str) -> Part:
    """Yield that the companion joins, or ``alone``; the world records which."""
    happened = yield either("pal.join", chance, alone)
    if happened == "pal.join":
        world.facts.add("joined")
    return happened


def moment(world: World) -> Odds:
    """Return a quiet event for the middle: cheerful in company, slow or worried alone."""
    if "joined" in world.facts:
        return either("pal.joke", 0.8, "mind.wait")
    return either("mind.wait", 0.55, "mind.worry")


def promise_kept(world: World) -> Odds:
    """Return the odds that the promise made earlier is kept."""
    return either("pal.keep", 0.75, "pal.forget")


def ending(world: World, good: bool) -> Part:
    """Yield the last events: thanks if somebody helped, joy or sorrow, and the evening.

    A person who was away from home may go home instead of showing a feeling.
    """
    if good and "joined" in world.facts:
        yield one("pal.thank")
    feeling = "end.happy" if good else "end.sad"
    yield one(feeling) if world.kind in AT_HOME else either(feeling, 0.65, "end.home")
    return (yield either("end.tell" if good else "end.again", 0.65, "end.rest"))


def cook(world: World) -> Plot:
    """A dinner for a guest; a worried cook is likely to burn it."""
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
    """A broken thing and a missing tool; a lent tool works better than a bought one."""
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
    """An illness; a friend brings a remedy or a doctor comes, and it may get worse."""
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
    """A garden; a harvest, which may be shared, is likely if the pests are fought, and unlikely otherwise."""
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


def shop(world: World) -> Plot:
    """The market; the purse may be gone, and then only a companion can pay."""
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
    """An exam; passing is likely for those who study and unlikely for others, whatever happens in between."""
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
    """A surprise party, with a present that is unwrapped or with treats."""
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
    """A visit; a present that was chosen is likely to be given, but nobody may be at home."""
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


def lost(world: World) -> Plot:
    """A lost thing; it is likely to be found by two people, and unlikely by one."""
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
    """A journey to deliver something; what was not packed with care is likely to be lost or broken."""
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
    """A storm over a farm; animals that were brought inside are likely to be safe."""
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
    """A day at the water; the fish is likely to be eaten in company, and is set free alone."""
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


KINDS: dict[str, Callable[[World], Plot]] = {
    plot.__name__: plot for plot in (cook, fix, ill, grow, shop, exam, feast, visit, lost, go, storm, fish)
}
