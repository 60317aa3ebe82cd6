"""SentencePiece that loses nothing, and how many bytes each token stands for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import text_of
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.data.tokens.byte_table import ByteTable, check_bytes, documents
from lang_jepa.data.tokens.pieces import Pieces, _EvenSample, train_pieces
from lang_jepa.data.tokens.token_shards import CorpusTokens, TokenShards, write_shard
from lang_jepa.errors import LangJepaError

NASTY = (
    "Two  spaces,\ttabs\r\nand\n\n\n lines.  ",
    "Käse für Zoë – 日本語 🙂 ﬁ ½ Å",
    "<s> </s> <0x41> <unk> <pad> ▂",
    "1234567 3.14",
    "\u200b\xa0x\xa0",
    "a\0b",
    "x" * 5000,
)
"""Texts in which tokenizers like to lose something."""


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return train_pieces([text_of(number) for number in range(200)], 400)


@pytest.fixture(scope="module")
def table(pieces: Pieces) -> ByteTable:
    return ByteTable.of_pieces(pieces)


def bytes_of(table: ByteTable, ids: Sequence[int], bos: int = 1) -> int:
    row = torch.tensor([bos, *ids])
    return int(table.count(row[1:], row[:-1]).sum())


def test_ids_and_size(pieces: Pieces) -> None:
    assert pieces.vocab_size == 400
    assert [pieces.piece(index) for index in range(5)] == ["<pad>", "<s>", "</s>", "<unk>", "<0x00>"]
    assert len(pieces.encode(["7777"])[0]) == 4  # digits stand alone


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nothing_is_lost_and_bytes_are_counted(text: str, pieces: Pieces, table: ByteTable) -> None:
    ids = pieces.encode([text.strip()])[0].tolist()
    assert pieces.decode(ids) == text.strip()
    assert bytes_of(table, ids) == len(text.strip().encode())


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text(text: str, pieces: Pieces, table: ByteTable) -> None:
    ids = pieces.encode([text.strip()])[0].tolist()
    assert pieces.decode(ids) == text.strip()
    assert bytes_of(table, ids) == len(text.strip().encode())


def test_the_rule_for_single_tokens(pieces: Pieces, table: ByteTable) -> None:
    """UTF-8 bytes of the piece without `▁`, one more for the space unless a document begins; 0 for silent ones."""
    spaced = next(index for index in range(400) if pieces.piece(index) == "▁s")
    byte, bos = 4 + 0xC3, 1
    row = torch.tensor([bos, spaced, spaced, byte, spaced, bos, spaced, 0, 2, 3])
    assert table.count(row[1:], row[:-1]).tolist() == [1, 2, 1, 2, 0, 1, 0, 0, 0]


def test_the_same_texts_give_the_same_model(pieces: Pieces) -> None:
    again = train_pieces((text_of(number) for number in range(200)), 400)
    assert again.fingerprint() == pieces.fingerprint()
    assert train_pieces([text_of(1)] * 3, 400).fingerprint() != pieces.fingerprint()


def test_threads_change_nothing(pieces: Pieces) -> None:
    texts = [text_of(number) for number in range(30)]
    one, two = pieces.encode(texts), pieces.encode(texts, threads=2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_sample_is_even_and_bounded() -> None:
    sample = _EvenSample(100)
    for number in range(1000):
        sample.add(f"{number:04d}")
        assert sum(map(len, sample.lines)) <= 100
    numbers = [int(line) for line in sample.lines]
    assert len(numbers) > 12
    assert set(np.diff(numbers).tolist()) == {64}
    assert numbers[0] == 0


def _sentencepiece(path: Path, **options: object) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text_of(number) for number in range(200)]),
        model_prefix=str(path.with_suffix("")),
        vocab_size=400,
        minloglevel=2,
        **options,
    )
    return path


def test_models_from_elsewhere(tmp_path: Path) -> None:
    """One with the public sets' options is taken, and its count of bytes is that of what it decodes to."""
    public = Pieces.load(
        _sentencepiece(
            tmp_path / "public.model",
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="nmt_nfkc",
            add_dummy_prefix=False,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
        )
    )
    for text in NASTY:
        ids = public.encode([text])[0].tolist()
        assert bytes_of(ByteTable.of_pieces(public), ids) == len(public.decode(ids).encode())
    prefixed = Pieces.load(_sentencepiece(tmp_path / "prefix.model", model_type="bpe", byte_fallback=True))
    ids = prefixed.encode(["The sea was calm."])[0].tolist()
    assert prefixed.piece(ids[0]).startswith("▁")
    assert bytes_of(ByteTable.of_pieces(prefixed), ids) == len(b"The sea was calm.")


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    path = _sentencepiece(tmp_path / "two.model", model_type="bpe", hard_vocab_limit=False, bos_id=2, eos_id=1)
    with pytest.raises(LangJepaError, match=f"{path} has BOS id 2"):
        Pieces.load(path)
    (tmp_path / "no.model").write_bytes(b"nothing of the kind")
    with pytest.raises(LangJepaError, match=r"no.model is not a SentencePiece model"):
        Pieces.load(tmp_path / "no.model")
    with pytest.raises(LangJepaError, match="No such file"):
        Pieces.load(tmp_path / "none.model")
    with pytest.raises(LangJepaError, match="there is no text"):
        train_pieces([], 400)
    with pytest.raises(LangJepaError, match=r"of 257 ids is too small .*: take \d+ or more") as refused:
        train_pieces([text_of(0)], 257)
    least = int(str(refused.value).split()[-3])
    assert train_pieces([text_of(0)], least).vocab_size == least


def test_documents_come_back(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", np.array([1, 5, 6, 1, 1, 7, 8, 9, 1, 4]))
    shards = TokenShards([tmp_path / "a.bin"])
    for block in (1, 2, 3, 4, 100):
        assert list(documents(shards, block=block)) == [[5, 6], [], [7, 8, 9], [4]]
    write_shard(tmp_path / "b.bin", np.array([5, 6, 1, 7]))
    assert list(documents(TokenShards([tmp_path / "b.bin"]), block=1)) == [[5, 6], [7]]


def test_the_self_test_fails_for_another_tokenizer(pieces: Pieces, table: ByteTable, tmp_path: Path) -> None:
    texts = [text_of(number) for number in range(5)]
    tokens = np.concatenate([[1, *ids] for ids in pieces.encode(texts)])
    write_shard(tmp_path / "val_0.bin", tokens)
    shards = TokenShards([tmp_path / "val_0.bin"])
    assert check_bytes(table, shards) == sum(len(text.encode()) for text in texts)
    spaces = ByteTable(table.base + table.space, table.space, table.boundary, table.decode, table.encode)
    with pytest.raises(LangJepaError, match=r"document 0 .* bits per byte would be wrong"):
        check_bytes(spaces, shards)
    small = train_pieces(texts, 300)
    with pytest.raises(LangJepaError, match="the tokenizer has 300 ids"):
        check_bytes(ByteTable.of_pieces(small), shards)


def test_a_corpus_of_byte_level_tokens(stories_corpus: Corpus) -> None:
    """Bytes by the table, by decoding, and by the offsets that the tokenizer gives for ASCII text."""
    tokenizer, split = stories_corpus.tokenizer, stories_corpus.train
    table = ByteTable.of_tokenizer(tokenizer)
    source = CorpusTokens(split, tokenizer)
    expected = 0
    for number, ids in enumerate(documents(source)):
        text = " ".join(split.texts(range(*split.document_starts[number : number + 2])))
        assert bytes_of(table, ids, tokenizer.bos_id) == len(text.encode())
        encoded = tokenizer.backend.encode(text, add_special_tokens=False)
        assert encoded.ids == ids
        row = torch.tensor([tokenizer.bos_id, *ids])
        spans = [end - start for start, end in encoded.offsets]
        assert text.isascii()
        # The first token may be the space that the tokenizer puts before a text, whose offsets are the next one's.
        assert table.count(row[1:], row[:-1]).tolist()[1:] == spans[1:]
        expected += len(text.encode())
    assert check_bytes(table, source, tokens=10**9) == expected


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_byte_level_tokens_of_nasty_texts(text: str) -> None:
    tokenizer = train_tokenizer([text_of(number) for number in range(20)], 400)
    table, text = ByteTable.of_tokenizer(tokenizer), text.strip()
    ids = tokenizer.encode_document([text])[0].tolist()
    assert tokenizer.decode(ids) == text
    assert bytes_of(table, ids, tokenizer.bos_id or 0) == len(text.encode())


def test_an_added_word_has_the_bytes_that_it_is_written_with() -> None:
    """Not those of the alphabet of byte-level BPE, in which "é" would be one byte and a space another letter."""
    tokenizer = train_tokenizer([text_of(number) for number in range(20)], 400)
    tokenizer.backend.add_tokens([" café", "日本", "    "])
    # One with a prefix space would put another behind an added word.
    tokenizer.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = TextTokenizer(tokenizer.backend, tokenizer.specials)
    text = "A café in    日本, <mask>."
    ids = tokenizer.encode_sentences([text])[0].tolist()
    assert {tokenizer.backend.token_to_id(word) for word in (" café", "日本", "    ")} <= set(ids)
    assert tokenizer.decode(ids) == text
    assert bytes_of(ByteTable.of_tokenizer(tokenizer), ids, tokenizer.bos_id or 0) == len(text.encode())


def test_a_tokenizer_that_loses_text_is_refused(minilm: Path) -> None:
    assert AutoTokenizer.from_pretrained(minilm).is_fast
    with pytest.raises(LangJepaError, match="loses nothing of the text"):
        ByteTable.of_tokenizer(TextTokenizer.load(str(minilm)))
