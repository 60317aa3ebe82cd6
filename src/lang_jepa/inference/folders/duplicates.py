"""Find what repeats in a collection: exact and near copies of documents, and sentences that occur in several places.

The rules are those of `lang-jepa prepare` (`lang_jepa.data.corpus.deduplicate`); no model is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lang_jepa.data.corpus.deduplicate import Deduplicator, find_common, hash_sentence, hash_text
from lang_jepa.data.corpus.hashes import DocumentHashes
from lang_jepa.inference.folders.reading import Collection, Placed


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document that repeats an earlier one.

    Attributes:
        document, original: names of the two.
        kind: `exact duplicate` (the same text, white space at its ends aside) or `near duplicate`.
        share: share of its sentences that earlier documents have too, from 0 to 1.
    """

    document: str
    original: str
    kind: str
    share: float


@dataclass(frozen=True, slots=True)
class Repeated:
    """A sentence that occurs more than once in the documents that are kept, ignoring case and white space.

    Attributes:
        sentence: as it stands the first time.
        times: how often it occurs.
        documents: in how many documents.
        places: where, as `path:line`; the document's name if the line is not known.
    """

    sentence: str
    times: int
    documents: int
    places: list[str]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The duplicates and repeated sentences of a collection.

    Attributes:
        source: what was read, in words.
        documents: how many there are.
        kept: how many are not duplicates.
        duplicates: the others, in the order of the source.
        sentences: repeated ones, those in the most documents first.
    """

    source: str
    documents: int
    kept: int
    duplicates: list[Duplicate]
    sentences: list[Repeated]


def find_duplicates(found: Collection, *, share: float = 0.5) -> Duplicates:
    """Find exact and near-duplicate documents, and sentences that repeat among the other documents.

    Args:
        found: the documents.
        share: a document is a near-duplicate if earlier documents have at least this share of its sentences; see
            `data.near_duplicate_share`.
    """
    hashes = [[hash_sentence(unit) for unit in one.units] for one in found.documents]
    judged = DocumentHashes.of(
        {
            "text_hashes": np.array([hash_text(one.text) for one in found.documents], dtype=np.uint64),
            "documents": np.cumsum([0, *map(len, hashes)]),
            "sentence_hashes": np.array([value for one in hashes for value, _ in one], dtype=np.uint64),
            "countable": np.array([counts for one in hashes for _, counts in one], dtype=bool),
        }
    )
    verdicts = Deduplicator("near", share, find_common([judged])).judge(judged)
    names = [one.name for one in found.documents]
    pairs = [(name, one) for name, one in zip(names, verdicts, strict=True) if one.kind != "kept"]
    repeated = [Duplicate(name, names[one.original], one.kind, one.share) for name, one in pairs]
    kept = [number for number, one in enumerate(verdicts) if one.kind == "kept"]
    sentences = _repeated([found.documents[number] for number in kept], [hashes[number] for number in kept])
    return Duplicates(found.source, len(names), len(kept), repeated, sentences)


def _repeated(documents: Sequence[Placed], hashes: Sequence[list[tuple[int, bool]]]) -> list[Repeated]:
    """Return sentences long enough to count that occur more than once, those in the most documents first."""
    places: dict[int, list[tuple[Placed, int]]] = {}
    for document, values in zip(documents, hashes, strict=True):
        for position, (value, counts) in enumerate(values):
            if counts:
                places.setdefault(value, []).append((document, position))
    found = [
        Repeated(
            at[0][0].units[at[0][1]],
            len(at),
            len({one.name for one, _ in at}),
            [one.where(position) for one, position in at],
        )
        for at in places.values()
        if len(at) > 1
    ]
    return sorted(found, key=lambda one: (-one.documents, -one.times))
