"""A search index on disk: the sentences of a corpus, their vectors, and the model that they belong to.

    DIR/index.json       what is in it, and the fingerprint of the model
    DIR/<generation>/    the files (`index_files.py`), in a folder named by what they are made of

An index is built block by block in its generation's folder, so that a killed build is resumed. It appears, or
takes an older one's place, by the rename of `index.json`; until then the old one stays as it was.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lang_jepa.data.sources.text_files import chunks, filled_lines
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.files.atomic import fingerprint, locked, remove_temporaries, sha256
from lang_jepa.inference.embedding import EmbeddingModel, Vectors
from lang_jepa.inference.index.files import FORMAT as FORMAT
from lang_jepa.inference.index.files import (
    INDEX,
    JOURNAL,
    NAMES,
    Grown,
    IndexArrays,
    IndexWriter,
    Progress,
    check_folder,
    is_generation,
    open_files,
)
from lang_jepa.inference.index.source import SentenceSource
from lang_jepa.inference.model_folder import ENCODING_FILES, write_card
from lang_jepa.inference.search import ApproximateSearch, build_approximate, exact_search, neighbours

MANY = 1_000_000
"""Sentences above which exact search is slow."""
BLOCK = 4096
"""Sentences that are encoded and written at a time."""

OnEvent = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Hit:
    """A sentence that was found.

    Attributes:
        score: cosine in the model's default similarity.
        text: the sentence.
        document: id of its document.
        position: in the document, from 0.
    """

    score: float
    text: str
    document: str
    position: int


class Index:
    """A corpus to search in, with the model that encoded it.

    Attributes:
        folder: where it is.
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
        block: int = BLOCK,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Encode a corpus into an index, or find it done; goes on where a killed building stopped.

        Several processes may call this at once; one builds, the others wait and reuse. Equal sentences are stored as
        often as they occur.

        Args:
            model: loaded from where it can be loaded again.
            source: `SplitDocuments.open(settings)` or `Lines(path)`.
            folder: of the index; an older index there is replaced when the new one is whole.
            dtype: of the stored vectors; float16 changes cosines by about 1e-5 and halves the size.
            approximate: also build an approximate index (extra `faiss`), which searches then use; worth it above about
                a million sentences.
            block: sentences encoded and written at a time.
            on_event: called with the progress after every block.

        Raises:
            LangJepaError: a model that is in no folder, a folder with something else in it, no sentences.
        """
        folder = Path(folder)
        check_folder(folder)
        building = _Building(model, source, folder, dtype, block, approximate, on_event or (lambda progress: None))
        with locked(folder / ".lock"):
            building.run()
        return cls.open(folder, model)

    @classmethod
    def open(cls, folder: str | Path, model: EmbeddingModel | None = None) -> Self:
        """Map a finished index.

        Args:
            folder: of the index.
            model: that encodes queries (None: loaded from where it was when the index was built).

        Raises:
            LangJepaError: no index, a damaged one, one of an earlier format, or one of another model.
        """
        folder = Path(folder)
        info, arrays = open_files(folder)
        model = model or EmbeddingModel.load(info["model"]["path"])
        _check_model(model, info["model"], folder)
        if arrays.vectors.shape[1] != model.dim:
            raise LangJepaError(f"the index {folder} has vectors of {arrays.vectors.shape[1]} numbers: build it again")
        return cls(folder, info, arrays, model)

    def __len__(self) -> int:
        return len(self.arrays.vectors)

    def summary(self) -> list[tuple[str, str]]:
        """What is in it, for people."""
        info = self.info
        left_out = (
            f"{counted(info['rejected_rows'], 'row')}, "
            f"{counted(info['sentences_without_tokens'], 'sentence')} without a token"
        )
        rows = [
            ("source", info["source"]),
            ("sentences", f"{info['sentences']:,} of {counted(info['documents'], 'document')}"),
            ("left out", left_out),
            ("vectors", f"{info['dim']} numbers, {info['dtype']}, {self.arrays.vectors.nbytes / 1e6:,.1f} MB"),
            ("compared by", f"{info['similarity']} cosine"),
            ("model", f"{info['model']['path']} ({info['model']['identity']})"),
        ]
        if self.approximate:
            found = info["approximate"]
            text = f"{found['probes']} of {found['cells']} cells, recall@10 {found['recall@10']:.3f}"
            rows.append(("approximate", f"{text} of {found['questions']} stored sentences"))
        elif len(self) > MANY:
            rows.append(("hint", "exact search among so many is slow: --approximate (extra faiss)"))
        return rows

    def search(self, queries: Sequence[str], *, top_k: int = 10, exact: bool = False) -> list[list[Hit]]:
        """The nearest sentences of each query, best first; `exact`: also where there is an approximate index.

        Raises:
            LangJepaError: a query without a token, or a bare string.
        """
        return self.nearest(self.model.encode(queries), top_k=top_k, exact=exact)

    def search_after(
        self, contexts: Sequence[Sequence[str]], *, top_k: int = 10, exact: bool = False
    ) -> list[list[Hit]]:
        """The sentences nearest to what the model expects after each context (sentences, oldest first).

        Raises:
            LangJepaError: of `EmbeddingModel.predict_next`.
        """
        predicted = self.model.predict_next(contexts)
        return self.nearest(predicted, top_k=top_k, side="predictions", exact=exact)

    def nearest(
        self,
        vectors: Vectors,
        *,
        top_k: int,
        side: Literal["concepts", "predictions"] = "concepts",
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The sentences nearest to each vector of `encode` or `predict_next`, best first.

        Args:
            vectors: float32 [n, D].
            top_k: sentences for each; all there are, where there are fewer.
            side: what the vectors are.
            exact: score all rows even where there is an approximate index.
        """
        queries = prepare(vectors, self.model.statistics, self.model.similarity, side=side)
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
        return Hit(score, arrays.text(row), arrays.document(row), int(arrays.positions[row]))


@dataclass(frozen=True)
class _Building:
    model: EmbeddingModel
    source: SentenceSource
    folder: Path
    dtype: str
    block: int
    approximate: bool
    on_event: OnEvent

    def run(self) -> None:
        """Build what is missing and publish it."""
        made_from: dict[str, Any] = {
            "model": model_identity(self.model),
            "source": self.source.fingerprint(),
            "dtype": self.dtype,
            "block": self.block,
        }
        generation = fingerprint([FORMAT, made_from])
        work = self.folder / generation
        remove_temporaries(self.folder)
        info = self._published()
        if info is None or info["generation"] != generation:
            info = self._info(generation, made_from["model"], self._fill(work))
        elif info["approximate"] or not self.approximate:
            return
        if self.approximate:
            info["approximate"] = build_approximate(IndexArrays.open(work).vectors, work)
        about = {key: value for key, value in info.items() if key != "sha256"}
        names = [name for name in NAMES if (work / name).is_file() and name != JOURNAL]
        write_card(self.folder / INDEX, about, {f"{generation}/{name}": sha256(work / name) for name in names})
        for other in self.folder.iterdir():
            if other != work and is_generation(other):
                shutil.rmtree(other)  # an older index, or one that was begun and given up

    def _info(self, generation: str, identity: str, progress: Progress) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "generation": generation,
            "model": {"path": self.model.source, "identity": identity},
            "similarity": self.model.similarity,
            "source": self.source.description,
            "sentences": progress.rows,
            "documents": progress.documents,
            "rejected_rows": progress.rejected,
            "sentences_without_tokens": progress.without_tokens,
            "dim": self.model.dim,
            "dtype": self.dtype,
            "approximate": None,
        }

    def _published(self) -> dict[str, Any] | None:
        """What the index there says, if its files are whole."""
        if not (self.folder / INDEX).is_file():
            return None
        try:
            return open_files(self.folder)[0]
        except LangJepaError:
            return None  # it is built again

    def _fill(self, work: Path) -> Progress:
        """Append all blocks that are not there yet."""
        writer = IndexWriter(work, self.model.dim, self.dtype)
        if not writer.progress.total_characters:
            writer.record(replace(writer.progress, total_characters=self.source.characters()))
        self.on_event(writer.progress)
        if not writer.progress.complete:
            for sentences, progress in _blocks(self.source, writer.progress, self.block):
                self.on_event(self._append(writer, sentences, progress))
        if not writer.progress.rows:
            writer.close()
            shutil.rmtree(work)
            raise LangJepaError(
                f"there is no sentence to index in {self.source.description} "
                f"({counted(writer.progress.rejected, 'row')} rejected, "
                f"{counted(writer.progress.without_tokens, 'sentence')} without a token)"
            )
        writer.finish()
        return writer.progress

    def _append(self, writer: IndexWriter, sentences: list["_Sentence"], progress: Progress) -> Progress:
        """Encode one block and write it; sentences of which the tokenizer keeps nothing are counted and left out."""
        model, before = self.model, writer.progress
        tokens = model.tokenize([sentence.text for sentence in sentences])
        filled = [sentence for sentence, ids in zip(sentences, tokens, strict=True) if len(ids)]
        number, last, ids, documents = before.documents - 1, before.last_row, [], []
        for sentence in filled:
            if sentence.row != last:
                number, last = number + 1, sentence.row
                ids.append(sentence.document)
            documents.append(number)
        texts = [sentence.text for sentence in filled]
        vectors = prepare(model.encode(texts), model.statistics, model.similarity) if texts else np.zeros(0)
        grown = Grown(vectors, texts, documents, [sentence.position for sentence in filled], ids)
        left_out = before.without_tokens + len(sentences) - len(filled)
        return writer.append(grown, replace(progress, without_tokens=left_out, last_row=last))


@dataclass(frozen=True, slots=True)
class _Sentence:
    row: int
    document: str
    position: int
    text: str


def _blocks(source: SentenceSource, start: Progress, size: int) -> Iterator[tuple[list[_Sentence], Progress]]:
    """The sentences from `start` on in blocks, each with the progress after it; the source decides where blocks end."""
    pending: list[_Sentence] = []
    characters, rejected, number = start.characters, start.rejected, start.source_row - 1
    for number, row in enumerate(source.rows(start.source_row), start.source_row):
        if row.id is None:
            rejected += 1
            continue
        first = start.sentence if number == start.source_row else 0
        for position in range(first, len(row.sentences)):
            pending.append(_Sentence(number, row.id, position, row.sentences[position]))
            if len(pending) == size:
                so_far = replace(start, characters=characters, rejected=rejected)
                yield pending, replace(so_far, source_row=number, sentence=position + 1)
                pending = []
        characters += row.characters
    so_far = replace(start, characters=characters, rejected=rejected)
    yield pending, replace(so_far, source_row=number + 1, sentence=0, complete=True)


def model_identity(model: EmbeddingModel) -> str:
    """What distinguishes models in a search: a hash of the file hashes in the model card, and the similarity.

    Raises:
        LangJepaError: a model that was not loaded from a model directory has no card.
    """
    if not model.card:
        raise LangJepaError(
            "an index belongs to a model directory, by the hashes in its card: save the model and load it from there"
        )
    hashes = {name: model.card["sha256"].get(name) for name in ENCODING_FILES}
    return fingerprint([hashes, model.similarity])


def search_in(corpus: Path, model: EmbeddingModel, vectors: Vectors, *, top_k: int) -> list[list[tuple[float, str]]]:
    """The nearest sentences of a file with one sentence a line, encoded now, or of an index: (cosine, sentence)."""
    if not corpus.is_dir():
        return neighbours(model, vectors, filled_lines(chunks(corpus), str(corpus)), top_k=top_k)
    found = Index.open(corpus, model).nearest(vectors, top_k=top_k)
    return [[(hit.score, hit.text) for hit in hits] for hits in found]


def _check_model(model: EmbeddingModel, made_with: dict[str, str], folder: Path) -> None:
    """Raise unless a model is the one that an index was made with."""
    identity = model_identity(model)
    if identity != made_with["identity"]:
        raise LangJepaError(
            f"the index {folder} was made with another model: {made_with['path']} as it was then "
            f"({made_with['identity']}), while {model.source} is {identity}. Their vectors do not compare: give the "
            f"model that it was made with, or build the index again with lang-jepa index {model.source}"
        )
