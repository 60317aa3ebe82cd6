"""Files for the tests of stores, and what a source gives of them."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from lang_jepa.data.sources.base import Document, Source
from lang_jepa.data.sources.source import open_source
from lang_jepa.settings.data import DataSettings

LINES = [
    {"id": f"n{number}", "text": f"Line number {number} says {number * 7919} and {'more ' * 20}"}
    for number in range(2600)
]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def opened(name: object, **changes: object) -> Source:
    values = {"train_file": str(name), "limit": None, "min_length": 1} | changes
    return open_source(DataSettings(**values))  # type: ignore[arg-type]


def documents_of(source: Source, skip: int = 0) -> tuple[list[Document], Counter[str]]:
    rejected: Counter[str] = Counter()
    return list(source.documents(rejected, source.rows(skip))), rejected


def write_texts(folder: Path) -> None:
    """Files of most kinds, 20 to 400 KB."""
    (folder / "more" / ".hidden").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(as_lines(LINES))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(as_lines(LINES[:800])))
    (folder / "c.csv").write_text("text,id\n" + "".join(f'"{row["text"]}",{row["id"]}\n' for row in LINES[:800]))
    (folder / "d.txt.zst").write_bytes(zstandard.compress(b"One text file. " * 3000))
    (folder / "more" / "e.json").write_text(json.dumps([row["text"] for row in LINES[:800]]))
    (folder / "more" / "f.md").write_text("# A heading\n\nSome prose under it.\n")
    (folder / "more" / "package.json").write_text('{"name": "no documents"}')
    (folder / "more" / ".hidden" / "g.txt").write_text("never read")
    table = pa.table({"text": [row["text"] for row in LINES], "id": [str(number) for number in range(len(LINES))]})
    pq.write_table(table, folder / "more" / "h.parquet", row_group_size=900, use_dictionary=False, compression="none")
