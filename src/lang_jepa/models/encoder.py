"""The text encoder: a stock transformers model on sequences laid end to end, pooling, and an optional head."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from lang_jepa.data.views.batch import Sequences, Targets
from lang_jepa.errors import LangJepaError
from lang_jepa.models.architecture import encoder_of, first_position, position_limit, width_of
from lang_jepa.models.backbone import build_backbone, family_of
from lang_jepa.models.dropout import replace_dropout
from lang_jepa.models.packing import PACKED, Packing, group_slots, spare_tokens
from lang_jepa.models.padded import group_size, padded_states, padding_shows
from lang_jepa.settings.encoder import ModelSettings


def segment_mean(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """Mean of the states of each segment, accumulated in fp32.

    Args:
        states: [T, D], floating point.
        segments: int64 [T], the segment of each state: non-decreasing, in [0, count).
        count: number of segments.

    Returns:
        fp32 [count, D]; zero for a segment without any state.
    """
    sums = states.new_zeros((count, states.shape[1]), dtype=torch.float32)
    sums = sums.index_add(0, segments, states.float())
    edges = torch.searchsorted(segments, torch.arange(count + 1, device=segments.device))
    return sums / edges.diff().clamp(min=1).unsqueeze(1)


def segment_first(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The first state of each segment (`cls`), none of which may be empty; otherwise as `segment_mean`."""
    starts = torch.searchsorted(segments, torch.arange(count, device=segments.device))
    return take_rows(states, starts).float()


def segment_last(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The last state of each segment; otherwise as `segment_first`."""
    ends = torch.searchsorted(segments, torch.arange(count, device=segments.device), right=True)
    return take_rows(states, ends - 1).float()


def segment_max(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The maximum of each dimension in a segment; otherwise as `segment_first`."""
    rows = segments.unsqueeze(1).expand_as(states)
    lowest = states.new_full((count, states.shape[1]), -torch.inf, dtype=torch.float32)
    return lowest.scatter_reduce(0, rows, states.float(), "amax")


POOLINGS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "mean": segment_mean,
    "cls": segment_first,
    "lasttoken": segment_last,
    "max": segment_max,
}
"""Ways to pool the states of a sequence into one vector, by the names that sentence-transformers gives them."""


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x[rows]` with a gradient that is summed in a fixed order, whatever the number of threads.

    CPU threads add the gradient of plain indexing atomically (`index_put_` with `accumulate`), so the rounding of a row
    that is taken more than twice differs between runs, and resuming could not be exact.

    Args:
        x: [N, ...].
        rows: int64 of any shape, from 0 to N - 1.

    Returns:
        [*rows.shape, ...].
    """
    return functional.embedding(rows, x.flatten(1)).reshape(*rows.shape, *x.shape[1:])


class TextEncoder(nn.Module):
    """Encodes sequences laid end to end into token states and sentence embeddings.

    Args:
        backbone: a transformers model that gives token states. Its dropout is replaced by the cheap one, in place. A
            model of `FAMILIES` gets packed attention; any other runs padded (`padded.py`).
        head: linear map after pooling (None: none).
        pooling: how the states of a sequence become one vector, a name of `POOLINGS`. Training only uses the mean.
        gradient_checkpointing: recompute layers in the backward pass instead of keeping their activations.

    Attributes:
        dim: width D of embeddings.
        packed: whether the backbone runs packed.

    Raises:
        LangJepaError: the backbone does not give token states.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        head: nn.Linear | None = None,
        pooling: str = "mean",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        backbone = encoder_of(backbone)
        self.packed = family_of(backbone.config).packed
        if self.packed:
            backbone.set_attn_implementation(PACKED)
        self._exact = not self.packed and padding_shows(backbone)
        replace_dropout(backbone)
        if gradient_checkpointing:
            _enable_checkpointing(backbone)
        self.backbone = backbone
        self.head = head
        self.pooling = pooling
        self.dim = width_of(backbone.config) if head is None else head.out_features
        self._first_position = first_position(backbone)
        self._limit = position_limit(backbone)

    def states(self, sequences: Sequences) -> Tensor:
        """Token states [T, D] of one pass, in the order of the tokens; fp32 or the autocast type.

        Raises:
            LangJepaError: there is no sequence, one is empty or longer than the position table, or later sentences must
                be hidden from earlier ones and the encoder runs padded.
        """
        self._check(sequences)
        if not self.packed:
            return padded_states(self.backbone, sequences, exact=self._exact)
        packing = Packing.plan(sequences)
        tokens, count = packing.sorted(sequences.tokens), len(sequences.tokens)
        compiles = tokens.device.type == "cpu" and torch.is_autocast_enabled("cpu")  # one kernel for each new shape
        more = (0, spare_tokens(count) if compiles else 0)
        output = self.backbone(
            input_ids=functional.pad(tokens, more).unsqueeze(0),
            position_ids=functional.pad(packing.positions + self._first_position, more).unsqueeze(0),
            packing=packing,
        )
        return packing.restored(output.last_hidden_state[0][:count])

    def slots(self, sequences: Sequences) -> int:
        """Slots that these sequences take, padding included, in attention (packed) or in every layer (padded)."""
        return group_slots(sequences, None if self.packed else group_size(sequences, exact=self._exact))

    def pool(self, states: Tensor, segments: Tensor, count: int) -> Tensor:
        """Pool the states of each segment into one vector, fp32 [count, D], before the head (see `POOLINGS`)."""
        return POOLINGS[self.pooling](states, segments, count)

    def mean(self, sequences: Sequences) -> Tensor:
        """Pooled states of each sequence, fp32 [N, D], before the head; precomputed ones are returned as they are."""
        if sequences.pooled is not None:
            return sequences.pooled
        return self.pool(self.states(sequences), sequences.owner(), len(sequences))

    def embed(self, sequences: Sequences) -> Tensor:
        """Embedding of each sequence [N, D]: its pooled states after the head, not normalised."""
        return self.mapped(self.mean(sequences))

    def embed_targets(self, targets: Targets) -> Tensor:
        """Embedding of each picked segment [Q, D]: its pooled states after the head, not normalised."""
        means = targets.sequences.pooled  # precomputed only for whole sequences
        if means is None:
            means = self.pool(self.states(targets.sequences), targets.segments, targets.count)
        return self.mapped(take_rows(means, targets.picked))

    def mapped(self, x: Tensor) -> Tensor:
        """Map pooled vectors or token states [N, D] into the space of the embeddings, by the head if there is one."""
        return x if self.head is None else self.head(x)

    def forward(self, sequences: Sequences) -> Tensor:
        return self.embed(sequences)

    def _check(self, sequences: Sequences) -> None:
        longest = int(sequences.lengths.max()) if len(sequences) else 0
        if self._limit is not None and longest > self._limit:
            raise LangJepaError(
                f"A sequence has {longest} tokens, but the encoder has positions for {self._limit}. "
                f"Cut sequences to model.max_length <= {self._limit}."
            )
        if sequences.sentences is not None and not self.packed:
            raise LangJepaError(
                f"Encoders of type {self.backbone.config.model_type!r} run padded and cannot hide later sentences: set "
                "data.context=concepts or data.context=window."
            )
        if not len(sequences) or int(sequences.lengths.min()) < 1:
            raise LangJepaError("The encoder was given no sequence, or one without tokens; drop empty texts before.")


def build_encoder(
    settings: ModelSettings,
    *,
    vocab_size: int,
    pad_id: int | None = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
    weights: str | None = None,
    pooling: str = "mean",
    gradient_checkpointing: bool = False,
) -> TextEncoder:
    """Build an encoder: backbone, head (the identity; the training code whitens it, which needs data) and pooling.

    Arguments and errors are those of `build_backbone` and `TextEncoder`.
    """
    backbone = build_backbone(
        settings,
        vocab_size=vocab_size,
        pad_id=pad_id,
        bos_id=bos_id,
        eos_id=eos_id,
        weights=weights,
    )
    head = None if settings.head == "none" else identity_head(settings.embed_dim)
    return TextEncoder(backbone, head=head, pooling=pooling, gradient_checkpointing=gradient_checkpointing)


def identity_head(dim: int) -> nn.Linear:
    """A linear map from [D] to [D], initialised as the identity."""
    head = nn.Linear(dim, dim)
    with torch.no_grad():
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    return head


def _enable_checkpointing(backbone: PreTrainedModel) -> None:
    options = {"use_reentrant": False}
    if hasattr(backbone, "activation_checkpointing_enable"):
        backbone.activation_checkpointing_enable(options)
    else:  # the name in earlier releases of transformers
        backbone.gradient_checkpointing_enable(options)  # type: ignore[no-untyped-call]
