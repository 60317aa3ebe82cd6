"""A small prepared corpus and a tokenizer for the tests of what reads them."""

import pytest

from lang_jepa.config import DataSettings
from lang_jepa.data.corpus import Corpus
from lang_jepa.data.prepare import prepare


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
