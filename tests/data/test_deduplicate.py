"""Hashes, the side of the split, the bounded table, and which documents count as repeated."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lang_jepa.data.corpus import deduplicate
from lang_jepa.data.corpus.deduplicate import (
    COMMON,
    MIN_COUNTABLE,
    NEARLY_ALL,
    Deduplicator,
    Verdict,
    _Counting,
    _KeptLately,
    find_common,
    hash_sentence,
    hash_text,
    on_side,
    side,
)
from lang_jepa.data.corpus.hashes import BATCH, SLOTS, DocumentHashes, HashTable
from lang_jepa.errors import LangJepaError

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


def test_table_counts_and_keeps_the_first_number() -> None:
    table = HashTable(32)
    assert table.count(_array([5, 6])).tolist() == [1, 1]
    assert table.count(_array([6, 7])).tolist() == [2, 1]
    table = HashTable(32)
    table.add(_array([5, 6]), 3)
    table.add(_array([6, 7]), 4)
    assert table.find(_array([7, 6, 5, 8])).tolist() == [4, 3, 3, -1]


def test_documents_kept_lately_are_forgotten_one_by_one() -> None:
    lately = _KeptLately(100)
    for number in range(4):
        lately.add(number, _array([number, 10, 11]))  # each takes 27 entries
    asked = _array([0, 1, 2, 3])
    assert [lately.share(asked, number) for number in range(5)] == [0, 0.25, 0.25, 0.25, 0]


Documents = Sequence[tuple[int, list[int]]]
"""Hash of each text, and hashes of its sentences."""


def _hashes_of(documents: Documents, *, countable: bool = True) -> DocumentHashes:
    sentences = [one for _, part in documents for one in part]
    return DocumentHashes.of(
        {
            "text_hashes": _array([text for text, _ in documents]),
            "documents": np.cumsum([0, *(len(part) for _, part in documents)]),
            "sentence_hashes": _array(sentences),
            "countable": np.full(len(sentences), countable),
        }
    )


def _verdicts(documents: Documents, share: float = 0.5) -> list[Verdict]:
    by = _hashes_of(documents)
    return Deduplicator("near", share, find_common([by])).judge(by)


def _judge(documents: Documents, share: float = 0.5) -> list[str]:
    return [verdict.kind for verdict in _verdicts(documents, share)]


def test_modes() -> None:
    documents = [(1, [10, 11, 12, 13]), (1, [10, 11, 12, 13]), (2, [10, 11, 98, 99]), (3, [10, 95, 96, 97])]
    kept, exact, near = "kept", "exact duplicate", "near duplicate"
    for mode, share, countable, expected in (
        ("none", 0.5, True, [kept] * 4),
        ("exact", 0.5, True, [kept, exact, kept, kept]),
        ("near", 0.5, True, [kept, exact, near, kept]),
        ("near", 0.51, True, [kept, exact, kept, kept]),
        ("near", 0.5, False, [kept, exact, kept, kept]),
    ):
        judge = Deduplicator(mode, share)  # type: ignore[arg-type]
        by = _hashes_of(documents, countable=countable)
        assert [verdict.kind for verdict in judge.judge(by)] == expected


def test_the_original_and_the_share_are_named() -> None:
    documents = [
        (1, [10, 11, 12, 13]),
        (2, [20, 21, 22, 23]),
        (3, [20, 21, 22, 99]),
        (4, [98, 97, 96]),
        (1, [10]),
    ]
    found = [(verdict.kind, verdict.original, verdict.share) for verdict in _verdicts(documents)]
    assert found[2] == ("near duplicate", 1, 0.75)
    assert found[4] == ("exact duplicate", 0, 1.0)


def test_what_was_dropped_is_not_compared_with() -> None:
    chain = [(1, [1, 2, 3, 4]), (2, [3, 4, 5, 6]), (3, [5, 6, 7, 8])]
    assert _judge(chain) == ["kept", "near duplicate", "kept"]


def test_few_countable_sentences_are_compared_as_wholes() -> None:
    few = list(range(10, 10 + MIN_COUNTABLE - 1))
    assert _judge([(1, few), (2, few)]) == ["kept", "kept"]
    enough = [*few, 50]
    assert _judge([(1, enough), (2, enough)]) == ["kept", "near duplicate"]


def test_common_sentences_say_nothing() -> None:
    boilerplate = [1, 2, 3, 4, 5, 6]
    pages = [(text, [*boilerplate, *range(10 * text, 10 * text + 7)]) for text in range(1, 5)]
    assert _judge(pages) == ["kept"] * 4
    only_boilerplate = [(text, [*boilerplate, text * 10, text * 10 + 1, text * 10 + 2]) for text in range(8, 12)]
    assert _judge(pages + only_boilerplate) == ["kept"] * 8
    copy = (99, pages[0][1][3:])
    assert _judge([*pages, copy])[-1] == "near duplicate"


@pytest.mark.parametrize(("shared", "own"), [(4, 3), (5, 2), (14, 4), (70, 30)])
def test_clauses_that_all_share_are_boilerplate_though_each_is_more_than_half_of_a_document(
    shared: int, own: int
) -> None:
    """Also where the documents that have them would be dropped; in any order; and a copy of one of them is found."""
    pages = [(n, [*range(1, shared + 1), *range(1000 * n, 1000 * n + own)]) for n in range(1, 20)]
    assert _judge(pages) == ["kept"] * 19
    assert _judge(pages[::-1]) == ["kept"] * 19
    changed = (99, [7, *pages[3][1][1:]])
    found = _verdicts([*pages, changed])
    assert [verdict.kind for verdict in found[:-1]] == ["kept"] * 19
    assert (found[-1].kind, found[-1].original) == ("near duplicate", 3)


@pytest.mark.parametrize("copies", [1, 2, 3, 30])
def test_copies_with_few_changes_are_found_however_many_there_are(copies: int) -> None:
    """Of many copies every sentence is common, so each is compared with one document as a whole."""
    original = list(range(1, 11))
    changed = [(n, [*original[: n % 9], 1000 + n, *original[n % 9 + 1 :]]) for n in range(2, 2 + copies)]
    found = _verdicts([(1, original), *changed])
    assert [verdict.kind for verdict in found] == ["kept", *["near duplicate"] * copies]
    assert {verdict.original for verdict in found[1:]} == {0}


def test_repeats_inside_a_document_do_not_count_against_it() -> None:
    assert _judge([(1, [7] * 10), (2, [7, 7, 7, 8, 9, 10, 11])]) == ["kept", "kept"]


@QUICK
@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=6)), max_size=15))
@example([(1, [1, 2]), (4, [1, 3]), (2, [1, 2, 3]), (3, [1, 2, 3])])  # a copy of one that brought nothing first
def test_verdicts_follow_the_definition(documents: list[tuple[int, list[int]]]) -> None:
    first = dict(reversed(documents))
    common = {s for s in range(13) if sum(s in part for part in first.values()) >= COMMON}
    kept: dict[int, list[int]] = {}
    for (text, part), verdict in zip(documents, _judge(documents), strict=True):
        seen = [any(value in other for other in kept.values()) for value in part]
        telling = [one for one, value in zip(seen, part, strict=True) if value not in common]
        near = len(telling) >= MIN_COUNTABLE and np.mean(telling) >= 0.5
        if len(part) >= MIN_COUNTABLE:  # six sentences have no more first documents than are looked at
            firsts = [next((other for other in kept.values() if value in other), []) for value in part]
            near = near or any(np.mean([v in other for v in part]) >= NEARLY_ALL for other in firsts)
        assert verdict == ("exact duplicate" if text in kept else "near duplicate" if near else "kept")
        if verdict == "kept":
            kept[text] = part


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 90), max_size=9)), min_size=1, max_size=60),
    st.sampled_from(["exact", "near"]),
    st.sampled_from([8, 16, 64, 1024]),
)
def test_many_at_once_are_judged_as_one_by_one(documents: list[tuple[int, list[int]]], mode: str, entries: int) -> None:
    """The same verdicts, and tables that remember and forget the same, however little room there is."""
    by = _hashes_of(documents)
    each = [by.part(number, number + 1) for number in range(len(by))]
    tables, verdicts = [], []
    for parts in ([by], each, [by.part(0, len(by) // 2), by.part(len(by) // 2, len(by))]):
        counting = _Counting(entries)
        for part in parts:
            counting.add(part)
        judge = Deduplicator(mode, 0.5, counting.common, entries=entries)  # type: ignore[arg-type]
        verdicts.append([verdict for part in parts for verdict in judge.judge(part)])
        every = (counting._texts, counting._counts, counting.common, judge._texts, judge._owners)
        tables.append([array.tolist() for one in every for array in (one._slots, one._numbers, one._next)])
    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert tables[0] == tables[1] == tables[2]


def test_a_batch_ends_where_documents_do_not() -> None:
    """A copy in another batch than its original is found, and its number is counted through."""
    texts = [(n, [10 * n + k for k in range(5)]) for n in range(1, 2 * BATCH + 9)]
    found = _verdicts([*texts, (1, [7]), (10**6, texts[BATCH + 3][1])])
    assert [one.kind for one in found[:-2]] == ["kept"] * len(texts)
    assert [(one.kind, one.original) for one in found[-2:]] == [("exact duplicate", 0), ("near duplicate", BATCH + 3)]


def test_more_documents_than_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the tables they would have the numbers of others."""
    monkeypatch.setattr(deduplicate, "MOST", 3)
    documents = _hashes_of([(n, [10 * n]) for n in range(1, 5)])
    Deduplicator("near", 0.5).judge(documents.part(0, 3))
    with pytest.raises(LangJepaError, match="among 3 documents at most: prepare several corpora"):
        Deduplicator("near", 0.5).judge(documents)
    assert len(Deduplicator("none", 0.5).judge(documents)) == 4
