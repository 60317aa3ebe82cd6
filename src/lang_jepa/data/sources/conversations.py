"""Conversations in the forms that files have, as texts of one turn a line: everything after this knows lines alone."""

import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lang_jepa.data.sources.records import records_text
from lang_jepa.data.sources.speakers import Speakers, spoken
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

FORMAT = 5
"""Goes up whenever a conversation is read differently than before."""

NO_SPEAKER = "a text that does not begin with a speaker and a colon"
"""Why a plain text is no conversation."""
_NOBODY = "-"
"""Stands for the name of a speaker whom a file does not name, where every turn has a prefix."""
_BREAKS = re.compile(r"[\r\n]+")
_NUMBERED = re.compile(r"#(\d{1,3})")
_PREFIX = re.compile(r"([^:\n]{1,40}): (?=\S)")
CONVERSATIONS = ("messages", "conversations")
"""Keys of the list of messages in an object."""
_KEYS = (("role", "content"), ("from", "value"), ("speaker", "text"), ("author", "text"), ("sender", "text"))
"""Names of speaker and text in the messages of OpenAI's, of ShareGPT's and of other files."""
_SPEAKERS, _CONTENTS = (frozenset(keys) for keys in zip(*_KEYS, strict=True))
_CALLS = frozenset(("tool_calls", "function_call"))
"""What OpenAI's messages may have in the place of a text."""
_NO_MESSAGE = "a message without role and content, from and value, or speaker and text"

ROLES = {
    **dict.fromkeys(("user", "human", "customer", "client"), 1),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "agent"), 2),
    "system": 3,
    **dict.fromkeys(("tool", "function", "observation"), 4),
}
"""Numbers of the roles that files name, in any case; 0 is nobody's, other speakers have one from `FIRST_NAME` on."""
FIRST_NAME = 5
"""Numbers from here to 255 are of other names, by a hash: two of a conversation share one with a chance of .4 %."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says at a time; the speaker is empty where a file names none."""

    speaker: str
    text: str


class NoConversation(ValueError):
    """A value that holds no turns; the reason is one of few, so that they can be counted."""


class NoText(NoConversation):
    """Turns that are there, and have no text: calls of tools, pictures."""


def turns(value: object) -> list[Turn]:
    """The turns of a conversation in one of the forms that files have.

    Args:
        value: a list of strings; a list of messages, which are `{role, content}` (the content a string, or a list of
            parts with a `text`), `{from, value}` or `{speaker, text}`; the JSON of such a list, or of an object with
            `messages`; or a text whose turns begin with a name and a colon (`Anna: ...`, see `Speakers`), where a line
            that begins with none belongs to the turn before.

    Returns:
        Turns in order; messages without text (calls of tools, with `content: null` or without the key) have an empty
        one.

    Raises:
        NoConversation: none of these, no message that has a content, or no turn with text.
    """
    found = list(_read(value))
    if not any(turn.text for turn in found):
        raise NoText("a conversation without text")
    return found


def _read(value: object) -> Iterator[Turn]:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, str):
        yield from _spoken(value)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        if value and all(_is_bare(message) for message in value):
            raise NoConversation(_NO_MESSAGE)
        for message in value:
            yield Turn("", _one_line(message)) if isinstance(message, str) else _message(message)
    else:
        raise NoConversation(f"no list of messages ({type(value).__name__})")


def _parsed(text: str) -> object:
    """A list that is written as JSON, alone or as `CONVERSATIONS` of an object; or the text itself."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    lists = [value, *map(value.get, CONVERSATIONS)] if isinstance(value, dict) else [value]
    return next((one for one in lists if isinstance(one, list)), text)


def _message(message: object) -> Turn:
    if not isinstance(message, dict):
        raise NoConversation(f"a message that is no object ({type(message).__name__})")
    speaker, content = next((pair for pair in _KEYS if pair[1] in message), ("", ""))
    if not content and not message.keys() & _SPEAKERS:
        raise NoConversation(_NO_MESSAGE)
    names = (message.get(one) for one in (speaker, *(other for other, _ in _KEYS)))
    name = next((one for one in names if isinstance(one, str)), "")
    return Turn(_one_line(name), _content(message.get(content)))


def is_message(value: object) -> bool:
    """Whether a value is one message, with who says it."""
    return isinstance(value, dict) and bool(value.keys() & _SPEAKERS) and bool(value.keys() & (_CONTENTS | _CALLS))


def _is_bare(message: object) -> bool:
    """Whether a message has neither a content nor a call in its place; where all are so, it has another name."""
    return isinstance(message, dict) and not message.keys() & (_CONTENTS | _CALLS)


def _content(content: object) -> str:
    """The text of a message; parts that are no text (pictures, calls) are left out."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _one_line(content)
    if isinstance(content, Sequence):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return _one_line("\n".join(part for part in parts if isinstance(part, str)))
    raise NoConversation(f"a message whose content is no text ({type(content).__name__})")


def _spoken(text: str) -> Iterator[Turn]:
    """Turns of a text that names its speakers."""
    filled = list(filter(None, map(str.strip, text.split("\n"))))
    speakers = Speakers(filled)
    speaker, lines = "", list[str]()
    for line in filled:
        begins = speakers.beginning(line)
        if begins is None:
            if not lines:
                raise NoConversation(NO_SPEAKER)
            lines.append(line)
            continue
        if lines:
            yield Turn(speaker, " ".join(filter(None, lines)))
        speaker, lines = begins.name, [line[begins.end :]]
    if lines:
        yield Turn(speaker, " ".join(filter(None, lines)))


def joined_lines(text: str) -> str:
    """A text in one line: line ends, with the white space around them, become a space. Linear in its length."""
    first, *rest = _BREAKS.split(text)
    if not rest:
        return text
    *middle, last = rest
    return " ".join([first.rstrip(), *filter(None, map(str.strip, middle)), last.lstrip()])


def _one_line(text: str) -> str:
    return joined_lines(text.strip())


def speaker_number(name: str) -> int:
    """The number of a speaker, by the name alone: 1 to 4 are roles (`ROLES`), 0 is of no name."""
    plain = _plain(name)
    if not plain or plain == _NOBODY:
        return 0
    if numbered := _NUMBERED.fullmatch(plain):
        return min(int(numbered[1]), 255)
    return ROLES.get(plain) or FIRST_NAME + zlib.crc32(plain.encode()) % (256 - FIRST_NAME)


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def speaker_name(number: int) -> str:
    """A name that has the number: of a role its first one, else "#17"."""
    return next((name for name, role in ROLES.items() if role == number), f"#{number}" if number else _NOBODY)


def speaker_of(unit: str) -> tuple[int, str]:
    """The number of the speaker of a turn like "Anna: Good morning", and what is said; 0 where none is named."""
    prefix = _PREFIX.match(unit)
    return (speaker_number(prefix[1]), unit[prefix.end() :]) if prefix else (0, unit)


def without_speaker(texts: Iterable[str], names: Collection[str] = ()) -> list[str]:
    """What is said in texts that are given alone, outside of a conversation, where "Note: bring it" has no speaker.

    Args:
        texts: as they are; only a role (`ROLES`), "-" or "#17" in front of one is its speaker.
        names: other speakers that are known here, as of `names_in`.
    """
    return [text[prefix.end() :] if (prefix := _prefix(text, names)) else text for text in texts]


def as_turns(context: Sequence[str]) -> list[str]:
    """The turns of a conversation with a speaker in front of each.

    A name in front of every turn is its speaker. Where some have none, only roles, "-" and "#17" are speakers, and the
    other turns are nobody's: "-: Note: bring it".
    """
    if all(map(_PREFIX.match, context)):
        return list(context)
    return [turn if _prefix(turn) else f"{_NOBODY}: {turn}" for turn in context]


def names_in(context: Sequence[str]) -> set[str]:
    """The names of the speakers of a conversation, by the rule of `as_turns`."""
    return {_plain(turn.partition(": ")[0]) for turn in as_turns(context)}


def _prefix(text: str, names: Collection[str] = ()) -> re.Match[str] | None:
    """The speaker in front of a text, if it is known to be one."""
    prefix = _PREFIX.match(text)
    name = _plain(prefix[1]) if prefix else ""
    return prefix if name in ROLES or name == _NOBODY or name in names or _NUMBERED.fullmatch(name) else None


def speakers_of(units: Iterable[str]) -> tuple[list[int], list[str]]:
    """`speaker_of` of several: numbers, and what is said."""
    pairs = [speaker_of(unit) for unit in units]
    return [number for number, _ in pairs], [text for _, text in pairs]


def conversation_text(value: object) -> tuple[str, int]:
    """A conversation as a text of one turn a line, "Anna: Good morning", and how many messages had no text.

    Those are left out. `speaker_of` takes the names off again; a speaker without one is called "-".

    Args:
        value: as for `turns`.

    Raises:
        NoConversation: as `turns`.
    """
    found = turns(value)
    said = [turn for turn in found if turn.text]
    return "\n".join(map(_line, said)), len(found) - len(said)


def without_text(value: object) -> int:
    """How many messages of a conversation have no text; 0 of what is no conversation."""
    try:
        return sum(not turn.text for turn in _read(value))
    except NoConversation:
        return 0


def _line(turn: Turn) -> str:
    name = turn.speaker.replace(":", " ").strip()[:40].strip() or _NOBODY
    return f"{name}: {turn.text}"


def spoken_line(turn: str) -> str:
    """A turn that is known to begin with a speaker, in the form of `conversation_text`."""
    name, end = spoken(turn)
    return _line(Turn(name, _one_line(turn[end:])))


def said_in(units: Sequence[str], speakers: Literal["none", "prefix", "embedding"]) -> list[str]:
    """Turns as the tokenizer reads them, from lines like "Anna: Good morning": with the name only where that is in the
    text (`prefix`).
    """
    if speakers == "prefix":
        return [unit.removeprefix(f"{_NOBODY}: ") for unit in units]
    return [speaker_of(unit)[1] for unit in units]


def as_read(units: Sequence[str], settings: DataSettings) -> list[str]:
    """Units of a text as a model of these settings is given them: turns with the name where it knows speakers."""
    if settings.units != "turns" or settings.speakers == "embedding":
        return list(units)
    return said_in(units, settings.speakers)


def context_of(given: object, settings: DataSettings, source: str = "the context") -> list[str]:
    """The turns (or lines, sentences) of a conversation so far, as a model of these settings is given them.

    Args:
        given: a text with "Anna: ..." or one turn a line; messages, as `turns` takes them; or strings, of which each is
            a turn whatever it begins with, see `as_turns`.
        settings: of the model's data.
        source: names the context in errors.

    Raises:
        LangJepaError: no conversation; or a text without speakers for a model that was trained on them.
    """
    strings = list(map(str, given)) if isinstance(given, list) and all(isinstance(one, str) for one in given) else []
    if settings.units != "turns" and (strings or isinstance(given, str)):
        return _filled_lines(text_in_units("\n".join(strings) if strings else str(given), settings))
    if any(map(str.strip, strings)):
        return given_turns(strings, settings)
    try:
        lines = conversation_text(given)[0].split("\n")
    except NoConversation as error:
        if not isinstance(given, str) or isinstance(error, NoText):
            raise LangJepaError(f"{source} is no conversation: {error}") from error
        if settings.speakers != "none":
            raise LangJepaError(f'the model was trained on turns like "Anna: ...", and {source} is {error}') from error
        return _filled_lines(given)
    return as_read(lines, settings)


def given_turns(strings: Iterable[str], settings: DataSettings) -> list[str]:
    """Turns that a user hands over one by one, as a model of turns is given them; empty ones are left out. Names stand
    in front by the rule of `as_turns`.
    """
    return as_read(as_turns(list(filter(None, map(_one_line, strings)))), settings)


def given_candidates(texts: Sequence[str], settings: DataSettings) -> list[str]:
    """What may be said next, as a model is given it: without a role in front where it was trained on none.

    Where it knows speakers, ranking takes them off, which also knows the names in the context.
    """
    return without_speaker(texts) if settings.units == "turns" and settings.speakers == "none" else list(texts)


def _filled_lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if line]


def text_in_units(text: str, settings: DataSettings) -> str:
    """A text that a user hands over, in the form of the documents that a model was trained on.

    One that names no speakers is taken as lines, each a turn, where the model was not trained on names.

    Raises:
        LangJepaError: it was, and the text has none; or it is the JSON of messages without text.
    """
    if settings.units != "turns":
        return records_text(text) if settings.records else text
    try:
        lines = conversation_text(text)[0]
    except NoText as error:
        raise LangJepaError(f"this is {error}") from error
    except NoConversation as error:
        if settings.speakers != "none":
            raise LangJepaError(f'the model was trained on turns like "Anna: ...", and this is {error}') from error
        return text
    return "\n".join(as_read(lines.split("\n"), settings))


def names_of_turns(text: str, settings: DataSettings) -> list[str]:
    """Who says each unit of `text_in_units`; empty where the text names nobody, or has no turns."""
    if settings.units != "turns":
        return []
    try:
        lines = conversation_text(text)[0].split("\n")
    except NoConversation:
        return []
    return names_before(lines)


def names_before(turns: Iterable[str]) -> list[str]:
    """Who says each turn in the form of `conversation_text`; nothing for nobody."""
    return [name if name != _NOBODY else "" for name in (turn.partition(": ")[0] for turn in turns)]
