"""Inputs made to break things: a list of (name, build, expectation) that source tests and prepare tests share.

`build(folder)` writes the case below an empty folder and returns what `data.train_file` is to be. The
expectation is what a source with `min_length=1` and the column `text` must do with it: `Error(pattern)` when
opening or reading it has to raise a LangJepaError with a message that names the file and matches the pattern,
else `Rows(accepted, rejected)` with the exact counts by reason.
"""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

GOOD = "One sentence stands here. Another one stands beside it."
NOT_UTF8 = "not UTF-8 (another encoding, such as Latin-1 or UTF-16?)"
BINARY = "binary data (NUL characters)"
INVISIBLE = "no visible characters"
_EMPTY = {"empty text": 1}


@dataclass(frozen=True)
class Error:
    """A LangJepaError whose message names the file and matches the pattern."""

    pattern: str


@dataclass(frozen=True)
class Rows:
    """So many accepted rows, and rejected ones by reason."""

    accepted: int
    rejected: dict[str, int] = field(default_factory=dict)


class Case(NamedTuple):
    name: str
    build: Callable[[Path], Path]
    expectation: Error | Rows


def _file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return build


def _folder(name: str, *builders: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).mkdir()
        for builder in builders:
            builder(folder / name)
        return folder / name

    return build


def _parquet(columns: dict[str, Any], name: str = "x.parquet", **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        pq.write_table(pa.table(columns), folder / name, **options)
        return folder / name

    return build


def _cut(builder: Callable[[Path], Path], keep: float) -> Callable[[Path], Path]:
    """The same file with only the first part of its bytes."""

    def build(folder: Path) -> Path:
        path = builder(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return path

    return build


def _overwritten(builder: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """The same file with its first half destroyed after the magic bytes, the footer intact."""

    def build(folder: Path) -> Path:
        path = builder(folder)
        content = bytearray(path.read_bytes())
        content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
        path.write_bytes(bytes(content))
        return path

    return build


def _no_row_groups(folder: Path) -> Path:
    path = folder / "none.parquet"
    pq.ParquetWriter(path, pa.schema([("text", pa.string())])).close()
    return path


def _invalid_utf8_strings(folder: Path) -> Path:
    texts = pa.array([GOOD.encode(), b"caf\xe9", GOOD.encode()]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), folder / "x.parquet")
    return folder / "x.parquet"


def _broken_link(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).symlink_to(folder / "gone.txt")
        return folder / name

    return build


def _circle(folder: Path) -> Path:
    _file("d/a.txt", GOOD)(folder)
    (folder / "d" / "sub").mkdir()
    (folder / "d" / "sub" / "up").symlink_to(folder / "d", target_is_directory=True)
    return folder / "d"


def _broken_link_to_itself(folder: Path) -> Path:
    (folder / "a.txt").symlink_to(folder / "a.txt")
    return folder / "a.txt"


def _long_window(folder: Path) -> Path:
    """A file as `zstd --long=31` writes it, which is not read unless long windows are allowed."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return _file("a.jsonl.zst", packer.compress(_LINE.encode() * 3) + packer.flush())(folder)


def _unreadable(folder: Path) -> Path:
    path = _file("secret.txt", GOOD)(folder)
    path.chmod(0)
    return path


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.txt")
    return folder / "pipe.txt"


def _missing(folder: Path) -> Path:
    _file("corpus.parquet", "x")(folder)
    return folder / "corpsu.parquet"


def _lines(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


_NOISE = "".join(f"{number * 7919 % 9973} " for number in range(40_000))
_TEXTS = {"text": [GOOD] * 5}
_LINE = _lines({"text": GOOD})
_NO_KEY = {"no 'text' key": 1}

CASES = [
    Case("path that is not there", _missing, Error(r"no file or folder.*Did you mean .*corpus\.parquet")),
    Case("unknown suffix", _file("book.exe", GOOD), Error(r"\.exe.*Convert or rename")),
    Case("no suffix", _file("README", GOOD), Error("Convert or rename")),
    Case("broken link", _broken_link("link.txt"), Error("which does not exist")),
    Case("named pipe", _pipe, Error("neither a file nor a folder")),
    Case("unreadable file", _unreadable, Error("permission")),
    # Plain text
    Case("empty text file", _file("a.txt", ""), Rows(0, {"empty text": 1})),
    Case("white space only", _file("a.txt", " \n\t\u3000\r\n"), Rows(0, {"empty text": 1})),
    Case("100,000 newlines", _file("a.txt", "\n" * 100_000), Rows(0, {"empty text": 1})),
    Case("100,000 newlines inside", _file("a.txt", "a." + "\n" * 100_000 + "b."), Rows(1)),
    Case("binary", _file("a.txt", bytes(range(256)) * 9), Rows(0, {BINARY: 1})),
    Case("NUL in a text file", _file("a.txt", GOOD * 90 + "\0" + GOOD), Rows(0, {BINARY: 1})),
    Case("Latin-1", _file("a.txt", "Das Café ist schön.".encode("latin-1")), Rows(0, {NOT_UTF8: 1})),
    Case("cut in the middle of a character", _file("a.txt", "schön ö".encode()[:-1]), Rows(0, {NOT_UTF8: 1})),
    Case(
        "UTF-16 with a mark",
        _file("a.txt", GOOD.encode("utf-16")),
        Rows(0, {"not UTF-8 (UTF-16 with a byte order mark)": 1}),
    ),
    Case("UTF-16 without a mark", _file("a.txt", GOOD.encode("utf-16-le")), Rows(0, {BINARY: 1})),
    Case("UTF-8 with a mark", _file("a.txt", b"\xef\xbb\xbf" + GOOD.encode()), Rows(1)),
    Case("only a mark", _file("a.txt", b"\xef\xbb\xbf"), Rows(0, {"empty text": 1})),
    Case("one 5 MB line", _file("a.txt", GOOD * 91_000), Rows(1)),
    Case("5 MB without a mark", _file("a.txt", "word " * 1_000_000), Rows(1)),
    Case("one word of 200,000 characters", _file("a.txt", "x" * 200_000), Rows(1)),
    Case("one word", _file("a.txt", "word"), Rows(1)),
    Case("right to left", _file("a.txt", "\u202bشكرا جزيلا. كيف حالك؟\u202c"), Rows(1)),
    Case("emoji only", _file("a.txt", "👨‍👩‍👧🇩🇪👍🏽" * 50), Rows(1)),
    Case("zero-width characters only", _file("a.txt", "\u200b\u200d\ufeff\u2060" * 40), Rows(0, {INVISIBLE: 1})),
    Case("control characters only", _file("a.txt", "\x01\x02\x1b\x7f" * 40), Rows(0, {INVISIBLE: 1})),
    Case("control characters among text", _file("a.txt", "\x1b[1mBold.\x1b[0m " + GOOD), Rows(1)),
    Case("mixed line ends", _file("a.txt", "One.\r\nTwo.\rThree.\nFour.\u2028Five.\x85Six."), Rows(1)),
    Case("combining characters", _file("a.txt", "e" + "\u0301" * 5000), Rows(1)),
    Case("markdown", _file("notes.md", f"# Title\n\n{GOOD}\n\n- item\n- item\n\n```\ncode\n```\n"), Rows(1)),
    Case("name with spaces and signs", _file("ein Büch (1) 日本 🎉.txt", GOOD), Rows(1)),
    Case("capital suffix", _file("BOOK.TXT", GOOD), Rows(1)),
    # JSON lines
    Case("empty jsonl", _file("a.jsonl", ""), Rows(0)),
    Case("blank lines only", _file("a.jsonl", "\n \n\r\n"), Rows(0)),
    Case("damaged lines", _file("a.jsonl", _LINE + '{"text": "cut\n' + _LINE), Rows(2, {"damaged JSON": 1})),
    Case("last line cut", _file("a.jsonl", (_LINE * 2)[:-9]), Rows(1, {"damaged JSON": 1})),
    Case(
        "lines that are no objects",
        _file("a.jsonl", _lines([1, 2], "text", 3, None) + _LINE),
        Rows(2, {f"not a JSON object ({kind})": 1 for kind in ("list", "int", "NoneType")}),
    ),
    Case("no text key", _file("a.jsonl", _lines({"body": GOOD}) + _LINE), Rows(1, _NO_KEY)),
    Case(
        "text of another type",
        _file("a.jsonl", _lines({"text": [GOOD]})),
        Rows(0, {"not a string (list)": 1}),
    ),
    Case("null text", _file("a.jsonl", _lines({"text": None}) + _LINE), Rows(1, {"null text": 1})),
    Case("blank lines between", _file("a.jsonl", f"\n{_LINE}\n \n{_LINE}\n"), Rows(2)),
    Case("jsonl with a mark", _file("a.jsonl", b"\xef\xbb\xbf" + _LINE.encode() * 2), Rows(2)),
    Case("jsonl with CRLF", _file("a.jsonl", _LINE.replace("\n", "\r\n") * 3), Rows(3)),
    Case("jsonl with CR only", _file("a.jsonl", _LINE.replace("\n", "\r") * 3), Rows(0, {"damaged JSON": 1})),
    Case("no newline at the end", _file("a.ndjson", (_LINE * 2).rstrip()), Rows(2)),
    Case(
        "lone surrogates",
        _file("a.jsonl", '{"text": "bad \\ud83d here."}\n' + _LINE),
        Rows(1, {"invalid Unicode (lone surrogates)": 1}),
    ),
    Case("paired surrogates", _file("a.jsonl", '{"text": "good \\ud83d\\ude00 here."}\n'), Rows(1)),
    Case("surrogate in an id", _file("a.jsonl", '{"id": "\\ud800", "text": "Fine."}\n' * 2), Rows(2)),
    Case("few NULs in long text", _file("a.jsonl", _lines({"text": GOOD * 90 + "\0"})), Rows(1)),
    Case("many NULs", _file("a.jsonl", _lines({"text": "a\0" * 90})), Rows(0, {BINARY: 1})),
    Case(
        "Latin-1 in jsonl",
        _file("a.jsonl", b'{"text": "caf\xe9"}\n' + _LINE.encode()),
        Rows(1, {NOT_UTF8: 1}),
    ),
    Case("UTF-16 jsonl", _file("a.jsonl", _LINE.encode("utf-16")), Rows(0, {NOT_UTF8: 1, "damaged JSON": 1})),
    Case(
        "very deep JSON",
        _file("a.jsonl", '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n" + _LINE),
        Rows(1, {"damaged JSON": 1}),
    ),
    Case(
        "huge numbers",
        _file("a.jsonl", f'{{"id": {"9" * 10_000}, "x": 1e999, "y": NaN, "text": "Fine."}}\n' + _LINE),
        Rows(2),
    ),
    Case("one 5 MB JSON line", _file("a.jsonl", _lines({"text": GOOD * 91_000}) + _LINE), Rows(2)),
    Case("duplicate ids", _file("a.jsonl", _lines(*[{"id": i, "text": GOOD} for i in (1, "1", 2, 1)])), Rows(4)),
    Case(
        "ids of odd types",
        _file("a.jsonl", _lines(*[{"id": i, "text": GOOD} for i in ([], {}, True, "", None, 1.5)])),
        Rows(6),
    ),
    Case("pretty-printed array", _file("a.json", json.dumps([{"text": GOOD}] * 3, indent=2)), Rows(3)),
    Case(
        "JSON array on one line",
        _file("a.json", json.dumps([{"text": GOOD}, {"body": GOOD}])),
        Rows(1, _NO_KEY),
    ),
    Case("JSON array called jsonl", _file("a.jsonl", json.dumps([{"text": GOOD}] * 2)), Rows(2)),
    Case("JSON array of strings", _file("a.json", json.dumps([GOOD, "Fine."], indent=1)), Rows(2)),
    Case(
        "JSON array in gz",
        _file("a.json.gz", gzip.compress(json.dumps([{"text": GOOD}] * 3).encode())),
        Rows(3),
    ),
    Case(
        "JSON array of mixed values",
        _file("a.json", json.dumps([{"text": GOOD}, GOOD, 3, None, [1], {"text": None}])),
        Rows(2, {f"not a JSON object ({kind})": 1 for kind in ("int", "NoneType", "list")} | {"null text": 1}),
    ),
    Case("JSON array of 5 MB values", _file("a.json", json.dumps([{"text": GOOD * 91_000}, GOOD])), Rows(2)),
    Case("empty JSON array", _file("a.json", "[ ]"), Rows(0)),
    Case("JSON array with a mark", _file("a.json", b"\xef\xbb\xbf" + json.dumps([GOOD]).encode()), Rows(1)),
    Case("Latin-1 in a JSON array", _file("a.json", b'["caf\xe9 au lait", "Fine."]'), Rows(1, {NOT_UTF8: 1})),
    Case(
        "cut JSON array",
        _file("a.json", json.dumps([{"text": GOOD}] * 3)[:-9]),
        Error("damaged JSON after value 2"),
    ),
    Case("JSON array without a comma", _file("a.json", '["One.", "Two." "Three."]'), Error("',' is missing")),
    Case("text after a JSON array", _file("a.json", '["One.",\n"Two."] x'), Error("more after the end")),
    Case("very deep JSON array", _file("a.json", "[" * 100_000 + "]" * 100_000), Error("nested too deeply")),
    Case("JSON lines called json", _file("a.json", _LINE * 3), Rows(3)),
    Case("JSON lines called dat", _file("a.dat", _LINE * 3), Rows(3)),
    Case("JSON lines called txt", _file("a.txt", _LINE * 3), Rows(3)),
    Case("JSON lines without a suffix", _file("RC_2010-01", "\n" + _LINE * 3), Rows(3)),
    Case("one object over several lines", _file("a.json", json.dumps({"text": GOOD}, indent=2)), Rows(1)),
    Case("objects over several lines", _file("a.jsonl", json.dumps({"text": GOOD}, indent=2) * 2), Rows(2)),
    Case(
        "a configuration by itself",
        _file("package.json", json.dumps({"name": "x", "files": [{"a": 1}]}, indent=2)),
        Error(r"one JSON object without 'text' \(keys: name, files\).*data.text_column.*jq"),
    ),
    Case("binary called jsonl", _file("a.jsonl", b"\x00\xff" * 500), Rows(0, {NOT_UTF8: 1})),
    # Compressed
    Case("gz", _file("a.jsonl.gz", gzip.compress(_LINE.encode() * 3)), Rows(3)),
    Case("zst", _file("a.jsonl.zst", zstandard.compress(_LINE.encode() * 3)), Rows(3)),
    Case("zst of two frames", _file("a.jsonl.zst", zstandard.compress(_LINE.encode()) * 2), Rows(2)),
    Case("gz of two members", _file("a.jsonl.gz", gzip.compress(_LINE.encode()) * 2), Rows(2)),
    Case("text gz", _file("a.txt.gz", gzip.compress(GOOD.encode())), Rows(1)),
    Case(
        "truncated gz",
        _cut(_file("a.txt.gz", gzip.compress(_NOISE.encode())), 0.7),
        Error("cut short.*again"),
    ),
    Case(
        "truncated zst",
        _cut(_file("a.txt.zst", zstandard.compress(_NOISE.encode())), 0.7),
        Error("cut short.*again"),
    ),
    Case("gz that is not gz", _file("a.jsonl.gz", _LINE), Error("not compressed as its name says")),
    Case("zst that is not zst", _file("a.jsonl.zst", _LINE), Error("not compressed as its name says")),
    Case(
        "gz with rubbish in the middle",
        _overwritten(_file("a.txt.gz", gzip.compress(_NOISE.encode()))),
        Error("damaged"),
    ),
    Case("parquet in gz", _file("a.parquet.gz", gzip.compress(b"PAR1")), Error("Convert or rename")),
    Case("zst with a long window", _long_window, Rows(3)),
    # Tables
    Case("csv", _file("a.csv", 'n,text\n1,"One, ""two"".\nThree."\n\n2,Four.\n'), Rows(2)),
    Case("csv with CRLF and a mark", _file("a.csv", b"\xef\xbb\xbftext,n\r\nOne.,1\r\nTwo.,2\r\n"), Rows(2)),
    Case("csv with CR only", _file("a.csv", "text,n\rOne.,1\rTwo.,2\r"), Rows(2)),
    Case("csv with semicolons", _file("a.csv", "n;text\n1;One, two.\n"), Rows(1)),
    Case("csv with a field of 1 MB", _file("a.csv", f'text\n"{GOOD * 20_000}"\nTwo.\n'), Rows(2)),
    Case("csv in zst", _file("a.csv.zst", zstandard.compress(b"text\nOne.\n")), Rows(1)),
    Case("empty csv", _file("a.csv", ""), Rows(0)),
    Case("csv of nothing but a header", _file("a.csv", "text\n"), Rows(0)),
    Case(
        "csv of another column",
        _file("a.csv", "id,body\n1,One.\n"),
        Error("no column 'text'.*id, body.*header"),
    ),
    Case(
        "csv without a header",
        _file("a.csv", f"1,{GOOD}\n"),
        Error("no column 'text'.*no header.*row of names"),
    ),
    Case("csv with a column twice", _file("a.csv", "text,text\nOne.,Two.\n"), Error("more than one column")),
    Case(
        "csv rows of other lengths",
        _file("a.csv", "n,text\n1\n2,Two.\n3,Three,three.\n"),
        Rows(1, {"another number of fields than the header": 2}),
    ),
    Case(
        "csv with quotes that are not doubled",
        _file("a.csv", 'n,text\n1,"One" two.\n2,Two.\n'),
        Rows(1, {"quotes inside a field that are not doubled": 1}),
    ),
    Case("csv with an open quote", _file("a.csv", 'text\n"One.\nTwo.\nThree.\n'), Error("never closed")),
    Case("Latin-1 in csv", _file("a.csv", b"text\ncaf\xe9 au lait\nFine.\n"), Rows(1, {NOT_UTF8: 1})),
    Case("tsv", _file("a.tsv", 'n\ttext\n1\t"One ""two""."\n2\t"Three," she said.\n3\tSaid "four\n'), Rows(3)),
    Case("tsv with line breaks in quotes", _file("a.tsv", 'n\ttext\n1\t"One.\nTwo."\n2\tThree.\n'), Rows(2)),
    # Documents with markup
    Case("markdown of nothing but a table", _file("a.md", "| a | b |\n|---|---|\n| 1 | 2 |\n"), Rows(0, _EMPTY)),
    Case(
        "html of nothing but scripts",
        _file("a.html", "<script>x()</script><style>a{}</style>"),
        Rows(0, _EMPTY),
    ),
    Case("empty html", _file("a.html", ""), Rows(0, _EMPTY)),
    Case("html that is never closed", _file("a.html", "<div><p>One.<b>Two.<table><tr><td>3"), Rows(1)),
    Case("html in the encoding it declares", _file("a.htm", b"<meta charset=latin1><p>caf\xe9.</p>"), Rows(1)),
    Case("html in another encoding", _file("a.html", b"<p>caf\xe9.</p>"), Rows(0, {NOT_UTF8: 1})),
    Case("deep html", _file("a.html", "<div>" * 1000 + GOOD), Rows(1)),
    Case(
        "very deep html",
        _file("a.html", "<div>" * 500_000 + GOOD),
        Rows(0, {"HTML of more than 10,000 elements inside each other": 1}),
    ),
    Case("markdown in gz", _file("a.md.gz", gzip.compress(f"# Title\n\n{GOOD}".encode())), Rows(1)),
    Case("mdx", _file("a.mdx", f"import A from 'a'\n\n<A b={{1}}>\n\n{GOOD}\n\n</A>\n"), Rows(1)),
    Case("rst", _file("a.rst", f"Title\n=====\n\n{GOOD}\n"), Rows(1)),
    Case("text called pdf", _file("a.pdf", GOOD), Rows(0, {"damaged PDF": 1})),
    Case("text called docx", _file("a.docx", GOOD), Rows(0, {"damaged Word file": 1})),
    # Parquet
    Case("parquet", _parquet(_TEXTS), Rows(5)),
    Case("empty parquet file", _file("x.parquet", b""), Error("not a parquet file")),
    Case("text called parquet", _file("x.parquet", GOOD), Error("not a parquet file")),
    Case("truncated parquet", _cut(_parquet({"text": [_NOISE]}), 0.5), Error("cut short.*again")),
    Case("parquet with destroyed pages", _overwritten(_parquet({"text": [_NOISE]})), Error("damaged")),
    Case("wrong column", _parquet({"body": [GOOD]}), Error("no column 'text'.*body.*data.text_column")),
    Case("column of numbers", _parquet({"text": [1, 2], "body": ["a", "b"]}), Error("int64, not text.*body")),
    Case("column of lists", _parquet({"text": [[GOOD]]}), Error("not text")),
    Case("nulls", _parquet({"text": [None, GOOD, None, ""]}), Rows(1, {"null text": 2, "empty text": 1})),
    Case("column of nothing but nulls", _parquet({"text": pa.nulls(3)}), Rows(0, {"null text": 3})),
    Case("no rows", _parquet({"text": pa.array([], pa.string())}), Rows(0)),
    Case("zero row groups", _no_row_groups, Rows(0)),
    Case("many row groups", _parquet({"text": [GOOD] * 50}, row_group_size=7), Rows(50)),
    Case("binary column", _parquet({"text": [GOOD.encode(), b"caf\xe9"]}), Rows(1, {NOT_UTF8: 1})),
    Case("strings that are not UTF-8", _invalid_utf8_strings, Rows(2, {NOT_UTF8: 1})),
    Case("dictionary column", _parquet({"text": pa.array([GOOD, "x", GOOD]).dictionary_encode()}), Rows(3)),
    Case("large strings", _parquet({"text": pa.array([GOOD], pa.large_string())}), Rows(1)),
    Case("parquet with duplicate ids", _parquet({"id": ["a", "a", None, ""], "text": [GOOD] * 4}), Rows(4)),
    Case("parquet with number ids", _parquet({"id": [3, 3, None], "text": [GOOD] * 3}), Rows(3)),
    Case("ids are the text", _parquet({"id": [[1]], "text": [GOOD]}), Rows(1)),
    Case("folder called parquet", _folder("x.parquet", _parquet(_TEXTS, "part-0.parquet")), Rows(5)),
    # Folders
    Case("empty folder", _folder("d"), Error("no file that can be read")),
    Case("only hidden files", _folder("d", _file(".a.txt", GOOD)), Error("no file that can be read.*1 hidden")),
    Case("only unknown files", _folder("d", _file("a.exe", GOOD)), Error(r"no file.*unknown kind \(\.exe\)")),
    Case(
        "mixed and nested folder",
        _folder(
            "d",
            _file("a.txt", GOOD),
            _file("b/c/x.jsonl", _LINE * 2),
            _file("b/.hidden/y.txt", GOOD),
            _file("z.exe", GOOD),
            _parquet(_TEXTS),
            _file("e.txt", ""),
        ),
        Rows(8, {"empty text": 1}),
    ),
    Case(
        "folder with a broken link",
        _folder("d", _file("a.txt", GOOD), _broken_link("b.txt")),
        Error("Fix the link"),
    ),
    Case(
        "folder with a damaged file",
        _folder("d", _file("a.txt", GOOD), _file("b.parquet", "x")),
        Error("b.parquet"),
    ),
    Case(
        "same ids in two files",
        _folder(
            "d",
            _file("a.jsonl", _lines({"id": 0, "text": GOOD})),
            _file("b.jsonl", _lines({"id": 0, "text": GOOD})),
        ),
        Rows(2),
    ),
    Case(
        "configurations among documents",
        _folder(
            "d",
            _file("a.md", GOOD),
            _file("package.json", json.dumps({"name": "x", "authors": [{"name": "y"}]}, indent=2)),
            _file("sub/min.json", json.dumps({"lockfileVersion": 3})),
            _file("tsconfig.json", '{\n  // a comment\n  "strict": true,\n}\n'),
            _file("numbers.json", "[1, 2, 3]"),
            _file("list.json", json.dumps([{"text": GOOD}, {"text": GOOD}], indent=2)),
            _file("one.json", json.dumps({"text": GOOD}, indent=2)),
        ),
        Rows(4),
    ),
    Case(
        "folder of nothing but configurations",
        _folder("d", _file("a.json", "{}")),
        Error("1 JSON without doc"),
    ),
    Case("links in a circle", _circle, Rows(1)),
    Case("link to itself", _broken_link_to_itself, Error("Fix the link")),
    Case("deep folder", _folder("d", _file("/".join("abcdefghij" * 5) + "/x.txt", GOOD)), Rows(1)),
]
