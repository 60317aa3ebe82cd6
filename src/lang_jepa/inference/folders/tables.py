"""What was found in a folder: in words, as tables, the first of which has everything, and in a file of its kind."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.atomic import check_writable, write_text

if TYPE_CHECKING:  # `duplicates` need not wait for torch
    from lang_jepa.inference.folders.duplicates import Duplicates
    from lang_jepa.inference.folders.study import FolderStudy
    from lang_jepa.inference.folders.topics import TopicMap

SUFFIXES = (".csv", ".json", ".html")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } p { max-width: 52rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th { text-align: left; border-bottom: 2px solid #c8c8c8; padding: .3rem .6rem; }
td { border-bottom: 1px solid #e6e6e6; padding: .3rem .6rem; vertical-align: top; }
"""

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        title: title above the table.
        heads: headings of the columns.
        rows: cells; None is an empty cell, floats are shown with two decimals.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def about_duplicates(found: "Duplicates") -> str:
    """Say in a sentence how many copies and repeated sentences there are."""
    exact = sum(one.kind.startswith("exact") for one in found.duplicates)
    near = len(found.duplicates) - exact
    return (
        f"{counted(found.documents, 'document')}: {counted(exact, 'exact copy', 'exact copies')}, "
        f"{counted(near, 'near copy', 'near copies')}, {found.kept:,} different; "
        f"{counted(len(found.sentences), 'sentence')} of these {'stands' if len(found.sentences) == 1 else 'stand'} "
        "in more than one place"
    )


def duplicate_tables(found: "Duplicates") -> list[Table]:
    """Return everything (a row for each copy and each later place of a sentence), copies, and repeated sentences."""
    copies = [(one.document, one.kind, one.original, round(one.share, 3)) for one in found.duplicates]
    sentences = [(one.times, one.documents, "; ".join(one.places), one.sentence) for one in found.sentences]
    every: list[tuple[str | float, ...]] = [(kind, name, other, share, "", "") for name, kind, other, share in copies]
    for one in found.sentences:
        every += [("repeated sentence", place, one.places[0], "", one.times, one.sentence) for place in one.places[1:]]
    return [
        Table("All", ("kind", "place", "repeats", "share", "times", "sentence"), every),
        Table("Copies", ("document", "kind", "repeats", "share of its sentences"), copies),
        Table("Repeated sentences", ("times", "documents", "places", "sentence"), sentences),
    ]


def about_topics(found: "TopicMap", unit: str) -> str:
    """Say how many topics there are, why, and how they were found."""
    fit = "" if found.silhouette is None else f", silhouette {found.silhouette:.2f}"
    outside = f"; {found.outside:.0%} in none" if found.outside else ""
    return (
        f"{counted(len(found.topics), 'topic')} of {counted(len(found.units), unit)} ({found.chosen}{fit}){outside}; "
        f"{found.similarity} cosine, {found.method}"
    )


def topic_tables(found: "TopicMap", unit: str) -> list[Table]:
    """Return every unit with its topic, the topics, and the typical sentences of each."""
    words = {one.number: ", ".join(one.words) for one in found.topics}
    units = [(one.topic, words.get(one.topic, ""), one.place, one.text) for one in found.units]
    rows = [(one.number, f"{one.share:.1%}", one.units, words[one.number]) for one in found.topics]
    typical = [(one.number, near.place, near.text) for one in found.topics for near in one.typical]
    return [
        Table("All", ("topic", "words", "place", unit), units),
        Table("Topics", ("topic", "share", f"{unit}s", "words"), rows),
        Table("Typical sentences", ("topic", "place", "sentence"), typical),
    ]


def about_study(found: "FolderStudy", unit: str) -> str:
    """Say how much was read, and what the numbers mean."""
    whose = "the same document" if found.against == "document" else "the training text"
    return (
        f"{counted(len(found.documents), 'document')}, {counted(len(found.passages), unit)}. High is surprising: by "
        f"how many standard deviations a {unit} fits worse than shuffled ones of {whose} do; below 0 it fits better. "
        f"By {found.used}"
    )


def study_tables(found: "FolderStudy", unit: str) -> list[Table]:
    """Return every unit with its numbers, the hundred most surprising passages, and a line for each document."""
    every = [
        (
            one.place,
            one.document,
            one.position,
            one.surprise,
            one.out_of_place,
            int(one.begins_topic),
            one.repeats,
            one.text,
        )
        for one in found.passages
    ]
    heads = ("place", "document", "position", "surprise", "out of place", "begins a topic", "repeats", unit)
    passages = [(one.surprise, one.place, one.before, one.text) for one in found.ranked()[:100]]
    documents = [(one.document, one.units, one.topics, one.repeats, one.mean, one.highest) for one in found.documents]
    return [
        Table("All", heads, every),
        Table("Most surprising passages", ("surprise", "place", "after", unit), passages),
        Table("Documents", ("document", f"{unit}s", "topics", "repeats", "mean surprise", "highest"), documents),
    ]


def check_output(path: Path | None) -> None:
    """Raise for a file that could not be written, before anything is computed.

    Raises:
        LangJepaError: an unknown suffix, or a place that cannot be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise LangJepaError(f"--output {path}: the suffix says what is written: {', '.join(SUFFIXES)}")
    check_writable(path)


def write_found(path: Path, found: Any, rows: Table, page: Sequence[Table], *, title: str, about: str) -> None:
    """Write what was found to a file, atomically.

    Args:
        path: its suffix decides the format.
        found: everything, as plain data, for JSON.
        rows: the table for CSV.
        page: the tables for HTML.
        title, about: heading and first paragraph for HTML.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    elif suffix == ".csv":
        text = _csv(rows)
    else:
        text = _page(page, title, about)
    write_text(path, text)


def _csv(table: Table) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.heads)
    writer.writerows([_safe(cell) for cell in row] for row in table.rows)
    return written.getvalue()


def _safe(cell: Cell) -> Cell:
    """Put a mark before a text that a spreadsheet would compute as a formula, which makes it text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _page(tables: Sequence[Table], title: str, about: str) -> str:
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(about)}</p>"]
    for table in tables:
        heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
        rows = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
        parts.append(f"<h2>{escape(table.title)}</h2>\n<table><tr>{heads}</tr>\n{rows}</table>")
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    return escape(f"{value:.2f}" if isinstance(value, float) else str(value))
