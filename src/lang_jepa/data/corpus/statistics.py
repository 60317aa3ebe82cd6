"""What is known about a corpus, gathered while it is written, in memory that does not grow with it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import Block
from lang_jepa.data.corpus.losses import NO_ROWS
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.files.hashes import Hashes

if TYPE_CHECKING:
    from lang_jepa.data.corpus.corpus import Corpus

LONGEST = 4096
"""Sentences of more tokens share the histogram's last place; the maximum is kept exactly."""

PERCENTILES = (5, 25, 50, 75, 95, 99)


class SideStatistics:
    """Sizes of one side of a corpus."""

    def __init__(self) -> None:
        self.documents = self.sentences = self.tokens = self.characters = self.bytes = self.longest = 0
        self.histogram: Ints = np.zeros(LONGEST + 1, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Count a block's documents, all of them."""
        lengths = np.diff(block.sentences)
        self.documents += len(block)
        self.sentences += len(lengths)
        self.tokens += len(block.tokens)
        self.characters += int(block.characters.sum())
        self.bytes += int(block.bytes.sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        self.histogram += np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest. Characters and bytes are of the source texts; lengths are tokens of a sentence."""
        running = np.cumsum(self.histogram)
        ranks = (
            [int(np.searchsorted(running, self.sentences * p / 100)) for p in PERCENTILES]
            if running[-1]
            else []
        )
        return {
            "documents": self.documents,
            "sentences": self.sentences,
            "tokens": self.tokens,
            "characters": self.characters,
            "bytes": self.bytes,
            "targets": {"window": self.sentences - self.documents},
            "sentence_tokens": {
                "mean": round(self.tokens / self.sentences, 2) if self.sentences else None,
                **{f"p{p}": rank for p, rank in zip(PERCENTILES, ranks, strict=False)},
                "max": self.longest,
            },
        }


class Overlap:
    """Share of held-out sentences that occur in training, up to case and whitespace.

    Memory follows the validation side: first all of its hashes are added, then training passes by.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Hashes, NDArray[np.bool_]]] = []
        self._unique: Hashes | None = None
        self._found = np.zeros(0, dtype=bool)

    def add_validation(self, hashes: Hashes, countable: NDArray[np.bool_]) -> None:
        """Remember held-out sentences: hashes uint64 [S], and bool [S] which of them are long."""
        self._parts.append((hashes, countable))

    def add_training(self, block: Block) -> None:
        """Mark the held-out sentences that occur in these training documents."""
        if self._unique is None:
            self._unique = np.unique(
                np.concatenate([block.sentence_hashes[:0], *(part[0] for part in self._parts)])
            )
            self._found = np.zeros(len(self._unique), dtype=bool)
        if len(self._unique):
            self._found |= np.isin(self._unique, block.sentence_hashes)

    def as_dict(self) -> dict[str, Any]:
        """Shares of all held-out sentences and of the long ones; None without held-out sentences.

        Short sentences ("Why?") recur without being copies, long ones hardly ever: the second figure tells
        contamination from habit.
        """
        shares: dict[str, float | None] = {"all_sentences": None, "long_sentences": None}
        if self._parts and self._unique is not None:
            hashes, countable = (np.concatenate(column) for column in zip(*self._parts, strict=True))
            seen = self._found[np.searchsorted(self._unique, hashes)]
            shares["all_sentences"] = _mean(seen)
            shares["long_sentences"] = _mean(seen[countable])
        return shares


def _mean(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None


def describe(corpus: "Corpus") -> list[tuple[str, str]]:
    """(name, value) rows of a table about a corpus, for people."""
    manifest = corpus.manifest
    statistics, timing, tokenizer = manifest["statistics"], manifest["timing"], manifest["tokenizer"]
    rows = [
        ("folder", str(corpus.path)),
        ("source", manifest["source"]["description"]),
        ("tokenizer", f"{tokenizer['name']}, {tokenizer['vocab_size']:,} ids"),
        ("documents read", f"{statistics['documents_read']:,}"),
    ]
    for reason, count in statistics["rejected"].items():
        rows.append((f"  {reason}" if reason in NO_ROWS else f"  rejected: {reason}", f"{count:,}"))
    rows += [(f"  {kind}s", f"{count:,}") for kind, count in statistics["duplicates"].items() if count]
    rows += [(f"  left out: {kind}", f"{n:,}") for kind, n in statistics.get("left_out", {}).items()]
    for side in ("train", "validation"):
        rows += _describe_side(side, statistics[side])
    rows += _describe_overlap(statistics["overlap"])
    rows.append(("prepared in", f"{timing['seconds']:,} s, {timing['megabytes_per_second']} MB/s"))
    return rows


def _describe_side(side: str, sizes: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Rows about one side."""
    yield (
        side,
        f"{sizes['documents']:,} documents, {sizes['sentences']:,} sentences, {sizes['tokens']:,} tokens",
    )
    if sizes["sentences"]:
        spread = sizes["sentence_tokens"]
        yield (
            "  tokens in a sentence",
            f"median {spread['p50']}, 95 % up to {spread['p95']}, longest {spread['max']}",
        )
        yield "  next-sentence pairs", f"{sizes['targets']['window']:,}"


def _describe_overlap(overlap: dict[str, float | None]) -> Iterable[tuple[str, str]]:
    """Rows about held-out sentences that occur in training."""
    share, long = overlap["all_sentences"], overlap["long_sentences"]
    if share is not None:
        tail = "" if long is None else f" ({long:.1%} of the long ones)"
        yield "held-out sentences seen in training", f"{share:.1%}{tail}"
