"""A search index on disk: the sentences of a corpus, their vectors, and the model that they belong to.

    DIR/index.json       what is in it, and the fingerprint of the model
    DIR/<generation>/    the files (`files.py`), in a folder named after what they are made of

An index is built block by block in its generation's folder, so that a killed build can be resumed. It appears, or
replaces an older one, when `index.json` is renamed into place; until then the old one stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.replies import VOTERS, votes
from lang_jepa.files.atomic import locked
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.encoding import Vectors
from lang_jepa.inference.index.building import Building, OnEvent, model_identity
from lang_jepa.inference.index.files import FORMAT as FORMAT
from lang_jepa.inference.index.files import IndexArrays, check_folder, open_files
from lang_jepa.inference.index.source import SentenceSource
from lang_jepa.inference.index.surroundings import Surroundings
from lang_jepa.inference.search import ApproximateSearch, exact_search

MANY = 1_000_000
"""Sentences above which exact search is slow."""
BLOCK = 4096
"""Sentences encoded and written at a time."""
UNITS_ALONE = Surroundings()


@dataclass(frozen=True, slots=True)
class Hit:
    """A sentence that was found.

    Attributes:
        score: cosine in the model's default similarity.
        text: the sentence.
        document: id of its document.
        position: position in the document, from 0.
        row: row of the index.
    """

    score: float
    text: str
    document: str
    position: int
    row: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Followed:
    """A unit that followed at a position similar to the one that was asked about.

    Attributes:
        hit: the unit; its score is its vote: mean cosine with what followed at the other positions, weighted by their
            similarity.
        likeness: cosine of what the model expects at that position with what it expects at the given one.
        after: the unit that it followed there.
    """

    hit: Hit
    likeness: float
    after: str


class Index:
    """A corpus to search in, with the model that encoded it.

    Attributes:
        folder: folder of the index.
        info: what `index.json` says.
        arrays: vectors and sentences, memory-mapped.
        model: encodes the queries.

    Example:
        >>> index = Index.open("my_index")                                   # doctest: +SKIP
        >>> [hit.text for hit in index.search(["A dog barked."])[0]]         # doctest: +SKIP
    """

    def __init__(self, folder: Path, info: dict[str, Any], arrays: IndexArrays, model: EmbeddingModel) -> None:
        self.folder, self.info, self.arrays, self.model = folder, info, arrays, model

    @property
    def approximate(self) -> bool:
        """Whether searches use an approximate index, unless `exact` is asked for."""
        return self.info["approximate"] is not None

    @property
    def surroundings(self) -> Surroundings:
        """What the index takes from the units around each unit."""
        return Surroundings.read(self.info.get("surroundings", {}))

    @cached_property
    def _cells(self) -> ApproximateSearch:
        folder, probes = self.folder / self.info["generation"], self.info["approximate"]["probes"]
        return ApproximateSearch.open(folder, self.arrays.vectors, probes)

    @classmethod
    def build(
        cls,
        model: EmbeddingModel,
        source: SentenceSource,
        folder: str | Path,
        *,
        dtype: Literal["float16", "float32"] = "float16",
        approximate: bool = False,
        surroundings: Surroundings = UNITS_ALONE,
        block: int = BLOCK,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Encode a corpus into an index, or reuse a finished one; resumes where a killed build stopped.

        Several processes may call this at once; one builds, the others wait and reuse. Equal sentences are stored as
        often as they occur.

        Args:
            model: a model that was loaded from where it can be loaded again.
            source: `SplitDocuments.open(settings)` or `Lines(path)`.
            folder: folder of the index; an older index there is replaced once the new one is whole.
            dtype: type of the stored vectors; float16 changes cosines by about 1e-5 and halves the size.
            approximate: also build an approximate index (extra `faiss`), which searches then use; worth it above about
                a million sentences.
            surroundings: what the index takes from the units around each unit.
            block: sentences encoded and written at a time.
            on_event: called with the progress after every block.

        Raises:
            LangJepaError: a model that is in no folder, a folder that holds something else, no sentences, or
                surroundings that the model or the source does not have.
        """
        folder = Path(folder)
        surroundings.check(model, alone=source.alone)
        check_folder(folder)
        on_event = on_event or (lambda progress: None)
        building = Building(model, source, folder, dtype, block, approximate, surroundings, on_event)
        with locked(folder / ".lock"):
            building.run()
        return cls.open(folder, model)

    @classmethod
    def open(cls, folder: str | Path, model: EmbeddingModel | Path | None = None) -> Self:
        """Map a finished index.

        Args:
            folder: folder of the index.
            model: the model that encodes queries, or where to load it from, in the precision of the index (None: from
                where it was when the index was built).

        Raises:
            LangJepaError: no index, a damaged one, one of an earlier format, or one of another model or precision.
        """
        folder = Path(folder)
        info, arrays = open_files(folder)
        precision = info.get("precision", "fp32")
        if not isinstance(model, EmbeddingModel):
            model = EmbeddingModel.load(model or info["model"]["path"], precision=precision)
        _check_model(model, info["model"], folder)
        if model.precision != precision:
            raise LangJepaError(
                f"the index {folder} was made in {precision}, and the model given computes in {model.precision}: load "
                f"it with precision={precision!r} (lang-jepa search does), or build the index again"
            )
        if arrays.vectors.shape[1] != model.dim:
            raise LangJepaError(f"the index {folder} has vectors of {arrays.vectors.shape[1]} numbers: build it again")
        return cls(folder, info, arrays, model)

    def __len__(self) -> int:
        return len(self.arrays.vectors)

    def summary(self) -> list[tuple[str, str]]:
        """Describe the index for people, as names and values."""
        info, unit = self.info, self.model.settings.data.unit
        without = f"{counted(info['sentences_without_tokens'], unit)} without a token"
        left_out = f"{counted(info['rejected_rows'], 'row')}, {without}"
        rows = [
            ("source", info["source"]),
            (f"{unit}s", f"{info['sentences']:,} of {counted(info['documents'], 'document')}"),
            ("left out", left_out),
            ("vectors", f"{info['dim']} numbers, {info['dtype']}, {self.arrays.vectors.nbytes / 1e6:,.1f} MB"),
            ("compared by", f"{info['similarity']} cosine"),
            ("model", f"{info['model']['path']} ({info['model']['identity']})"),
            ("computed in", info.get("precision", "fp32")),
        ]
        if self.surroundings.about():
            rows.append(("surroundings", str(self.surroundings)))
        if self.approximate:
            found = info["approximate"]
            text = f"{found['probes']} of {found['cells']} cells, recall@10 {found['recall@10']:.3f}"
            rows.append(("approximate", f"{text} of {found['questions']} stored {unit}s"))
        elif len(self) > MANY:
            rows.append(("hint", "exact search among so many is slow: --approximate (extra faiss)"))
        return rows

    def search(self, queries: Sequence[str], *, top_k: int = 10, exact: bool = False) -> list[list[Hit]]:
        """Find the sentences closest to each query, best first; `exact` ignores an approximate index.

        Raises:
            LangJepaError: a query without a token, or a bare string.
        """
        return self.nearest(self.model.encode(queries), top_k=top_k, exact=exact)

    def search_after(
        self, contexts: Sequence[Sequence[str]], *, top_k: int = 10, exact: bool = False
    ) -> list[list[Hit]]:
        """Find the sentences closest to what the model expects after each context (sentences, oldest first).

        Raises:
            LangJepaError: as `EmbeddingModel.predict_next`.
        """
        predicted = self.model.predict_next(contexts)
        return self.nearest(predicted, top_k=top_k, side="predictions", exact=exact)

    def voted_after(self, context: Sequence[str], *, top_k: int = VOTERS) -> list[Followed]:
        """Find what followed at the positions of the index with predictions most similar to the one here, best first.

        This is a vote, as in `lang_jepa.inference.replies`. All stored predictions are compared, in parts, so that
        memory does not grow with them.

        Args:
            context: units so far, oldest first.
            top_k: results at most, each text once; as many positions vote, but at least `VOTERS`.

        Raises:
            LangJepaError: the index does not hold predictions; or as `EmbeddingModel.predict_next`.
        """
        model, arrays = self.model, self.arrays
        if arrays.predicted is None:
            raise LangJepaError(
                f"the index {self.folder} does not hold what the model expects at its positions: build it with "
                "lang-jepa index --predictions"
            )
        asked = model.comparable(model.predict_next([context]), side="predictions")
        scores, rows = (one[0] for one in exact_search(arrays.predicted, asked, max(top_k, VOTERS)))
        # Positions with nothing before them score 0.
        return self._voted(rows[scores > 0], scores[scores > 0], top_k)

    def voted_after_last(self, context: Sequence[str], *, top_k: int = VOTERS) -> list[Followed]:
        """What `voted_after` has to beat: a vote of the positions whose last unit is most similar to the last one here.

        In an index with `--context neighbours`, this is the similarity to the unit with its neighbours, including what
        follows it.

        Args:
            context: units so far, oldest first.
            top_k: see `voted_after`.

        Raises:
            LangJepaError: an empty context; or as `EmbeddingModel.encode`.
        """
        model, arrays = self.model, self.arrays
        if not context:
            raise LangJepaError("there is no unit before the one that is asked for")
        last = model.comparable(model.encode([context[-1]], turns=model.knows_speakers))
        scores, rows = (one[0] for one in exact_search(arrays.vectors, last, 2 * max(top_k, VOTERS)))
        inside = (rows + 1 < len(self)) & (scores > 0)
        inside[inside] = arrays.documents[rows[inside] + 1] == arrays.documents[rows[inside]]
        some = np.flatnonzero(inside)[: max(top_k, VOTERS)]
        return self._voted(rows[some] + 1, scores[some], top_k)

    def _voted(self, rows: NDArray[np.int64], likeness: NDArray[np.float64], top_k: int) -> list[Followed]:
        """Rank the rows of the index that followed at positions of this similarity by their votes, each text once."""
        model, arrays = self.model, self.arrays
        if not len(rows):
            return []
        turns = model.comparable(model.encode([arrays.text(row) for row in rows], turns=model.knows_speakers))
        score, found = votes(turns @ turns.T, likeness), dict[str, Followed]()
        for best in np.argsort(-score, kind="stable"):
            row = int(rows[best])
            one = Followed(self._hit(float(score[best]), row), float(likeness[best]), arrays.text(row - 1))
            found.setdefault(one.hit.text, one)
        return list(found.values())[:top_k]

    def nearest(
        self,
        vectors: Vectors,
        *,
        top_k: int,
        side: Literal["concepts", "predictions"] = "concepts",
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the sentences closest to each vector of `encode` or `predict_next`, best first.

        Args:
            vectors: float32 [n, D].
            top_k: sentences for each vector; all there are, if there are fewer.
            side: what the vectors are.
            exact: score all rows even if there is an approximate index.
        """
        return self.nearest_prepared(self.model.comparable(vectors, side=side), top_k=top_k, exact=exact)

    def nearest_prepared(self, queries: Vectors, *, top_k: int, exact: bool = False) -> list[list[Hit]]:
        """Search as `nearest` does, with vectors already prepared for the model's similarity (`comparable`)."""
        if self.approximate and not exact:
            found = self._cells.search(queries, top_k)
        else:
            found = exact_search(self.arrays.vectors, queries, top_k)
        return [
            [self._hit(float(score), int(row)) for score, row in zip(*one, strict=True) if row >= 0]
            for one in zip(*found, strict=True)
        ]

    def _hit(self, score: float, row: int) -> Hit:
        arrays = self.arrays
        return Hit(score, arrays.text(row), arrays.document(row), int(arrays.positions[row]), row)

    def rows_of(self, row: int) -> tuple[int, int]:
        """Return the first row of the document that a row belongs to, and the one after its last."""
        documents = self.arrays.documents  # in ascending order
        first, stop = (int(np.searchsorted(documents, documents[row], side=side)) for side in ("left", "right"))
        return first, stop


def _check_model(model: EmbeddingModel, made_with: dict[str, str], folder: Path) -> None:
    """Raise unless a model is the one that an index was made with."""
    identity = model_identity(model)
    if identity != made_with["identity"]:
        raise LangJepaError(
            f"the index {folder} was made with another model: {made_with['path']} as it was then "
            f"({made_with['identity']}), while {model.source} is {identity}. Their vectors do not compare: give the "
            f"model that it was made with, or build the index again with lang-jepa index {model.source}"
        )
