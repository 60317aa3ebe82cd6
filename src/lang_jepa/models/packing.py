"""Attention over sequences laid end to end: one function for every transformers architecture.

A model runs on one flat row [1, T] without padding, so its linear layers, norms and activations do no wasted work. Only
attention must know where sequences end: a `Packing`, computed once per forward from the sequence lengths, travels as
the keyword `packing` through the model to every attention layer. A keyword argument (rather than a global or a context
variable) stays with the call when gradient checkpointing repeats a layer in the backward pass, when two encoders
interleave, and in threads.

Sequences are sorted by length and cut into groups of similar length. Each group is one call of
`scaled_dot_product_attention` on [G, H, L, C]. Only the slots that pad a group to its longest sequence are wasted; a
group of equal lengths needs neither padding nor a mask.

Legend: T tokens, N sequences, P slots, G sequences in a group, L slots per sequence, H heads, C width of a head.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from lang_jepa.data.views.batch import Sequences
from lang_jepa.models.dropout import fast_dropout

PACKED = "lang_jepa_packed"
"""Name under which the attention function is registered with transformers."""

_NO_SENTENCE = 1 << 40
"""Sentence of a slot without a token: later than all others, so that no token sees it."""
_LONGEST_BY_HAND = 1024
"""Above this many tokens the attention matrix is not materialised, because it would take too much memory."""
_LONGEST_IN_FP32 = 64
"""Up to this many tokens, attention in a bf16 pass on a CPU is computed in fp32: oneDNN compiles a bf16 kernel for each
new shape, which takes four times as long as the small products themselves."""
_GROUP_ON_CPU = 4
"""Sequences in a group. Of 1, 2, 3, 4, 8 and 32, those from 1 to 4 measured equally fast for contexts and 4 best for
sentences; larger groups waste slots."""
_MOST = 64
_GROUP_ELSEWHERE = 32
"""Fewer and larger calls for a device that waits for each of them. Not measured."""


def spare_tokens(count: int) -> int:
    """Number of spare tokens appended to a row of `count` tokens if kernels are compiled for each shape.

    They make the length a multiple of the largest power of two in a 32nd of it, so that similar batches share lengths.
    """
    return -count % (1 << max(0, (count // 32).bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that attention handles together: `count` sequences of `length` slots each, from slot `start`."""

    start: int
    count: int
    length: int
    shortest: int

    @property
    def slots(self) -> int:
        return self.count * self.length

    @property
    def even(self) -> bool:
        return self.shortest == self.length


def group_lengths(lengths: Sequence[int], size: int) -> list[Group]:
    """Cut lengths, sorted from long to short, into groups of `size` sequences.

    A group of equal lengths takes all sequences of that length, up to `_MOST`: this saves calls and wastes no slots.
    Batches of short sentences have many of them (a step of the quick-start went from .24 to .17 CPU-seconds).
    """
    groups, start, at = [], 0, 0
    while at < len(lengths):
        stop = min(at + size, len(lengths))
        if lengths[stop - 1] == lengths[at]:
            while stop < min(at + _MOST, len(lengths)) and lengths[stop] == lengths[at]:
                stop += 1
        members = lengths[at:stop]
        group = Group(start, len(members), members[0], members[-1])
        groups.append(group)
        start += group.slots
        at += len(members)
    return groups


class _Permute(torch.autograd.Function):
    """Move the rows of x to the rows `place` of a zeroed tensor with `rows` rows, and the gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(place)
        out = x.new_zeros((rows, *x.shape[1:]))
        return out.index_copy_(0, place, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grads[0].index_select(0, place), None, None


class _Collect(torch.autograd.Function):
    """Select the rows `place` of x, each at most once, so that the gradient is a copy rather than a sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.rows = x.shape[0]
        return x.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        grad = grads[0]
        return grad.new_zeros((ctx.rows, *grad.shape[1:])).index_copy_(0, place, grad), None


@dataclass(slots=True)
class Packing:
    """Where every token of one forward pass goes, and which tokens see each other.

    Attributes:
        order: int64 [T] or None: token i of the sorted row is token order[i] of the given one (None: the same).
        positions: int64 [T], position of each token of the sorted row in its sequence, from 0.
        place: int64 [T] or None: slot of each token of the sorted row (None: slot i is token i, no padding).
        groups: the groups, in the order of the slots.
        lengths: int64 [N], tokens of the sorted sequences, on the device of the tokens.
        sentences: int64 [P] or None: sentence of each slot, a huge number in slots that hold no token.
        window: sentences that a token sees, its own included (None: all earlier ones).
    """

    order: Tensor | None
    positions: Tensor
    place: Tensor | None
    groups: list[Group]
    lengths: Tensor
    sentences: Tensor | None
    window: int | None
    _masks: dict[tuple[int, bool, int | None, torch.dtype], Tensor | None] = field(default_factory=dict)

    @classmethod
    def plan(cls, sequences: Sequences, *, size: int | None = None) -> "Packing":
        """Plan the forward pass of some sequences; the index tensors are on the device of the tokens.

        Args:
            sequences: the sequences to encode.
            size: sequences in a group (None: the best for attention on this device).
        """
        device = sequences.tokens.device
        lengths, order = sequences.lengths.sort(descending=True, stable=True)
        total = sequences.tokens.numel()
        if int(lengths.sum()) != total or not total or int(lengths[-1]) < 1:
            raise ValueError(f"{total} tokens cannot be cut into sequences of {sequences.lengths.tolist()} tokens")
        starts = sequences.lengths.cumsum(0) - sequences.lengths
        ends = lengths.cumsum(0)
        positions = torch.arange(total) - torch.repeat_interleave(ends - lengths, lengths)
        source = torch.repeat_interleave(starts[order], lengths) + positions
        in_order = bool((order[1:] > order[:-1]).all())
        groups = group_lengths(lengths.tolist(), size or _usual_size(device))
        slots = groups[-1].start + groups[-1].slots
        firsts = torch.cat([g.start + torch.arange(g.count) * g.length for g in groups])
        place = (torch.repeat_interleave(firsts, lengths) + positions).to(device) if slots > total else None
        source = source.to(device)
        sentences = sequences.sentences
        if sentences is not None:
            sentences = sentences if in_order else sentences[source]
            if place is not None:
                padded = sentences.new_full((slots,), _NO_SENTENCE)
                sentences = padded.index_copy_(0, place, sentences)
        return cls(
            order=None if in_order else source,
            positions=positions.to(device),
            place=place,
            groups=groups,
            lengths=lengths.to(device),
            sentences=sentences,
            window=sequences.window,
        )

    @property
    def slots(self) -> int:
        return self.groups[-1].start + self.groups[-1].slots

    def sorted(self, tokens: Tensor) -> Tensor:
        """Bring [T, ...] from the given into the sorted order."""
        return tokens if self.order is None else tokens.index_select(0, self.order)

    def restored(self, states: Tensor) -> Tensor:
        """Bring [T, ...] from the sorted into the given order, with gradient."""
        if self.order is None:
            return states
        moved: Tensor = _Permute.apply(states, self.order, states.shape[0])  # type: ignore[no-untyped-call]
        return moved

    def to_slots(self, x: Tensor) -> Tensor:
        """Map [T, ...] to [P, ...], with zeros in slots without a token."""
        if self.place is None:
            return x
        moved: Tensor = _Permute.apply(x, self.place, self.slots)  # type: ignore[no-untyped-call]
        return moved

    def from_slots(self, x: Tensor) -> Tensor:
        """Map [P, ...] to [T, ...]."""
        if self.place is None:
            return x
        moved: Tensor = _Collect.apply(x, self.place)  # type: ignore[no-untyped-call]
        return moved

    def mask(self, index: int, causal: bool, sliding: int | None, dtype: torch.dtype) -> Tensor | None:
        """The additive attention mask of group `index`, [G or 1, 1, L, L] of 0 and -inf, or None if none is needed.

        It is cached for the other layers. None with `causal` means that the causal rule alone is enough.
        """
        key = (index, causal, sliding, dtype)
        if key not in self._masks:
            allowed = self._allowed(index, causal, sliding)
            if allowed is None:
                self._masks[key] = None
            else:
                bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
                self._masks[key] = bias.masked_fill_(~allowed, float("-inf")).unsqueeze(1)
        return self._masks[key]

    def _allowed(self, index: int, causal: bool, sliding: int | None) -> Tensor | None:
        """Bool [G or 1, L, L], query by key, or None if no mask is needed."""
        group = self.groups[index]
        place = torch.arange(group.length, device=self.positions.device)
        behind = place[:, None] - place[None, :]
        rules: list[Tensor] = []
        # Earlier tokens never belong to later sentences, and padding slots come last, so the causal rule implies both
        # conditions.
        if self.sentences is not None and not (causal and self.window is None):
            ids = self.sentences[group.start : group.start + group.slots].view(group.count, group.length)
            back = ids[:, :, None] - ids[:, None, :]
            rules.append(back >= 0)
            if self.window is not None:
                rules.append(back < self.window)
        elif not group.even and not causal:
            first = sum(g.count for g in self.groups[:index])
            real = place < self.lengths[first : first + group.count, None]
            rules.append(real[:, None, :].expand(-1, group.length, -1))
        if sliding is not None and group.length > sliding:
            rules.append((behind.abs() < sliding)[None])
        if not rules:
            return None
        allowed = rules[0]
        for rule in rules[1:]:
            allowed = allowed & rule
        if causal:
            allowed = allowed & (behind >= 0)
        # A slot without a token sees at least itself: a row of -inf would put nan into the gradient.
        return allowed | (behind == 0)


def _by_hand(query: Tensor, dropout: float) -> bool:
    """Whether to materialise the attention matrix instead of calling torch's fused kernel.

    Dropout of probabilities needs it, and half precision on a CPU is faster with it: on a processor with AVX512-BF16,
    MiniLM's shapes and 200 tokens a sequence take 55 ms by hand, 157 fused, 104 fused in fp32 (forward and backward).
    """
    half = query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)
    return dropout > 0.0 or (half and query.shape[-2] <= _LONGEST_BY_HAND)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    *,
    causal: bool,
    scale: float,
    dropout: float,
) -> Tensor:
    """softmax(query key^T scale + bias) value on [G, H, L, C], with cheap dropout of the probabilities."""
    if not _by_hand(query, dropout):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=causal, scale=scale)
    given = query.dtype
    if short := given == torch.bfloat16 and query.device.type == "cpu" and query.shape[-2] <= _LONGEST_IN_FP32:
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast("cpu", enabled=False) if short else nullcontext():
        scores = (query * scale) @ key.transpose(-1, -2)
        if causal:
            length = query.shape[-2]
            later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu_(1)
            scores.masked_fill_(later, float("-inf"))
        elif bias is not None:
            scores.add_(bias)
        found = fast_dropout(scores.softmax(-1), dropout) @ value
    return found.to(given) if short else found


def packed_attention(  # noqa: PLR0913 - the signature of transformers' interface
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over packed sequences, with the signature of transformers' attention interface.

    Args:
        module: the attention layer; causal if its `is_causal` says so.
        query, key, value: [1, H, T, C], sequences in the order of `packing`, followed by spare tokens, if any.
        attention_mask: must be None, because `packing` defines what each token sees.
        scaling: factor on the scores (None: C ** -0.5).
        dropout: rate on the probabilities.
        packing: the plan of this forward pass.
        sliding_window: a token sees tokens less than this many positions away, for ModernBERT's local layers.

    Returns:
        ([1, T, H, C], None); zero for spare tokens.

    Raises:
        TypeError: there is no plan, because a prepared model was called directly rather than through TextEncoder.
    """
    if packing is None or attention_mask is not None:
        raise TypeError(
            f"A model whose attention is {PACKED!r} is called through TextEncoder, which plans the packing. "
            "To call the transformers model itself with padded input, first do set_attn_implementation('sdpa')."
        )
    causal = bool(getattr(module, "is_causal", False))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    sizes = [group.slots for group in packing.groups]
    total, length = len(packing.positions), query.shape[2]
    slots = (packing.to_slots(x[0].transpose(0, 1)[:total]) for x in (query, key, value))
    parts = zip(*(torch.split(x, sizes) for x in slots), strict=True)
    outputs = []
    for index, (group, part) in enumerate(zip(packing.groups, parts, strict=True)):
        q, k, v = (x.unflatten(0, (group.count, group.length)).transpose(1, 2) for x in part)
        bias = packing.mask(index, causal, sliding_window, q.dtype)
        out = _attend(q, k, v, bias, causal=causal and bias is None, scale=scale, dropout=dropout)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    found = packing.from_slots(joined)
    return (found if length == total else F.pad(found, (0, 0, 0, 0, 0, length - total))).unsqueeze(0), None


def _no_mask(*_: Any, **__: Any) -> None:
    """Return None when transformers asks for a mask before the layers run; the plan has everything."""


# Excluded from torch.compile, which would recompile it for every grouping of lengths and soon give up.
AttentionInterface.register(PACKED, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(PACKED, _no_mask)


def _usual_size(device: torch.device) -> int:
    return _GROUP_ON_CPU if device.type == "cpu" else _GROUP_ELSEWHERE


def group_slots(sequences: Sequences, size: int | None = None) -> int:
    """Slots of these sequences, padding included, in groups of `size` (None: as attention groups them)."""
    lengths = sequences.lengths.sort(descending=True).values.tolist()
    return sum(group.slots for group in group_lengths(lengths, size or _usual_size(sequences.tokens.device)))
