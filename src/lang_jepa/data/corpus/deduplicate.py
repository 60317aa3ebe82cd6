"""Find duplicate documents in bounded memory, and assign documents to the held-out split.

Both are decided by hashes of texts. BLAKE2b with 8 bytes is the same on every machine, unlike Python's own `hash`.
Among ten million texts the chance that any two share a hash is about 3e-6.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.hashes import (
    JUDGED_BY,
    SLOTS,
    TABLE_ENTRIES,
    DocumentHashes,
    Groups,
    Hashes,
    HashTable,
    in_order,
)
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.errors import LangJepaError

HASHES_FORMAT = 1
"""Format of the hashes and their effect: raise it when a text would get another hash or fall on another side."""

COUNTABLE_CHARACTERS = 20
"""Shorter sentences ("Yes, sir.", "Figure 3.2") recur without being copies, so near-duplicates ignore them."""


def hash_text(text: str) -> int:
    """64-bit hash of a text, ignoring whitespace at its ends."""
    return int.from_bytes(blake2b(text.strip().encode(), digest_size=8).digest(), "little")


def hash_sentence(text: str) -> tuple[int, bool]:
    """64-bit hash of a sentence, ignoring case and the kind and amount of whitespace, and whether the sentence counts.

    A sentence counts for near-duplicates if at least COUNTABLE_CHARACTERS are left after normalisation.
    """
    normal = " ".join(text.casefold().split())
    value = int.from_bytes(blake2b(normal.encode(), digest_size=8).digest(), "little")
    return value, len(normal) >= COUNTABLE_CHARACTERS


def side(text_hash: int, val_fraction: float) -> Literal["train", "validation"]:
    """Side of the split for a document: its hash, read as a number in [0, 1), is compared with the fraction.

    Nothing else matters, so the same text is on the same side in any order, on any rank and in any corpus.
    """
    return "validation" if int(text_hash) < val_fraction * 2.0**64 else "train"


def on_side(text_hashes: Hashes, name: str, val_fraction: float) -> NDArray[np.bool_]:
    """Bool [D]: which documents `side` puts on side `name`."""
    return np.array([side(value, val_fraction) == name for value in text_hashes.tolist()], dtype=bool)


FORMAT = 2
"""Format of the verdicts: raise it when any document would be judged differently."""

MIN_COUNTABLE = 3
"""With fewer countable sentences a document is only compared as a whole: a share of one or two means nothing."""

COMMON = 4
"""A sentence found in this many documents is boilerplate (a clause, a licence, a footer, a refrain)."""

NEARLY_ALL = 0.8
"""A document that shares this much with one other document is its copy, boilerplate or not."""

MOST = 2**31
"""Maximum number of documents, so that their numbers fit the tables."""

_CANDIDATES = 8
"""How many documents one is compared with sentence by sentence: those that were first with most of its sentences."""

Kind = Literal["kept", "exact duplicate", "near duplicate"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a document.

    Attributes:
        kind: kept, or which kind of duplicate it is.
        original: number of the document that it repeats (counted from 0 in the order of judging), -1 if it is kept.
        share: share of its sentences that were found again.
    """

    kind: Kind = "kept"
    original: int = -1
    share: float = 0.0


class _KeptLately:
    """Sentences of the most recently kept documents, as many as fit."""

    def __init__(self, entries: int) -> None:
        self._documents = OrderedDict[int, Hashes]()
        self._free = entries

    def add(self, number: int, hashes: Hashes) -> None:
        self._documents[number] = hashes
        self._free -= _cost(hashes)
        while self._free < 0:
            self._free += _cost(self._documents.popitem(last=False)[1])

    def share(self, hashes: Hashes, number: int) -> float:
        """Share of the hashes (uint64 [N], N > 0) that a document contains; 0 if the document has been forgotten."""
        return float(np.isin(hashes, self._documents.get(number, _NONE)).mean())


_NONE: Hashes = np.zeros(0, dtype=np.uint64)


def _cost(hashes: Hashes) -> int:
    """Memory of a document in table entries: its hashes, plus about 200 bytes of Python overhead."""
    return len(hashes) + 24


class Deduplicator:
    """Judge documents in order, comparing each with the documents kept before it.

    A sentence found in COMMON or more documents, kept or not, is boilerplate (a clause, a licence, a footer, a refrain)
    and no evidence of copying; a first pass therefore counts sentences (`find_common`). Without this rule, every
    document of a large corpus of simple sentences would eventually become a near-duplicate, and of many contracts with
    the same clauses only one would be left. A document that shares NEARLY_ALL of its sentences with one other is a copy
    all the same, since among many copies every sentence is common. That other is searched for among those that were the
    first to contain most of them (at most _CANDIDATES), so a copy of a document that was first with none is kept.

    Most documents repeat so little that they are kept whatever happens to those just before them. They are added many
    at once; the others are judged one by one.
    """

    def __init__(
        self,
        mode: Literal["none", "exact", "near"],
        share: float,
        common: HashTable | None = None,
        *,
        entries: int = TABLE_ENTRIES,
    ) -> None:
        """Choose what counts as a duplicate.

        Args:
            mode: `none`, `exact` (same text, ignoring whitespace at the ends) or `near` (also a repeated share).
            share: a document is a near-duplicate if at least this share of its countable sentences that are not common
                occurred in documents kept earlier.
            common: sentences that do not count.
            entries: size of each hash table.
        """
        self.mode, self.share, self._whole = mode, share, max(share, NEARLY_ALL)
        self._judged = 0
        self._texts, self._owners = HashTable(entries), HashTable(entries)
        self._common, self._kept = common or HashTable(SLOTS), _KeptLately(entries)

    def judge(self, documents: DocumentHashes) -> list[Verdict]:
        """Return verdicts on the next documents, and remember those that are kept."""
        verdicts = list[Verdict]()
        for batch in documents.batches():
            first, kept = 0, self._surely_kept(batch)
            for other in [*np.flatnonzero(~kept).tolist(), len(batch)]:
                self._keep(batch.part(first, other))
                verdicts += [KEPT] * (other - first)
                if other < len(batch):
                    verdicts.append(self._judge_one(batch.part(other, other + 1)))
                first = other + 1
        return verdicts

    def _judge_one(self, document: DocumentHashes) -> Verdict:
        (original,) = self._texts.find(document.texts).tolist()
        if original >= 0:
            verdict = Verdict("exact duplicate", original, 1.0)
        else:
            verdict = self._compare(document.sentences) if self.mode == "near" else KEPT
        if verdict is KEPT:
            self._keep(document)
        else:
            self._judged += 1
        return verdict

    def _compare(self, hashes: Hashes) -> Verdict:
        """Verdict on a document with these countable sentences."""
        owners = self._owners.find(hashes)
        seen, counted = owners >= 0, ~self._common.contains(hashes)
        if counted.sum() >= MIN_COUNTABLE and (share := float(seen[counted].mean())) >= self.share:
            return Verdict("near duplicate", _most_frequent(owners[counted & seen])[0], share)
        if len(hashes) >= MIN_COUNTABLE and seen.mean() >= self._whole:
            shares = {one: self._kept.share(hashes, one) for one in _most_frequent(owners[seen])}
            best = max(shares, key=lambda one: shares[one])
            if shares[best] >= self._whole:
                return Verdict("near duplicate", best, shares[best])
        return KEPT

    def _surely_kept(self, documents: DocumentHashes) -> NDArray[np.bool_]:
        """Bool [D]: the documents that are kept whichever documents before them in this batch are."""
        if self.mode == "none":
            return np.ones(len(documents), dtype=bool)
        new = documents.first_texts() & ~self._texts.contains(documents.texts)
        if self.mode == "exact":
            return new
        groups, hashes = Groups(documents), documents.sentences
        seen, counted = groups.repeated | self._owners.contains(hashes), ~self._common.contains(hashes)
        enough, all_ = documents.totals(counted), np.diff(documents.starts)
        near = (enough >= MIN_COUNTABLE) & (documents.totals(counted & seen) / np.maximum(enough, 1) >= self.share)
        copies = (all_ >= MIN_COUNTABLE) & (documents.totals(seen) / np.maximum(all_, 1) >= self._whole)
        return new & ~near & ~copies

    def _keep(self, documents: DocumentHashes) -> None:
        """Remember kept documents, whose texts must be distinct and not yet remembered."""
        if self.mode != "none" and self._judged + len(documents) > MOST:
            raise LangJepaError(
                f"duplicates are found among {MOST:,} documents at most: prepare several corpora, or set "
                "data.deduplicate=none"
            )
        if self.mode != "none":
            self._texts.append(self._texts.room(documents.texts), np.arange(len(documents)) + self._judged)
        if self.mode == "near":
            self._own(documents, self._judged)
            for number, (begin, end) in enumerate(pairwise(documents.starts.tolist()), self._judged):
                self._kept.add(number, documents.sentences[begin:end].copy())
        self._judged += len(documents)

    def _own(self, documents: DocumentHashes, number: int) -> None:
        """Remember the sentences of kept documents, the first of which has this number."""
        groups = Groups(documents)
        new = ~self._owners.contains(groups.values)
        values, first = in_order(groups.values[new], groups.first[new], groups.first[new])
        room = self._owners.room(values)
        if len(documents) == 1 or self._owners.keeps(groups.values[~new], room):
            self._owners.append(room, first + number)
        else:
            half = len(documents) // 2
            self._own(documents.part(0, half), number)
            self._own(documents.part(half, len(documents)), number + half)


KEPT = Verdict()


def _most_frequent(numbers: Ints) -> list[int]:
    """The most frequent of some numbers, at most _CANDIDATES; equally frequent ones in ascending order."""
    values, counts = np.unique(numbers, return_counts=True)
    found: list[int] = values[np.argsort(-counts, kind="stable")][:_CANDIDATES].tolist()
    return found


def find_common(documents: Iterable[DocumentHashes]) -> HashTable:
    """Find sentences that occur in COMMON or more documents; a repeated text counts once."""
    counting = _Counting(TABLE_ENTRIES)
    for some in documents:
        for batch in some.batches():
            counting.add(batch)
    return counting.common


class _Counting:
    """Count the documents that contain each sentence."""

    def __init__(self, entries: int) -> None:
        self._texts, self._counts, self.common = (HashTable(entries) for _ in range(3))

    def add(self, documents: DocumentHashes) -> None:
        """Count documents together, unless adding one would make a table forget what another one looks up."""
        if len(documents) == 1:
            self._add_one(documents)
        elif not self._add_at_once(documents):
            half = len(documents) // 2
            self.add(documents.part(0, half))
            self.add(documents.part(half, len(documents)))

    def _add_one(self, document: DocumentHashes) -> None:
        if not self._texts.contains(document.texts)[0]:
            self._texts.append(self._texts.room(document.texts), 0)
            hashes = np.unique(document.sentences)
            self.common.add(hashes[self._counts.count(hashes) >= COMMON])

    def _add_at_once(self, documents: DocumentHashes) -> bool:
        new = documents.first_texts() & ~self._texts.contains(documents.texts)
        groups = Groups(documents.only(new))
        values, before = groups.values, self._counts.find(groups.values)
        fresh, before = before < 0, np.maximum(before, 0)
        often = np.flatnonzero(before + groups.sizes >= COMMON)
        asked = values[often]
        often = often[~self.common.contains(asked)]
        # The document with which a sentence became common.
        which = groups.documents[groups.heads[often] + np.maximum(COMMON - 1 - before[often], 0)]
        counted, sizes = in_order(values[fresh], groups.first[fresh], groups.sizes[fresh])
        rooms = (
            (self._texts, documents.texts, self._texts.room(documents.texts[new])),
            (self._counts, values[~fresh], self._counts.room(counted)),
            (self.common, asked, self.common.room(in_order(values[often], which, which)[0])),
        )
        if not all(table.keeps(asked, room) for table, asked, room in rooms):
            return False
        self._counts.increase(values[~fresh], groups.sizes[~fresh])
        for (table, _, room), numbers in zip(rooms, (None, sizes, None), strict=True):
            table.append(room, 0 if numbers is None else numbers)
        return True


def judge_files(
    files: Sequence[Path], mode: Literal["none", "exact", "near"], share: float
) -> Iterator[tuple[list[Verdict], dict[str, NDArray[Any]]]]:
    """Yield, for each file, the verdicts on its documents and the arrays they were judged by.

    Args:
        files: `.npz` in the order of the source, with the arrays of a `Block` that are named in JUDGED_BY. In mode
            `near` all of them are read once before the first verdict.
        mode, share: see `Deduplicator`.
    """
    every = (DocumentHashes.of(_read(path)) for path in files)
    judge = Deduplicator(mode, share, find_common(every) if mode == "near" else None)
    for path in files:
        arrays = _read(path)
        yield judge.judge(DocumentHashes.of(arrays)), arrays


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in JUDGED_BY}
