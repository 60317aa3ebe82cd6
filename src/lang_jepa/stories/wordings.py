"""Templates: how they are written, compiled and looked up.

A table (``tables/*.txt``) is a list of events. ``== cook.burn t A x`` opens an event: its name,
the group of opening phrases that fits it (a key of ``leads``) and the main roles it has.
Every further line is a template; ``!`` marks one reserved for the split ``unseen``; a first line
``~`` is what every template of the event may end with. In a template ``<a|b|>`` is a choice and
``{slot}`` is filled by the narrator:

- ``{A}`` ``{Ao}`` ``{As}``: the person as subject, object, possessive; a name or a pronoun;
  ``{he}`` ``{him}`` ``{his}`` ``{himself}``: always the pronoun;
- ``{B}`` ``{Bo}`` ``{Bs}``, ``{bhe}`` ``{bhim}`` ``{bhis}``: the companion; ``{Bn}``: the name;
- ``{x}`` "the red bus", ``{ax}`` "a red bus", ``{nx}`` "red bus", ``{kx}`` "bus": the object;
- ``{y}`` ``{ay}`` ``{ny}``: the second object; ``{p}`` ``{q}``: the place, the place of finding;
- ``{r}``: what the companion is to the person; ``{d}``: the time of day.

``tables/leads.txt`` has the opening phrases, and as ``bare`` the first words of wordings that bear none, being one or
having one themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

ROLE_OF_LETTER = {"A": "person", "B": "companion", "x": "object", "y": "second", "p": "place",
                  "q": "found"}  # fmt: skip
ROLE_OF_SLOT = {
    **dict.fromkeys(("A", "Ao", "As", "he", "him", "his", "himself"), "person"),
    **dict.fromkeys(("B", "Bo", "Bs", "Bn", "bhe", "bhim", "bhis"), "companion"),
    **dict.fromkeys(("x", "ax", "nx", "kx"), "object"),
    **dict.fromkeys(("y", "ay", "ny"), "second"),
    "p": "place", "q": "found", "r": "relation", "d": "time",
}  # fmt: skip
TABLES = ("shared", "home", "town", "travel", "outdoors")
"""Files of wordings, in the order in which their events are numbered."""
PERSON_SLOTS = frozenset(("A", "B", "Bn"))

Piece = tuple[str, str]  # a literal and the slot that follows it ("" at the end)


@dataclass(frozen=True, slots=True)
class Template:
    """One wording of an event. ``variants`` are its choices multiplied out, as pieces."""

    id: str
    event: str
    reserved: bool
    variants: tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One event type: the opening phrases that fit, its roles, its templates by split."""

    name: str
    leads: str
    roles: tuple[str, ...]
    common: tuple[Template, ...]
    reserved: tuple[Template, ...]

    @property
    def templates(self) -> tuple[Template, ...]:
        """All templates, those of the training split first."""
        return self.common + self.reserved


def expand(line: str) -> list[str]:
    """Multiply out the ``<a|b>`` choices of a template line."""
    found = re.search(r"<([^<>]*)>", line)
    if found is None:
        return [" ".join(line.split()).replace(" .", ".").replace(" ,", ",")]
    before, after = line[: found.start()], line[found.end() :]
    return [text for choice in found[1].split("|") for text in expand(before + choice + after)]


def _pieces(text: str) -> tuple[Piece, ...]:
    parts = re.split(r"\{(\w+)\}", text)
    parts.append("")
    return tuple((parts[i], parts[i + 1]) for i in range(0, len(parts), 2))


def _event(block: str) -> Event:
    header, *lines = block.strip().splitlines()
    if lines[0].startswith("~"):
        tail = lines.pop(0).removeprefix("~")
        lines = [line[:-1] + tail + line[-1] for line in lines]
    name, leads, *letters = header.split()
    used = {ROLE_OF_LETTER[letter] for letter in letters if letter in ROLE_OF_LETTER}
    templates = []
    for number, line in enumerate(lines):
        variants = tuple(_pieces(text) for text in expand(line.removeprefix("! ")))
        used |= {ROLE_OF_SLOT[slot] for pieces in variants for _, slot in pieces if slot}
        templates.append(Template(f"{name}/{number}", name, line.startswith("! "), variants))
    roles = tuple(role for role in ROLE_OF_LETTER.values() if role in used)
    common = tuple(t for t in templates if not t.reserved)
    return Event(name, leads, roles, common, tuple(t for t in templates if t.reserved))


def _blocks(table: str) -> list[str]:
    """What stands after each ``==`` of a table."""
    folder = resources.files("lang_jepa.stories") / "tables"
    return (folder / f"{table}.txt").read_text("utf-8").split("== ")[1:]


@cache
def leads() -> dict[str, tuple[str, ...]]:
    """Opening phrases by group; ``tm``: those of ``t`` and ``m``."""
    groups: dict[str, tuple[str, ...]] = {}
    for block in _blocks("leads"):
        name, _, phrases = block.partition("\n")
        each = " ".join(phrases.split()).split(", ")
        groups[name] = tuple(text for phrase in each for text in expand(phrase))
    groups["tm"] = groups["t"] + groups["m"]
    return groups


@cache
def events() -> dict[str, Event]:
    """All events by name, compiled once per process (about 20 ms)."""
    compiled = [_event(block) for table in TABLES for block in _blocks(table)]
    return {event.name: event for event in compiled}
