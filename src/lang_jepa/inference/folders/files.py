"""What was found in a folder, as a file: CSV, JSON or one page of HTML, by the suffix of its name."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable, write_text

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
        title: above it.
        heads: of the columns.
        rows: cells; None is an empty one, numbers with a fraction are shown with two digits.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def check_output(path: Path | None) -> None:
    """Refuse a file that could not be written, before anything is computed.

    Raises:
        LangJepaError: another suffix than those that are known, or a place that cannot be written.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise LangJepaError(f"--output {path}: the suffix says what is written: {', '.join(SUFFIXES)}")
    check_writable(path)


def write_found(path: Path, found: Any, rows: Table, page: Sequence[Table], *, title: str, about: str) -> None:
    """Write the file, atomically.

    Args:
        path: its suffix decides.
        found: all of it, as plain data: the JSON.
        rows: the CSV.
        page: the tables of the HTML.
        title, about: of the HTML.
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
    """A text that a spreadsheet would compute has a mark before it, by which it is text."""
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
