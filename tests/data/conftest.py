"""A small prepared corpus and a tokenizer for the tests of what reads them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from texts import text_of, write_rows

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.settings.data import DataSettings


@pytest.fixture(scope="session")
def stories_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sixty of the built-in stories with a tokenizer of their own, a fifth of them held out."""
    settings = DataSettings(
        train_file="stories",
        tokenizer_path="trained",
        vocab_size=600,
        limit=60,
        val_fraction=0.2,
        corpus_dir=str(tmp_path_factory.mktemp("corpora")),
        prepare_workers=1,
    )
    return prepare(settings)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text_of(number) for number in range(50)], 400).save(folder)
    return folder


@pytest.fixture
def settings_for(tokenizer_folder: Path, tmp_path: Path) -> Callable[..., DataSettings]:
    """Settings over a file of texts, in a corpus folder of this test."""

    def make(texts: Iterable[str] | Path, **options: object) -> DataSettings:
        file = texts if isinstance(texts, Path) else write_rows(tmp_path / "texts.jsonl", texts)
        defaults = {
            "train_file": str(file),
            "tokenizer_path": str(tokenizer_folder),
            "corpus_dir": str(tmp_path / "corpora"),
            "limit": None,
            "prepare_workers": 1,
        }
        return DataSettings(**{**defaults, **options})

    return make
