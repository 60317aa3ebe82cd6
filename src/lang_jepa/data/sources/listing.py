"""List the files of a source (a named file, a folder, or a pattern) and determine the kind of each."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lang_jepa.data.sources import formats, forms, rotated, text_files
from lang_jepa.data.sources.read_json import no_documents
from lang_jepa.data.sources.remote import AnyPath, RemoteFile
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings

_SHOWN = 12


def chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str], where: str) -> set[str]:
    """The names that are included (all if no pattern is given) and not excluded.

    Args:
        names: of files, relative to the folder, with `/` between their parts.
        include, exclude: patterns of such names: `*` and `?` match anything but `/`, `**` any folders, `[ab]` one of
            some characters. A pattern that matches a folder means everything below it.
        where: the folder, for messages.

    Raises:
        LangJepaError: a pattern matches nothing, or no file is left.
    """
    kept = set(names)
    for setting, patterns in (("data.include", include), ("data.exclude", exclude)):
        found: set[str] = set()
        for pattern in patterns:
            matches = _matches(pattern, names)
            if not matches:
                raise LangJepaError(
                    f"{setting}: {pattern!r} matches no file below {where}. There are {_listed(names)}."
                )
            found |= matches.keys()
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


def _matches(pattern: str, names: Iterable[str]) -> dict[str, None]:
    """The names that a pattern matches, in the given order."""
    compiled = _compiled(pattern)
    return dict.fromkeys(name for name in names if compiled.fullmatch(name))


_WILD = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", pattern.removeprefix("./").rstrip("/"), re.DOTALL):
        if len(piece) > 1 and piece not in _WILD:
            inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[")
            parts.append(f"[^{inside[1:]}/]" if inside.startswith("!") else f"[{inside}]")
        else:
            parts.append(_WILD.get(piece) or re.escape(piece))
    try:
        return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise LangJepaError(
            f"{pattern!r} is not a valid pattern of names ({error}): data.include, data.exclude"
        ) from error


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source.

    Attributes:
        name: used in document identities, relative to the folder.
        path: of the file.
        kind: the kind of file, which reads it.
    """

    name: str
    path: AnyPath
    kind: formats.Kind


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below a folder on this machine or in a store.

    Attributes:
        where: the folder, for messages.
        files: by name relative to it, sorted, without files that are hidden or in a linked folder.
        passed: counts of what was skipped.
    """

    where: str
    files: dict[str, AnyPath]
    passed: Counter[str]

    @classmethod
    def local(cls, path: Path) -> "Folder":
        """All files below a folder on this machine.

        Raises:
            LangJepaError: a folder cannot be read.
        """
        names: list[str] = []
        passed: Counter[str] = Counter()

        def refuse(error: OSError) -> None:
            raise LangJepaError(
                f"data.train_file: the folder {error.filename} cannot be read: {error.strerror}. Check its permissions."
            )

        for place, folders, files in os.walk(path, onerror=refuse):
            here = Path(place)
            passed["hidden"] += sum(name.startswith(".") for name in [*folders, *files])
            passed["linked folder"] += sum(not n.startswith(".") and (here / n).is_symlink() for n in folders)
            folders[:] = [name for name in folders if not name.startswith(".")]
            names += [(here / name).relative_to(path).as_posix() for name in files if not name.startswith(".")]
        return cls(str(path), {name: path / name for name in sorted(names)}, passed)

    @classmethod
    def remote(cls, address: str, found: Mapping[str, RemoteFile]) -> "Folder":
        """All files below an address."""
        files: dict[str, AnyPath] = {name: file for name, file in found.items() if "/." not in f"/{name}"}
        return cls(address, files, Counter(hidden=len(found) - len(files)))

    def matching(self, pattern: str) -> "Folder":
        """The files that match a pattern, written as for `chosen`.

        Raises:
            LangJepaError: the pattern matches no file.
        """
        names = _matches(pattern, self.files)
        if not names:
            raise LangJepaError(
                f"data.train_file: {pattern!r} matches no file below {self.where}. There are {_listed([*self.files])}."
            )
        return Folder(f"{self.where}/{pattern}", {name: self.files[name] for name in names}, Counter())


def listed(settings: DataSettings, place: AnyPath | Folder) -> tuple[list[File], str]:
    """The files of a place under these settings, and a description of them.

    Raises:
        LangJepaError: the kind of a file is unknown, a folder has no usable files, a link is broken, or a pattern
            matches nothing.
    """
    if isinstance(place, Path) and place.is_dir():
        place = Folder.local(place)
    if not isinstance(place, Folder):
        refuse_patterns(settings, f"the file {place}")
        return [_named(place, settings)], f"file {place}"
    files, passed = _usable(place, settings)
    if not files:
        raise LangJepaError(
            f"data.train_file: the folder {place.where} has no file that can be read{_passed_over(passed)}. "
            f"Known kinds: {formats.KNOWN}."
        )
    kinds = Counter(file.kind.name for file in files)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return files, f"folder {place.where}: {counts}{_passed_over(passed)}"


def refuse_patterns(settings: DataSettings, what: str) -> None:
    """Raise if the settings choose files of a folder but there is no folder."""
    for name in ("include", "exclude"):
        if getattr(settings, name):
            raise LangJepaError(
                f"data.{name} chooses files of a folder, but data.train_file is {what}. Name the folder, or leave "
                f"data.{name} empty."
            )


def _named(path: AnyPath, settings: DataSettings) -> File:
    """A file named by the settings.

    Raises:
        LangJepaError: its kind is unknown, or it holds not documents but, for example, a configuration.
    """
    check_file(path)
    in_lines = settings.units == "lines"
    # With units=lines, lines are units whatever they begin with; only grouping makes the file a table.
    kind = formats.kind_of(path) if in_lines and settings.group_column is None else formats.kind_of_named(path)
    kind = kind or (formats.TEXT if in_lines else None)
    if kind is None:
        raise LangJepaError(
            f"data.train_file: {path} ends in '{path.suffix}', which is not a known kind of file, and does not "
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


def check_file(path: AnyPath) -> None:
    """Raise unless `path` is a readable regular file, or a file listed by a store.

    Raises:
        LangJepaError: it is a broken link, a folder or a device, or there is no permission to read it.
    """
    if isinstance(path, RemoteFile):
        return
    what = f"data.train_file: {path}"
    if not path.exists():
        raise LangJepaError(f"{what} is a link to {os.readlink(path)}, which does not exist. Fix the link.")
    if not path.is_file():
        raise LangJepaError(f"{what} is neither a file nor a folder.")
    if not os.access(path, os.R_OK):
        raise LangJepaError(f"{what} may not be read: check its permissions.")


def _usable(folder: Folder, settings: DataSettings) -> tuple[list[File], Counter[str]]:
    """All usable files of a folder, sorted by relative name, and counts of what was skipped."""
    names, passed = [*folder.files], Counter(folder.passed)
    wanted = names
    if settings.include or settings.exclude:
        wanted = sorted(chosen(names, settings.include, settings.exclude, folder.where))
        passed["left out by data.include and data.exclude"] = len(names) - len(wanted)
    files: list[File] = []
    for name in wanted:
        path = folder.files[name]
        kind = formats.kind_of(path)
        if kind is None and settings.units == "lines" and rotated.is_log(path.name):
            kind = formats.TEXT
        if kind is None:
            passed[f"of unknown kind ({path.suffix or 'no suffix'})"] += 1
            continue
        check_file(path)
        suffixes = [suffix.lower() for suffix in path.suffixes]
        is_json = [suffix for suffix in suffixes[-2:] if suffix not in text_files.PACKED][-1:] == [".json"]
        if is_json and forms.is_conversation(path, settings):
            kind = forms.CONVERSATION
        elif is_json and no_documents(path, settings.text_column):
            passed["JSON without documents"] += 1
            continue
        files.append(File(name, path, kind))
    return files, passed


def _passed_over(passed: Counter[str]) -> str:
    """A remark on skipped files, or an empty string."""
    parts = [f"{count} {what}" for what, count in sorted(passed.items()) if count]
    return f" (passed over: {', '.join(parts)})" if parts else ""
