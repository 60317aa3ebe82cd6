"""Build an index block by block in the folder of its generation, so that a killed build can be resumed."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.atomic import fingerprint, remove_temporaries, sha256
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.index.files import (
    FORMAT,
    INDEX,
    JOURNAL,
    NAMES,
    Grown,
    IndexArrays,
    IndexWriter,
    Progress,
    is_generation,
    open_files,
)
from lang_jepa.inference.index.source import SentenceSource, Unit
from lang_jepa.inference.index.surroundings import Surroundings
from lang_jepa.inference.model_folder import ENCODING_FILES, write_card
from lang_jepa.inference.search import build_approximate

OnEvent = Callable[[Progress], None]


@dataclass(frozen=True)
class Building:
    """One build of an index; the fields are the arguments of `Index.build`."""

    model: EmbeddingModel
    source: SentenceSource
    folder: Path
    dtype: str
    block: int
    approximate: bool
    surroundings: Surroundings
    on_event: OnEvent

    def run(self) -> None:
        """Build what is missing and publish it."""
        made_from: dict[str, Any] = {
            "model": model_identity(self.model),
            "source": self.source.fingerprint(),
            "dtype": self.dtype,
            "block": self.block,
            **self._precision,
            **self.surroundings.about(),
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
                shutil.rmtree(other)  # an older index, or one that was begun and abandoned

    def _info(self, generation: str, identity: str, progress: Progress) -> dict[str, Any]:
        root = self.source.root
        return {
            "format": FORMAT,
            "generation": generation,
            "model": {"path": self.model.source, "identity": identity},
            "similarity": self.model.similarity_kind,
            "source": self.source.description,
            "sentences": progress.rows,
            "documents": progress.documents,
            "rejected_rows": progress.rejected,
            "sentences_without_tokens": progress.without_tokens,
            "dim": self.model.dim,
            "dtype": self.dtype,
            **self._precision,
            **({} if root is None else {"files": {"root": str(root), "lines": self.source.alone}}),
            **({"surroundings": about} if (about := self.surroundings.about()) else {}),
            "approximate": None,
        }

    @property
    def _precision(self) -> dict[str, str]:
        """The precision of the model, unless that is fp32, as it was for all earlier indexes."""
        return {} if self.model.precision == "fp32" else {"precision": self.model.precision}

    def _published(self) -> dict[str, Any] | None:
        """Return what the existing index says, if its files are whole."""
        if not (self.folder / INDEX).is_file():
            return None
        try:
            return open_files(self.folder)[0]
        except LangJepaError:
            return None  # so it is built again

    def _fill(self, work: Path) -> Progress:
        """Append all blocks that are missing."""
        writer = IndexWriter(work, self.model.dim, self.dtype, predictions=self.surroundings.predictions)
        if not writer.progress.total_characters:
            writer.record(replace(writer.progress, total_characters=self.source.characters()))
        self.on_event(writer.progress)
        if not writer.progress.complete:
            for sentences, progress in _blocks(self.source, writer.progress, self.block):
                self.on_event(self._append(writer, sentences, progress))
        if not writer.progress.rows:
            writer.close()
            shutil.rmtree(work)
            unit = self.model.settings.data.unit
            raise LangJepaError(
                f"there is no {unit} to index in {self.source.description} "
                f"({counted(writer.progress.rejected, 'row')} rejected, "
                f"{counted(writer.progress.without_tokens, unit)} without a token)"
            )
        writer.finish()
        return writer.progress

    def _append(self, writer: IndexWriter, sentences: list[Unit], progress: Progress) -> Progress:
        """Encode one block and write it; sentences of which the tokenizer keeps nothing are counted and left out."""
        model, before, turns = self.model, writer.progress, self.source.named
        tokens = model.tokenize([sentence.text for sentence in sentences], turns=turns)
        filled = [sentence for sentence, ids in zip(sentences, tokens, strict=True) if len(ids)]
        number, last, ids, documents = before.documents - 1, before.last_row, [], []
        for sentence in filled:
            if sentence.row != last:
                number, last = number + 1, sentence.row
                ids.append(sentence.document)
            documents.append(number)
        texts = [sentence.text for sentence in filled]
        empty: tuple[Any, Any] = (np.zeros(0), np.zeros(0) if self.surroundings.predictions else None)
        vectors, predicted = self.surroundings.vectors(model, filled, turns=turns) if texts else empty
        grown = Grown(vectors, texts, documents, [sentence.position for sentence in filled], ids, predicted)
        left_out = before.without_tokens + len(sentences) - len(filled)
        return writer.append(grown, replace(progress, without_tokens=left_out, last_row=last))


def _blocks(source: SentenceSource, start: Progress, size: int) -> Iterator[tuple[list[Unit], Progress]]:
    """Yield sentences from `start` on in blocks, with the progress after each; the source alone decides their ends."""
    pending: list[Unit] = []
    characters, rejected, number = start.characters, start.rejected, start.source_row - 1
    for number, row in enumerate(source.rows(start.source_row), start.source_row):
        if row.id is None:
            rejected += 1
            continue
        first = start.sentence if number == start.source_row else 0
        for position in range(first, len(row.sentences)):
            pending.append(Unit(number, row.id, position, row.sentences))
            if len(pending) == size:
                so_far = replace(start, characters=characters, rejected=rejected)
                yield pending, replace(so_far, source_row=number, sentence=position + 1)
                pending = []
        characters += row.characters
    so_far = replace(start, characters=characters, rejected=rejected)
    yield pending, replace(so_far, source_row=number + 1, sentence=0, complete=True)


def model_identity(model: EmbeddingModel) -> str:
    """Return what distinguishes models in a search: a hash of the file hashes in the model card and the similarity.

    Raises:
        LangJepaError: the model was not loaded from a model directory, and so has no card.
    """
    if not model.card:
        raise LangJepaError(
            "an index belongs to a model directory, by the hashes in its card: save the model and load it from there"
        )
    hashes = {name: model.card["sha256"].get(name) for name in ENCODING_FILES}
    return fingerprint([hashes, model.similarity_kind])
