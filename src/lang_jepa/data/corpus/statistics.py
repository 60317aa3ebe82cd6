"""Statistics and warnings about a source and its corpus: sizes, overlap, losses, an unexpected language.

All of it is gathered while the corpus is written, in memory that does not grow with the corpus.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import UNKNOWN, WITHOUT_TOKENS, Block
from lang_jepa.data.corpus.hashes import Hashes
from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.errors import counted
from lang_jepa.settings.data import DataSettings

LONGEST = 4096
"""Sentences with more tokens share the histogram's last bin; the maximum is kept exactly."""

PERCENTILES = (5, 25, 50, 75, 95, 99)


class SideStatistics:
    """Sizes of one side of a corpus."""

    def __init__(self) -> None:
        self.documents = self.sentences = self.tokens = self.characters = self.bytes = self.longest = 0
        self.histogram: Ints = np.zeros(LONGEST + 1, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Count all documents of a block."""
        lengths = np.diff(block.sentences)
        self.documents += len(block)
        self.sentences += len(lengths)
        self.tokens += len(block.tokens)
        self.characters += int(block.characters.sum())
        self.bytes += int(block.bytes.sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        self.histogram += np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1)

    def record(self) -> dict[str, Any]:
        """The counts as JSON, to be passed to `add_record`."""
        return {**vars(self), "histogram": self.histogram.tolist()}

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Add the counts of another instance, from its `record`."""
        for name, value in record.items():
            if name == "longest":
                self.longest = max(self.longest, value)
            else:
                setattr(self, name, getattr(self, name) + (np.array(value) if name == "histogram" else value))

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest entry. Characters and bytes are of the source texts; lengths are tokens per sentence."""
        running = np.cumsum(self.histogram)
        ranks = [int(np.searchsorted(running, self.sentences * p / 100)) for p in PERCENTILES] if running[-1] else []
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


def mark(seen: NDArray[np.bool_], held: Hashes, hashes: Hashes) -> None:
    """Mark in `seen` (bool [V]) which held-out sentences (uint64 [V], ascending) are in `hashes` (uint64 [S])."""
    if len(held):
        places = np.minimum(np.searchsorted(held, hashes), len(held) - 1)
        seen[places[held[places] == hashes]] = True


def overlap(times: Ints, long: NDArray[np.bool_], seen: NDArray[np.bool_]) -> dict[str, float | None]:
    """Shares of all and of the long held-out sentences that occur in training, ignoring case and whitespace.

    Short sentences ("Why?") often recur without being copies, long ones hardly ever, so the second share tells
    contamination from coincidence.

    Args:
        times: int64 [V], how often each held-out sentence occurs.
        long, seen: bool [V], which of them are long, and which occur in training.

    Returns:
        Both shares; None if there are no such sentences.
    """
    return {"all_sentences": _share(times[seen], times), "long_sentences": _share(times[seen & long], times[long])}


def _share(part: Ints, whole: Ints) -> float | None:
    return round(int(part.sum()) / int(whole.sum()), 6) if len(whole) else None


NO_ROWS = (WITHOUT_TOKENS, UNKNOWN)
"""Reasons whose counts are of sentences or words, not documents."""
_DUPLICATES = "data.deduplicate (`lang-jepa prepare --duplicates FILE` lists which document repeats which)"
LOUD = 0.1
"""Share of the documents or sentences above which a loss becomes a warning."""


def _one(kind: str) -> str:
    """The singular of what was left out: "tables" to "table", "messages without text" to "message without text"."""
    noun, without, what = kind.partition(" without ")
    return noun.removesuffix("s") + without + what


@dataclass(frozen=True)
class Losses:
    """Counts of what was lost.

    Attributes:
        rows: rows read from the source.
        rejected: rows that did not become a document, by reason.
        duplicates: documents dropped as duplicates, by kind.
        left_out: parts of the files that are not in the texts, by kind.
        sentences: sentences used in training.
        cut: number of those that are too long to be read to their end.
        max_length: number of tokens that are read.
        limit: the setting that determines `max_length`.
        tokens: tokens of all documents that were kept.
        sample: the counts are of the first rows of a stream.
        unit: what a sentence is called.
    """

    rows: int
    rejected: Mapping[str, int]
    duplicates: Mapping[str, int]
    left_out: Mapping[str, int]
    sentences: int = 0
    cut: int = 0
    max_length: int = 0
    limit: str = "model.max_length"
    sample: bool = False
    tokens: int = 0
    unit: str = "sentence"

    @classmethod
    def of_manifest(
        cls,
        statistics: Mapping[str, Any],
        *,
        sentences: int = 0,
        cut: int = 0,
        max_length: int = 0,
        unit: str = "sentence",
    ) -> "Losses":
        """Losses recorded in the manifest of a corpus or of token shards, plus sentences that are cut in training."""
        return cls(
            int(statistics.get("documents_read", 0)),
            statistics.get("rejected", {}),
            statistics.get("duplicates", {}),
            statistics.get("left_out", {}),
            sentences,
            cut,
            max_length,
            tokens=sum(int(statistics.get(side, {}).get("tokens", 0)) for side in ("train", "validation")),
            unit=unit,
        )

    @property
    def loud(self) -> bool:
        """Whether enough was lost to deserve a warning."""
        return bool(self._cures())

    def line(self) -> str | None:
        """One sentence for people, or None if nothing was lost."""
        rejected = self._rows()
        parts = []
        if rejected.total():
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in rejected.most_common())
            parts.append(f"rejected {self._of(rejected.total(), self.rows)}: {reasons}")
        parts += [f"dropped {self._of(n, self.rows)} as {kind}s" for kind, n in self.duplicates.items() if n]
        if empty := self.rejected.get(WITHOUT_TOKENS, 0):
            parts.append(f"left out {empty:,} {WITHOUT_TOKENS}")
        if unknown := self.rejected.get(UNKNOWN, 0):
            share = f" ({unknown / self.tokens:.1%} of the tokens)" if self.tokens else ""
            parts.append(f"{unknown:,} {UNKNOWN}{share}")
        if self.cut:
            cut = f"cut {self._of(self.cut, self.sentences)} of {counted(self.sentences, self.unit)}"
            parts.append(f"{cut} at {self.max_length:,} tokens")
        if self.left_out:
            counts = Counter(self.left_out).most_common()
            kinds = ", ".join(counted(n, _one(kind), kind) for kind, n in counts)
            parts.append(f"no prose, left out of the texts: {kinds}")
        if not parts:
            return None
        which = "the first " if self.sample else ""
        cures = f". Check {', '.join(self._cures())}" if self.loud else ""
        return f"of {which}{counted(self.rows, 'document')}: {'; '.join(parts)}{cures}"

    def _cures(self) -> list[str]:
        """Settings that control whatever was lost too often."""
        losses = (
            (self._rows().total(), self.rows, ["data.text_column", "data.min_length", "data.min_sentences"]),
            (sum(self.duplicates.values()), self.rows, [_DUPLICATES]),
            (self.cut, self.sentences, [self.limit]),
            (self.rejected.get(UNKNOWN, 0), self.tokens, ["data.tokenizer_path"]),
        )
        return [name for lost, all_, names in losses if lost > LOUD * all_ for name in names]

    def _rows(self) -> Counter[str]:
        """Rejected rows by reason."""
        return Counter({reason: n for reason, n in self.rejected.items() if reason not in NO_ROWS})

    @staticmethod
    def _of(lost: int, all_: int) -> str:
        return f"{lost:,} ({lost / all_:.1%})" if all_ else f"{lost:,}"


def why_nothing_held_out(
    fraction: float, documents: int, description: str, *, read: int = 1, tail: int | None = None
) -> str:
    """Explain why a source has no held-out split, and what to do about it.

    Args:
        fraction: `data.val_fraction`.
        documents: number that could have been held out.
        description: of the source.
        read: documents read from the source, before some were rejected or dropped.
        tail: lines held out with `data.val_split=tail` (None: a hash decides).
    """
    if not fraction:
        return "data.val_fraction is 0. Set data.val_fraction (0.02, say)."
    if tail is not None:
        return (
            f"the tail of {description} is {counted(tail, 'line')} with data.val_fraction={fraction}, too few to "
            "measure by. Give more lines, or a larger data.val_fraction."
        )
    if documents <= 1 < read:
        left, others = ("only 1", "the others") if documents else ("none", "they")
        return (
            f"{left} of {read:,} documents of {description} is left: {others} were rejected or are "
            "duplicates. Check data.deduplicate, data.min_length and data.min_sentences, or give more documents."
        )
    if documents <= 1:
        return (
            f"{description} is one document, and a document is held out as a whole or not at all. Cut it: several "
            'files in a folder, or a .jsonl file with a line {"text": "..."} for each part (data.text_column=text).'
        )
    return (
        f"data.val_fraction={fraction} of {documents:,} documents held none out, or too few to measure by. Set a "
        "larger data.val_fraction, or give more documents."
    )


_NAMES = {
    "da": "Danish", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch",
    "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "uk": "Ukrainian", "bg": "Bulgarian", "cs": "Czech",
    "sk": "Slovak", "el": "Greek",
}  # fmt: skip
_FREQUENT = {
    "bg": "на да се за от по със като което той",
    "cs": "je že na jsem jako jeho jsou podle které také při",
    "da": "og at det er til som af ikke med har der blev",
    "de": "der die und das nicht ist ein mit den auf sich dem",
    "el": "και το της την του να με για είναι που από",
    "en": "the of and to is that was it for with his her",
    "es": "el los las que una por con para del su más como",
    "fr": "le les et des est une dans pour que pas sur au",
    "it": "il che di per una con non sono gli del della è",
    "nl": "de het een van en niet is op dat zijn voor met",
    "pl": "nie się jest na że do jak jego tym przez który są",
    "pt": "os uma não com para que do da em mais ao pela",
    "ru": "и в не на что он как его но это был по",
    "sk": "je že na som ako jeho sú podľa ktoré tiež pri aj",
    "uk": "і в не на що він як його але це був та",
}
"""Frequent words, roughly the same number for each language."""
_WORD = re.compile(r"[^\W\d_]+")

CHARACTERS = 200_000
"""How many characters of the first texts are read."""
LEAST_SHARE = 0.08
"""Minimum share of a language's frequent words among all words for a text to count as being in that language."""
LEAST_WORDS = 5
"""Minimum number of frequent words; fewer are not conclusive."""
TIMES = 3
"""Factor by which the share must exceed that of the configured language."""


def language_hint(settings: DataSettings, texts: Iterable[str]) -> str | None:
    """A warning if the first of the texts are clearly in a language other than `data.language`, else None."""
    if settings.units != "sentences" or settings.splitter != "rules" or settings.language not in _FREQUENT:
        return None
    words: Counter[str] = Counter()
    left = CHARACTERS
    for text in texts:
        words.update(_WORD.findall(text[:left].lower()))
        left -= len(text)
        if left <= 0:
            break
    shares = {code: sum(words[word] for word in common.split()) for code, common in _FREQUENT.items()}
    likely = max(shares, key=shares.__getitem__)
    if shares[likely] < max(LEAST_SHARE * words.total(), TIMES * shares[settings.language], LEAST_WORDS):
        return None
    return (
        f"the texts look like {_NAMES[likely]}, but their sentences are split by the rules of "
        f"{_NAMES[settings.language]}: set data.language={likely}"
    )
