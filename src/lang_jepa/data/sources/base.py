"""Documents and sources, the rules by which rows are rejected, and the limit on accepted documents."""

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from lang_jepa.data.sources.conversations import CONVERSATIONS, NoConversation, conversation_text
from lang_jepa.data.sources.conversations import FORMAT as CONVERSATIONS_FORMAT
from lang_jepa.data.sources.parts import DAMAGED, SIZE, WHOLE, Part
from lang_jepa.data.sources.records import FORMAT as RECORDS_FORMAT
from lang_jepa.data.sources.records import records_text
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

FORMAT = 1
"""Version of the rules for accepting rows; it enters the fingerprint of every source."""


def option(name: str) -> str:
    """A column setting with its command-line option, for messages."""
    return f"data.{name} (--{name.replace('_', '-')})"


EXAMPLES_KEPT = 3
"""Places remembered for each reason of rejection."""

NUL_SHARE = 0.001
"""Text with a larger share of NUL characters is treated as binary data; with fewer it is kept unchanged."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_CJK = (
    r"\u1100-\u11ff\u2e80-\u2fdf\u3041-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_WEIGHTS = (
    (re.compile(f"[{_CJK}]"), 3),  # Han, kana, bopomofo, Yi and Hangul
    (re.compile(r"[\u0e00-\u109f\u1780-\u17ff\u19e0-\u19ff]"), 2),  # Thai, Lao, Tibetan, Burmese, Khmer
)
"""Scripts in which a character conveys as much as several Latin ones, or that use no spaces."""
# White space, control and format characters: a text of nothing else has no visible characters.
VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One accepted text with an identity that is unique in its source.

    Attributes:
        left_out: kinds of content in the file that are not in the text (code blocks, tables), with counts.
        learnt: number of its lines that are not held out under `data.val_split=tail` (None: `data.val_fraction` of its
            own lines is held out).
        place: file and row, if `id` comes from the file and may not be unique (empty: `id` is unique).
    """

    id: str
    text: str
    left_out: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    learnt: int | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One row that is not a document: a reason (one of few, so they can be counted) and the place of the row."""

    reason: str
    where: str


@dataclass
class Source(ABC):
    """A source of documents, with the same rows in the same order every time it is read; subclasses do the reading.

    `settings.limit` counts accepted documents from the first row on, so reading from row k yields exactly
    what reading from the start yields after its first k rows. With a limit, skipped rows therefore have to
    be read as well; without one they are skipped as cheaply as the format allows.

    Attributes:
        description: one line for people: what is read, and from where.
        examples: the first few places for each rejection reason met so far.
    """

    settings: DataSettings
    description: str
    examples: dict[str, list[str]] = field(default_factory=dict)

    @abstractmethod
    def fingerprint(self, *, quick: bool = False) -> str:
        """Identity of the content; equal for equal rows.

        Args:
            quick: read only the beginning of each file, for content too large to be read for this purpose.
        """

    def complaint(self, most: int | None = None) -> str | None:
        """Explain why the rows do not fit the settings; None if they do, or if that is not known.

        Args:
            most: maximum number of rows read for this (None: as many as it takes).
        """
        return None

    @abstractmethod
    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """All raw rows from row `skip` on, ignoring the limit."""

    def size(self) -> int:
        """Approximate size of the files in bytes; 0 if unknown."""
        return 0

    def parts(self, size: int) -> Sequence[Part]:
        """Parts of about `size` bytes that can be read independently; together, in this order, they yield all rows.

        `WHOLE` if rows can only be read from the beginning.
        """
        return WHOLE

    def read_part(self, part: Part) -> Iterator[Document | Rejection]:
        """The rows of a part, with ids as given in the files; `Document.place` identifies those that are not unique."""
        return self.read(0)

    def first_rows(self) -> Iterator[Document | Rejection]:
        """The rows from the beginning, reading part by part as far as needed."""
        return chain.from_iterable(self.read_part(part) for part in self.parts(SIZE))

    def rows(self, skip: int = 0) -> Iterator[Document | Rejection]:
        """Rows from `skip` on, ending with the row that holds the last document under the limit."""
        limit = self.settings.limit
        if limit is None:
            yield from self.read(skip)
            return
        accepted = 0
        for number, row in enumerate(self.read(0)):
            if number >= skip:
                yield row
            accepted += isinstance(row, Document)
            if accepted == limit:
                return

    def documents(
        self, rejected: Counter[str], rows: Iterable[Document | Rejection] | None = None
    ) -> Iterator[Document]:
        """The accepted documents of some rows, or of the whole source, which is read part by part (`read_part`) unless
        there is a limit; rejected rows are counted in `rejected` by reason.

        Raises:
            LangJepaError: the source has a damaged row group (given `rows` are not checked for this).
        """
        if rows is None:
            rows = self.rows() if self.settings.limit is not None else whole_rows(self.first_rows())
        for row in rows:
            if isinstance(row, Document):
                yield row
                continue
            rejected[row.reason] += 1
            places = self.examples.setdefault(row.reason, [])
            if len(places) < EXAMPLES_KEPT and row.where not in places:
                places.append(row.where)


def whole_rows(rows: Iterable[Document | Rejection]) -> Iterator[Document | Rejection]:
    """Pass rows through, raising at a damaged row group.

    Raises:
        LangJepaError: a row stands for a damaged row group.
    """
    for row in rows:
        if isinstance(row, Rejection) and row.reason == DAMAGED:
            raise LangJepaError(f"{row.where} is damaged. Copy or download the file again, or leave it out.")
        yield row


def judge(
    identity: str,
    value: object,
    where: str,
    settings: DataSettings,
    left_out: tuple[tuple[str, int], ...] = (),
    *,
    learnt: int | None = None,
) -> Document | Rejection:
    """Return a row's document, or the reason why it is not one.

    Texts are never changed, except that with `data.units=turns` a conversation becomes one line per turn, and with
    `data.records` a log one line per record. `data.min_length` is measured by `length_of`. Rare NUL characters (at most
    NUL_SHARE of the text) are left in.
    """
    text = value
    if settings.units == "turns" and value is not None:
        try:
            text, empty = conversation_text(value)
        except NoConversation as error:
            return Rejection(str(error), where)
        left_out = (*left_out, ("messages without text", empty)) if empty else left_out
    elif settings.records and isinstance(value, str):
        text = records_text(value)
    reason = fault(text, settings.min_length)
    if reason is None and isinstance(text, str):
        return Document(identity, text, left_out, learnt)
    return Rejection(str(reason), where)


def units_of(settings: DataSettings) -> list[object]:
    """The part of a source's fingerprint that depends on the units; empty if documents are plain texts."""
    if settings.units != "turns":
        return ["records", RECORDS_FORMAT] if settings.records else []
    return [settings.units, "prefix" if settings.speakers == "prefix" else "apart", CONVERSATIONS_FORMAT]


def first_held_out(count: int, val_fraction: float) -> int:
    """Index of the first of `count` lines that `data.val_split=tail` holds out; `count` if it holds none out."""
    return count - math.ceil(count * val_fraction)


def length_of(text: str) -> int:
    """Number of characters without outer white space, as counted by `data.min_length`.

    A Chinese, Japanese or Korean character counts as three (a Chinese translation is about a third as long as its
    English text), one of Thai, Lao, Khmer, Burmese or Tibetan as two, and any other as one.
    """
    length = len(text.strip())
    return length if text.isascii() else length + sum((n - 1) * len(p.findall(text)) for p, n in _WEIGHTS)


BLANK = ("empty text", "null text", "no visible characters")
"""Faults of rows without content."""


def fault(text: object, min_length: int) -> str | None:
    """The reason why a value cannot be a document's text, or None if it can."""
    if text is None:
        return "null text"
    if not isinstance(text, str):
        return f"not a string ({type(text).__name__})"
    if not text or text.isspace():
        return "empty text"
    if text.count("\0") > NUL_SHARE * len(text):
        return "binary data (NUL characters)"
    if not text.isascii() and _SURROGATE.search(text):
        return "invalid Unicode (lone surrogates)"
    if not VISIBLE.search(text):
        return "no visible characters"
    if len(text.strip()) < min_length and length_of(text) < min_length:
        return "too short"
    return None


_CURES_OF_TURNS = (
    "With data.units=turns a text names who speaks at the beginning of lines, `Anna: Good morning`; a table with a "
    "message a row needs data.group_column (--group-column); data.units=lines takes every line as it is."
)
_CURES = "Check data.train_file and data.text_column (--text-column), lower data.min_length, or save the text as UTF-8."


def some_documents(source: Source) -> Iterator[Document]:
    """Yield the documents of a source, which must have at least one.

    Raises:
        LangJepaError: after the last row, as described in `require_documents`.
    """
    rejected: Counter[str] = Counter()
    accepted = 0
    for document in source.documents(rejected):
        accepted += 1
        yield document
    require_documents(accepted, rejected, source)


def require_documents(accepted: int, rejected: Counter[str], source: Source) -> None:
    """Raise unless documents were accepted.

    Raises:
        LangJepaError: the source has no rows, or all of them were rejected; the message has the counts by
            reason, the first places of each, and what to change.
    """
    if accepted > 0:
        return
    if not rejected:
        raise LangJepaError(f"{source.description} is empty: it has no rows. Check data.train_file.")
    said = f": all {rejected.total()} rows were rejected."
    if set(rejected) <= {"empty text"}:
        said = " holds no text: it is empty, or all of its texts are."
    lines = [source.description + said]
    for reason, count in rejected.most_common():
        places = ", ".join(source.examples.get(reason, []))
        lines.append(f"{count} x {reason}" + (f", for example {places}" if places else ""))
    lines.append(_CURES)
    if source.settings.units == "turns":
        lines.append(_CURES_OF_TURNS)
    elif any(f" {key}" in place for places in source.examples.values() for place in places for key in CONVERSATIONS):
        lines.append("A row with a list of messages is a conversation: data.units=turns (--units turns).")
    raise LangJepaError("\n  ".join(lines))


SHOWN_KEYS = 8
"""Maximum number of keys or columns listed in a message."""


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row.

    Attributes:
        number: index in its file, from 0.
        place: its location, for messages.
        id: its id in the file.
        text: of the document, or whatever the file has in its place.
        fault: why there is no text.
        left_out: kinds of content in the file that are not in the text (code blocks, tables), with counts.
        beside: values of the other requested columns, as far as they exist.
    """

    number: int
    place: str
    id: str | None = None
    text: object = None
    fault: str | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    beside: Mapping[str, object] = field(default_factory=dict)


class Unreadable(ValueError):
    """A file whose text cannot be read; the reason is one of few, so they can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def identity_of(value: object) -> str | None:
    """The value of the id column as an identity, or None if it cannot serve as one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()
