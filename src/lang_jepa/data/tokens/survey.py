"""The first reading of a source that is converted in two: which documents repeat earlier ones."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lang_jepa.data.corpus.deduplicate import judge_files
from lang_jepa.data.sources.source import Document, Source, require_documents
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import make_folder, writing
from lang_jepa.files.hashes import hash_sentence, hash_text
from lang_jepa.settings.data import DataSettings

BLOCK_CHARACTERS = 4_000_000
"""Text that is held at a time."""


class Survey:
    """Hashes of a source's documents and sentences, kept on disk while they are needed.

    Attributes:
        documents, characters, bytes: read (bytes: of the texts in UTF-8).
        rejected: rows that are no documents, by reason.
        left_out: what the files hold beside the texts, by kind.
        passed: characters of the second reading so far.
        duplicates: documents that the second reading left out, by kind.
    """

    def __init__(
        self, settings: DataSettings, source: Source, folder: Path, tell: Callable[[int], None]
    ) -> None:
        """`folder` is made, for the hashes; `tell` is called with the characters read so far."""
        self._settings, self._source, self._folder, self._tell = settings, source, folder, tell
        self._splitter = make_splitter(settings)
        self._files: list[Path] = []
        self.documents = self.characters = self.bytes = self.passed = 0
        self.rejected: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()
        make_folder(folder)

    def read(self) -> Iterator[Document]:
        """All documents; what is known of them is on disk when the last one was taken.

        Raises:
            LangJepaError: there is none.
        """
        for block in cut_in_blocks(self._source.documents(self.rejected)):
            self._note(block)
            yield from block
            self._tell(self.characters)
        require_documents(self.documents, self.rejected, self._source)

    def kept(self) -> Iterator[Document]:
        """The documents that repeat no earlier one, from a second reading.

        Raises:
            LangJepaError: it gives other documents than the first one.
        """
        documents = self._source.documents(Counter())
        judged = judge_files(self._files, self._settings.deduplicate, self._settings.near_duplicate_share)
        for verdicts, arrays in judged:
            for verdict, expected in zip(verdicts, arrays["text_hashes"].tolist(), strict=True):
                document = next(documents, None)
                if document is None or hash_text(document.text) != expected:
                    raise LangJepaError(
                        f"{self._source.description} changed while it was read: give the command again when nothing "
                        "writes there"
                    )
                self.passed += len(document.text)
                if verdict.kind == "kept":
                    yield document
                else:
                    self.duplicates[verdict.kind] += 1

    def _note(self, block: list[Document]) -> None:
        """Write the hashes of some documents."""
        texts = [document.text for document in block]
        sentences = [self._sentences(text) for text in texts]
        every = [one for document in sentences for one in document]
        path = self._folder / f"{len(self._files):06d}.npz"
        with writing(path):
            np.savez(
                path,
                text_hashes=np.array([hash_text(text) for text in texts], dtype=np.uint64),
                documents=np.cumsum([0, *map(len, sentences)]),
                sentence_hashes=np.array([value for value, _ in every], dtype=np.uint64),
                countable=np.array([counts for _, counts in every], dtype=bool),
            )
        self._files.append(path)
        for document in block:
            self.left_out.update(dict(document.left_out))
        self.documents += len(block)
        self.characters += sum(map(len, texts))
        self.bytes += sum(len(text.encode()) for text in texts)

    def _sentences(self, text: str) -> list[tuple[int, bool]]:
        """Hash of each sentence, and whether it counts; none where only whole texts are compared."""
        if self._settings.deduplicate != "near":
            return []
        return [hash_sentence(text[begin:end]) for begin, end in self._splitter.spans(text)]


def cut_in_blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents in blocks of about BLOCK_CHARACTERS."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text)
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block
