"""What a document and a source are, which rows are rejected and why, and the limit on accepted documents."""

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from lang_jepa.data.sources.conversations import FORMAT as CONVERSATIONS_FORMAT
from lang_jepa.data.sources.conversations import NoConversation, conversation_text
from lang_jepa.data.sources.parts import DAMAGED, SIZE, WHOLE, Part
from lang_jepa.data.sources.records import FORMAT as RECORDS_FORMAT
from lang_jepa.data.sources.records import records_text
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

FORMAT = 1
"""Number of the rules by which rows are accepted; it enters the fingerprint of every source."""


def option(name: str) -> str:
    """A setting of the columns, with the option that the verbs have for it, for messages."""
    return f"data.{name} (--{name.replace('_', '-')})"


EXAMPLES_KEPT = 3
"""Places remembered for each reason of rejection."""

NUL_SHARE = 0.001
"""Text with a larger share of NUL characters is taken for binary data; with fewer it is kept as it is."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_CJK = (
    r"\u1100-\u11ff\u2e80-\u2fdf\u3041-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_WEIGHTS = (
    (re.compile(f"[{_CJK}]"), 3),  # Han, kana, bopomofo, Yi and Hangul
    (re.compile(r"[\u0e00-\u109f\u1780-\u17ff\u19e0-\u19ff]"), 2),  # Thai, Lao, Tibetan, Burmese, Khmer
)
"""Scripts of which a character says as much as several Latin ones, or that write no spaces."""
# White space, control and format characters: text of nothing else shows nothing.
VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One accepted text with an identity that is unique in its source.

    Attributes:
        left_out: what the file holds and the text does not (code blocks, tables), with its count.
        learnt: lines of it that are not held out under `data.val_split=tail` (None: `data.val_fraction` of its own
            lines is).
        place: file and row, where `id` is the file's own, which others may have too (empty: `id` is unique).
    """

    id: str
    text: str
    left_out: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    learnt: int | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One row that is no document: a reason (few different ones, they are counted) and where it stands."""

    reason: str
    where: str


@dataclass
class Source(ABC):
    """Where documents come from, the same rows in the same order every time it is read; a subclass says what it reads.

    `settings.limit` counts accepted documents from the first row on, so reading from row k yields exactly
    what reading from the start yields after its first k rows. Under a limit the skipped rows therefore
    have to be read as well; without one they are passed over as cheaply as the format allows.

    Attributes:
        description: one line for people: what is read, and from where.
        examples: for each reason of rejection met so far, the first few places.
    """

    settings: DataSettings
    description: str
    examples: dict[str, list[str]] = field(default_factory=dict)

    @abstractmethod
    def fingerprint(self, *, quick: bool = False) -> str:
        """Identity of the content, the same for the same rows.

        Args:
            quick: look at the beginning of each file alone, for what is too large to be read for it.
        """

    def complaint(self, most: int | None = None) -> str | None:
        """Why its rows cannot be as the settings have it; None where they can, or that is not known.

        Args:
            most: rows that are read for it (None: as many as it takes).
        """
        return None

    @abstractmethod
    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """All raw rows from row `skip` on, without regard to the limit."""

    def size(self) -> int:
        """Bytes of the files, about; 0 where that is not known."""
        return 0

    def parts(self, size: int) -> Sequence[Part]:
        """What can be read by itself, each about `size` bytes; together, and in this order, they are the rows.

        `WHOLE` where rows can only be read from the beginning.
        """
        return WHOLE

    def read_part(self, part: Part) -> Iterator[Document | Rejection]:
        """The rows of a part, with ids as the files give them: each document has its position to identify it."""
        return self.read(0)

    def first_rows(self) -> Iterator[Document | Rejection]:
        """The rows from the beginning, of which only the parts that are reached are read."""
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
        """The accepted documents of some rows, or of the source as it is read part by part (`read_part`) where there is
        no limit; the others are counted in `rejected` by reason.

        Raises:
            LangJepaError: the source has a damaged row group (none of `rows` is refused).
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
    """Rows of which none stands for a damaged row group.

    Raises:
        LangJepaError: one does.
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
    """A row's document, or why it is none.

    A text is never changed; with `data.units=turns` a conversation becomes a line a turn, with `data.records` a record
    of a log one line. `data.min_length` counts by `length_of`. NUL characters are left in the text where they are rare
    (at most NUL_SHARE of it).
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
    """What a source's fingerprint holds of the units: nothing where documents are plain texts."""
    if settings.units != "turns":
        return ["records", RECORDS_FORMAT] if settings.records else []
    return [settings.units, "prefix" if settings.speakers == "prefix" else "apart", CONVERSATIONS_FORMAT]


def first_held_out(count: int, val_fraction: float) -> int:
    """Number of the first of `count` lines that `data.val_split=tail` holds out; `count` where it holds none out."""
    return count - math.ceil(count * val_fraction)


def length_of(text: str) -> int:
    """Characters without outer white space, as `data.min_length` counts them.

    A Chinese, Japanese or Korean character counts as three (translations of one text are about a third as long in
    Chinese as in English), one of Thai, Lao, Khmer, Burmese or Tibetan as two, every other as one.
    """
    length = len(text.strip())
    return length if text.isascii() else length + sum((n - 1) * len(p.findall(text)) for p, n in _WEIGHTS)


BLANK = ("empty text", "null text", "no visible characters")
"""Faults of rows that hold nothing."""


def fault(text: object, min_length: int) -> str | None:
    """Why a value cannot be a document's text, or None when it can."""
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
    """The documents of a source, of which there has to be one.

    Raises:
        LangJepaError: at the end, as `require_documents` says.
    """
    rejected: Counter[str] = Counter()
    accepted = 0
    for document in source.documents(rejected):
        accepted += 1
        yield document
    require_documents(accepted, rejected, source)


def require_documents(accepted: int, rejected: Counter[str], source: Source) -> None:
    """Do nothing when documents were accepted; otherwise say what became of the rows.

    Raises:
        LangJepaError: the source has no rows, or all of them were rejected; with the counts by reason, the
            first places of each, and what to change.
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
    raise LangJepaError("\n  ".join(lines))


SHOWN_KEYS = 8
"""Keys or columns that a message names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row.

    Attributes:
        number: in its file, from 0.
        place: of it, for people.
        id: what the file itself calls it.
        text: of the document, or whatever stands in its place.
        fault: why there is no text.
        left_out: what is in the file and not in the text (code blocks, tables), with its count.
        beside: values of other columns that were asked for, those that there are.
    """

    number: int
    place: str
    id: str | None = None
    text: object = None
    fault: str | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    beside: Mapping[str, object] = field(default_factory=dict)


class Unreadable(ValueError):
    """A file of which the text cannot be had; the reason is one of few, so that they can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def identity_of(value: object) -> str | None:
    """The id column's value as an identity, or None when it is no use as one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()
