"""Read, compile and look up the templates of events.

A table (``tables/*.txt``) is a list of events. ``== cook.burn t A x`` opens an event: its name,
the group of opening phrases that fits it (a key of ``leads``) and its main roles.
Every further line is a template; ``!`` marks one reserved for the split ``unseen``; a first line
``~`` gives the endings that every template of the event may have. In a template ``<a|b|>`` is a
choice, and the narrator fills ``{slot}``:

- ``{A}`` ``{Ao}`` ``{As}``: the person as subject, object, possessive; a name or a pronoun;
  ``{he}`` ``{him}`` ``{his}`` ``{himself}``: always the pronoun;
- ``{B}`` ``{Bo}`` ``{Bs}``, ``{bhe}`` ``{bhim}`` ``{bhis}``: the companion; ``{Bn}``: the name;
- ``{x}`` "the red bus", ``{ax}`` "a red bus", ``{nx}`` "red bus", ``{kx}`` "bus": the object;
- ``{y}`` ``{ay}`` ``{ny}``: the second object; ``{p}`` ``{q}``: the place, the place of finding;
- ``{r}``: the companion's relation to the person; ``{d}``: the time of day.

``tables/leads.txt`` holds the opening phrases, and under ``bare`` the first words of wordings that take none because
they are one or begin with one themselves.
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
"""Tables of wordings, in the order in which their events are numbered."""
PERSON_SLOTS = frozenset(("A", "B", "Bn"))

Piece = tuple[str, str]  # a literal and the slot that follows it ("" at the end)


@dataclass(frozen=True, slots=True)
class Template:
    """One wording of an event. ``variants`` are its expanded choices, as pieces."""

    id: str
    event: str
    reserved: bool
    variants: tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One event type: its group of opening phrases, its roles, and its templates by split."""

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
    """Return all expansions of the ``<a|b>`` choices of a template line."""
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
    """Return the text after each ``==`` of a table."""
    folder = resources.files("lang_jepa.stories") / "tables"
    return (folder / f"{table}.txt").read_text("utf-8").split("== ")[1:]


@cache
def leads() -> dict[str, tuple[str, ...]]:
    """Return the opening phrases by group; ``tm`` has those of ``t`` and ``m``."""
    groups: dict[str, tuple[str, ...]] = {}
    for block in _blocks("leads"):
        name, _, phrases = block.partition("\n")
        each = " ".join(phrases.split()).split(", ")
        groups[name] = tuple(text for phrase in each for text in expand(phrase))
    groups["tm"] = groups["t"] + groups["m"]
    return groups


@cache
def events() -> dict[str, Event]:
    """Return all events by name, compiled once per process (about 20 ms)."""
    compiled = [_event(block) for table in TABLES for block in _blocks(table)]
    return {event.name: event for event in compiled}
