"""Tiny trained models that are served to all tests of the folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live, serving

from lang_jepa.data.sources.source import elsewhere
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.index.surroundings import Surroundings
from lang_jepa.inference.model import ConceptModel
from lang_jepa.serving.served import Served
from lang_jepa.training.train import train
from tiny import tiny_decoder, tiny_encoder, tiny_gpt


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an encoder that predicts the next sentence of stories."""
    return tiny_encoder(tmp_path_factory.mktemp("serving") / "tiny-run")


@pytest.fixture(scope="session")
def index(run: Path) -> Path:
    """An index of its stories, with predictions."""
    model = ConceptModel.load(run)
    source = SplitDocuments.open(elsewhere(model.settings.data, "stories", limit=20))
    folder = run.parent / "index"
    Index.build(model, source, folder, surroundings=Surroundings(predictions=True))
    return folder


@pytest.fixture(scope="session")
def live(run: Path, index: Path) -> Iterator[Live]:
    """The encoder with its index, under the usual rules."""
    with serving(Served.open(run, index)) as server:
        yield server


@pytest.fixture(scope="session")
def decoder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a decoder; the encoder is a copy, whose model directory the decoder joins."""
    import shutil

    copy = Path(shutil.copytree(run, tmp_path_factory.mktemp("decoded") / "tiny-run"))
    return train(tiny_decoder(copy.parent / "decoder").of(copy)).folder


@pytest.fixture(scope="session")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_gpt(tmp_path_factory.mktemp("gpt") / "tiny-gpt", "optimization.max_steps=2")).folder
