"""Which documents repeat earlier ones, in memory that does not grow with the corpus; and which of them are held out.

Both are decided by hashes of texts. BLAKE2b with 8 bytes is the same on every machine, unlike Python's own `hash`.
Among ten million texts the chance that any two share a hash is about 3e-6.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.text.tokenizer import Ints

HASHES_FORMAT = 1
"""Of the hashes and of what they decide: raise it when a text gets another one, or falls on another side."""

Hashes = NDArray[np.uint64]

COUNTABLE_CHARACTERS = 20
"""Shorter sentences ("Yes, sir.", "Figure 3.2") recur without being copies, so near-duplicates ignore them."""


def hash_text(text: str) -> int:
    """64-bit hash of a text without the whitespace at its ends."""
    return int.from_bytes(blake2b(text.strip().encode(), digest_size=8).digest(), "little")


def hash_sentence(text: str) -> tuple[int, bool]:
    """64-bit hash of a sentence, blind to case and to the kind and amount of whitespace; and whether it counts.

    A sentence counts for near-duplicates when COUNTABLE_CHARACTERS of it are left after normalisation.
    """
    normal = " ".join(text.casefold().split())
    value = int.from_bytes(blake2b(normal.encode(), digest_size=8).digest(), "little")
    return value, len(normal) >= COUNTABLE_CHARACTERS


def side(text_hash: int, val_fraction: float) -> Literal["train", "validation"]:
    """Side of the split on which a document falls: the hash, read as a number in [0, 1), against the fraction.

    It depends on nothing else, so that the same text is on the same side in any order, on any rank, in any corpus.
    """
    return "validation" if int(text_hash) < val_fraction * 2.0**64 else "train"


def on_side(text_hashes: Hashes, name: str, val_fraction: float) -> NDArray[np.bool_]:
    """Bool [D]: which documents `side` puts on side `name`."""
    return np.array([side(value, val_fraction) == name for value in text_hashes.tolist()], dtype=bool)


FORMAT = 2
"""Of the verdicts: raise it when some document is judged otherwise."""

TABLE_ENTRIES = 2**22
"""Hashes that each table remembers: 48 MB."""

SLOTS = 8

MIN_COUNTABLE = 3
"""With fewer countable sentences documents are only compared as wholes: a share of one or two says nothing."""

COMMON = 4
"""A sentence of so many documents is boilerplate (a clause, a licence, a footer, a refrain)."""

NEARLY_ALL = 0.8
"""A document that shares so much with one other is its copy, boilerplate or not."""

_CANDIDATES = 8
"""Documents that one is compared with sentence by sentence: those that have most of its sentences."""

Kind = Literal["kept", "exact duplicate", "near duplicate"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a document.

    Attributes:
        kind: whether it is kept, or what it is a duplicate of its original in.
        original: number of the document that it repeats (counted from 0 in the order of judging), -1 where it is kept.
        share: of its sentences that were found again.
    """

    kind: Kind = "kept"
    original: int = -1
    share: float = 0.0


class HashTable:
    """A map of fixed size from 64-bit hashes to numbers, which forgets the oldest.

    The hashes lie in rows of SLOTS; a hash's low bits choose its row, and each row is a ring. Until rows begin to
    overflow it remembers everything (Poisson: at a quarter of the capacity 99.98 % of the rows have not), beyond the
    capacity roughly the last `entries` hashes. It never claims to have seen a hash that was not added, up to
    collisions of whole 64-bit hashes.
    """

    def __init__(self, entries: int = TABLE_ENTRIES) -> None:
        """`entries`: capacity, a power of two, at least SLOTS."""
        if entries < SLOTS or entries & (entries - 1):
            raise ValueError(f"entries must be a power of two and at least {SLOTS}, not {entries}")
        rows = entries // SLOTS
        self._slots = np.zeros((rows, SLOTS), dtype=np.uint64)
        self._numbers = np.zeros((rows, SLOTS), dtype=np.int32)
        self._next = np.zeros(rows, dtype=np.uint8)
        self._mask = np.uint64(rows - 1)

    def find(self, hashes: Hashes) -> Ints:
        """int64 [N]: the number that came with each of the hashes (uint64 [N]), -1 where it is not remembered."""
        values = _no_zero(hashes)
        rows = values & self._mask
        same = self._slots[rows] == values[:, None]
        found = self._numbers[rows, same.argmax(axis=1)].astype(np.int64)
        return np.where(same.any(axis=1), found, -1)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Bool [N]: which of the hashes (uint64 [N]) are remembered."""
        found: NDArray[np.bool_] = self.find(hashes) >= 0
        return found

    def count(self, hashes: Hashes) -> Ints:
        """int64 [N]: how often each of these different hashes (uint64 [N]) was counted since it is remembered."""
        values = _no_zero(hashes)
        rows = values & self._mask
        same = self._slots[rows] == values[:, None]
        self._numbers[rows[same.any(axis=1)], same.argmax(axis=1)[same.any(axis=1)]] += 1
        self.add(values, 1)
        return np.maximum(self.find(values), 1)

    def add(self, hashes: Hashes, number: int = 0) -> None:
        """Remember hashes (uint64 [N]) with a number (>= 0); those already there stay as they are."""
        values = np.unique(_no_zero(hashes))
        values = values[~self.contains(values)]
        rows = (values & self._mask).astype(np.int64)
        order = np.argsort(rows, kind="stable")
        values, rows = values[order], rows[order]
        first = np.concatenate([[True], rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, dtype=bool)
        heads = np.flatnonzero(first)
        counts = np.diff(np.append(heads, len(rows)))
        rank = np.arange(len(rows)) - np.repeat(heads, counts)
        # Only the last SLOTS newcomers of a row can stay; writing more would leave the order to NumPy.
        stays = rank >= np.repeat(counts, counts) - SLOTS
        slot = (self._next[rows].astype(np.int64) + rank) % SLOTS
        self._slots[rows[stays], slot[stays]] = values[stays]
        self._numbers[rows[stays], slot[stays]] = number
        self._next[rows[heads]] = (self._next[rows[heads]] + counts) % SLOTS


def _no_zero(hashes: Hashes) -> Hashes:
    """Hashes with 0 made 1, because 0 marks an empty slot."""
    return np.maximum(hashes, np.uint64(1))


class _KeptLately:
    """Sentences of the documents kept last, as many as fit."""

    def __init__(self, entries: int) -> None:
        self._documents: dict[int, Hashes] = {}
        self._free = entries

    def add(self, number: int, hashes: Hashes) -> None:
        self._documents[number] = hashes
        self._free -= _cost(hashes)
        while self._free < 0:
            self._free += _cost(self._documents.pop(next(iter(self._documents))))

    def share(self, hashes: Hashes, number: int) -> float:
        """Share of hashes (uint64 [N], N > 0) that a document has; 0 where it is forgotten."""
        return float(np.isin(hashes, self._documents.get(number, _NONE)).mean())


_NONE: Hashes = np.zeros(0, dtype=np.uint64)


def _cost(hashes: Hashes) -> int:
    """Table entries whose memory a document takes: its hashes, and about 200 bytes for what Python puts around them."""
    return len(hashes) + 24


class Deduplicator:
    """Judges documents in order; what it keeps is what later ones are compared with.

    A sentence that COMMON or more documents have is common property (a clause, a licence, a footer, a refrain) and
    speaks neither for nor against a copy, whether the documents that have it are kept or not: so a first pass counts
    (`find_common`). Without this rule every document of a large corpus of simple sentences becomes a near-duplicate in
    the end, and of many contracts with the same clauses one is left. A document that shares NEARLY_ALL of its sentences
    with one other is a copy all the same: of many copies every sentence is common.
    """

    def __init__(
        self,
        mode: Literal["none", "exact", "near"],
        share: float,
        common: HashTable | None = None,
        *,
        entries: int = TABLE_ENTRIES,
    ) -> None:
        """Choose what counts as a repetition.

        Args:
            mode: `none`, `exact` (same text, whitespace at the ends aside) or `near` (also a repeated share).
            share: a document is a near-duplicate from this share of its countable, not common sentences on that
                occurred in a document kept earlier.
            common: sentences that do not count.
            entries: size of each hash table.
        """
        self.mode, self.share = mode, share
        self._judged = 0
        self._texts, self._owners = HashTable(entries), HashTable(entries)
        self._common, self._kept = common or HashTable(SLOTS), _KeptLately(entries)

    def judge(self, text_hash: int, sentence_hashes: Hashes, countable: NDArray[np.bool_]) -> Verdict:
        """Verdict on one document; remembers it if kept.

        Args:
            text_hash: hash of its text.
            sentence_hashes: uint64 [S].
            countable: bool [S], which sentences are long enough to count.
        """
        number = self._judged
        self._judged += 1
        if self.mode == "none":
            return Verdict()
        key = np.array([text_hash], dtype=np.uint64)
        (original,) = self._texts.find(key).tolist()
        if original >= 0:
            return Verdict("exact duplicate", original, 1.0)
        if self.mode == "near":
            hashes = sentence_hashes[countable]
            verdict = self._compare(hashes)
            if verdict.kind != "kept":
                return verdict
            self._owners.add(hashes, number)
            self._kept.add(number, hashes)
        self._texts.add(key, number)
        return Verdict()

    def _compare(self, hashes: Hashes) -> Verdict:
        """Verdict on a document with these countable sentences."""
        owners = self._owners.find(hashes)
        seen, counted = owners >= 0, ~self._common.contains(hashes)
        if counted.sum() >= MIN_COUNTABLE and (share := float(seen[counted].mean())) >= self.share:
            return Verdict("near duplicate", _most_frequent(owners[counted & seen])[0], share)
        whole = max(self.share, NEARLY_ALL)
        if len(hashes) >= MIN_COUNTABLE and seen.mean() >= whole:
            shares = {one: self._kept.share(hashes, one) for one in _most_frequent(owners[seen])}
            best = max(shares, key=lambda one: shares[one])
            if shares[best] >= whole:
                return Verdict("near duplicate", best, shares[best])
        return Verdict()


def _most_frequent(numbers: Ints) -> list[int]:
    """The most frequent of some numbers, at most _CANDIDATES of them; of equally frequent ones the smallest first."""
    values, counts = np.unique(numbers, return_counts=True)
    found: list[int] = values[np.argsort(-counts, kind="stable")][:_CANDIDATES].tolist()
    return found


JudgedBy = tuple[int, Hashes, NDArray[np.bool_]]
"""Of a document the hash of its text, uint64 [S] hashes of its sentences, and bool [S] which of them count."""


def find_common(documents: Iterable[JudgedBy]) -> HashTable:
    """Sentences that COMMON or more documents have; a text that occurs again counts once."""
    texts, counts, common = HashTable(), HashTable(), HashTable()
    for text_hash, sentences, countable in documents:
        key = np.array([text_hash], dtype=np.uint64)
        if not texts.contains(key)[0]:
            texts.add(key)
            hashes = np.unique(sentences[countable])
            common.add(hashes[counts.count(hashes) >= COMMON])
    return common


def judge_files(
    files: Sequence[Path], mode: Literal["none", "exact", "near"], share: float
) -> Iterator[tuple[list[Verdict], dict[str, NDArray[Any]]]]:
    """Verdicts on the documents of each file, and the arrays that they were judged by.

    Args:
        files: `.npz` in the order of the source, with the arrays of a `Block` that are named in JUDGED_BY. For `near`
            all are read once before the first verdict.
        mode, share: see `Deduplicator`.
    """
    every = (one for path in files for one in _documents(_read(path)))
    judge = Deduplicator(mode, share, find_common(every) if mode == "near" else None)
    for path in files:
        arrays = _read(path)
        yield [judge.judge(*one) for one in _documents(arrays)], arrays


JUDGED_BY = ("text_hashes", "documents", "sentence_hashes", "countable")


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in JUDGED_BY}


def _documents(arrays: dict[str, NDArray[Any]]) -> Iterator[JudgedBy]:
    texts, starts, sentences, countable = (arrays[name] for name in JUDGED_BY)
    positions = starts.tolist()
    for text, begin, end in zip(texts.tolist(), positions[:-1], positions[1:], strict=True):
        yield text, sentences[begin:end], countable[begin:end]
