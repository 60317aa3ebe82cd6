"""A trained GPT in a few bits a weight: written, read back, and scored beside the original."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lang_jepa.concepts.gpt_directory import build_gpt, load_gpt
from lang_jepa.config_gpt import GPTSettings
from lang_jepa.data.token_stream import TokenStream
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.bits_per_byte import BitsPerByte, Validation
from lang_jepa.export.artifact import Written, read_artifact, write_artifact
from lang_jepa.export.quantise import Rounding, input_grams, quantise_state, restore_state
from lang_jepa.models.gpt import GPT
from lang_jepa.settings import build
from lang_jepa.training.gpt.material import Tokens, open_tokens

CALIBRATION_TOKENS = 65_536
"""Training tokens that GPTQ sees."""


@dataclass(frozen=True, slots=True)
class ExportedGPT:
    """What an export made.

    Attributes:
        written: the file.
        parameters: numbers that the model has, tied ones once.
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
    run: Path | str,
    file: Path | str,
    rounding: Rounding,
    *,
    gptq: bool = False,
    codec: str = "zstd",
    cap: int,
) -> ExportedGPT:
    """Quantise a GPT's weights into one file, and measure what that costs on the held-out tokens of its training.

    Args:
        run: run directory or model directory; its tokens must still be where its settings say.
        file: to write.
        rounding: how weights become codes.
        gptq: round by GPTQ, calibrated on CALIBRATION_TOKENS of the training side; else to the nearest.
        codec: `zstd` or `brotli`.
        cap: bytes that the file may take.

    Raises:
        LangJepaError: no GPT, tokens that are gone or hold nothing out, or a file above the cap.
    """
    model, settings, card = load_gpt(Path(run))
    tokens = open_tokens(settings.data, lambda event: None)
    validation = _validation(settings, tokens)
    looped = tuple(card["looped"])
    grams = _grams(model, settings, tokens, looped) if gptq else None
    entries = quantise_state(model.state_dict(), rounding, grams=grams)
    about = {"settings": settings.model_dump(mode="json"), "looped": looped, "bos_id": card["bos_id"]}
    written = write_artifact(Path(file), entries, about, codec=codec, cap=cap)
    again, _, found = load_quantised_gpt(file)
    scores = [validation.score(partial(one, looped=found)) for one in (model, again)]
    return ExportedGPT(written, sum(one.numel() for one in model.parameters()), *scores)


def load_quantised_gpt(file: Path | str) -> tuple[GPT, GPTSettings, tuple[int, ...]]:
    """A model from its file in evaluation mode, the settings of its training, and the layers passed through twice.

    Raises:
        LangJepaError: the file is damaged or foreign, or holds another kind of model.
    """
    about, entries = read_artifact(Path(file))
    if "settings" not in about or "looped" not in about:
        raise LangJepaError(f"{file} holds quantised weights, but not of a GPT that `lang-jepa export` wrote")
    settings = build(GPTSettings, about["settings"], where=str(file))
    model = build_gpt(settings)
    try:
        model.load_state_dict(restore_state(entries))
    except RuntimeError as error:
        raise LangJepaError(f"{file} does not fit the model's settings: {error}") from error
    return model.eval(), settings, tuple(about["looped"])


def _validation(settings: GPTSettings, tokens: Tokens) -> Validation:
    """The held-out tokens, as the run looked at them, but all of them."""
    if tokens.held_out is None:
        raise LangJepaError(
            f"{tokens.place} holds nothing out, so that the cost of rounding cannot be measured"
        )
    length = settings.data.seq_len
    batch_size = max(1, settings.evaluation.val_batch_tokens // length)
    return Validation(tokens.held_out, tokens.table, length=length, batch_size=batch_size)


def _grams(model: GPT, settings: GPTSettings, tokens: Tokens, looped: tuple[int, ...]) -> dict[str, Tensor]:
    """Inputs of the layers on some training tokens."""
    length = settings.data.seq_len
    rows = min(8, max(1, tokens.train.num_tokens // length - 1))
    stream = TokenStream(tokens.train, batch_size=rows, length=length, seed=0)
    batches = [next(stream)[:, :-1] for _ in range(max(1, CALIBRATION_TOKENS // (rows * length)))]

    def run() -> None:
        for batch in batches:
            model(batch, looped=looped)

    with torch.no_grad():
        return input_grams(model, run)
