"""Hashes, the side of the split, the bounded table, and which documents count as repeated."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lang_jepa.data.deduplicate import MIN_COUNTABLE, SLOTS, Deduplicator, HashTable
from lang_jepa.data.hashes import hash_sentence, hash_text, on_side, side

QUICK = settings(max_examples=60, deadline=None, database=None)
hashes = st.lists(st.integers(0, 2**64 - 1), max_size=40)


def _array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_hashes_are_fixed_values() -> None:
    # BLAKE2b with an 8-byte digest, little-endian: stored corpora and splits depend on these.
    assert (hash_text(""), hash_text("a text")) == (0xB4B2797457A0A6E4, 0x50E9E05B93086453)
    assert hash_text("  a text\n") == hash_text("a text") != hash_text("A text")


def test_sentence_hash_ignores_case_and_whitespace_only() -> None:
    same = ["The sea was calm that day.", "the SEA\n was  calm that day. "]
    assert len({hash_sentence(text) for text in same}) == 1
    assert hash_sentence("The sea was calm that day!")[0] != hash_sentence(same[0])[0]
    assert [hash_sentence(text)[1] for text in ["x" * 19, "x" * 20, "x  " * 10, " " * 30]] == [
        False,
        True,
        False,
        False,
    ]


@QUICK
@given(hashes, st.floats(0, 0.99))
def test_side_is_a_threshold_of_the_hash(values: list[int], fraction: float) -> None:
    held = on_side(_array(values), "validation", fraction)
    assert held.tolist() == [side(value, fraction) == "validation" for value in values]
    assert (held ^ on_side(_array(values), "train", fraction)).all()
    more = on_side(_array(values), "validation", min(fraction + 0.1, 0.999))
    assert not (held & ~more).any()  # a larger fraction only adds documents


def test_side_takes_the_wanted_share() -> None:
    texts = [hash_text(f"document {number}") for number in range(20_000)]
    share = np.mean([side(value, 0.1) == "validation" for value in texts])
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 20_000) ** 0.5
    assert side(0, 0.0) == "train"
    assert side(2**64 - 1, 0.999) == "train"


class _Ring:
    """What a table should do, one hash at a time."""

    def __init__(self, entries: int) -> None:
        self.rows = [deque[int](maxlen=SLOTS) for _ in range(entries // SLOTS)]

    def row(self, value: int) -> deque[int]:
        return self.rows[max(value, 1) % len(self.rows)]

    def add(self, values: list[int]) -> None:
        for value in sorted({max(value, 1) for value in values}):
            if value not in self.row(value):
                self.row(value).append(value)


@QUICK
@given(st.lists(hashes | st.lists(st.integers(0, 60), max_size=40), max_size=12))
def test_table_is_rings_of_the_newest(batches: list[list[int]]) -> None:
    table, ring = HashTable(32), _Ring(32)
    everything = [value for batch in batches for value in batch]
    for batch in batches:
        # The old contents are looked up before any of the batch is written.
        fresh = [value for value in batch if max(value, 1) not in ring.row(value)]
        table.add(_array(batch))
        ring.add(fresh)
        found = table.contains(_array(everything))
        assert found.tolist() == [max(value, 1) in ring.row(value) for value in everything]


def test_table_of_any_history_keeps_its_size_and_the_newest() -> None:
    table = HashTable(1024)
    rng = np.random.default_rng(0)
    values = rng.integers(1, 2**63, size=50_000).astype(np.uint64)
    for part in np.split(values, 100):
        table.add(part)
    assert table._slots.size == 1024
    assert table.contains(values[-100:]).mean() > 0.98
    assert table.contains(values).sum() == 1024
    assert not table.contains(rng.integers(2**63, 2**64 - 1, size=5000, dtype=np.uint64)).any()
    with pytest.raises(ValueError, match="power of two"):
        HashTable(1000)


def _judge(
    judge: Deduplicator, documents: list[tuple[int, list[int]]], *, countable: bool = True
) -> list[str]:
    starts = np.cumsum([0, *(len(sentences) for _, sentences in documents)])
    sentences = _array([value for _, part in documents for value in part])
    counts = np.full(len(sentences), countable)
    return judge.judge_all(_array([text for text, _ in documents]), starts, sentences, counts)


def test_modes() -> None:
    documents = [(1, [10, 11, 12, 13]), (1, [10, 11, 12, 13]), (2, [10, 11, 98, 99]), (3, [10, 95, 96, 97])]
    kept, exact, near = "kept", "exact duplicate", "near duplicate"
    assert _judge(Deduplicator("none", 0.5), documents) == [kept] * 4
    assert _judge(Deduplicator("exact", 0.5), documents) == [kept, exact, kept, kept]
    assert _judge(Deduplicator("near", 0.5), documents) == [kept, exact, near, kept]
    assert _judge(Deduplicator("near", 0.51), documents) == [kept, exact, kept, kept]
    assert _judge(Deduplicator("near", 0.5), documents, countable=False) == [kept, exact, kept, kept]


def test_what_was_dropped_is_not_compared_with() -> None:
    chain = [(1, [1, 2, 3, 4]), (2, [3, 4, 5, 6]), (3, [5, 6, 7, 8])]
    assert _judge(Deduplicator("near", 0.5), chain) == ["kept", "near duplicate", "kept"]


def test_few_countable_sentences_are_compared_as_wholes() -> None:
    few = list(range(10, 10 + MIN_COUNTABLE - 1))
    assert _judge(Deduplicator("near", 0.5), [(1, few), (2, few)]) == ["kept", "kept"]
    enough = [*few, 50]
    assert _judge(Deduplicator("near", 0.5), [(1, enough), (2, enough)]) == ["kept", "near duplicate"]


def test_common_sentences_say_nothing() -> None:
    boilerplate = [1, 2, 3, 4, 5, 6]
    pages = [(text, [*boilerplate, *range(10 * text, 10 * text + 7)]) for text in range(1, 5)]
    assert _judge(Deduplicator("near", 0.5), pages) == ["kept"] * 4
    only_boilerplate = [
        (text, [*boilerplate, text * 10, text * 10 + 1, text * 10 + 2]) for text in range(8, 12)
    ]
    assert _judge(Deduplicator("near", 0.5), pages + only_boilerplate) == ["kept"] * 8
    copy = (99, pages[0][1][3:])
    assert _judge(Deduplicator("near", 0.5), [*pages, copy])[-1] == "near duplicate"


def test_repeats_inside_a_document_do_not_count_against_it() -> None:
    assert _judge(Deduplicator("near", 0.5), [(1, [7] * 10), (2, [7, 7, 7, 8, 9, 10, 11])]) == [
        "kept",
        "kept",
    ]


@QUICK
@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=6)), max_size=15))
def test_verdicts_follow_the_definition(
    documents: list[tuple[int, list[int]]],
) -> None:
    verdicts = _judge(Deduplicator("near", 0.5), documents)
    texts: set[int] = set()
    once: set[int] = set()
    often: set[int] = set()
    for (text, part), verdict in zip(documents, verdicts, strict=True):
        telling = [value in once for value in part if value not in often]
        near = len(telling) >= MIN_COUNTABLE and np.mean(telling) >= 0.5
        assert verdict == ("exact duplicate" if text in texts else "near duplicate" if near else "kept")
        if verdict == "kept":
            texts.add(text)
            often.update(value for value in part if value in once)
            once.update(part)
