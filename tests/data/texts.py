"""Documents for the tests of preparation, and what became of them."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import BlockSize

SMALL = BlockSize(documents=7)


def text_of(number: int, *, sentences: int = 6) -> str:
    """A text of sentences that no other number has."""
    rng = np.random.default_rng(number)
    words = ["ship", "sea", "harbour", "rain", "captain", "letter", "winter", "island"]
    parts = [" ".join(rng.choice(words, 5)) + f" number {number} {k}" for k in range(sentences)]
    return " ".join(part.capitalize() + "." for part in parts)


def write_rows(path: Path, texts: Iterable[str], ids: Iterable[int] | None = None) -> Path:
    rows = [{"id": f"row-{number}", "text": text} for number, text in zip(ids or range(10**6), texts, strict=False)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def sentences_of(corpus: Corpus) -> dict[str, list[str]]:
    """Sentences by document id, of both sides."""
    return {
        split.document_id(number): split.texts(range(*split.document_starts[number : number + 2]))
        for split in (corpus.train, corpus.validation)
        for number in range(split.num_documents)
    }
