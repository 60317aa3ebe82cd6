"""Write what was found in a folder to a file: CSV, JSON or one HTML page, by the suffix of its name."""

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
        title: title above the table.
        heads: headings of the columns.
        rows: cells; None is an empty cell, floats are shown with two decimals.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


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
