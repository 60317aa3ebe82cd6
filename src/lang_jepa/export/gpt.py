"""Quantise a trained GPT to a few bits per weight, read it back, and score it beside the original."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lang_jepa.data.corpus.corpus import MANIFEST as CORPUS
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.tokens.byte_table import ByteTable, check_bytes
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TOKENIZER, CorpusTokens, TokenShards
from lang_jepa.data.tokens.token_stream import TokenSource, TokenStream
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.language import Baseline
from lang_jepa.evaluation.metrics.bits_per_byte import BitsPerByte, Validation
from lang_jepa.export.artifact import CAP, Written, check_artifact_path, read_artifact, write_artifact
from lang_jepa.export.quantise import Rounding, input_grams, quantise_state, restore_state
from lang_jepa.files.arrays import check_finite
from lang_jepa.inference.gpt import check_weights, load_gpt, load_table, restore_gpt
from lang_jepa.models.gpt import GPT
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import build_saved
from lang_jepa.training.methods.gpt_data import Tokens, open_tokens

CALIBRATION_TOKENS = 65_536
"""Training tokens with which GPTQ is calibrated."""


@dataclass(frozen=True, slots=True)
class ExportedGPT:
    """A finished export.

    Attributes:
        written: the file.
        parameters: number of parameters, tied ones counted once.
        before, after: scores on the held-out tokens of training, of the model and of the one read back.
    """

    written: Written
    parameters: int
    before: BitsPerByte
    after: BitsPerByte

    @property
    def gap(self) -> float:
        """Bits per byte lost to quantisation."""
        return self.after.val_bpb - self.before.val_bpb


def export_gpt(
    run: Path | str, file: Path | str, rounding: Rounding, *, gptq: bool = False, codec: str = "zstd", cap: int
) -> ExportedGPT:
    """Quantise a GPT's weights into one file, and measure the cost on the held-out tokens of its training.

    Args:
        run: run directory or model directory; its tokens must still be where its settings say.
        file: to write.
        rounding: how weights become codes.
        gptq: round by GPTQ, calibrated on CALIBRATION_TOKENS training tokens; otherwise to the nearest.
        codec: `zstd` or `brotli`.
        cap: maximum size of the file in bytes.

    Raises:
        LangJepaError: no GPT, tokens that are missing or without a held-out split, a file above the cap, or another
            file there already.
    """
    check_artifact_path(Path(file))
    model, settings, card = load_gpt(Path(run))
    tokens = open_tokens(settings.data, lambda event: None)
    if tokens.held_out is None:
        raise LangJepaError(f"{tokens.place} has no held-out tokens, so the cost of rounding cannot be measured")
    validation = validation_of(settings, tokens.held_out, tokens.table)
    looped = tuple(card["looped"])
    grams = _grams(model, settings, tokens, looped) if gptq else None
    written = write_quantised_gpt(model, settings, card, file, rounding, grams=grams, codec=codec, cap=cap)
    again, _, found = load_quantised_gpt(file)
    scores = [validation.score(partial(one, looped=found)) for one in (model, again)]
    return ExportedGPT(written, sum(one.numel() for one in model.parameters()), *scores)


def write_quantised_gpt(
    model: GPT,
    settings: GPTSettings,
    card: Mapping[str, Any],
    file: Path | str,
    rounding: Rounding,
    *,
    grams: dict[str, Tensor] | None = None,
    codec: str = "zstd",
    cap: int = CAP,
) -> Written:
    """Write a GPT in a few bits per weight, without measuring the cost.

    Args:
        model, settings, card: from `load_gpt`.
        file: to write.
        rounding: how weights become codes.
        grams: of the layers' inputs, to round by GPTQ (None: to the nearest).
        codec, cap: see `export_gpt`.

    Raises:
        LangJepaError: the file would be larger than `cap`.
    """
    entries = quantise_state(model.state_dict(), rounding, grams=grams)
    about = {"settings": settings.model_dump(mode="json"), "looped": tuple(card["looped"]), "bos_id": card["bos_id"]}
    return write_artifact(Path(file), entries, about, codec=codec, cap=cap)


def load_quantised_gpt(file: Path | str) -> tuple[GPT, GPTSettings, tuple[int, ...]]:
    """Load a quantised model in evaluation mode, with the settings of its training and the layers applied twice.

    Raises:
        LangJepaError: the file is damaged or foreign, or holds another kind of model.
    """

    def check(about: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
        looped = about.get("looped")
        if "settings" not in about or not isinstance(looped, list) or not all(isinstance(i, int) for i in looped):
            raise LangJepaError(f"{file} holds quantised weights, but not of a GPT that `lang-jepa export` wrote")
        check_weights(build_saved(GPTSettings, about["settings"], where=str(file)), shapes, where=str(file))

    about, entries = read_artifact(Path(file), check=check)
    settings, tensors = build_saved(GPTSettings, about["settings"], where=str(file)), restore_state(entries)
    check_finite(tensors, where=str(file))
    return restore_gpt(settings, tensors, where=str(file)), settings, tuple(about["looped"])


def open_sides(folder: Path, tokenizer: Path | None = None) -> tuple[TokenSource, TokenSource, ByteTable]:
    """(training tokens, held-out tokens, bytes of each token) of token shards or of a prepared corpus.

    Raises:
        LangJepaError: the folder has neither, a side is missing, or the tokenizer does not belong to the tokens.
    """
    if (folder / CORPUS).is_file():
        corpus = Corpus.open(folder)
        sides = [CorpusTokens(one, corpus.tokenizer) for one in (corpus.train, corpus.validation)]
        return sides[0], sides[1], ByteTable.of_tokenizer(corpus.tokenizer)
    pieces = Pieces.load(tokenizer or folder / TOKENIZER)
    train = TokenShards.find(folder, "train", vocab_size=pieces.vocab_size)
    held_out, table = TokenShards.find(folder, "val", vocab_size=pieces.vocab_size), ByteTable.of_pieces(pieces)
    check_bytes(table, held_out)
    return train, held_out, table


def score_gpts(
    models: Iterable[Path], held_out: TokenSource, table: ByteTable, *, stride: int | None = None
) -> list[Baseline]:
    """Score trained models on held-out tokens, as rows for the table of baselines.

    Args:
        models: runs, model directories or files of `export_gpt`.
        held_out: tokens of the models' tokenizer.
        table: bytes of each token.
        stride: tokens by which windows advance (None: their length).

    Raises:
        LangJepaError: there is no model, or one has a different vocabulary.
    """
    rows = []
    for path in models:
        began = time.monotonic()
        if path.is_file():
            model, settings, looped = load_quantised_gpt(path)
        else:
            model, settings, card = load_gpt(path)
            looped = tuple(card["looped"])
        if model.vocab_size != len(table.base):
            raise LangJepaError(
                f"{path} predicts {model.vocab_size} ids and these tokens are of "
                f"{len(table.base)}: it was trained on others"
            )
        if path.is_dir() and not table.same_tokens(load_table(path)):  # a file comes without a tokenizer
            raise LangJepaError(f"{path} was trained on other tokens than these: score it on shards of its tokenizer")
        found = validation_of(settings, held_out, table).score(partial(model, looped=looped), stride=stride)
        rows.append(Baseline(str(path), found.val_bpb, found.val_loss, time.monotonic() - began))
    return rows


def validation_of(settings: GPTSettings, held_out: TokenSource, table: ByteTable) -> Validation:
    """Return a validation on held-out tokens, in windows of the training sequence length."""
    length = settings.data.seq_len
    batch_size = max(1, settings.evaluation.val_batch_tokens // length)
    return Validation(held_out, table, length=length, batch_size=batch_size)


def _grams(model: GPT, settings: GPTSettings, tokens: Tokens, looped: tuple[int, ...]) -> dict[str, Tensor]:
    """Gram matrices of the layers' inputs on some training tokens."""
    length = settings.data.seq_len
    rows = min(8, max(1, tokens.train.num_tokens // length - 1))
    stream = TokenStream(tokens.train, batch_size=rows, length=length, seed=0)
    batches = [next(stream)[:, :-1] for _ in range(max(1, CALIBRATION_TOKENS // (rows * length)))]

    def run() -> None:
        for batch in batches:
            model(batch, looped=looped)

    with torch.no_grad():
        return input_grams(model, run)
