"""Parts of a source: together they are its rows, each reader reads its own, and little more than that."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.data.sources.base import Document, Rejection
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.sources.text_files import BOM
from lang_jepa.data.stream import parts_for
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings


def opened(place: Path, **settings: Any) -> Any:
    return open_source(DataSettings(train_file=str(place), min_length=1, limit=None, **settings))


def texts(rows: Any) -> list[str]:
    return [row.text if isinstance(row, Document) else row.reason for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("head", [b"", BOM])
@pytest.mark.parametrize("last", [True, False])
def test_byte_ranges_of_json_lines_are_the_lines(tmp_path: Path, end: str, head: bytes, last: bool) -> None:
    """At every size of a part, whatever byte a range begins at."""
    lines = [json.dumps({"text": f"text {n} " + "ä€𝄞"[n % 3] * (n % 7)}, ensure_ascii=False) for n in range(40)]
    lines[7], lines[20], lines[21] = "", "{damaged", "   "
    content = head + (end.join(lines) + (end if last else "")).encode()
    (tmp_path / "texts.jsonl").write_bytes(content)
    source = opened(tmp_path / "texts.jsonl")
    whole = texts(source.read(0))
    assert whole.count("damaged JSON") == 1
    assert len(whole) == 38
    for size in [*range(1, 70), 500, len(content) - 1, len(content), 10**6]:
        parts = source.parts(size)
        assert len(parts) == max(1, len(content) // size)
        assert texts(row for part in parts for row in source.read_part(part)) == whole


def test_ids_and_places_of_a_part(tmp_path: Path) -> None:
    """A row is named by the part that it is in; a rejected one by its byte, at which it can be found."""
    lines = ['{"text": "one"}', '{"text": "two", "id": "own"}', "damaged", '{"text": "three"}']
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    source = opened(tmp_path / "texts.jsonl")
    first, second = (list(source.read_part(part)) for part in source.parts(35))
    assert [row.id for row in first] == ["texts.jsonl:0", "own"]
    assert second[1].id == "texts.jsonl@35:1"
    assert second[0].where == "texts.jsonl:byte 45"
    assert (tmp_path / "texts.jsonl").read_bytes()[45:52] == b"damaged"


def test_parts_of_a_folder(tmp_path: Path) -> None:
    """Row groups, byte ranges and whole files, the small ones together."""
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(9)]}), tmp_path / "a.parquet", row_group_size=4)
    (tmp_path / "b.jsonl").write_text("".join(f'{{"text": "line {n}"}}\n' for n in range(30)))
    (tmp_path / "c.json").write_text(json.dumps([{"text": f"value {n}"} for n in range(5)]))
    (tmp_path / "d.csv").write_text("text\n" + "".join(f"cell {n}\n" for n in range(5)))
    for name in "efghij":
        (tmp_path / f"{name}.txt").write_text(f"the text of {name}")
    source = opened(tmp_path)
    for size in (1, 30, 100, 10**6):
        parts = source.parts(size)
        assert texts(row for part in parts for row in source.read_part(part)) == texts(source.read(0))
        assert all(sum(piece.size for piece in part[:-1]) < size for part in parts)
    assert len(source.parts(10**6)) == 1
    assert len(source.parts(1)) == 2 + 1 + (tmp_path / "b.jsonl").stat().st_size + 1 + 1 + 6


def test_parts_of_the_stories_are_the_stories() -> None:
    source = open_source(DataSettings(train_file="stories", min_length=1, limit=2500))
    parts = source.parts(1)
    assert [(part[0].first, part[0].stop) for part in parts] == [(0, 1000), (1000, 2000), (2000, 2500)]
    told = [row.id for part in parts for row in source.read_part(part)]
    assert told == [row.id for row in source.rows()]


@pytest.mark.parametrize("settings", [{"join_rows": 3}, {"session": r"^(\w)", "units": "lines"}])
def test_what_has_to_be_read_from_its_beginning_has_one_part(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "line {n}"}}\n' for n in range(30)))
    assert len(opened(tmp_path / "texts.jsonl", **settings).parts(1)) == 1


def test_groups_are_not_cut(tmp_path: Path) -> None:
    for name in "ab":
        rows = "".join(json.dumps({"text": f"turn {n}", "chat": f"{name}{n % 3}"}) + "\n" for n in range(12))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    source = opened(tmp_path, units="turns", group_column="chat")
    parts = source.parts(1)
    assert len(parts) == 2
    assert texts(row for part in parts for row in source.read_part(part)) == texts(source.read(0))


def test_a_damaged_row_group_is_left_out_by_name(tmp_path: Path) -> None:
    """All others are read; read from its beginning the file is refused."""
    path = tmp_path / "a.parquet"
    words = [f"row {n} says {'word ' * 50}" for n in range(40)]
    pq.write_table(
        pa.table({"text": words}), path, row_group_size=10, compression="none", use_dictionary=False,
        write_page_checksum=True,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    place = content.index(b"row 25 says")
    content[place] ^= 1
    path.write_bytes(content)
    source = opened(path)
    rows = [row for part in source.parts(1) for row in source.read_part(part)]
    bad = [row for row in rows if isinstance(row, Rejection)]
    assert [row.reason for row in bad] == ["damaged row group"]
    assert bad[0].where.startswith("a.parquet:row group 2 (10 rows:")
    assert [row.text for row in rows if isinstance(row, Document)] == [words[n] for n in range(40) if n // 10 != 2]
    with pytest.raises(LangJepaError, match=r"a\.parquet is damaged"):
        list(source.read(0))


def many(count: int, length: int) -> list[str]:
    return [f"Document {n} of them all. " + f"It has words {n % 91} and {n % 17}. " * length for n in range(count)]


def parquet(folder: Path) -> None:
    """24 row groups of a megabyte."""
    for number in range(4):
        rows = pa.table({"text": [f"{number}: {text}" for text in many(336, 600)]})
        pq.write_table(rows, folder / f"{number}.parquet", row_group_size=56, compression="none", use_dictionary=False)


def json_lines(folder: Path) -> None:
    rows = "".join(json.dumps({"text": text}) + "\n" for text in many(56_000, 20))
    (folder / "text.jsonl").write_text(rows)


@pytest.mark.parametrize(
    ("write", "readers"),
    [(parquet, 1), (parquet, 3), (parquet, 16), (json_lines, 1), (json_lines, 64), (json_lines, 256)],
)
def test_readers_read_the_source_once_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, readers: int
) -> None:
    """The bytes that all of them get from the disk, without training: 64 ranks with 4 loader processes are 256."""
    write(tmp_path)
    source, got, usual = opened(tmp_path), Counter[str](), Path.open

    def counting(self: Path, *args: Any, **kwargs: Any) -> Any:
        return Counted(usual(self, *args, **kwargs), got)

    _, parts = parts_for(source, readers, 1)
    with monkeypatch.context() as replaced:
        replaced.setattr(Path, "open", counting)
        replaced.setattr(pq, "ParquetFile", counted_parquet(got))
        read = [[row for part in parts[n::readers] for row in source.read_part(part)] for n in range(readers)]
    assert all(read)
    assert Counter(row.text for some in read for row in some) == Counter(row.text for row in source.read(0))
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert 0.99 * size <= got["bytes"] <= 1.1 * size


class Counted(io.RawIOBase):
    """A file that counts what is read of it."""

    def __init__(self, file: Any, got: Counter[str]) -> None:
        self.file, self.got = file, got

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *place: int) -> int:
        return self.file.seek(*place)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int = -1) -> bytes:
        found = self.file.read(size)
        self.got["bytes"] += len(found)
        return found

    def close(self) -> None:
        self.file.close()


def counted_parquet(got: Counter[str]) -> Any:
    """pyarrow's reader over such a file."""
    usual = pq.ParquetFile

    def read(path: Path, **options: Any) -> Any:
        return usual(pa.PythonFile(Counted(open(path, "rb"), got), mode="r"), **options)

    return read
