"""A prepared corpus: sides whose shards read as one array, with lookups for many sentences at once.

Shape letters: D documents, S sentences, T tokens of one side. Sentence and document indices and token offsets are
global: they run through all shards of a side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.blocks import Block, token_dtype
from lang_jepa.data.corpus.shards import Shard, damaged, open_shards
from lang_jepa.data.corpus.statistics import NO_ROWS, why_nothing_held_out
from lang_jepa.data.sources.conversations import speaker_name
from lang_jepa.data.text.tokenizer import Ints, TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import changed_file, crc32, fingerprint, read_json, write_text

FORMAT = 3
"""Version of the layout on disk; corpora with another version are prepared anew."""

MANIFEST = "manifest.json"
DUPLICATES = "duplicates.jsonl"
"""One line for each document that was left out because it repeats another."""
SIDES = ("train", "validation")


class CorpusSplit:
    """One side of a corpus, or a block of a stream.

    Attributes:
        origin: the folder of the corpus and the name of the side, if it is on disk.
        document_starts: int64 [D + 1], first sentence of each document, then S.
        num_documents, num_sentences, num_tokens: sizes.
    """

    def __init__(
        self,
        shards: Iterable[Shard],
        tokenizer: Callable[[], TextTokenizer],
        origin: tuple[Path, str] | None = None,
    ) -> None:
        """Put shards end to end.

        Args:
            shards: at most one if there is no `origin`.
            tokenizer: called when text is needed.
            origin: folder and side on disk; a loader process that receives this object opens the files again
                instead of receiving their contents.
        """
        self._shards = list(shards)
        self._tokenizer = tokenizer
        self.origin = origin
        self._vocab_size: int | None = None
        self._token_base = _bases([len(shard.tokens) for shard in self._shards])
        self._sentence_base = _bases([len(shard.sentences) - 1 for shard in self._shards])
        self._document_base = _bases([len(shard.documents) - 1 for shard in self._shards])
        pieces = [shard.documents[:-1] + base for shard, base in zip(self._shards, self._sentence_base, strict=False)]
        self.document_starts: Ints = np.concatenate([*pieces, self._sentence_base[-1:]])
        self.num_documents = int(self._document_base[-1])
        self.num_sentences = int(self._sentence_base[-1])
        self.num_tokens = int(self._token_base[-1])

    @classmethod
    def from_arrays(
        cls,
        tokens: NDArray[np.unsignedinteger],
        sentences: Ints,
        documents: Ints,
        ids: NDArray[np.bytes_],
        tokenizer: TextTokenizer,
        speakers: NDArray[np.uint8] | None = None,
    ) -> Self:
        """Build a side in memory; shapes and dtypes as in `Block`."""
        return cls([Shard(tokens, sentences, documents, ids, speakers)], lambda: tokenizer)

    @classmethod
    def from_block(cls, block: Block, tokenizer: TextTokenizer) -> Self:
        """Build a side from a processed block."""
        return cls.from_arrays(
            block.tokens, block.sentences, block.documents, block.ids, tokenizer, speakers=block.speakers
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is not None:
            return _open_side, self.origin
        (shard,) = self._shards
        arrays = (shard.tokens, shard.sentences, shard.documents, shard.ids)
        return CorpusSplit.from_arrays, (*arrays, self._tokenizer(), shard.speakers)

    def token_starts(self, sentences: NDArray[np.integer]) -> Ints:
        """int64 [N]: global token offset of each sentence; index S gives T."""
        return self._by_shard(sentences, lambda shard, local: shard.sentences[local], self._token_base)

    def lengths(self, sentences: NDArray[np.integer]) -> Ints:
        """int64 [N]: tokens of each sentence."""
        return self._by_shard(sentences, lambda shard, local: shard.sentences[local + 1] - shard.sentences[local])

    @property
    def has_speakers(self) -> bool:
        """Whether the speaker of each sentence is known."""
        return bool(self._shards) and all(shard.speakers is not None for shard in self._shards)

    def speakers(self, sentences: NDArray[np.integer]) -> Ints:
        """int64 [N]: `speaker_number` of each sentence; only if `has_speakers`."""

        def of_one(shard: Shard, local: Ints) -> NDArray[Any]:
            assert shard.speakers is not None
            return shard.speakers[local]

        return self._by_shard(sentences, of_one)

    def tokens(self, start: int, stop: int) -> NDArray[np.unsignedinteger]:
        """Tokens of sentences start .. stop - 1, all of one document, as a view into the file without copying."""
        number = int(np.searchsorted(self._sentence_base, start, side="right")) - 1
        if start < 0 or stop <= start or stop > self.num_sentences or stop > self._sentence_base[number + 1]:
            raise IndexError(f"sentences {start}..{stop} of {self.num_sentences} do not lie in one document")
        shard, base = self._shards[number], int(self._sentence_base[number])
        return shard.tokens[int(shard.sentences[start - base]) : int(shard.sentences[stop - base])]

    def gather(self, starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> Ints:
        """Tokens of many ranges, end to end.

        Args:
            starts: [N] global token offsets.
            lengths: [N] number of tokens in each range; a range lies inside one document.

        Returns:
            int64 [sum of lengths].
        """
        starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        index = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
        tokens = self._by_shard(index, lambda shard, local: shard.tokens[local], base=self._token_base)
        if self.origin is not None:
            self._check_ids(tokens, self.origin[0])
        return tokens

    def document_of(self, sentences: NDArray[np.integer]) -> Ints:
        """int64 [N]: document of each sentence."""
        found: Ints = np.searchsorted(self.document_starts, sentences, side="right").astype(np.int64) - 1
        return found

    def document_id(self, document: int) -> str:
        """The id given to a document by its source (long ids are shortened)."""
        if not 0 <= document < self.num_documents:
            raise IndexError(f"there is no document {document} among {self.num_documents}")
        number = int(np.searchsorted(self._document_base, document, side="right")) - 1
        name: bytes = self._shards[number].ids[document - int(self._document_base[number])]
        return bytes(name).decode("utf-8", "replace")

    def texts(self, sentences: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """Sentences as text, decoded from their tokens (lower case if the tokenizer lower-cases)."""
        return [self.decode(self.tokens(int(index), int(index) + 1)) for index in sentences]

    def units(self, sentences: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """As `texts`, with known speakers: "user: Good morning" (a speaker with a name of their own: "#17: ...")."""
        texts = self.texts(sentences)
        if not self.has_speakers:
            return texts
        names = map(speaker_name, self.speakers(np.asarray(sentences)).tolist())
        return [f"{name}: {text}" for name, text in zip(names, texts, strict=True)]

    def decode(self, tokens: NDArray[np.integer]) -> str:
        """Text of some tokens."""
        return self._tokenizer().decode(tokens.tolist())

    def _check_ids(self, tokens: Ints, folder: Path) -> None:
        """Raise LangJepaError if an id is outside the vocabulary, which the file sizes do not reveal."""
        if self._vocab_size is None:
            self._vocab_size = self._tokenizer().vocab_size
        if len(tokens) and int(tokens.max()) >= self._vocab_size:
            raise LangJepaError(
                f"the corpus {folder} is damaged: it holds token id {int(tokens.max())}, and its vocabulary has "
                f"{self._vocab_size} ids. Delete the folder and prepare again."
            )

    def _by_shard(
        self,
        wanted: NDArray[np.integer],
        look_up: Callable[[Shard, Ints], NDArray[Any]],
        add: Ints | None = None,
        base: Ints | None = None,
    ) -> Ints:
        """Look up every global index of `wanted` in its shard; `add` is added to the values, one number per shard."""
        index: Ints = np.asarray(wanted).astype(np.int64, copy=False)
        base = self._sentence_base if base is None else base
        if len(self._shards) == 1:
            return look_up(self._shards[0], index).astype(np.int64, copy=False)
        if not self._shards:
            return _nothing_but_ends(index)
        # The last shard includes its end: `token_starts` may ask for one past the last sentence.
        number = np.minimum(np.searchsorted(base, index, side="right") - 1, len(self._shards) - 1)
        result = np.empty(len(index), dtype=np.int64)
        for one in np.unique(number):
            here = number == one
            found = look_up(self._shards[one], index[here] - base[one])
            result[here] = found if add is None else found + add[one]
        return result


class Corpus:
    """A prepared corpus on disk.

    Attributes:
        path: its folder.
        manifest: what it was made from and its statistics; see docs/corpus.md.
        train, validation: the two sides; `validation` may be empty.
        reused: whether `prepare` found it already prepared.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Memory-map the files; use `Corpus.open` instead."""
        self.path, self.manifest, self.reused = path, manifest, True
        dtype = token_dtype(int(manifest["tokenizer"]["vocab_size"]))
        sides = [
            CorpusSplit(open_shards(path, side, manifest["shards"][side], dtype), lambda: self.tokenizer, (path, side))
            for side in SIDES
        ]
        self.train, self.validation = sides

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> Self:
        """Open a corpus and check its files against the manifest.

        Args:
            path: the folder of the corpus.
            verify: read all files and compare their checksums, not only sizes, types and starts. A corpus made before
                checksums were introduced has none to compare.

        Raises:
            LangJepaError: there is no manifest (it is not a corpus, or its preparation did not finish), the format is
                another one, or a file is missing or damaged; the message names the file.
        """
        path = Path(path)
        manifest = read_json(path / MANIFEST, what="manifest of the corpus")
        try:
            if manifest["format"] != FORMAT:
                raise LangJepaError(
                    f"{path} has format {manifest['format']}, this version reads {FORMAT}: prepare the corpus again."
                )
            corpus = cls(path, manifest)
            if verify:
                _verify(path, manifest)
            return corpus
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LangJepaError(f"manifest of the corpus is damaged ({path / MANIFEST}): {error!r}") from error

    def why_nothing_held_out(self) -> str:
        """Explain why there are no held-out documents, and what to do about it."""
        documents = self.train.num_documents + self.validation.num_documents
        settings = self.manifest["made_from"]["settings"]
        return why_nothing_held_out(
            float(settings["val_fraction"]),
            documents,
            self.manifest["source"]["description"],
            read=int(self.manifest["statistics"]["documents_read"]),
            tail=self.validation.num_sentences if settings.get("val_split") == "tail" else None,
        )

    def write_duplicates(self, path: Path | str) -> None:
        """Copy the list of dropped duplicates: JSON lines with `document`, `kind`, `original` and `share`.

        Raises:
            LangJepaError: the corpus has no such list, or the file cannot be written.
        """
        own = self.path / DUPLICATES
        try:
            lines = own.read_text(encoding="utf-8")
        except OSError as error:
            raise LangJepaError(
                f"{own} cannot be read ({error.strerror}). Delete the folder of the corpus and prepare again."
            ) from error
        write_text(Path(path).expanduser(), lines)

    def info(self) -> list[tuple[str, str]]:
        """(name, value) rows of a human-readable table about the corpus."""
        manifest = self.manifest
        statistics, timing, tokenizer = manifest["statistics"], manifest["timing"], manifest["tokenizer"]
        rows = [
            ("folder", str(self.path)),
            ("source", manifest["source"]["description"]),
            ("tokenizer", f"{tokenizer['name']}, {tokenizer['vocab_size']:,} ids"),
            ("documents read", f"{statistics['documents_read']:,}"),
        ]
        for reason, count in statistics["rejected"].items():
            rows.append((f"  {reason}" if reason in NO_ROWS else f"  rejected: {reason}", f"{count:,}"))
        rows += [(f"  {kind}s", f"{count:,}") for kind, count in statistics["duplicates"].items() if count]
        rows += [(f"  left out: {kind}", f"{n:,}") for kind, n in statistics.get("left_out", {}).items()]
        unit = manifest["made_from"]["settings"].get("units", "sentences").removesuffix("s")
        for side in ("train", "validation"):
            rows += _describe_side(side, statistics[side], unit)
        rows += _describe_overlap(statistics["overlap"], unit)
        rows.append(("prepared in", f"{timing['seconds']:,} s, {timing['megabytes_per_second']} MB/s"))
        return rows

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer the corpus was made with, loaded from the corpus folder.

        Raises:
            LangJepaError: it is missing, or is not the one named in the manifest.
        """
        about = self.manifest["tokenizer"]
        tokenizer = TextTokenizer.from_files(self.path / "tokenizer", about["specials"])
        if tokenizer.fingerprint() != about["fingerprint"]:
            raise LangJepaError(
                f"{self.path / 'tokenizer'} is not the tokenizer this corpus was made with. Delete the folder of the "
                "corpus and prepare again."
            )
        return tokenizer


def checksums(folder: Path, manifest: Mapping[str, Any], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """CRC-32 of every file below a folder, by name, and a fingerprint of the manifest to be written there.

    Files whose checksum is in `known`, by name, are not read.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sums = {(name := file.relative_to(folder).as_posix()): (known or {}).get(name) or crc32(file) for file in files}
    return {MANIFEST: _of_itself({**manifest, "checksums": sums}), **sums}


def _of_itself(manifest: Mapping[str, Any]) -> str:
    """Fingerprint of a manifest, without its timing and without this fingerprint itself."""
    sums = {name: total for name, total in manifest["checksums"].items() if name != MANIFEST}
    return fingerprint({**manifest, "timing": None, "checksums": sums})


def _verify(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise LangJepaError, naming the file, unless all files are as they were when the corpus was made."""
    if "checksums" not in manifest:
        return
    wanted, why = manifest["checksums"], "its checksum is not what it was when it was written"
    if wanted.get(MANIFEST) != _of_itself(manifest):
        raise damaged(path / MANIFEST, why)
    files = {path / name: total for name, total in wanted.items() if name != MANIFEST}
    for file in files:
        if not file.is_file():
            raise damaged(file, "it is missing")
    if changed := changed_file(files):
        raise damaged(changed, why)


def _open_side(path: Path, side: str) -> CorpusSplit:
    """Open one side of the corpus at `path`, in a process other than the one that verified it."""
    corpus = Corpus.open(path, verify=False)
    return corpus.train if side == "train" else corpus.validation


def _bases(sizes: list[int]) -> Ints:
    """int64 [shards + 1]: offset of each shard, then the total."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _nothing_but_ends(index: Ints) -> Ints:
    """Look-up in a split without shards: only index 0, the end, is allowed, and its value is 0."""
    if index.any():
        raise IndexError("this split of the corpus is empty")
    return np.zeros(len(index), dtype=np.int64)


def _describe_side(side: str, sizes: dict[str, Any], unit: str) -> Iterable[tuple[str, str]]:
    yield (
        side,
        f"{sizes['documents']:,} documents, {sizes['sentences']:,} {unit}s, {sizes['tokens']:,} tokens",
    )
    if sizes["sentences"]:
        spread = sizes["sentence_tokens"]
        yield (
            f"  tokens in a {unit}",
            f"median {spread['p50']}, 95 % up to {spread['p95']}, longest {spread['max']}",
        )
        yield f"  next-{unit} pairs", f"{sizes['targets']['window']:,}"


def _describe_overlap(overlap: dict[str, float | None], unit: str) -> Iterable[tuple[str, str]]:
    """Rows about held-out units that occur in training."""
    share, long = overlap["all_sentences"], overlap["long_sentences"]
    if share is not None:
        tail = "" if long is None else f" ({long:.1%} of the long ones)"
        yield f"held-out {unit}s seen in training", f"{share:.1%}{tail}"
