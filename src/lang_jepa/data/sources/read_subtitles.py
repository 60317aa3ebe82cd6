"""SubRip (.srt) and WebVTT (.vtt): what is said, one line per cue, with the speaker if one is named."""

import html
import re
from collections import Counter
from collections.abc import Sequence

from lang_jepa.data.sources.speakers import Speakers

FORMAT = 3
"""Raise it whenever such a file would be read differently."""

_TIMING = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3}\s+-->\s+(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3}(?:\s.*)?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}")
_LONGEST = 30
"""Maximum number of characters in a name."""
_DASH = re.compile(r"^((?:<[^>]*>)*)[-\u2013\u2014]\s*")
_BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")


def subtitles_prose(text: str) -> tuple[str, Counter[str]]:
    """Return the cues in order, one line each, and counts of what was left out. A cue with voices yields one line per
    voice, "Anna: ...", like a turn; a cue in which several lines begin with a speaker yields one line per speaker.

    A cue that repeats the one before it (as in scrolling captions) is left out and counted, and so are notes and
    styles.

    Args:
        text: of the file.
    """
    found: list[str] = []
    left_out: Counter[str] = Counter()
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        timing = next((place for place, line in enumerate(lines[:3]) if _TIMING.fullmatch(line)), None)
        if timing is None:
            left_out["notes and styles"] += bool(_BLOCK.match(block.lstrip()))
            continue
        said = [one for part in _parts(lines[timing + 1 :]) for one in _said(part)]
        if not said:
            left_out["cues without text"] += 1
        elif found[-len(said) :] == said:
            left_out["repeated cues"] += 1
        else:
            found += said
    return "\n".join(found), +left_out


def _parts(lines: Sequence[str]) -> list[str]:
    """Join the lines of a cue into one, or into one per speaker if several begin with one (`- ANNA: ` too)."""
    names = [_speaker(line) for line in lines]
    parts = [""]
    for line, name in zip(lines, names, strict=True):
        begins = parts[0] and names[0] and name
        line = _DASH.sub(r"\1", line) if names[0] and name else line
        parts = [*parts, line] if begins else [*parts[:-1], f"{parts[-1]} {line}".strip()]
    return parts


def _speaker(line: str) -> str:
    """The name that a line begins with, if it looks like one: at most three words, not beginning in lower case."""
    begins = Speakers().beginning(_DASH.sub(r"\1", _plain(_TAG.sub("", line))))
    name = begins.name if begins else ""
    return "" if name[:1].islower() or len(name.split()) > 3 else name


def _said(text: str) -> list[str]:
    """The text of a cue without markup: what precedes the first voice, and what each voice says."""
    before, *voices = _VOICE.split(text)
    parts = [("", before), *zip(voices[::2], voices[1::2], strict=True)]
    plain = [(_name(name), _plain(_TAG.sub("", part))) for name, part in parts]
    return [f"{name}: {said}" if name else said for name, said in plain if said]


def _name(voice: str) -> str:
    """The name of a voice in a form that can begin a turn: `2` becomes "speaker 2"."""
    name = " ".join(_plain(voice).replace(":", " ").split())[:_LONGEST].rstrip()
    return name if not name or Speakers().begins(f"{name}: said") else f"speaker {name}"


def _plain(text: str) -> str:
    return " ".join(html.unescape(text).split())
