"""Convert conversations from the forms used in files to texts with one turn per line, which is all later steps see."""

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
"""Raise it whenever a conversation would be read differently."""

NO_SPEAKER = "a text that does not begin with a speaker and a colon"
"""Why a plain text is not a conversation."""
_NOBODY = "-"
"""Placeholder name of an unnamed speaker where every turn has a prefix."""
_BREAKS = re.compile(r"[\r\n]+")
_NUMBERED = re.compile(r"#(\d{1,3})")
_PREFIX = re.compile(r"([^:\n]{1,40}): (?=\S)")
CONVERSATIONS = ("messages", "conversations")
"""Keys under which an object holds its list of messages."""
_KEYS = (("role", "content"), ("from", "value"), ("speaker", "text"), ("author", "text"), ("sender", "text"))
"""Names of speaker and text in the messages of OpenAI, ShareGPT and other files."""
_SPEAKERS, _CONTENTS = (frozenset(keys) for keys in zip(*_KEYS, strict=True))
_CALLS = frozenset(("tool_calls", "function_call"))
"""Keys that OpenAI messages may have instead of a text."""
_NO_MESSAGE = "a message without role and content, from and value, or speaker and text"

ROLES = {
    **dict.fromkeys(("user", "human", "customer", "client"), 1),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "agent"), 2),
    "system": 3,
    **dict.fromkeys(("tool", "function", "observation"), 4),
}
"""Numbers of the roles used in files, ignoring case; 0 is an unnamed speaker, other names start at `FIRST_NAME`."""
FIRST_NAME = 5
"""Numbers from here to 255 belong to other names, by a hash: two speakers share one with a probability of 0.4 %."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; the speaker is empty if the file does not name one."""

    speaker: str
    text: str


class NoConversation(ValueError):
    """A value without turns; the reason is one of few, so they can be counted."""


class NoText(NoConversation):
    """Turns that exist but have no text: tool calls, images."""


def turns(value: object) -> list[Turn]:
    """Return the turns of a conversation given in one of the forms used in files.

    Args:
        value: a list of strings; a list of messages, which are `{role, content}` (the content a string, or a list of
            parts with a `text`), `{from, value}` or `{speaker, text}`; the JSON of such a list, or of an object with
            `messages`; or a text whose turns begin with a name and a colon (`Anna: ...`, see `Speakers`), where a line
            without a name belongs to the preceding turn.

    Returns:
        Turns in order; messages without text (tool calls, with `content: null` or without the key) have an empty text.

    Raises:
        NoConversation: the value has none of these forms, no message has a content, or no turn has text.
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
    """The list that a text holds as JSON, alone or under `CONVERSATIONS` of an object; otherwise the text itself."""
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
    """Whether a value is one message with a speaker."""
    return isinstance(value, dict) and bool(value.keys() & _SPEAKERS) and bool(value.keys() & (_CONTENTS | _CALLS))


def _is_bare(message: object) -> bool:
    """Whether a message has neither content nor a call; if that is so for all messages, the key has another name."""
    return isinstance(message, dict) and not message.keys() & (_CONTENTS | _CALLS)


def _content(content: object) -> str:
    """The text of a message; parts that are not text (images, calls) are left out."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _one_line(content)
    if isinstance(content, Sequence):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return _one_line("\n".join(part for part in parts if isinstance(part, str)))
    raise NoConversation(f"a message whose content is no text ({type(content).__name__})")


def _spoken(text: str) -> Iterator[Turn]:
    """Yield the turns of a text that names its speakers."""
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
    """A text as one line: line ends and the white space around them become a space. Takes linear time."""
    first, *rest = _BREAKS.split(text)
    if not rest:
        return text
    *middle, last = rest
    return " ".join([first.rstrip(), *filter(None, map(str.strip, middle)), last.lstrip()])


def _one_line(text: str) -> str:
    return joined_lines(text.strip())


def speaker_number(name: str) -> int:
    """The number of a speaker, determined by the name alone: 1 to 4 are roles (`ROLES`), 0 is unnamed."""
    plain = _plain(name)
    if not plain or plain == _NOBODY:
        return 0
    if numbered := _NUMBERED.fullmatch(plain):
        return min(int(numbered[1]), 255)
    return ROLES.get(plain) or FIRST_NAME + zlib.crc32(plain.encode()) % (256 - FIRST_NAME)


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def speaker_name(number: int) -> str:
    """A name with the given number: the first name of a role, otherwise "#17" and the like."""
    return next((name for name, role in ROLES.items() if role == number), f"#{number}" if number else _NOBODY)


def speaker_of(unit: str) -> tuple[int, str]:
    """The speaker number of a turn like "Anna: Good morning" (0 if none is named), and what is said."""
    prefix = _PREFIX.match(unit)
    return (speaker_number(prefix[1]), unit[prefix.end() :]) if prefix else (0, unit)


def without_speaker(texts: Iterable[str], names: Collection[str] = ()) -> list[str]:
    """What is said in texts given outside a conversation, where "Note: bring it" has no speaker.

    Args:
        texts: of which only a role (`ROLES`), "-" or "#17" in front is a speaker.
        names: other known speakers, as returned by `names_in`.
    """
    return [text[prefix.end() :] if (prefix := _prefix(text, names)) else text for text in texts]


def as_turns(context: Sequence[str]) -> list[str]:
    """The turns of a conversation, each with a speaker in front.

    If every turn begins with a name, these are the speakers. Otherwise only roles, "-" and "#17" count as speakers, and
    the other turns are unnamed: "-: Note: bring it".
    """
    if all(map(_PREFIX.match, context)):
        return list(context)
    return [turn if _prefix(turn) else f"{_NOBODY}: {turn}" for turn in context]


def names_in(context: Sequence[str]) -> set[str]:
    """The speaker names of a conversation, by the rule of `as_turns`."""
    return {_plain(turn.partition(": ")[0]) for turn in as_turns(context)}


def _prefix(text: str, names: Collection[str] = ()) -> re.Match[str] | None:
    """The prefix of a text, if it is a known speaker."""
    prefix = _PREFIX.match(text)
    name = _plain(prefix[1]) if prefix else ""
    return prefix if name in ROLES or name == _NOBODY or name in names or _NUMBERED.fullmatch(name) else None


def speakers_of(units: Iterable[str]) -> tuple[list[int], list[str]]:
    """`speaker_of` for several units: the numbers, and what is said."""
    pairs = [speaker_of(unit) for unit in units]
    return [number for number, _ in pairs], [text for _, text in pairs]


def conversation_text(value: object) -> tuple[str, int]:
    """A conversation as a text with one turn per line, "Anna: Good morning", and the number of messages without text.

    The latter are left out. `speaker_of` removes the names again; an unnamed speaker is called "-".

    Args:
        value: as for `turns`.

    Raises:
        NoConversation: as `turns`.
    """
    found = turns(value)
    said = [turn for turn in found if turn.text]
    return "\n".join(map(_line, said)), len(found) - len(said)


def without_text(value: object) -> int:
    """The number of messages of a conversation without text; 0 if the value is not a conversation."""
    try:
        return sum(not turn.text for turn in _read(value))
    except NoConversation:
        return 0


def _line(turn: Turn) -> str:
    name = turn.speaker.replace(":", " ").strip()[:40].strip() or _NOBODY
    return f"{name}: {turn.text}"


def spoken_line(turn: str) -> str:
    """A turn known to begin with a speaker, in the form of `conversation_text`."""
    name, end = spoken(turn)
    return _line(Turn(name, _one_line(turn[end:])))


def said_in(units: Sequence[str], speakers: Literal["none", "prefix", "embedding"]) -> list[str]:
    """Turns as the tokenizer reads them, from lines like "Anna: Good morning"; names are kept only with `prefix`, where
    they are part of the text.
    """
    if speakers == "prefix":
        return [unit.removeprefix(f"{_NOBODY}: ") for unit in units]
    return [speaker_of(unit)[1] for unit in units]


def as_read(units: Sequence[str], settings: DataSettings) -> list[str]:
    """Units as given to a model with these settings: turns keep their names if the model knows speakers."""
    if settings.units != "turns" or settings.speakers == "embedding":
        return list(units)
    return said_in(units, settings.speakers)


def context_of(given: object, settings: DataSettings, source: str = "the context") -> list[str]:
    """The turns (or lines, sentences) of a conversation so far, as given to a model with these settings.

    Args:
        given: a text with "Anna: ..." or one turn per line; messages, as accepted by `turns`; or strings, each of which
            is a turn whatever it begins with, see `as_turns`.
        settings: of the model's data.
        source: names the context in errors.

    Raises:
        LangJepaError: it is not a conversation, or a text without speakers for a model that was trained with them.
    """
    strings = list(map(str, given)) if isinstance(given, list) and all(isinstance(one, str) for one in given) else []
    if settings.units != "turns" and (strings or isinstance(given, str)):
        return _filled_lines(text_in_units("\n".join(strings) if strings else str(given), settings))
    if any(map(str.strip, strings)):
        return as_read(as_turns(list(filter(None, map(_one_line, strings)))), settings)
    try:
        lines = conversation_text(given)[0].split("\n")
    except NoConversation as error:
        if not isinstance(given, str) or isinstance(error, NoText):
            raise LangJepaError(f"{source} is not a conversation: {error}") from error
        if settings.speakers != "none":
            raise LangJepaError(f'the model was trained on turns like "Anna: ...", and {source} is {error}') from error
        return _filled_lines(given)
    return as_read(lines, settings)


def given_candidates(texts: Sequence[str], settings: DataSettings) -> list[str]:
    """Candidates for what is said next, as given to a model: without a role in front if it was trained without them.

    If the model knows speakers, ranking removes them, since it also knows the names in the context.
    """
    return without_speaker(texts) if settings.units == "turns" and settings.speakers == "none" else list(texts)


def _filled_lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if line]


def text_in_units(text: str, settings: DataSettings) -> str:
    """A text passed by a user, in the form of the documents that a model was trained on.

    If the model was not trained with names, a text without speakers is read as lines, each of which is a turn.

    Raises:
        LangJepaError: the model was trained with names and the text has none, or it is the JSON of messages without
            text.
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
    """The speaker of each unit of `text_in_units`; empty if the text names nobody or has no turns."""
    if settings.units != "turns":
        return []
    try:
        lines = conversation_text(text)[0].split("\n")
    except NoConversation:
        return []
    return names_before(lines)


def names_before(turns: Iterable[str]) -> list[str]:
    """The speaker of each turn in the form of `conversation_text`; an empty string if unnamed."""
    return [name if name != _NOBODY else "" for name in (turn.partition(": ")[0] for turn in turns)]
