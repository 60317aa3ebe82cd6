"""Hashes of texts and sentences by which documents are judged, held for many documents at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.hash_table import Hashes, no_zero
from lang_jepa.data.text.tokenizer import Ints

BATCH = 64
"""Number of documents that are looked up at once; it affects only speed."""
JUDGED_BY = ("text_hashes", "documents", "sentence_hashes", "countable")


@dataclass(frozen=True, slots=True)
class DocumentHashes:
    """The hashes by which some documents are judged.

    Attributes:
        texts: uint64 [D], `hash_text` of each document.
        starts: int64 [D + 1], first sentence of each document, then S.
        sentences: uint64 [S], `hash_sentence` of their countable sentences.
    """

    texts: Hashes
    starts: Ints
    sentences: Hashes

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Build from the arrays of a `Block` that are named in JUDGED_BY."""
        texts, documents, sentences, countable = (arrays[name] for name in JUDGED_BY)
        before = np.concatenate([[0], np.cumsum(countable)])
        return cls(no_zero(texts), before[documents], no_zero(sentences[countable]))

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, first: int, stop: int) -> Self:
        """Documents first .. stop - 1."""
        begin, end = self.starts[[first, stop]]
        return type(self)(self.texts[first:stop], self.starts[first : stop + 1] - begin, self.sentences[begin:end])

    def only(self, these: NDArray[np.bool_]) -> Self:
        """The documents marked in `these` (bool [D])."""
        if these.all():
            return self
        lengths = np.diff(self.starts)
        starts = np.concatenate([[0], np.cumsum(lengths[these])])
        return type(self)(self.texts[these], starts, self.sentences[np.repeat(these, lengths)])

    def batches(self) -> Iterator[Self]:
        """Yield parts of BATCH documents."""
        for first in range(0, len(self), BATCH):
            yield self.part(first, min(first + BATCH, len(self)))

    def first_texts(self) -> NDArray[np.bool_]:
        """Bool [D]: whether each document is the first of these with its text."""
        first = np.zeros(len(self), dtype=bool)
        first[np.unique(self.texts, return_index=True)[1]] = True
        return first

    def totals(self, of: NDArray[np.bool_]) -> Ints:
        """int64 [D]: how many of each document's sentences are marked (bool [S])."""
        return np.diff(np.concatenate([[0], np.cumsum(of)])[self.starts])

    def owners(self) -> Ints:
        """int64 [S]: the document (0 .. D - 1) of each sentence."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


class Groups:
    """The distinct sentences of some documents, each with the documents that contain it, in order.

    Attributes:
        values: uint64 [V], ascending.
        heads, sizes: int64 [V], index of each sentence's first entry in `documents`, and how many it has there.
        documents: int64 [P], grouped by sentence, each document once per sentence.
        repeated: bool [S], whether each sentence also occurs in an earlier one of the documents.
    """

    def __init__(self, hashes: DocumentHashes) -> None:
        order = np.argsort(hashes.sentences, kind="stable")
        sentences, documents = hashes.sentences[order], hashes.owners()[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = sentences[1:] != sentences[:-1]
        begins = new.copy()
        begins[1:] |= documents[1:] != documents[:-1]
        self.documents, self.values = documents[begins], sentences[new]
        self.heads = np.flatnonzero(new[begins])
        self.sizes = np.diff(self.heads, append=len(self.documents))
        self.first = self.documents[self.heads]
        self.repeated = np.empty(len(order), dtype=bool)
        self.repeated[order] = documents > self.first[np.cumsum(new) - 1]


def in_order(values: Hashes, documents: Ints, numbers: Ints) -> tuple[Hashes, Ints]:
    """Reorder ascending values and their numbers as if these documents had added them one by one."""
    order = np.argsort(documents.astype(np.uint16), kind="stable")
    return values[order], numbers[order]
