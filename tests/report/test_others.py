"""Encoders that were not trained here, as the evaluation card scores them."""

from pathlib import Path

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import BagOfWords
from lang_jepa.report.encoder_run import other_encoder

SENTENCES = ["A dog barked at the moon.", "The rain fell on the town.", "A dog barked."]


def test_a_bag_of_words_is_the_cosine_of_shared_words() -> None:
    bag = BagOfWords(1 << 12)  # so wide that nothing collides
    one, other = bag.encode(["the dog barked", "a dog slept"])
    # dog against {the, dog, barked, the dog, dog barked} and {dog, slept, dog slept}; "a" is no word of two letters
    assert one @ other == pytest.approx(1 / np.sqrt(5 * 3), abs=1e-6)
    assert not bag.encode(["!"]).any()


def test_a_pretrained_encoder_is_the_mean_of_its_states(minilm: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    encoder = other_encoder(str(minilm), [])
    for sentence, vector in zip(SENTENCES, encoder.encode(SENTENCES), strict=True):
        with torch.no_grad():
            states = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(0) / states.mean(0).norm()
        np.testing.assert_allclose(vector, mean.numpy(), atol=1e-5)


def test_statistics_come_from_the_sample() -> None:
    encoder = other_encoder("words", SENTENCES * 3)
    np.testing.assert_allclose(encoder.statistics.mean, encoder.encode(SENTENCES).mean(0), atol=1e-6)
    assert other_encoder("words", []).statistics.count == 0


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match="no model at"):
        other_encoder(str(tmp_path), [])
