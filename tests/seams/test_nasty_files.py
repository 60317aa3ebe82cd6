"""Every nasty input is an error that names the file and the cure, or documents plus counted rejections."""

import gzip
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from lang_jepa.data.sources.base import Document, require_documents
from lang_jepa.data.sources.source import open_source
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from nasty import CASES, GOOD, Case, Error, Rows


def _read(train_file: Path) -> tuple[list[Document], Counter[str]]:
    source = open_source(DataSettings(train_file=str(train_file), min_length=1, limit=None))
    rejected: Counter[str] = Counter()
    documents = list(source.documents(rejected, source.rows()))
    assert len(documents) + rejected.total() == len(list(source.rows()))
    require_documents(len(documents), rejected, source)
    return documents, rejected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost_in_silence(case: Case, tmp_path: Path) -> None:
    train_file = case.build(tmp_path)
    if case.name == "unreadable file" and os.access(train_file, os.R_OK):
        pytest.skip("this user may read every file")
    expected = case.expectation
    if isinstance(expected, Error) or expected.accepted == 0:
        with pytest.raises(LangJepaError) as failure:
            _read(train_file)
        message = str(failure.value)
        assert train_file.name in message
        if isinstance(expected, Error):
            assert re.search(expected.pattern, message, re.DOTALL), message
        else:
            assert expected.rejected or "has no rows" in message
            assert all(f"{count} x {reason}" in message for reason, count in expected.rejected.items()), message
        return
    documents, rejected = _read(train_file)
    assert Rows(len(documents), dict(rejected)) == expected
    assert len({document.id for document in documents}) == len(documents)
    for document in documents:
        document.text.encode()
        document.id.encode()


def test_names_of_cases_are_different() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


_WHOLE = {
    "a.json": json.dumps([{"text": GOOD, "id": n} for n in range(9)], indent=1).encode(),
    "a.jsonl": (json.dumps({"text": GOOD}) + "\n").encode() * 9,
    "a.csv": f'n,text\n1,"{GOOD}"\n2,"Two\nlines."\n'.encode() * 3,
    "a.tsv": f"n\ttext\n1\t{GOOD}\n".encode() * 3,
    "a.md": f"---\na: b\n---\n# Title\n\n{GOOD} [a](b)\n\n```\nx\n```\n| a |\n|---|\n".encode(),
    "a.mdx": f"import a from 'b'\n\n<A b={{c}}>\n{GOOD}\n</A>\n".encode(),
    "a.rst": f"Title\n=====\n\n.. note:: {GOOD}\n\n::\n\n  x\n".encode(),
    "a.html": f"<html><body><h1>Title</h1><p>{GOOD}<pre>x</pre></body></html>".encode(),
    "a.txt": GOOD.encode(),
    "a.jsonl.gz": gzip.compress((json.dumps({"text": GOOD}) + "\n").encode() * 9),
    "a.json.gz": gzip.compress(json.dumps([GOOD] * 9).encode()),
    "a.csv.zst": zstandard.compress(b"text\nOne.\n"),
}


@pytest.mark.parametrize("name", _WHOLE)
def test_damage_anywhere_gives_documents_or_one_clear_error(name: str, tmp_path: Path) -> None:
    """Cut, flipped, doubled and overwritten: eight ways, by themselves and in a folder with a file that is whole."""
    drawn = random.Random(name)
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "whole.txt").write_text(GOOD)
    for _ in range(8):
        content = bytearray(_WHOLE[name])
        place, length = drawn.randrange(len(content)), drawn.randrange(1, 9)
        match drawn.choice(["cut", "noise", "gone", "twice", "nul"]):
            case "cut":
                del content[place:]
            case "noise":
                content[place : place + length] = drawn.randbytes(length)
            case "gone":
                del content[place : place + length]
            case "twice":
                content[place:place] = content[: place + 1]
            case "nul":
                content[place] = 0
        (folder / name).write_bytes(bytes(content))
        for train_file in (folder / name, folder):
            message = ""
            try:
                documents, _ = _read(train_file)
            except LangJepaError as error:
                message, documents = str(error), []
            assert all(document.text.encode() for document in documents)
            assert documents or str(train_file) in message or name in message
