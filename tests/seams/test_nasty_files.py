"""Every nasty input is an error that names the file and the cure, or documents plus counted rejections."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lang_jepa.config import DataSettings
from lang_jepa.data.documents import Document, open_source, require_documents
from lang_jepa.errors import LangJepaError
from nasty import CASES, Case, Error, Rows


def _read(train_file: Path) -> tuple[list[Document], Counter[str]]:
    source = open_source(DataSettings(train_file=str(train_file), min_length=1, limit=None))
    rejected: Counter[str] = Counter()
    documents = list(source.documents(rejected))
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
            assert all(f"{count} x {reason}" in message for reason, count in expected.rejected.items()), (
                message
            )
        return
    documents, rejected = _read(train_file)
    assert Rows(len(documents), dict(rejected)) == expected
    assert len({document.id for document in documents}) == len(documents)
    for document in documents:
        document.text.encode()
        document.id.encode()


def test_names_of_cases_are_different() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
