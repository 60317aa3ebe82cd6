"""Which files a source has, and of which kind each is: a file that is named, or those of a folder."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lang_jepa.data.sources import formats, forms, rotated, text_files
from lang_jepa.data.sources.read_json import no_documents
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

_SHOWN = 12


def chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str], where: str) -> set[str]:
    """The names that are included (all, where no pattern says which) and not excluded.

    Args:
        names: of files, relative to the folder, with `/` between their parts.
        include, exclude: patterns of such names: `*` and `?` stand for anything but `/`, `**` for any folders, `[ab]`
            for one of some characters. A pattern that matches a folder means everything below it.
        where: the folder, for messages.

    Raises:
        LangJepaError: a pattern that matches nothing.
    """
    kept = set(names)
    for setting, patterns in (("data.include", include), ("data.exclude", exclude)):
        found: set[str] = set()
        for pattern in patterns:
            matches = {name for name in names if _compiled(pattern).fullmatch(name)}
            if not matches:
                raise LangJepaError(
                    f"{setting}: {pattern!r} matches no file below {where}. There are {_listed(names)}."
                )
            found |= matches
        if patterns:
            kept = kept & found if setting == "data.include" else kept - found
    if not kept:
        raise LangJepaError(
            f"data.exclude leaves no file of {where}. There are {_listed(names)}."
            if names
            else f"the folder {where} has no files"
        )
    return kept


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)} files: {shown}{', ...' if len(names) > _SHOWN else ''}" if names else "no files"


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", pattern.removeprefix("./").rstrip("/"), re.DOTALL):
        match piece:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(piece) > 1:
                inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[")
                parts.append(f"[^{inside[1:]}/]" if inside.startswith("!") else f"[{inside}]")
            case _:
                parts.append(re.escape(piece))
    try:
        return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise LangJepaError(f"data.include, data.exclude: {pattern!r} is no pattern ({error})") from error


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source.

    Attributes:
        name: that stands in document identities (relative to the folder).
        path: of it.
        kind: that reads it.
    """

    name: str
    path: Path
    kind: formats.Kind


def listed(settings: DataSettings, path: Path) -> tuple[list[File], str]:
    """The files that a path names under these settings, and what they are, in words.

    Raises:
        LangJepaError: an unknown kind of file, a folder without usable files, a broken link, or a pattern that matches
            nothing.
    """
    if not path.is_dir():
        refuse_patterns(settings, f"the file {path}")
        return [_named(path, settings)], f"file {path}"
    files, passed = _walk(path, settings)
    if not files:
        raise LangJepaError(
            f"data.train_file: the folder {path} has no file that can be read{_passed_over(passed)}. "
            f"Known kinds: {formats.KNOWN}."
        )
    kinds = Counter(file.kind.name for file in files)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return files, f"folder {path}: {counts}{_passed_over(passed)}"


def refuse_patterns(settings: DataSettings, what: str) -> None:
    """Raise if files of a folder are to be chosen where there is no folder."""
    for name in ("include", "exclude"):
        if getattr(settings, name):
            raise LangJepaError(
                f"data.{name} chooses files of a folder, but data.train_file is {what}. Name the folder, or leave "
                f"data.{name} empty."
            )


def has_known_suffix(path: Path) -> bool:
    """Whether the name ends like a file that can be read."""
    return formats.kind_of(path) is not None


def _named(path: Path, settings: DataSettings) -> File:
    """A file that the settings name.

    Raises:
        LangJepaError: it is of no known kind, or no documents but a configuration.
    """
    _check_file(path)
    kind = formats.kind_of_named(path) or (formats.TEXT if settings.units == "lines" else None)
    if kind is None:
        raise LangJepaError(
            f"data.train_file: {path} ends in '{path.suffix}', which is no kind of file known here, and does not "
            f"begin with a line of JSON. Convert or rename it to one of {formats.KNOWN}."
        )
    if kind is formats.JSON and forms.is_conversation(path, settings):
        kind = forms.CONVERSATION
    if kind is formats.JSON and (reason := no_documents(path, settings.text_column)):
        raise LangJepaError(
            f"data.train_file: {path} is {reason}, not JSON lines and no array of documents. Set data.text_column "
            "(--text-column), or write one object a line, for example with `jq -c '.KEY[]' in.json > out.jsonl` (KEY "
            "holds the documents)."
        )
    return File(path.name, path, kind)


def _check_file(path: Path) -> None:
    """Raise unless `path` is a regular file that may be read."""
    what = f"data.train_file: {path}"
    if not path.exists():
        raise LangJepaError(f"{what} is a link to {os.readlink(path)}, which is not there. Mend the link.")
    if not path.is_file():
        raise LangJepaError(f"{what} is neither a file nor a folder.")
    if not os.access(path, os.R_OK):
        raise LangJepaError(f"{what} may not be read: check its permissions.")


def _walk(folder: Path, settings: DataSettings) -> tuple[list[File], Counter[str]]:
    """All usable files below a folder, sorted by relative name, and what was passed over."""
    names, passed = _names(folder)
    wanted = names
    if settings.include or settings.exclude:
        wanted = sorted(chosen(names, settings.include, settings.exclude, str(folder)))
        passed["left out by data.include and data.exclude"] = len(names) - len(wanted)
    files: list[File] = []
    for name in wanted:
        path = folder / name
        kind = formats.kind_of(path)
        if kind is None and settings.units == "lines" and rotated.is_log(path.name):
            kind = formats.TEXT
        if kind is None:
            passed[f"of unknown kind ({path.suffix or 'no suffix'})"] += 1
            continue
        _check_file(path)
        lists = path.with_suffix("") if path.suffix.lower() in text_files.PACKED else path
        if lists.suffix.lower() == ".json" and forms.is_conversation(path, settings):
            kind = forms.CONVERSATION
        elif lists.suffix.lower() == ".json" and no_documents(path, settings.text_column):
            passed["JSON without documents"] += 1
            continue
        files.append(File(name, path, kind))
    return files, passed


def _names(folder: Path) -> tuple[list[str], Counter[str]]:
    """Relative names of all files below a folder, sorted, without what is hidden or in a linked folder."""
    names: list[str] = []
    passed: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise LangJepaError(
            f"data.train_file: the folder {error.filename} cannot be read: {error.strerror}. Check its permissions."
        )

    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        passed["hidden"] += sum(name.startswith(".") for name in [*folders, *files])
        passed["linked folder"] += sum(not n.startswith(".") and (here / n).is_symlink() for n in folders)
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(here / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(names), passed


def _passed_over(passed: Counter[str]) -> str:
    """A remark on files that were not taken, or nothing."""
    parts = [f"{count} {what}" for what, count in sorted(passed.items()) if count]
    return f" (passed over: {', '.join(parts)})" if parts else ""
