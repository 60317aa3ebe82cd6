"""What is finished is used by people who may read it and not write beside it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.tokens.make_shards import make_shards
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.cache import ConceptCache
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings
from tiny import tiny_settings

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may read (pytest's own are for their owner alone)."""
    path = Path(tempfile.mkdtemp(prefix="read-only-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing below a folder may be written to. Root may write anywhere, so it is somebody else for a while."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    try:
        yield
    finally:
        for place in places:
            place.chmod(0o755)


def _encoder_and_views(settings: Settings) -> tuple[TextEncoder, list[View]]:
    corpus = prepare(settings.data)
    sides = (corpus.train, corpus.validation)
    views = [make_plain_view(settings, side, corpus.tokenizer) for side in sides]
    return build_jepa(settings, corpus.tokenizer).encoder, views


def test_a_finished_corpus_and_its_concepts_are_read_where_nothing_can_be_written(folder: Path) -> None:
    settings = tiny_settings(folder / "run", f"data.corpus_dir={folder / 'corpora'}")
    encoder, (train, validation) = _encoder_and_views(settings)
    made = ConceptCache.open_or_make(encoder, train)
    (folder / "corpora" / f"{prepare(settings.data).path.name}.partial").mkdir()  # of a killed process
    before = sorted(folder.rglob("*"))
    with read_only(folder):
        assert prepare(settings.data).reused
        found = ConceptCache.open_or_make(encoder, train)
        assert found.reused
        assert (found.vectors == made.vectors).all()
        with pytest.raises(LangJepaError, match=r"cannot be written to: copy the corpus .*data.corpus_dir"):
            ConceptCache.open_or_make(encoder, validation)
    assert sorted(folder.rglob("*")) == before
    assert prepare(settings.data).reused
    assert not list(folder.rglob("*.partial"))


def test_finished_shards_are_read_where_nothing_can_be_written(folder: Path) -> None:
    settings = DataSettings(train_file="stories", limit=30, vocab_size=400, tokenizer_path="trained", val_fraction=0.2)
    manifest = make_shards(settings, folder / "shards")
    with read_only(folder):
        assert make_shards(settings, folder / "shards") == manifest
