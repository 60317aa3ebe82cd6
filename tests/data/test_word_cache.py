"""Remembered words: who may use them, and that forgetting and spelt-out special tokens change nothing."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from lang_jepa.data.text import backend as word_cache
from lang_jepa.data.text.backend import WordCache, splits_at_spaces
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer

TEXTS = [
    ["The sea was calm.", "It rained,\nand it  rained.", "Anna's ship left at 4.30!"],
    ["A ship came; the sea was calm.", "naïve café 海の日", "\u00a0x \u2028y"],
    ["The sea, the sea!", "https://example.org/a?b=c", "It rained."],
]


@pytest.fixture(scope="module")
def trained() -> TextTokenizer:
    return train_tokenizer([" ".join(text) for text in TEXTS] * 3, 300)


def _direct(tokenizer: TextTokenizer, sentences: list[str]) -> list[int]:
    return list(tokenizer.backend.encode(tokenizer.lead + " ".join(sentences), add_special_tokens=False).ids)


def _encode(memo: WordCache, sentences: list[str]) -> list[int]:
    found = memo.encode(sentences)
    assert found is not None
    return found[0]


def test_ids_stay_the_same_when_everything_is_forgotten(
    trained: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "CHARACTERS_KEPT", 40)
    memo = WordCache(trained.backend, trained.lead)
    sizes = []
    for text in TEXTS * 2:
        assert _encode(memo, text) == _direct(trained, text)
        sizes.append(sum(map(len, memo._known)))
    assert max(sizes) <= 40


def test_remembered_words_are_not_asked_for_again(trained: TextTokenizer) -> None:
    memo = WordCache(trained.backend, trained.lead)
    first = _encode(memo, TEXTS[0])
    known = dict(memo._known)
    assert _encode(memo, TEXTS[0]) == first
    assert memo._known == known
    assert {"The", "sea", "was", "calm."} <= known.keys()
    assert "It rained,\nand it  rained." in known  # white space together: never taken apart


def test_an_added_word_is_left_to_the_backend_and_a_special_token_is_text(minilm: Path) -> None:
    for tokenizer, special in (
        (train_tokenizer(["The sea."] * 3, 300), "<mask>"),
        (TextTokenizer.load(str(minilm)), "[MASK]"),
    ):
        sentences = [f"The {special} was calm.", "It rained."]
        assert _encode(WordCache(tokenizer.backend, tokenizer.lead), sentences) == _direct(tokenizer, sentences)
        tokenizer.backend.add_tokens(["was calm"])
        assert WordCache(tokenizer.backend, tokenizer.lead).encode(sentences) is None


def test_only_tokenizers_that_split_at_spaces(trained: TextTokenizer) -> None:
    assert splits_at_spaces(trained.backend, "")
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert splits_at_spaces(byte_level, " ")
    assert not splits_at_spaces(byte_level, "")  # a word alone would lack the space it has in a text
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    assert not splits_at_spaces(byte_level, " ")  # merges reach over spaces
    changed = Tokenizer(models.BPE())
    changed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    changed.normalizer = normalizers.Replace(" ", "_")
    assert not splits_at_spaces(changed, "")
    random = Tokenizer(models.BPE(dropout=0.1))
    random.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not splits_at_spaces(random, "")
    assert not splits_at_spaces(Tokenizer(models.WordPiece(unk_token="[UNK]")), "")
