"""Recognise what a file or folder holds (documents, dialogues or logs), say why, and how to read it."""

import glob
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from lang_jepa.data.sources import formats, forms, groups
from lang_jepa.data.sources.base import Unreadable
from lang_jepa.data.sources.conversations import NoConversation, conversation_text
from lang_jepa.data.sources.listing import Folder, check_file
from lang_jepa.data.sources.records import habits_of
from lang_jepa.data.sources.rotated import is_log
from lang_jepa.data.sources.speakers import Speakers
from lang_jepa.data.sources.text_files import PACKED, NotText, chunks, decode, lines
from lang_jepa.data.text.levels import has_level
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.settings.data import DataSettings

Kind = Literal["documents", "dialogues", "logs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: Mapping[Kind, Literal["sentences", "turns", "lines"]] = {
    "documents": "sentences",
    "dialogues": "turns",
    "logs": "lines",
}
"""The units of each kind."""

_PROBED, _LINES, _LEAST = 8, 2000, 10
"""Files per suffix and lines per file that are examined; fewest lines that tell anything."""
_MOST = 0.6
"""Share of lines that must look like those of a log or a conversation for a text to be taken for one."""
_COLUMNS = groups.spelled("text", "content", "body", "article", "document", "abstract", "description")
_SPOKEN = groups.spelled("content", "text", "message", "value", "utterance", "body")
"""Names of columns with documents, and with what is said."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a file or folder is taken for.

    Attributes:
        kind: what it holds.
        why: in a sentence.
        others: what is left out, in words; empty if everything is read.
        data: data settings (`lang_jepa.settings.data`) to read it with.
    """

    kind: Kind
    why: str
    others: str
    data: dict[str, object]

    @property
    def overrides(self) -> list[str]:
        """The settings as `SECTION.KEY=VALUE`, for a command."""
        return [f"data.{name}={_written(value)}" for name, value in self.data.items()]


@dataclass(frozen=True, slots=True)
class _Look:
    """What one file looks like: the kind, why, and the settings beside `train_file`."""

    kind: Kind
    why: str
    data: tuple[tuple[str, object], ...] = ()


def recognise(path: Path, wanted: Kind | None = None) -> Taken:
    """Recognise what a file or folder holds by the first lines or rows of some files of each suffix.

    Args:
        path: of the file or folder.
        wanted: what to take it for (None: what most of it, in bytes, looks like).

    Raises:
        LangJepaError: it does not exist, nothing in it can be read, it cannot be taken for what is wanted, or one of
            the files to read is a broken link or cannot be opened.
    """
    if not path.exists():
        raise LangJepaError(f"{path} is not there: give a file or a folder of texts")
    files = Folder.local(path).files if path.is_dir() else {path.name: path}
    by_suffix = defaultdict[str, list[Path]](list)
    for name, file in files.items():
        by_suffix[_suffix(name)].append(Path(str(file)))
    looks = {suffix: look for suffix, some in by_suffix.items() if (look := _look_of(some, named=not path.is_dir()))}
    sizes = Counter[Kind]()
    for suffix, look in looks.items():
        sizes[look.kind] += sum(map(_size, by_suffix[suffix]))
    if not sizes:
        for file in files.values():
            check_file(file)
        raise LangJepaError(f"{path} has nothing that can be read. Known kinds: {formats.KNOWN}, and .log")
    kind = wanted or sizes.most_common(1)[0][0]
    chosen = {suffix: look for suffix, look in looks.items() if look.kind == kind}
    if not chosen:
        return _forced(path, kind, looks)
    for suffix in chosen:
        for file in by_suffix[suffix]:
            check_file(file)
    data = dict(next(iter(chosen.values())).data)
    if path.is_dir() and len(chosen) < len(by_suffix):
        data["include"] = _patterns(file.name for suffix in chosen for file in by_suffix[suffix])
    why = "; ".join(f"{_files(suffix, by_suffix[suffix])}: {look.why}" for suffix, look in chosen.items())
    left = [
        f"{_files(suffix, some)} ({'unknown kind' if suffix not in looks else f'they look like {looks[suffix].kind}'})"
        for suffix, some in by_suffix.items()
        if suffix not in chosen
    ]
    return Taken(kind, why, ", ".join(left), {"train_file": str(path), "units": UNITS[kind], **data})


def _forced(path: Path, kind: Kind, looks: Mapping[str, _Look]) -> Taken:
    """Take it for what was asked for although nothing looks like it: the readers say whether that works."""
    data: dict[str, object] = {"train_file": str(path), "units": UNITS[kind]}
    looked = " and ".join(sorted({look.kind for look in looks.values()}))
    if kind == "documents" and looked == "logs":
        raise LangJepaError(f"{path} holds logs, whose lines are not sentences: use --as logs, or rename it to .txt")
    return Taken(kind, f"as asked; it looks like {looked}", "", data)


def _suffix(name: str) -> str:
    """The suffix that says what a file is: `.log` for all logs."""
    suffixes = [one for one in Path(name).suffixes if one.lower() not in PACKED]
    return ".log" if is_log(Path(name).name) else (suffixes[-1] if suffixes else "")


def _patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Patterns for `data.include` that match these files: by their whole endings, rotation and compression included."""
    endings = {name[name.index(".", 1) :] if "." in name[1:] else f"/{name}" for name in names}
    return tuple(sorted(f"**{glob.escape(one)}" if one[0] == "/" else f"**/*{glob.escape(one)}" for one in endings))


def _size(path: Path) -> int:
    """Size of a file in bytes; 0 for a broken link."""
    return path.stat().st_size if path.exists() else 0


def _files(suffix: str, some: list[Path]) -> str:
    size = sum(map(_size, some))
    written = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
    named = f"{suffix} file" if suffix else "file"
    return f"{some[0].name} ({written})" if len(some) == 1 else f"{counted(len(some), named)} ({written})"


def _look_of(some: list[Path], *, named: bool) -> _Look | None:
    """What most of some files look like; None if none can be read."""
    some = [one for one in some if one.exists()]
    step = max(1, len(some) // _PROBED)
    looks = [look for one in some[::step][:_PROBED] if (look := _look(one, named=named))]
    kinds = Counter(look.kind for look in looks)
    if not kinds:
        return None
    (most, _), *_ = kinds.most_common(1)
    return next(look for look in looks if look.kind == most)


def _look(path: Path, *, named: bool) -> _Look | None:
    """What one file looks like."""
    if is_log(path.name):
        return _Look("logs", "named like a log")
    kind = formats.kind_of_named(path)
    if kind is None and not named:
        return None
    try:
        if kind is not None and kind.prose is None:
            return _table(path, kind)
        plain = kind is None or kind is formats.TEXT
        text = _beginning(path) if plain else kind.prose(path)[0]  # type: ignore[union-attr, misc]
    except (LangJepaError, NotText, Unreadable):
        return None  # the readers count it, and say why
    return _plain(text, plain=plain)


def _beginning(path: Path) -> str:
    return decode(b"\n".join(islice(lines(chunks(path)), _LINES)))


def _plain(text: str, *, plain: bool) -> _Look | None:
    """Classify a text: lines with times or levels make it a log, lines with names a conversation."""
    filled = [line for line in text.split("\n") if line.strip()]
    if not filled:
        return None
    if plain and len(filled) >= _LEAST:
        if habits_of(filled).stamped:
            return _Look("logs", "lines that begin with a time")
        leveled = sum(map(has_level, filled))
        if leveled >= _MOST * len(filled):
            return _Look("logs", f"{leveled:,} of the first {len(filled):,} lines have a level such as INFO")
    spoken = sum(map(Speakers(filled).names_one, filled))
    if spoken >= max(2, _MOST * len(filled)):
        try:
            conversation_text(text)
        except NoConversation:
            return _Look("documents", "prose")
        name = filled[0].partition(":")[0].strip()
        return _Look("dialogues", f'{spoken:,} of {len(filled):,} lines begin with a name, as "{name}:"')
    return _Look("documents", "prose")


def _table(path: Path, kind: formats.Kind) -> _Look | None:
    """Classify JSON, parquet or a table by its first rows."""
    turns = DataSettings(units="turns", text_column="messages")
    if kind is formats.JSON and forms.is_conversation(path, turns):
        return _Look("dialogues", "one conversation in each file, as a list of messages")
    head = forms.Head.of(path, kind)
    if found := head.conversations():
        column = "messages" if "messages" in found else found[0]
        return _Look("dialogues", f"the column '{column}' holds lists of messages", (("text_column", column),))
    group = head.group()
    speaker = next((one for one in groups.SPEAKERS if one in head.names), None)
    said = next((one for one in _SPOKEN if one in head.names and head.has_messages(one)), None)
    if group and speaker and said:
        why = f"a message a row in '{said}', who says it in '{speaker}', and '{group}' is shared by a conversation"
        return _Look("dialogues", why, (("text_column", said), ("group_column", group)))
    texts = {name: [one for one in head.values(name) if isinstance(one, str)] for name in head.names}
    longest = sorted(texts, key=lambda name: -sum(map(len, texts[name])))
    column = next((one for one in _COLUMNS if texts.get(one)), longest[0] if longest else "")
    if not texts.get(column):
        return None
    return _Look("documents", f"a text in each row, in the column '{column}'", (("text_column", column),))


def _written(value: object) -> str:
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else str(value)


_FREQUENT = {
    code: words.split()
    for code, words in {
        "en": "the and of to is that it was for with you not are this have",
        "de": "der die und das ist nicht mit ein eine auf den von sich dem auch",
        "fr": "le la les et des est une que pas pour dans vous sur avec du",
        "es": "el los que una las por con para del está como pero más su lo",
        "it": "il che di è per una non con del della sono gli anche ho nel",
        "nl": "het een van en dat niet zijn op met voor ook aan maar deze je",
        "pt": "que não uma os para com do da em mais dos como você mas ao",
    }.items()
}
"""Frequent words, by which a language is guessed."""
_SCRIPTS = {
    "zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]", "ru": "[\u0400-\u04ff]", "el": "[\u0370-\u03ff]",
    "ar": "[\u0600-\u06ff]", "hi": "[\u0900-\u097f]",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """Guess the language of a text by its script or its most frequent words; None if that is unclear.

    >>> language_of("Der Hund ist nicht mit auf den Berg gegangen, und das ist gut.")
    'de'
    """
    letters = len(re.findall(r"[^\W\d_]", text))
    for code in ("ja", "zh", "ru", "el", "ar", "hi"):  # Japanese first: it has Chinese characters too
        if letters and len(re.findall(_SCRIPTS[code], text)) > (0.1 if code == "ja" else 0.3) * letters:
            return code
    words = Counter(word.lower() for word in _WORD.findall(text))
    shares = {code: sum(words[word] for word in some) / max(1, words.total()) for code, some in _FREQUENT.items()}
    (best, share), (_, second) = sorted(shares.items(), key=lambda pair: -pair[1])[:2]
    return best if share > 0.08 and share > 1.3 * second else None
