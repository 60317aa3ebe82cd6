"""Every nasty input through the whole preparation: an error for people, or a corpus that accounts for every row."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.base import Document
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from lang_jepa.training.train import train
from nasty import CASES, GOOD, Case, Error
from tiny import tiny_settings

PREPARED = [case for case in CASES if case.name == "one 5 MB line" or "5 MB" not in case.name]  # the same text

OF_SENTENCES = "sentences without tokens"
"""The one reason of rejection that counts sentences, not documents."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny byte-level tokenizer: nothing is unknown to it, so texts have to come back whole."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([GOOD] * 20, 300).save(folder)
    return folder


def _settings(train_file: Path, tokenizer: Path, corpora: Path) -> DataSettings:
    return DataSettings(
        train_file=str(train_file),
        tokenizer_path=str(tokenizer),
        corpus_dir=str(corpora),
        limit=None,
        min_length=1,
        min_sentences=1,
        val_fraction=0.2,
        prepare_workers=1,
    )


def _documents(split: CorpusSplit) -> Iterator[tuple[str, str]]:
    """Identity and text of every document of a side."""
    for number in range(split.num_documents):
        first, end = split.document_starts[number : number + 2]
        yield split.document_id(number), " ".join(split.texts(range(first, end)))


def _without_space(text: str) -> str:
    """Sentences are joined by one space, so white space is all that may differ."""
    return "".join(text.split())


def _assert_accounts_for_every_row(corpus: Corpus, settings: DataSettings) -> None:
    rows = list(open_source(settings).rows())
    statistics = corpus.manifest["statistics"]
    rejected = sum(count for reason, count in statistics["rejected"].items() if reason != OF_SENTENCES)
    kept = corpus.train.num_documents + corpus.validation.num_documents
    assert statistics["documents_read"] == len(rows)
    assert kept + rejected + sum(statistics["duplicates"].values()) == len(rows), statistics
    texts = {row.id: _without_space(row.text) for row in rows if isinstance(row, Document)}
    for split in (corpus.train, corpus.validation):
        for identity, text in _documents(split):
            assert _without_space(text) == texts[identity], identity


@pytest.mark.parametrize("case", PREPARED, ids=lambda case: case.name)
def test_an_error_for_people_or_every_row_accounted_for(case: Case, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    train_file = case.build(tmp_path / "input")
    if case.name == "unreadable file" and os.access(train_file, os.R_OK):
        pytest.skip("this user may read every file")
    settings = _settings(train_file, tokenizer, tmp_path / "corpora")
    expected = case.expectation
    # A single document that its hash holds out leaves nothing to train on, which is an error as well.
    documents = [] if isinstance(expected, Error) else open_source(settings).rows()
    if any(
        isinstance(row, Document) and side(hash_text(row.text), settings.val_fraction) == "train" for row in documents
    ):
        _assert_accounts_for_every_row(prepare(settings), settings)
        return
    with pytest.raises(LangJepaError):
        prepare(settings)
    assert not list((tmp_path / "corpora").glob("*/manifest.json"))


def test_training_on_all_of_them_at_once(tokenizer: Path, tmp_path: Path) -> None:
    """Whatever could be read can be trained on: very long words, one-sentence documents, emoji, controls."""
    for number, case in enumerate(CASES):
        if not isinstance(case.expectation, Error) and "5 MB" not in case.name:
            folder = tmp_path / "input" / f"{number:03}"
            folder.mkdir(parents=True)
            case.build(folder)
    settings = tiny_settings(
        tmp_path / "run",
        f"data.train_file={tmp_path / 'input'}",
        f"data.tokenizer_path={tokenizer}",
        f"data.corpus_dir={tmp_path / 'corpora'}",
        "data.limit=null",
        "data.min_length=1",
        "data.min_sentences=1",
        "data.deduplicate=none",
        "optimization.max_steps=3",
    )
    result = train(settings)
    assert (result.step, result.interrupted) == (3, False)
    (corpus,) = [Corpus.open(path.parent) for path in (tmp_path / "corpora").glob("*/manifest.json")]
    _assert_accounts_for_every_row(corpus, settings.data)
