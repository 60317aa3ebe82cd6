"""What preparing keeps apart and counts: the two sides, duplicates, overlap, statistics."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from texts import SMALL, sentences_of, text_of, write_rows
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lang_jepa.data.corpus.blocks import UNKNOWN
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.corpus.prepare import PrepareEvent, prepare
from lang_jepa.data.corpus.statistics import Losses, why_nothing_held_out
from lang_jepa.errors import LangJepaError


def test_order_does_not_move_documents_between_sides(settings_for: Callable, tmp_path: Path) -> None:
    texts = [text_of(number) for number in range(40)]
    order = np.random.default_rng(0).permutation(40).tolist()
    sides = []
    for name, numbers in (("a", range(40)), ("b", order), ("c", range(0, 40, 2))):
        file = write_rows(tmp_path / f"{name}.jsonl", [texts[k] for k in numbers], ids=numbers)
        corpus = prepare(settings_for(file, val_fraction=0.3))
        sides.append({corpus.validation.document_id(k) for k in range(corpus.validation.num_documents)})
    assert sides[0] == sides[1]
    assert sides[2] == {name for name in sides[0] if int(name.split("-")[1]) % 2 == 0}


def test_duplicates_never_reach_the_other_side(settings_for: Callable) -> None:
    originals = [text_of(number) for number in range(20)]
    edited = [text.replace("number", "nr", 2) for text in originals]  # 2 of 6 sentences differ
    settings = settings_for([*originals, *originals[:5], *edited], val_fraction=0.4)
    corpus = prepare(settings, block_size=SMALL)
    statistics = corpus.manifest["statistics"]
    assert statistics["duplicates"] == {"exact duplicate": 5, "near duplicate": 20}
    assert set(sentences_of(corpus)) == {f"row-{k}" for k in range(20)}
    assert statistics["overlap"] == {"all_sentences": 0.0, "long_sentences": 0.0}
    kept = prepare(settings.model_copy(update={"deduplicate": "none"}))
    assert kept.manifest["statistics"]["duplicates"] == {}
    assert kept.train.num_documents + kept.validation.num_documents == 45
    assert kept.manifest["statistics"]["overlap"]["all_sentences"] > 0.2


def test_which_document_repeats_which_is_listed(settings_for: Callable, tmp_path: Path) -> None:
    originals = [text_of(number) for number in range(20)]
    edited = [originals[3].replace("number", "nr", 1), originals[9].replace("number", "nr", 2)]
    settings = settings_for([*originals, *edited, originals[5], f" {originals[0]}\n"])
    prepare(settings, block_size=SMALL).write_duplicates(tmp_path / "list.jsonl")
    found = [tuple(json.loads(line).values()) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert found == [
        ("row-20", "near duplicate", "row-3", 0.833),
        ("row-21", "near duplicate", "row-9", 0.667),
        ("row-22", "exact duplicate", "row-5", 1.0),
        ("row-23", "exact duplicate", "row-0", 1.0),
    ]
    reused = prepare(settings)
    assert reused.reused
    (reused.path / "duplicates.jsonl").unlink()
    with pytest.raises(LangJepaError, match=r"duplicates.jsonl cannot be read .*prepare again"):
        reused.write_duplicates(tmp_path / "again.jsonl")


def test_clauses_that_all_contracts_share_drop_none_and_many_dropped_are_reported(settings_for: Callable) -> None:
    """Four of seven sentences are the same in all of them."""
    clauses = [f"This is clause number {k} of all contracts." for k in range(4)]
    own = [[f"Party {n} pays for {k} ships and an island." for k in range(3)] for n in range(60)]
    contracts = [" ".join([*clauses[:2], *some, *clauses[2:]]) for some in own]
    corpus = prepare(settings_for(contracts))
    assert corpus.train.num_documents == 60
    copies = [text.replace("island", "isle", 1) for text in contracts[:20]]
    corpus = prepare(settings_for([*contracts, *copies]))
    assert corpus.train.num_documents == 60
    lost = Losses.of_manifest(corpus.manifest["statistics"])
    assert lost.loud
    assert "of 80 documents: dropped 20 (25.0%) as near duplicates. Check data.deduplicate (" in str(lost.line())
    assert "prepare --duplicates FILE" in str(lost.line())


def test_a_tokenizer_learns_from_training_documents_only(settings_for: Callable) -> None:
    """A word that only held-out documents have is no piece."""
    texts = [text_of(number) for number in range(40)]
    held = [f"{text} Zyzzyva zyzzyva!" for text in texts]
    held = [text for text in held if side(hash_text(text), 0.3) == "validation"]
    train = [text for text in texts if side(hash_text(text), 0.3) == "train"]
    corpus = prepare(settings_for([*held, *train], val_fraction=0.3, tokenizer_path="trained", vocab_size=400))
    assert any("Zyzzyva" in text for text in corpus.validation.texts(range(corpus.validation.num_sentences)))
    assert not any("zz" in piece for piece in corpus.tokenizer.backend.get_vocab())
    with pytest.raises(LangJepaError, match="no text to learn"):
        prepare(settings_for(held, val_fraction=0.3, tokenizer_path="trained", vocab_size=400))


def _on(wanted: str, text: str) -> str:
    """`text` with an ending that puts it on the wanted side of a half-and-half split."""
    endings = (f"{text} Ending number {k} of the text." for k in range(1000))
    return next(ending for ending in endings if side(hash_text(ending), 0.5) == wanted)


def test_overlap_is_counted_and_warned_about(settings_for: Callable) -> None:
    shared = "This sentence stands on both sides. Yes."
    train = [_on("train", f"{shared} {text_of(number)}") for number in range(3)]
    held = [
        _on("validation", f"this  sentence stands on BOTH sides. {text_of(10)}"),
        _on("validation", f"{text_of(11)} Yes."),
    ]
    events: list[PrepareEvent] = []
    corpus = prepare(settings_for([*train, *held], val_fraction=0.5, min_length=0), progress=events.append)
    sizes = (corpus.train.num_documents, corpus.validation.num_documents, corpus.validation.num_sentences)
    assert sizes == (3, 2, 16)
    # Two of 16 sentences occur in training, one of the 15 long ones.
    endings = [set(text.split("Ending ")[1:]) for text in (*train, *held)]
    common = sum(bool(ending & set.union(*endings[:3])) for ending in endings[3:])
    overlap = corpus.manifest["statistics"]["overlap"]
    assert overlap == {
        "all_sentences": pytest.approx((2 + common) / 16, abs=1e-6),
        "long_sentences": pytest.approx((1 + common) / 15, abs=1e-6),
    }
    warning = next(event.message for event in events if event.stage == "warning")
    assert warning.startswith(f"{(2 + common) / 16:.1%}")
    events.clear()
    prepare(settings_for([*train, *held], val_fraction=0.5, min_length=0), progress=events.append)
    assert [event.message for event in events if event.stage == "warning"] == [warning]  # of a reused one, too


def test_words_that_a_tokenizer_does_not_know_are_reported(settings_for: Callable, minilm: Path) -> None:
    """WordPiece makes one unknown token of a word of more than 100 letters, and of letters that it does not have."""
    address = "https://example.org/" + "abcdefgh" * 13
    texts = [
        f"{text_of(1)} See {'b64' * 40} there. Or {address} here.",
        f"{text_of(2)} สวัสดีครับ it is.",
        text_of(3),
    ]
    corpus = prepare(settings_for(texts, tokenizer_path=str(minilm), val_fraction=0))
    unknown = corpus.tokenizer.unk_id
    tokens = corpus.train.gather(corpus.train.token_starts(np.array([0])), np.array([corpus.train.num_tokens]))
    losses = Losses.of_manifest(corpus.manifest["statistics"])
    assert corpus.manifest["statistics"]["rejected"] == {UNKNOWN: 3}
    assert int((tokens == unknown).sum()) == 3
    assert str(losses.line()).startswith("of 3 documents: 3 words unknown to the tokenizer (")
    assert not losses.loud


def test_statistics_are_exact(settings_for: Callable) -> None:
    texts = [text_of(number, sentences=2 + number % 5) + " ünï." * (number % 3) for number in range(40)]
    settings = settings_for(
        [*texts, "too short", texts[3], "One sentence without any end " * 5], val_fraction=0.25, min_length=20
    )
    corpus = prepare(settings, block_size=SMALL)
    statistics = corpus.manifest["statistics"]
    assert statistics["documents_read"] == 43
    assert statistics["rejected"] == {"fewer than 2 sentences": 1, "too short": 1}
    assert statistics["duplicates"] == {"exact duplicate": 1}
    kept = {name: [text for text in texts if side(hash_text(text), 0.25) == name] for name in ("train", "validation")}
    for name, split in (("train", corpus.train), ("validation", corpus.validation)):
        found = statistics[name]
        lengths = split.lengths(np.arange(split.num_sentences))
        assert found["documents"] == len(kept[name]) == split.num_documents
        assert found["bytes"] == sum(len(text.encode()) for text in kept[name])
        assert found["characters"] == sum(len(text) for text in kept[name])
        assert (found["sentences"], found["tokens"]) == (split.num_sentences, int(lengths.sum()))
        assert found["targets"] == {"window": split.num_sentences - split.num_documents}
        wanted = {f"p{p}": int(np.percentile(lengths, p, method="inverted_cdf")) for p in (5, 25, 50, 75, 95, 99)}
        wanted |= {"mean": round(float(lengths.mean()), 2), "max": int(lengths.max())}
        assert found["sentence_tokens"] == wanted
    rows = dict(corpus.info())
    assert rows["documents read"] == "43"
    assert rows["  exact duplicates"] == "1"
    assert rows["train"].startswith(f"{len(kept['train'])} documents, ")
    assert rows["  rejected: too short"] == "1"


def test_no_validation(settings_for: Callable) -> None:
    events: list[PrepareEvent] = []
    texts = [text_of(number) for number in range(5)]
    corpus = prepare(settings_for(texts), progress=events.append)
    assert (corpus.train.num_documents, corpus.validation.num_documents) == (5, 0)
    assert corpus.manifest["statistics"]["overlap"] == {"all_sentences": None, "long_sentences": None}
    assert corpus.manifest["statistics"]["validation"]["sentence_tokens"]["mean"] is None
    assert dict(corpus.info())["validation"].startswith("0 documents")
    assert "warning" not in {event.stage for event in events}
    assert Corpus.open(corpus.path).validation.num_sentences == 0
    prepare(settings_for(texts, val_fraction=0.001), progress=events.append)
    assert [event.message for event in events if event.stage == "warning"] == [
        "nothing is held out: " + why_nothing_held_out(0.001, 5, "")
    ]


def test_nothing_to_train_on(settings_for: Callable) -> None:
    with pytest.raises(LangJepaError, match=r"fewer than 9 sentences: 4.*data\.min_sentences"):
        prepare(settings_for([text_of(number) for number in range(4)], min_sentences=9))
    with pytest.raises(LangJepaError, match=r"4 held out.*data\.val_fraction"):
        prepare(settings_for([text_of(number) for number in range(4)], val_fraction=0.9999999))
    with pytest.raises(LangJepaError, match="too short"):
        prepare(settings_for(["short", "too"]))


def test_large_vocabularies_use_32_bits(settings_for: Callable, tmp_path: Path) -> None:
    words = {"<unk>": 0, ".": 1, **{f"w{number}": number for number in range(2, 70_000)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(str(tmp_path / "large"))
    texts = ["W w69999 w65536 w5 w65535. W w2 w66000."]
    corpus = prepare(settings_for(texts, tokenizer_path=str(tmp_path / "large"), min_length=0))
    assert np.load(corpus.path / "train-00000.tokens.npy").dtype == np.uint32
    assert corpus.train.tokens(0, 2).tolist() == [0, 69999, 65536, 5, 65535, 1, 0, 2, 66000, 1]
    assert corpus.train.gather(np.array([1, 8]), np.array([2, 1])).tolist() == [69999, 65536, 66000]
