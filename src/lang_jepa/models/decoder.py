"""The concept decoder: a causal transformer that reads a concept as several prefix vectors and generates text.

The last prefix vector predicts the first token, so no start token is needed; a text ends with the tokenizer's end
token. Positions are masked by lengths, never by token ids, so the end token counts even if it is also the padding
token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.decoder import DecoderModelSettings

Method = Literal["greedy", "sample", "beam"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(slots=True)
class DecoderBatch:
    """Concepts and the texts to be decoded from them.

    Attributes:
        concepts: float32 [B, D].
        tokens: int64 [B, L], the end token included, padded on the right with arbitrary tokens.
        lengths: int64 [B] on the CPU, tokens of each text.
        position: position in the training order after this batch, see `lang_jepa.data.loader`.
    """

    concepts: Tensor
    tokens: Tensor
    lengths: Tensor
    position: tuple[int, int] = (0, 0)

    @property
    def predictions(self) -> int:
        return int(self.lengths.sum())

    @property
    def filled(self) -> Tensor:
        """Bool [B, L]: real tokens."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None].to(
            self.tokens.device
        )

    def idled(self) -> "DecoderBatch":
        """The batch with no token to predict: it is processed but does not count."""
        return replace(self, lengths=torch.zeros_like(self.lengths))

    def to(self, device: torch.device | str) -> "DecoderBatch":
        """Move everything but the lengths to a device."""
        concepts, tokens = (part.to(device, non_blocking=True) for part in (self.concepts, self.tokens))
        return replace(self, concepts=concepts, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Generation:
    """How a text is chosen from the decoder's probabilities.

    Attributes:
        method: `greedy`, `sample`, or `beam`.
        temperature, top_p, top_k: for `sample` (top_k 0: all tokens).
        beams: for `beam`: number of hypotheses.
        returned: texts for each concept, at most `beams` (`beam`) or any number (`sample`).
        seed: for `sample`; the global random state is not changed.
        max_length: maximum tokens (None: the decoder's own limit).
    """

    method: Method = "greedy"
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    beams: int = 4
    returned: int = 1
    seed: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Validate the options.

        Raises:
            LangJepaError: an option is out of range; the message names it and its range.
        """
        if self.method not in METHODS:
            raise LangJepaError(f"unknown decoding method '{self.method}': choose from {', '.join(METHODS)}")
        whole = {"top_k": (0, "0 (all) or more"), "beams": (1, "1 or more"), "returned": (1, "1 or more")}
        whole |= {"seed": (0, "0 or more"), "max_length": (1, "1 or more")}
        for name, (least, words) in whole.items():
            value = getattr(self, name)
            if (name, value) != ("max_length", None) and not (isinstance(value, int) and value >= least):
                raise LangJepaError(f"{name} ({value}) must be a whole number, {words}")
        for name, most in {"temperature": math.inf, "top_p": 1}.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value <= most):
                words = "above 0" + " and at most 1" * (most == 1)
                raise LangJepaError(f"{name} ({value}) must be a number {words}")
        most = {"greedy": 1, "beam": self.beams}.get(self.method, self.returned)
        if self.returned > most:
            raise LangJepaError(f"{self.method} gives {most} texts for each concept, not {self.returned}")

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for transformers' `generate`."""
        if self.method == "sample":
            chosen = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
            return {"do_sample": True, "num_return_sequences": self.returned, **chosen}
        beams = self.beams if self.method == "beam" else 1
        return {"do_sample": False, "num_beams": beams, "num_return_sequences": self.returned}


@dataclass(frozen=True, slots=True)
class Scores:
    """Per text, float64 [n]: nats, tokens that were the most probable ones, and tokens in all (the end included)."""

    nats: NDArray[np.float64]
    right: NDArray[np.float64]
    tokens: NDArray[np.float64]


class ConceptDecoder(nn.Module):
    """Decodes concepts into texts.

    Args:
        settings: sizes.
        concept_dim: width D of a concept.
        vocab_size: of the text's tokenizer.
        eos_id: end token of the text's tokenizer.
        mean: float32 [D], subtracted from every concept.
        whitening: float32 [D, D], applied after that.

    The standardisation is part of the decoder, which therefore works without the statistics it was computed from.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(
        self,
        settings: DecoderModelSettings,
        *,
        concept_dim: int,
        vocab_size: int,
        eos_id: int,
        mean: Tensor | None = None,
        whitening: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.eos_id = settings, eos_id
        self.register_buffer("mean", torch.zeros(concept_dim) if mean is None else mean.clone())
        # A unit vector's entries are about 1 / sqrt(D); whitened ones, like sqrt(D) of these, are about 1.
        scale = concept_dim**0.5 * torch.eye(concept_dim)
        self.register_buffer("whitening", scale if whitening is None else whitening.clone())
        self.prefix = nn.Linear(concept_dim, settings.prefix_length * settings.hidden_dim)
        self.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size,
                n_positions=settings.prefix_length + settings.max_length,
                n_embd=settings.hidden_dim,
                n_layer=settings.num_layers,
                n_head=settings.num_heads,
                activation_function="gelu_pytorch_tanh",  # GPT-2's, in one kernel instead of eight
                initializer_range=settings.hidden_dim**-0.5,  # GPT-2's .02 learns slowly at small widths
                resid_pdrop=settings.dropout,
                embd_pdrop=settings.dropout,
                attn_pdrop=settings.dropout,
                bos_token_id=eos_id,
                eos_token_id=eos_id,
                pad_token_id=None,  # tokens after the end are never read, so no warning is needed
                tie_word_embeddings=True,
            )
        )

    def memory(self, concepts: Tensor) -> Tensor:
        """Prefix vectors [B, prefix_length, hidden_dim] of concepts [B, D]."""
        standard = _of_unit_rms((concepts - self.mean) @ self.whitening)
        if self.training and self.settings.noise:
            standard = _of_unit_rms(standard + self._levels(standard) * torch.randn_like(standard))
        return self.prefix(standard).unflatten(-1, (self.settings.prefix_length, -1))  # type: ignore[no-any-return]

    def _levels(self, standard: Tensor) -> Tensor:
        """Standard deviation of each concept's noise, [B, 1]: 0 for about half, up to `noise` for the others."""
        drawn = torch.rand(len(standard), 1, device=standard.device, dtype=standard.dtype)
        return self.settings.noise * (2 * drawn - 1).clamp(min=0)

    def forward(self, batch: DecoderBatch) -> tuple[Tensor, Tensor]:
        """With teacher forcing, return the negative log-likelihood in nats, fp32 [B, L], and whether the most probable
        token is the right one, bool [B, L]; 0 and False after a text's end.
        """
        memory = self.memory(batch.concepts)
        words = self.model.transformer.wte(batch.tokens[:, :-1])
        states = self.model.transformer(inputs_embeds=torch.cat([memory, words.to(memory.dtype)], 1), use_cache=False)
        filled = batch.filled
        read = states.last_hidden_state[:, self.settings.prefix_length - 1 :][filled]
        logits = self.model.lm_head(read).float()
        truth = batch.tokens[filled]
        nats = torch.zeros(filled.shape, device=filled.device)
        right = torch.zeros_like(filled)
        nats = nats.masked_scatter(filled, functional.cross_entropy(logits, truth, reduction="none"))
        return nats, right.masked_scatter(filled, logits.argmax(-1) == truth)

    @torch.inference_mode()
    def generate(self, concepts: Tensor, how: Generation, *, block: int = 0) -> list[list[int]]:
        """Token ids of texts without their end token, `how.returned` for each concept [B, D], best first.

        The module's mode and the global random state are restored afterwards. `block` is added to the seed of a
        sample.
        """
        limit = min(how.max_length or self.settings.max_length, self.settings.max_length)
        training = self.training
        self.eval()
        devices = [concepts.device] if concepts.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(how.seed + block)
                memory = self.memory(concepts)
                written = cast(Any, self.model).generate(
                    inputs_embeds=memory,
                    attention_mask=torch.ones(memory.shape[:2], dtype=torch.long, device=memory.device),
                    max_new_tokens=limit,
                    eos_token_id=self.eos_id,
                    pad_token_id=self.eos_id,
                    **how.arguments(),
                )
        finally:
            self.train(training)
        return [row[: row.index(self.eos_id)] if self.eos_id in row else row for row in written.tolist()]


def _of_unit_rms(x: Tensor) -> Tensor:
    """Scale rows to entries of about 1, so that predictions, which are shorter when uncertain, are read alike."""
    return functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5  # type: ignore[no-any-return]


def pad_texts(texts: Sequence[Any], *, eos_id: int, max_length: int) -> tuple[Tensor, Tensor]:
    """Pad the token ids of texts, each with its end token, to one table and return it with the lengths.

    Args:
        texts: B arrays of token ids.
        eos_id: appended to each text; a text that is cut at max_length has no end token.
        max_length: maximum tokens, the end token included.

    Returns:
        int64 [B, L] padded with eos_id, and int64 [B].
    """
    rows = [torch.tensor([*map(int, text), eos_id][:max_length]) for text in texts]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    if not rows:
        return lengths.new_zeros(0, 0), lengths
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=eos_id), lengths
