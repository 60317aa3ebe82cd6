"""Cached predictions: what `predict_next` gives, in every context that can be asked, and resumed after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.views import make_plain_view
from lang_jepa.inference import prediction as module
from lang_jepa.inference.cache import ConceptCache
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.prediction import PredictionCache
from lang_jepa.training.train import train
from tiny import MODES, tiny_settings


def _made(model: ConceptModel, split: CorpusSplit) -> PredictionCache:
    view = make_plain_view(model.settings, split, model.tokenizer)
    concepts = ConceptCache.open_or_make(model.jepa.encoder, view)
    return PredictionCache.open_or_make(model, split, pooled=concepts.vectors)


def _side(folder: Path, *overrides: str) -> tuple[ConceptModel, CorpusSplit]:
    """A model that made one step, and its validation split."""
    settings = tiny_settings(
        folder / "run", f"data.corpus_dir={folder / 'corpora'}", "optimization.max_steps=1", *overrides
    )
    return ConceptModel.load(train(settings).folder), prepare(settings.data).validation


@pytest.mark.parametrize("mode", MODES)
def test_a_row_is_the_prediction_from_the_sentences_before(mode: str, tmp_path: Path) -> None:
    model, split = _side(tmp_path, *MODES[mode], "model.max_length=256")  # every passage fits
    found = _made(model, split)
    assert found.vectors.shape == (split.num_sentences, model.dim)
    starts = split.document_starts
    for document in range(split.num_documents):
        begin, stop = starts[document], starts[document + 1]
        assert not found.vectors[begin].any()
        count = min(stop - begin, model.settings.data.passage_size) - 1  # later ones are in another passage
        texts = split.texts(np.arange(begin, stop))
        expected = model.predict_next([texts[:at] for at in range(1, count + 1)])
        np.testing.assert_allclose(found.vectors[begin + 1 : begin + 1 + count], expected, atol=2e-5)
    assert _made(model, split).reused


def test_a_killed_process_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = _side(tmp_path)
    whole = np.array(_made(model, split).vectors)
    (folder,) = (tmp_path / "corpora").glob("*/concepts/predicted-*")
    (folder / "vectors.f32").unlink()
    monkeypatch.setattr(module, "BLOCK", 3)
    real, blocks = module._predicted, []

    def dying(model: ConceptModel, view: object, first: int, stop: int) -> tuple[int, np.ndarray]:
        blocks.append(first)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return real(model, view, first, stop)

    monkeypatch.setattr(module, "_predicted", dying)
    with pytest.raises(KeyboardInterrupt):
        _made(model, split)
    found = _made(model, split)
    assert blocks[:4] == [0, 3, 6, 6]  # the third block again, the first two not
    np.testing.assert_allclose(found.vectors, whole, atol=1e-6)


def test_another_predictor_has_rows_of_its_own(tmp_path: Path) -> None:
    model, split = _side(tmp_path)
    first = _made(model, split)
    with torch.no_grad():
        list(model.jepa.predictor.parameters())[-1][0] += 1.0
    second = _made(model, split)
    assert second.folder != first.folder
    assert not np.allclose(first.vectors, second.vectors)
