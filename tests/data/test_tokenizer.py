"""Token ids inside a document, alone, and as the tokenizer itself gives them."""

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.errors import LangJepaError

PLAIN = [
    "It is so. The sea was calm and the ships came in.",
    "Anna left, of course! Why? It rained all night; 42 ships came.",
    "The naïve café owner wrote: “Où est la mer?” and 海は静かだった。",
] * 20

NASTY = [
    "Plain words.",
    "Two  spaces   inside, and\ta tab.",
    "A line\nbroken\n\ntwice.",
    "Emoji 👩‍👩‍👧‍👦 and flags 🇫🇷🇯🇵!",
    "海は静かだった。「なぜ？」",
    "é is not e\u0301, nor is Å Å; ﬁne ½.",
    "\u200b",
    "x",
    "…",
    "\U0001f600",
    "نص عربي، ثم עברית.",
    "A\u00a0hard\u2003space.",
    "<s> [SEP] </s> <mask> literal",
    "\u00ad\u00ad",
]


def _byte_level(*, prefix: bool, trim: bool, specials: bool) -> Tokenizer:
    """A byte-level BPE like GPT-2's (no prefix space) or RoBERTa's (special tokens, trimmed offsets)."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    tokens = ["<s>", "</s>", "<pad>", "<mask>"] if specials else []
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(PLAIN, trainer)
    if specials:
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix
        )
    return backend


def _unigram() -> Tokenizer:
    """Unigram over Metaspace pieces, as `tokenizers` trains it."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator(PLAIN, trainer)
    return backend


def _sentencepiece(folder: Path, kind: str, **options: object) -> Path:
    """Train a real SentencePiece model into `folder`/tokenizer.model."""
    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PLAIN),
        model_writer=model,
        vocab_size=500,
        model_type=kind,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return folder


KINDS = [
    "wordpiece",
    "trained",
    "gpt2",
    "roberta",
    "roberta-trimmed",
    "unigram",
    "llama",
    "t5",
    "xlm-r",
    "merging",
]


@pytest.fixture(scope="module")
def tokenizers(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of saved tokenizers of every family."""
    root = tmp_path_factory.mktemp("tokenizers")
    backends = {
        "gpt2": _byte_level(prefix=False, trim=False, specials=False),
        "roberta": _byte_level(prefix=False, trim=False, specials=True),
        "roberta-trimmed": _byte_level(prefix=False, trim=True, specials=True),
        "unigram": _unigram(),
    }
    for name, backend in backends.items():
        PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(str(root / name))
    train_tokenizer(PLAIN, 400).save(root / "trained")
    bpe = _sentencepiece(root / "spm-bpe", "bpe", byte_fallback=True)
    unigram = _sentencepiece(root / "spm-unigram", "unigram")
    # Pieces of this one reach over spaces, and so over sentence boundaries.
    merging = _sentencepiece(root / "spm-merging", "bpe", byte_fallback=True, split_by_whitespace=False)
    converted = [
        ("llama", LlamaTokenizer, bpe),
        ("t5", T5Tokenizer, unigram),
        ("xlm-r", XLMRobertaTokenizer, unigram),
        ("merging", LlamaTokenizer, merging),
    ]
    for name, kind, folder in converted:
        kind.from_pretrained(str(folder)).save_pretrained(str(root / name))
    return {**{name: root / name for name in KINDS}, "wordpiece": minilm}


@pytest.fixture(scope="module")
def pairs(
    tokenizers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[TextTokenizer, PreTrainedTokenizerFast]]:
    """(ours, what transformers loads from the folder that ours is saved in) by name, loaded once."""
    loaded: dict[str, tuple[TextTokenizer, PreTrainedTokenizerFast]] = {}

    def get(name: str) -> tuple[TextTokenizer, PreTrainedTokenizerFast]:
        if name not in loaded:
            ours, saved = TextTokenizer.load(str(tokenizers[name])), tmp_path_factory.mktemp("saved")
            ours.save(saved)
            loaded[name] = (ours, AutoTokenizer.from_pretrained(str(saved)))
        return loaded[name]

    return get


def _reference(theirs: PreTrainedTokenizerFast, lead: str, sentences: list[str]) -> tuple[list[int], list[int]]:
    """Ids and sentence starts by the definition, token by token, from transformers' own output."""
    text = lead + " ".join(sentences)
    encoded = theirs(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    begins = [len(lead) + sum(len(one) + 1 for one in sentences[:k]) for k in range(len(sentences))]
    ends = [begin + len(one) for begin, one in zip(begins, sentences, strict=True)]
    owners = []
    for left, right in encoded["offset_mapping"]:
        solid = [place for place in range(left, right) if not text[place].isspace()]
        if solid:
            owners.append(sum(begin <= solid[-1] for begin in begins[1:]))
        else:
            owners.append(sum(end <= left for end in ends[:-1]))
    starts = [next((i for i, owner in enumerate(owners) if owner >= k), len(owners)) for k in range(len(sentences))]
    return encoded["input_ids"], [0, *starts[1:], len(owners)]


@pytest.mark.parametrize("name", KINDS)
def test_document_ids_are_those_of_the_joined_text(name: str, pairs: Callable) -> None:
    ours, theirs = pairs(name)
    for sentences in (NASTY, NASTY[::-1], PLAIN[:5], ["One."], NASTY[6:7]):
        ids, starts = ours.encode_document(sentences)
        wanted_ids, wanted_starts = _reference(theirs, ours.lead, sentences)
        assert ids.tolist() == wanted_ids
        assert starts.tolist() == wanted_starts


@pytest.mark.parametrize("name", KINDS)
def test_any_text(name: str, pairs: Callable) -> None:
    ours, theirs = pairs(name)
    letters = st.sampled_from(
        [
            "a",
            "b",
            " ",
            ".",
            ",",
            "\n",
            "?",
            "é",
            "\u0301",
            "海",
            "👩",
            "\u200d",
            "\u00a0",
            "ﬁ",
            "</s>",
            "The sea",
        ]
    )
    sentence = st.lists(letters, min_size=1, max_size=12).map(lambda x: "".join(x).strip()).filter(bool)

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(sentence, min_size=1, max_size=8))
    def check(sentences: list[str]) -> None:
        ids, starts = ours.encode_document(sentences)
        assert (ids.tolist(), starts.tolist()) == _reference(theirs, ours.lead, sentences)

    check()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "merging"])
def test_a_sentence_alone_has_the_ids_it_has_in_a_document(name: str, pairs: Callable) -> None:
    ours, _ = pairs(name)
    sentences = ["The sea was calm.", "it rained.", "42 ships!", "Why?", "(Anna) left.", "café"]
    ids, starts = ours.encode_document(sentences)
    alone = ours.encode_sentences(sentences)
    inside = [ids[a:b].tolist() for a, b in pairwise(starts)]
    assert inside == [one.tolist() for one in alone]
    assert ids.tolist() == np.concatenate(alone).tolist()


def test_lead_is_given_where_a_space_matters(pairs: Callable) -> None:
    leads = {name: pairs(name)[0].lead for name in KINDS if name != "merging"}
    assert leads == {name: " " if name in ("gpt2", "roberta", "roberta-trimmed") else "" for name in leads}


def test_a_piece_over_a_boundary_belongs_to_its_last_letter() -> None:
    vocabulary = {token: number for number, token in enumerate(["a", "b", "c", ".", "_", "._", "._b"])}
    backend = Tokenizer(models.BPE(vocabulary, [(".", "_"), ("._", "b")]))
    backend.normalizer = normalizers.Replace(" ", "_")
    ours = TextTokenizer(backend, {})
    ids, starts = ours.encode_document(["a.", "bc", "a.", "c"])
    assert [backend.id_to_token(i) for i in ids] == ["_", "a", "._b", "c", "_", "a", "._", "c"]
    assert starts.tolist() == [0, 2, 4, 7, 8]


def test_wordpiece_drops_what_it_cannot_see(pairs: Callable) -> None:
    ours, _ = pairs("wordpiece")
    ids, starts = ours.encode_document(["One.", "\u200b", "\u00ad\u00ad", "Two."])
    assert starts.tolist() == [0, 2, 2, 2, 4]
    assert ours.decode(ids[2:4]) == "two."
    assert [len(one) for one in ours.encode_sentences(["\u200b", "Two."])] == [0, 2]


def test_no_sentences_no_tokens(pairs: Callable) -> None:
    ids, starts = pairs("wordpiece")[0].encode_document([])
    assert (ids.tolist(), starts.tolist()) == ([], [0])


@pytest.mark.parametrize("name", KINDS)
def test_frame_is_what_the_tokenizer_itself_adds(name: str, pairs: Callable) -> None:
    ours, theirs = pairs(name)
    text = "The ships came in."
    bare = theirs(ours.lead + text, add_special_tokens=False)["input_ids"]
    assert ours.prefix_ids + bare + ours.suffix_ids == theirs(ours.lead + text)["input_ids"]
    assert ours.encode_sentences([text])[0].tolist() == bare


def test_known_frames_and_ids(pairs: Callable) -> None:
    minilm = pairs("wordpiece")[0]
    assert (minilm.prefix_ids, minilm.suffix_ids) == ([101], [102])
    assert (minilm.pad_id, minilm.mask_id, minilm.bos_id, minilm.eos_id, minilm.vocab_size) == (
        0,
        103,
        101,
        102,
        30522,
    )
    trained = pairs("trained")[0]
    assert (trained.prefix_ids, trained.suffix_ids) == ([0], [2])
    assert (trained.bos_id, trained.pad_id, trained.eos_id, trained.mask_id, trained.unk_id) == (
        0,
        1,
        2,
        3,
        None,
    )
    assert pairs("gpt2")[0].pad_id is None
    with pytest.raises(ValueError, match="unknown role"):
        minilm.special_id("padding")


@pytest.mark.parametrize("name", ["trained", "gpt2", "roberta", "llama"])
def test_bytes_survive_the_round_trip(name: str, pairs: Callable) -> None:
    ours, _ = pairs(name)
    ids, starts = ours.encode_document(NASTY)
    assert [ours.decode(ids[a:b]) for a, b in pairwise(starts)] == NASTY


SPELT = (
    "<s>",
    "</s>",
    "<pad>",
    "<mask>",
    "<unk>",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "<|endoftext|>",
)
"""Special tokens of one family or another, as a page about markup may spell them."""


@pytest.mark.parametrize("name", KINDS)
def test_a_special_token_that_is_spelt_out_is_text(name: str, tokenizers: dict[str, Path], pairs: Callable) -> None:
    """Its characters get tokens like any others; none of them is special, and no space beside it is swallowed."""
    ours, saved = pairs(name)
    original = AutoTokenizer.from_pretrained(str(tokenizers[name]))
    special = {
        index: token for token, index in original.get_added_vocab().items() if token in original.all_special_tokens
    }
    texts = [shape.format(token) for token in {*SPELT, *special.values()} for shape in ("{}", "An {} here", "x{}x")]
    for text in texts:
        encoded = ours.backend.encode(ours.lead + text, add_special_tokens=False)
        places = zip(encoded.ids, encoded.offsets, strict=True)
        # A character that the tokenizer does not know may get the id of a special token, a spelt-out one never.
        whole = ours.lead + text
        assert all(whole[a:b].strip() != special[index] for index, (a, b) in places if index in special), text
        alone = ours.encode_sentences([text])[0]
        assert ours.encode_document([text])[0].tolist() == encoded.ids == alone.tolist()
        assert saved(ours.lead + text, add_special_tokens=False)["input_ids"] == encoded.ids  # as others load it
        if name in ("trained", "gpt2", "roberta", "llama"):
            assert ours.decode(alone) == text
        elif name == "wordpiece":
            assert ours.decode(alone).replace(" ", "") == text.lower().replace(" ", "")


def test_an_added_word_is_still_one_token() -> None:
    backend = _byte_level(prefix=False, trim=False, specials=True)
    backend.add_tokens(["  ", "sea ship"])
    ours = TextTokenizer(backend, {"mask": "<mask>"})
    ids, starts = ours.encode_document(["A sea ship <mask>", "left."])
    assert backend.token_to_id("sea ship") in ids.tolist()
    assert ours.decode(ids[: starts[1]]) == "A sea ship <mask>"


@pytest.mark.parametrize("name", KINDS)
def test_saving_and_pickling_keep_the_ids(name: str, pairs: Callable, tmp_path: Path) -> None:
    ours, _ = pairs(name)
    copies = [pickle.loads(pickle.dumps(ours))]
    for number, tokenizer in enumerate([ours, copies[0]]):
        tokenizer.save(tmp_path / str(number))
        copies.append(TextTokenizer.load(str(tmp_path / str(number))))
        copies.append(TextTokenizer.from_files(tmp_path / str(number), ours.specials))
    for copy in copies:
        assert copy.encode_document(NASTY)[0].tolist() == ours.encode_document(NASTY)[0].tolist()
        assert (copy.prefix_ids, copy.suffix_ids, copy.lead) == (ours.prefix_ids, ours.suffix_ids, ours.lead)
        assert (copy.vocab_size, copy.pad_id, copy.mask_id) == (ours.vocab_size, ours.pad_id, ours.mask_id)
    assert copies[0].fingerprint() == ours.fingerprint()
    assert copies[2].fingerprint() == ours.fingerprint()


def test_fingerprints_differ(pairs: Callable) -> None:
    assert len({pairs(name)[0].fingerprint() for name in KINDS}) == len(KINDS)


def test_training_does_not_depend_on_threads() -> None:
    code = (
        "import sys; sys.path[:0] = %r\n"
        "from lang_jepa.data.text.tokenizer import train_tokenizer\n"
        "texts = [' '.join(f'{a}{b} word{b * b}' for b in range(40)) for a in 'abcdefgh' * 5]\n"
        "print(train_tokenizer(texts, 500).fingerprint())"
    ) % [path for path in sys.path if path]
    prints = set()
    for threads in ("1", "4"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        prints.add(run.stdout.strip())
    assert len(prints) == 1


def test_training_reads_a_bounded_sample() -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "some words of text "  # 19 characters

    train_tokenizer(texts(), 300, max_characters=1000)
    assert 53 <= read <= 54
    with pytest.raises(LangJepaError, match="no text"):
        train_tokenizer([], 300)


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, "🙂" * 60_000, " \n" * 150_000, "-" * 300_000, "ACGT" * 40_000 + "GATTACA" * 20_000],
    ids=["letters", "emoji", "spaces", "dashes", "dna"],
)
def test_training_and_encoding_end_on_one_endless_word(text: str) -> None:
    """Merging inside a word takes time that grows with its square; cut words make it linear."""
    text = f"It is {text} so."
    ours = train_tokenizer([text, *PLAIN], 320)
    for copy in (ours, pickle.loads(pickle.dumps(ours))):
        assert copy.decode(copy.encode_sentences([text])[0]) == text
    ordinary = train_tokenizer([text[:40], *PLAIN], 320)
    assert ours.backend.to_str().count("Split") == ordinary.backend.to_str().count("Split") == 0


def test_vocabulary_has_the_wanted_size() -> None:
    words = [" ".join(f"word{i * j % 97}x{j}" for j in range(50)) for i in range(50)]
    assert train_tokenizer(words, 320).vocab_size == 320


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"no tokenizer could be loaded from .*tokenizer_path"):
        TextTokenizer.load(str(tmp_path))
    with pytest.raises(LangJepaError, match="no tokenizer could be loaded"):
        TextTokenizer.load("nobody/has-this-tokenizer")
    with pytest.raises(LangJepaError, match=r"tokenizer.json"):
        TextTokenizer.from_files(tmp_path, {})
    (tmp_path / "tokenizer.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(LangJepaError, match=r"damaged .*tokenizer.json"):
        TextTokenizer.from_files(tmp_path, {})
