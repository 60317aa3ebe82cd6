"""Blocks, shards and the corpus: every lookup against plain lists, and files that were tampered with."""

import json
import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lang_jepa.data.corpus.blocks import (
    MAX_ID_BYTES,
    Block,
    block_seen,
    process_documents,
    read_block,
    token_dtype,
    write_block,
)
from lang_jepa.data.corpus.corpus import FORMAT, Corpus, CorpusSplit, checksums
from lang_jepa.data.corpus.deduplicate import hash_sentence, hash_text
from lang_jepa.data.corpus.shards import KINDS, ShardWriter, open_shards, shard_file
from lang_jepa.data.sources.base import Document
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import write_json
from lang_jepa.settings.data import DataSettings

WORDS = ["sea", "calm", "ships", "Anna", "rain", "naïve", "海", "two  spaces", "42", "…"]


class Lines:
    """Every line is a sentence."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        ends = np.cumsum([len(line) + 1 for line in text.split("\n")])
        return [(int(end) - len(line) - 1, int(end) - 1) for end, line in zip(ends, text.split("\n"), strict=True)]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer([" ".join(WORDS)] * 3, 300)


def _documents(count: int, seed: int = 0) -> list[Document]:
    rng = np.random.default_rng(seed)
    lines = [[" ".join(rng.choice(WORDS, rng.integers(1, 6))) for _ in range(rng.integers(2, 7))] for _ in range(count)]
    return [Document(f"doc/{seed}-{k}", "\n".join(part)) for k, part in enumerate(lines)]


def _process(documents: Sequence[Document], tokenizer: TextTokenizer, **options: object) -> Block:
    return process_documents(documents, Lines(), tokenizer, DataSettings(**options))


def test_block_holds_the_documents(tokenizer: TextTokenizer) -> None:
    documents = _documents(5)
    block = _process(documents, tokenizer)
    sentences = [document.text.split("\n") for document in documents]
    assert block.tokens.dtype == np.uint16
    assert block.ids.tolist() == [document.id.encode() for document in documents]
    assert np.diff(block.documents).tolist() == [len(part) for part in sentences]
    flat = [text for part in sentences for text in part]
    assert [tokenizer.decode(block.tokens[a:b]) for a, b in pairwise(block.sentences)] == flat
    for document, a, b in zip(documents, block.documents[:-1], block.documents[1:], strict=True):
        tokens, starts = tokenizer.encode_document(document.text.split("\n"))
        assert block.tokens[block.sentences[a] : block.sentences[b]].tolist() == tokens.tolist()
        assert (block.sentences[a : b + 1] - block.sentences[a]).tolist() == starts.tolist()
    assert block.text_hashes.tolist() == [hash_text(document.text) for document in documents]
    assert list(zip(block.sentence_hashes.tolist(), block.countable.tolist(), strict=True)) == [
        hash_sentence(text) for text in flat
    ]
    assert block.characters.tolist() == [len(document.text) for document in documents]
    assert block.bytes.tolist() == [len(document.text.encode()) for document in documents]
    assert block.seen == (5, sum(len(document.text) for document in documents))


def test_short_documents_and_empty_sentences_are_counted(minilm: Path) -> None:
    tokenizer = TextTokenizer.load(str(minilm))
    texts = ["One sea.\n\u200b\nTwo seas.\n\u00ad", "Alone.\n\u200b", "\n \n", "Three.\n\nFour."]
    block = _process([Document(str(k), text) for k, text in enumerate(texts)], tokenizer)
    split = CorpusSplit.from_block(block, tokenizer)
    assert split.texts(range(split.num_sentences)) == ["one sea.", "two seas.", "three.", "four."]
    assert dict(block.rejected) == {"sentences without tokens": 3, "fewer than 2 sentences": 2}
    assert (np.diff(block.sentences) > 0).all()
    assert len(block.sentence_hashes) == len(block.countable) == 4


def test_nothing_kept_is_an_empty_block(tokenizer: TextTokenizer) -> None:
    block = _process([Document("a", "One line.")], tokenizer, min_sentences=2)
    assert (len(block), block.tokens.shape, block.sentences.tolist(), block.documents.tolist()) == (
        0,
        (0,),
        [0],
        [0],
    )
    assert (block.tokens.dtype, block.seen) == (np.uint16, (1, 9))


def test_long_ids_stay_different(tokenizer: TextTokenizer) -> None:
    long = "é" * MAX_ID_BYTES
    documents = [Document(name, "a\nb") for name in (long + "1", long + "2", "x" * MAX_ID_BYTES)]
    split = CorpusSplit.from_block(_process(documents, tokenizer), tokenizer)
    names = [split.document_id(number) for number in range(3)]
    assert len(set(names)) == 3
    assert names[2] == documents[2].id
    assert all(len(name.encode()) <= MAX_ID_BYTES and name.startswith("éééé") for name in names[:2])


@given(keep=st.lists(st.booleans(), min_size=8, max_size=8))
@settings(max_examples=30, deadline=None, database=None)
def test_select_equals_processing_the_selected(keep: list[bool], tokenizer: TextTokenizer) -> None:
    documents = _documents(8)
    chosen = _process(documents, tokenizer).select(np.array(keep))
    alone = _process([one for one, kept in zip(documents, keep, strict=True) if kept], tokenizer)
    for name in ("tokens", "sentences", "documents", "text_hashes", "sentence_hashes", "countable", "bytes"):
        assert getattr(chosen, name).tolist() == getattr(alone, name).tolist()
    assert chosen.ids.tolist() == alone.ids.tolist()


def test_stored_block_is_the_block(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    block = _process([*_documents(3), Document("short", "x")], tokenizer)
    write_block(tmp_path / "b.npz", block)
    again = read_block(tmp_path / "b.npz")
    assert block_seen(tmp_path / "b.npz") == block.seen == again.seen
    assert again.rejected == block.rejected
    for name in Block.__dataclass_fields__:
        if name not in ("rejected", "seen", "speakers", "held", "places"):
            assert getattr(again, name).dtype == getattr(block, name).dtype
            assert getattr(again, name).tolist() == getattr(block, name).tolist()


def test_token_dtype_at_the_border() -> None:
    assert (token_dtype(65_536), token_dtype(65_537)) == (np.uint16, np.uint32)


def _write_shards(folder: Path, side: str, blocks: list[Block], shard_tokens: int) -> list[dict[str, int]]:
    """Write shards that each end with the document that brings them to `shard_tokens`; returns their sizes."""
    sizes, writer, tokens = [], None, 0
    for block in blocks:
        for row in range(len(block)):
            writer = writer or ShardWriter(folder, side, len(sizes), np.uint16)
            document = block.select(np.arange(len(block)) == row)
            writer.append(document)
            tokens += len(document.tokens)
            if tokens >= shard_tokens:
                sizes.append(writer.finish())
                writer, tokens = None, 0
    return [*sizes, writer.finish()] if writer else sizes


@pytest.fixture(scope="module", params=[1, 60, 10**9], ids=["shard per document", "some shards", "one shard"])
def split(
    request: pytest.FixtureRequest, tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> CorpusSplit:
    folder = tmp_path_factory.mktemp("shards")
    made = [_process(_documents(count, seed), tokenizer) for seed, count in enumerate([3, 1, 0, 5, 4])]
    sizes = _write_shards(folder, "train", made, request.param)
    assert {1: 13, 60: 4, 10**9: 1}[request.param] >= len(sizes) > (0 if request.param > 60 else 1)
    return CorpusSplit(open_shards(folder, "train", sizes, np.uint16), lambda: tokenizer)


@pytest.fixture(scope="module")
def plain(tokenizer: TextTokenizer) -> list[tuple[str, list[list[int]], list[str]]]:
    """(id, tokens of each sentence, text of each sentence) of the same documents."""
    documents = [one for seed, count in enumerate([3, 1, 0, 5, 4]) for one in _documents(count, seed)]
    result = []
    for document in documents:
        lines = document.text.split("\n")
        tokens, starts = tokenizer.encode_document(lines)
        result.append((document.id, [tokens[a:b].tolist() for a, b in pairwise(starts)], lines))
    return result


def test_lookups_equal_plain_lists(split: CorpusSplit, plain: list) -> None:
    sentences = [tokens for _, part, _ in plain for tokens in part]
    flat = [token for tokens in sentences for token in tokens]
    starts = np.cumsum([0, *map(len, sentences)])
    owners = [number for number, (_, part, _) in enumerate(plain) for _ in part]
    assert (split.num_documents, split.num_sentences, split.num_tokens) == (
        len(plain),
        len(sentences),
        len(flat),
    )
    assert split.document_starts.tolist() == np.cumsum([0, *(len(part) for _, part, _ in plain)]).tolist()
    rng = np.random.default_rng(0)
    some = rng.permutation(len(sentences))
    assert split.lengths(some).tolist() == [len(sentences[i]) for i in some]
    ends = np.append(some, len(sentences))
    assert split.token_starts(ends).tolist() == starts[ends].tolist()
    assert split.document_of(some).tolist() == [owners[i] for i in some]
    assert [split.document_id(i) for i in range(len(plain))] == [name for name, _, _ in plain]
    assert split.texts(some) == [[text for _, _, part in plain for text in part][i] for i in some]
    lengths = split.lengths(some)
    cut = np.maximum(lengths - 1, 0)  # zero-length ranges among them
    gathered = split.gather(split.token_starts(some) + 1, cut)
    assert gathered.dtype == np.int64
    assert gathered.tolist() == [token for i in some for token in sentences[i][1:]]
    for first, last in pairwise(split.document_starts.tolist()):
        assert split.tokens(first, last).tolist() == flat[starts[first] : starts[last]]
        assert split.tokens(last - 1, last).tolist() == sentences[last - 1]


def test_empty_questions(split: CorpusSplit) -> None:
    none = np.zeros(0, dtype=np.int64)
    answers = [
        split.lengths(none),
        split.token_starts(none),
        split.gather(none, none),
        split.document_of(none),
    ]
    assert [(answer.dtype, len(answer)) for answer in answers] == [(np.int64, 0)] * 4
    assert split.texts([]) == []


def test_wrong_questions(split: CorpusSplit) -> None:
    for start, stop in [
        (-1, 1),
        (2, 2),
        (0, split.num_sentences + 1),
        (split.num_sentences, split.num_sentences + 1),
    ]:
        with pytest.raises(IndexError, match="one document"):
            split.tokens(start, stop)
    for number in (-1, split.num_documents):
        with pytest.raises(IndexError, match="no document"):
            split.document_id(number)


def test_tokens_are_a_view_of_the_file(split: CorpusSplit) -> None:
    piece = split.tokens(0, 1)
    assert piece.base is not None
    assert not piece.flags.owndata
    assert not piece.flags.writeable


def test_side_without_documents(tokenizer: TextTokenizer) -> None:
    side = CorpusSplit([], lambda: tokenizer)
    assert (side.num_documents, side.num_sentences, side.num_tokens) == (0, 0, 0)
    assert side.document_starts.tolist() == [0]
    assert side.token_starts(np.array([0])).tolist() == [0]
    with pytest.raises(IndexError, match="empty"):
        side.lengths(np.array([3]))


def test_block_of_a_stream_survives_pickling(tokenizer: TextTokenizer) -> None:
    documents = _documents(4)
    side = CorpusSplit.from_block(_process(documents, tokenizer), tokenizer)
    again = pickle.loads(pickle.dumps(side))
    assert again.document_starts.tolist() == side.document_starts.tolist()
    assert again.texts([0, 3]) == side.texts([0, 3])


@pytest.fixture
def corpus(tokenizer: TextTokenizer, tmp_path: Path) -> Path:
    """A small corpus put together by hand."""
    shards = {}
    for side, seeds in (("train", (0, 1)), ("validation", (2,))):
        made = [_process(_documents(3, seed), tokenizer) for seed in seeds]
        shards[side] = _write_shards(tmp_path, side, made, 1)
    tokenizer.save(tmp_path / "tokenizer")
    about = {
        "vocab_size": tokenizer.vocab_size,
        "specials": tokenizer.specials,
        "fingerprint": tokenizer.fingerprint(),
    }
    (tmp_path / "duplicates.jsonl").write_text("{}\n")
    manifest = {"format": FORMAT, "tokenizer": about, "shards": shards, "timing": 3}
    write_json(tmp_path / "manifest.json", {**manifest, "checksums": checksums(tmp_path, manifest)})
    return tmp_path


def test_open_finds_both_sides_and_the_tokenizer(corpus: Path) -> None:
    opened = Corpus.open(corpus)
    assert (opened.train.num_documents, opened.validation.num_documents) == (6, 3)
    assert opened.validation.texts([0]) == [_documents(3, 2)[0].text.split("\n")[0]]
    assert opened.tokenizer.pad_id == 1
    # A loader process gets the path, not the arrays.
    sent = pickle.dumps(opened.validation)
    assert len(sent) < 1000
    assert pickle.loads(sent).texts([1]) == opened.validation.texts([1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "type", "empty", "text"])
def test_damaged_files_are_named(corpus: Path, kind: str, damage: str) -> None:
    file = shard_file(corpus, "train", 1, kind)
    content, array = file.read_bytes(), np.load(file)
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "longer":
        np.save(file, np.concatenate([array, array[-1:]]))
    elif damage == "type":
        np.save(file, np.zeros(len(array), dtype=np.float32))
    else:
        file.write_bytes(b"" if damage == "empty" else b"not an array at all")
    with pytest.raises(LangJepaError, match=f"{'missing' if damage == 'missing' else 'damaged'}.*{file.name}"):
        Corpus.open(corpus)


def test_starts_that_do_not_fit_are_named(corpus: Path) -> None:
    file = shard_file(corpus, "train", 0, "sentences")
    starts = np.load(file)
    starts[-1] += 1
    np.save(file, starts)
    with pytest.raises(LangJepaError, match=r"train-00000.sentences.npy \(it ends at \d+ instead of \d+"):
        Corpus.open(corpus)


def test_a_flipped_bit_in_any_file_is_named(corpus: Path) -> None:
    files = [file for file in corpus.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert len(files) > 12
    for file in files:
        content = bytearray(file.read_bytes())
        places = {len(content) // 3, len(content) - 3} if file.suffix == ".npy" else {len(content) // 2}
        for place in places:
            content[place] ^= 1
            file.write_bytes(content)
            with pytest.raises(LangJepaError, match=rf"damaged.*{file.name}"):
                Corpus.open(corpus)
            content[place] ^= 1
        file.write_bytes(content)
    assert Corpus.open(corpus).train.num_documents == 6


def test_a_corpus_of_before_there_were_checksums_is_used(corpus: Path) -> None:
    manifest = json.loads((corpus / "manifest.json").read_text())
    del manifest["checksums"]
    write_json(corpus / "manifest.json", manifest)
    assert Corpus.open(corpus).train.num_documents == 6


def test_manifest_errors(corpus: Path) -> None:
    file = corpus / "manifest.json"
    manifest = json.loads(file.read_text())
    write_json(file, {**manifest, "format": 99})
    with pytest.raises(LangJepaError, match="has format 99"):
        Corpus.open(corpus)
    write_json(file, {"format": FORMAT})
    with pytest.raises(LangJepaError, match=r"damaged .*manifest.json"):
        Corpus.open(corpus)
    file.write_text('{"format": 1, "sha')
    with pytest.raises(LangJepaError, match=r"damaged .*manifest.json"):
        Corpus.open(corpus)
    file.unlink()
    with pytest.raises(LangJepaError, match=r"not found: .*manifest.json"):
        Corpus.open(corpus)


def test_another_tokenizer_is_noticed(corpus: Path) -> None:
    train_tokenizer(["other words entirely"] * 3, 300).save(corpus / "tokenizer")
    opened = Corpus.open(corpus, verify=False)
    with pytest.raises(LangJepaError, match="not the tokenizer this corpus was made with"):
        opened.train.texts([0])


def test_a_corpus_that_is_too_large_to_read_is_compared_in_size(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = next(corpus.rglob("*tokens*.npy"))
    whole = bytearray(tokens.read_bytes())
    whole[-1] ^= 1
    tokens.write_bytes(whole)
    with pytest.raises(LangJepaError, match=str(tokens)):
        Corpus.open(corpus)
    monkeypatch.setattr("lang_jepa.files.atomic.LARGEST_CHECKED", 1000)
    Corpus.open(corpus)
    tokens.write_bytes(whole[:-2])
    with pytest.raises(LangJepaError, match=str(tokens)):
        Corpus.open(corpus)
