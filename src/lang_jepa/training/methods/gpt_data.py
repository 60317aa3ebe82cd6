"""Data of a GPT's run: training and held-out tokens, and their tokenizer."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lang_jepa.data.corpus.corpus import MANIFEST, Corpus
from lang_jepa.data.corpus.prepare import PrepareEvent, prepare, report_losses
from lang_jepa.data.corpus.statistics import Losses, why_nothing_held_out
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import MANIFEST as SHARDS_MANIFEST
from lang_jepa.data.tokens.token_shards import TOKENIZER, CorpusTokens, TokenShards
from lang_jepa.data.tokens.token_stream import TokenSource, TokenStream
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import fingerprint, make_folder, read_json
from lang_jepa.settings.gpt import GPTDataSettings

OnEvent = Callable[[PrepareEvent], None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Both splits of a token dataset.

    Attributes:
        train: the training split.
        held_out: the held-out split; None if nothing is held out.
        table: bytes of each token, and the decoding of tokens to text.
        identity: identifies the data; compared when a run is resumed.
        place: where the data is, for messages.
        save_tokenizer: writes the tokenizer's files into a folder.
        why_nothing_held_out: the reason if nothing is held out, and what to do.
    """

    train: TokenSource
    held_out: TokenSource | None
    table: ByteTable
    identity: str
    place: str
    save_tokenizer: Callable[[Path], None]
    why_nothing_held_out: str


def open_tokens(settings: GPTDataSettings, on_event: OnEvent) -> Tokens:
    """Open the tokens named in the settings; a corpus is prepared first if needed.

    Raises:
        LangJepaError: they cannot be read, or their vocabulary does not have the size data.vocab_size. Only a tokenizer
            trained on the documents may have fewer ids, if their text yields no more.
    """
    if settings.data_path is None:
        tokens = of_corpus(prepare(settings.corpus(), progress=on_event), on_event)
    elif (Path(settings.data_path) / MANIFEST).is_file():
        tokens = of_corpus(Corpus.open(settings.data_path), on_event)
    else:
        tokens = _of_shards(settings, Path(settings.data_path), on_event)
    found = tokens.train.vocab_size
    learnt_here = settings.data_path is None and settings.tokenizer_path == "trained"
    if found > settings.vocab_size or (found < settings.vocab_size and not learnt_here):
        raise LangJepaError(
            f"the tokenizer of {tokens.place} has {found} ids, but data.vocab_size is {settings.vocab_size}: set "
            f"data.vocab_size={found}"
        )
    return tokens


def of_corpus(corpus: Corpus, on_event: OnEvent) -> Tokens:
    """Open the tokens of a prepared corpus, and report what was lost in preparing it."""
    report_losses(Losses.of_manifest(corpus.manifest["statistics"]), on_event)
    tokenizer = corpus.tokenizer
    held_out = corpus.validation
    return Tokens(
        train=CorpusTokens(corpus.train, tokenizer),
        held_out=CorpusTokens(held_out, tokenizer) if held_out.num_documents else None,
        table=ByteTable.of_tokenizer(tokenizer),
        identity=corpus.path.name,
        place=str(corpus.path),
        save_tokenizer=tokenizer.save,
        why_nothing_held_out=why_nothing_held_out(
            corpus.manifest["made_from"]["settings"]["val_fraction"],
            corpus.train.num_documents + held_out.num_documents,
            corpus.manifest["source"]["description"],
            read=int(corpus.manifest["statistics"]["documents_read"]),
        ),
    )


def _of_shards(settings: GPTDataSettings, folder: Path, on_event: OnEvent) -> Tokens:
    if (folder / SHARDS_MANIFEST).is_file():  # shards from elsewhere have none
        report_losses(Losses.of_manifest(read_json(folder / SHARDS_MANIFEST, what="manifest of the shards")), on_event)
    own = folder / TOKENIZER
    path = own if settings.tokenizer_path == "trained" else Path(settings.tokenizer_path)
    if path == own and not own.is_file():
        raise LangJepaError(
            f"{folder} has no {TOKENIZER}: name the SentencePiece model of these shards in data.tokenizer_path "
            "(TOKENIZER_PATH), or make shards of your own with `lang-jepa shards SOURCE FOLDER`"
        )
    pieces = Pieces.load(path)
    train = TokenShards.find(folder, "train", vocab_size=pieces.vocab_size)
    held_out = None
    if any(folder.glob("*val_*.bin")):
        held_out = TokenShards.find(folder, "val", vocab_size=pieces.vocab_size)
    sizes = [[file.name, file.stat().st_size] for file in train.paths]
    return Tokens(
        train=train,
        held_out=held_out,
        table=ByteTable.of_pieces(pieces),
        identity=fingerprint([sizes, pieces.fingerprint()]),
        place=str(folder),
        save_tokenizer=lambda target: _copy(path, target / TOKENIZER),
        why_nothing_held_out=f"{folder} has no file *val_*.bin",
    )


def _copy(source: Path, target: Path) -> None:
    make_folder(target.parent)
    shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True)
class GPTBatch:
    """Sequences of one micro-batch.

    Attributes:
        tokens: int64 [rows, seq_len + 1], on the model's device.
        read: the same, on the CPU.
    """

    tokens: Tensor
    read: Tensor

    @property
    def predictions(self) -> int:
        return int(self.tokens.shape[0] * (self.tokens.shape[1] - 1))

    def to(self, device: Any) -> "GPTBatch":
        return GPTBatch(self.tokens.to(device, non_blocking=True), self.read)


class GPTBatches:
    """An endless stream of one rank's micro-batches; positions always lie between optimizer steps.

    Args:
        settings: sizes of a step.
        tokens: both splits.
        seed: of the order.
        rank, world: rank of this process, and number of processes.

    Attributes:
        micro_batches: number of micro-batches in a step, on this rank.
        stream: the token stream, with its position.

    Raises:
        LangJepaError: a step cannot be divided evenly among the processes, or there are too few tokens for one.
    """

    def __init__(self, settings: GPTDataSettings, tokens: Tokens, *, seed: int, rank: int, world: int) -> None:
        self.settings, self.tokens, self.rank, self.world = settings, tokens, rank, world
        share, rest = divmod(settings.batch_tokens, settings.seq_len * world)
        micro = settings.micro_batch_tokens or settings.batch_tokens // world
        self.micro_batches, odd = divmod(settings.batch_tokens, micro * world)
        if rest or odd or not share:
            raise LangJepaError(
                f"data.batch_tokens ({settings.batch_tokens}) cannot be shared out to {world} processes in "
                f"micro-batches of {micro} tokens (whole sequences of {settings.seq_len}): change data.batch_tokens or "
                "data.micro_batch_tokens"
            )
        self.stream = TokenStream(
            tokens.train, batch_size=share, length=settings.seq_len, seed=seed, rank=rank, ranks=world
        )
        self._rest: list[Tensor] = []  # of the step

    def anew(self) -> "GPTBatches":
        """Return the same batches from the beginning, without changing this object's position."""
        seed = self.stream.seed
        return GPTBatches(self.settings, self.tokens, seed=seed, rank=self.rank, world=self.world)

    def __next__(self) -> GPTBatch:
        if not self._rest:
            self._rest = list(next(self.stream).chunk(self.micro_batches))
        rows = self._rest.pop(0)
        return GPTBatch(rows, rows)

    @property
    def state(self) -> dict[str, Any]:
        """The position after the last whole step."""
        return self.stream.state

    @state.setter
    def state(self, position: dict[str, Any]) -> None:
        self.stream.restart(position)
        self._rest = []

    def info(self) -> list[tuple[str, str]]:
        held_out = self.tokens.held_out
        settings = self.settings
        return [
            ("tokens", self.tokens.place),
            (
                "training",
                f"{self.tokens.train.num_tokens:,} tokens of {self.tokens.train.vocab_size:,} kinds",
            ),
            ("held out", f"{held_out.num_tokens:,} tokens" if held_out else "nothing"),
            (
                "a step",
                f"{settings.batch_tokens:,} tokens in sequences of {settings.seq_len:,}, "
                f"{self.micro_batches * self.world} micro-batches",
            ),
        ]
