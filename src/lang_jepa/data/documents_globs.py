"""Which files of a folder are read: `data.include` and `data.exclude`."""

import re
from collections.abc import Sequence

from lang_jepa.errors import LangJepaError

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
    """A glob as a regular expression."""
    parts: list[str] = []
    for piece in re.findall(
        r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", pattern.removeprefix("./").rstrip("/"), re.DOTALL
    ):
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
