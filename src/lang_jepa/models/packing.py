"""Attention over sequences laid end to end: one function for every transformers architecture.

A model runs on one flat row [1, T] in which no slot is padding, so its linear layers, norms and activations do
no wasted work. Only attention must know where sequences end. It knows by a `Packing`, computed once per forward
from the sequence lengths, which travels as the keyword `packing` through the model to every attention layer.
A keyword argument (rather than a global or a context variable) stays with the call when gradient checkpointing
repeats a layer in the backward pass, when two encoders interleave, and in threads.

Sequences are sorted by length and cut into groups of similar length. Each group is one call of
`scaled_dot_product_attention` on [G, H, L, C]; only slots that fill a group up to its longest sequence are wasted,
and a group of equal lengths needs neither these nor a mask.

Legend: T tokens, N sequences, P slots, G sequences of one group, L slots of each of them, H heads, C width of a head.
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
"""Sentence of a slot without token: later than all, so that no token sees it."""
_LONGEST_BY_HAND = 1024
"""Above so many tokens the attention matrix is not written down: it would take too much memory."""
_LONGEST_IN_FP32 = 64
"""Up to so many tokens the attention of a bf16 pass on a CPU is written down in fp32: for each new shape in bf16 oneDNN
compiles a kernel, which takes four times as long as small products themselves."""
_GROUP_ON_CPU = 4
"""Sequences of a group: of 1, 2, 3, 4, 8 and 32, measured from 1 to 4 equally fast for contexts and 4 best for
sentences; larger groups waste slots."""
_MOST = 64
_GROUP_ELSEWHERE = 32
"""Fewer and larger calls for a device that waits for each of them. Not measured."""


def spare_tokens(count: int) -> int:
    """Tokens that belong to nobody, by which a row of `count` tokens is made longer where shapes are compiled for.

    They make it a multiple of the largest power of two in a 32nd of it, so that batches of like size have few lengths.
    """
    return -count % (1 << max(0, (count // 32).bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that attention handles together: `count` of them in `length` slots each, from slot `start`."""

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

    A group of equal lengths takes in all its equals, up to `_MOST`: that saves calls and costs no slot. Batches of
    short sentences have many equals (a step of the quick-start went from .24 to .17 CPU-seconds).
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
    """Rows of x moved to the rows `place` of a zeroed tensor with `rows` rows; the gradient is moved back."""

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
    """Rows `place` of x, each at most once, so that the gradient is a copy and no sum."""

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
    """Where every token of one forward goes, and who sees whom.

    Attributes:
        order: int64 [T] or None: token i of the sorted row is token order[i] of the given one (None: the same).
        positions: int64 [T], place of each token of the sorted row in its sequence, from 0.
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
        """Plan the forward of these sequences; the index tensors lie on the device of the tokens.

        Args:
            sequences: what is read.
            size: sequences of a group (None: as is best for attention on this device).
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
        """[T, ...] in the given order to [T, ...] in the sorted order."""
        return tokens if self.order is None else tokens.index_select(0, self.order)

    def restored(self, states: Tensor) -> Tensor:
        """[T, ...] in the sorted order to [T, ...] in the given order, with gradient."""
        if self.order is None:
            return states
        moved: Tensor = _Permute.apply(states, self.order, states.shape[0])  # type: ignore[no-untyped-call]
        return moved

    def to_slots(self, x: Tensor) -> Tensor:
        """[T, ...] to [P, ...], zero in slots without a token."""
        if self.place is None:
            return x
        moved: Tensor = _Permute.apply(x, self.place, self.slots)  # type: ignore[no-untyped-call]
        return moved

    def from_slots(self, x: Tensor) -> Tensor:
        """[P, ...] to [T, ...]."""
        if self.place is None:
            return x
        moved: Tensor = _Collect.apply(x, self.place)  # type: ignore[no-untyped-call]
        return moved

    def mask(self, index: int, causal: bool, sliding: int | None, dtype: torch.dtype) -> Tensor | None:
        """What group `index` adds to its attention scores: [G or 1, 1, L, L] of 0 and -inf, or None for nothing.

        Kept for the other layers of the forward. None with `causal` means that the causal rule alone is enough.
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
        """Bool [G or 1, L, L], query by key, or None where no mask is needed."""
        group = self.groups[index]
        place = torch.arange(group.length, device=self.positions.device)
        behind = place[:, None] - place[None, :]
        rules: list[Tensor] = []
        # Earlier tokens never belong to later sentences, and filling slots come last, so under the causal rule
        # both conditions hold by themselves.
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
        # A slot without a token may see nothing else; a row of -inf would put nan into the gradient.
        return allowed | (behind == 0)


def _by_hand(query: Tensor, dropout: float) -> bool:
    """Whether to write the attention matrix down instead of calling torch's fused kernel.

    Dropout of probabilities needs it. Half precision on a CPU gains by it: on a processor with AVX512-BF16, MiniLM's
    shapes and 200 tokens a sequence take 55 ms by hand, 157 fused, 104 fused in fp32 (forward and backward).
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
        query, key, value: [1, H, T, C], sequences in the order of `packing`, and behind them spare tokens, if any.
        attention_mask: must be None; who sees whom is in `packing`.
        scaling: factor on the scores (None: C ** -0.5).
        dropout: rate on the probabilities.
        packing: the plan of this forward.
        sliding_window: a token sees tokens less than this many places away, as ModernBERT's local layers want.

    Returns:
        ([1, T, H, C], None); zero for spare tokens.

    Raises:
        TypeError: without a plan, which happens when a prepared model is called directly, not through TextEncoder.
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
    """Transformers asks for a mask before the layers run; the plan has everything."""


# torch.compile leaves the function out: it would compile it anew for every grouping of lengths, and soon give up.
AttentionInterface.register(PACKED, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(PACKED, _no_mask)


def _usual_size(device: torch.device) -> int:
    return _GROUP_ON_CPU if device.type == "cpu" else _GROUP_ELSEWHERE


def group_slots(sequences: Sequences, size: int | None = None) -> int:
    """Slots of these sequences in groups of `size` (None: as attention groups them): tokens, and padding inside."""
    lengths = sequences.lengths.sort(descending=True).values.tolist()
    return sum(group.slots for group in group_lengths(lengths, size or _usual_size(sequences.tokens.device)))
