"""A GPT with one forward pass for training, evaluation and generation, which can return any layer's states.

Legend: B sequences, T tokens, D width, V vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt_kernels import (
    attend,
    by_hand,
    cross_entropy,
    interleaved,
    norm_and_turn,
    rms_norm,
    squared_leaky_relu,
)
from lang_jepa.settings.gpt import GPTModelSettings


class Rotary(nn.Module):
    """Rotary positions (arXiv 2104.09864): pair i of a head's dimensions turns by position * base^(-2i / rotated).

    Args:
        head_dim: E.
        fraction: share of E that is rotated, rounded down to pairs; the remaining dimensions are left unchanged.
        base: of the wavelengths.
        length: number of positions.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, head_dim: int, *, fraction: float, base: float, length: int) -> None:
        super().__init__()
        self.pairs = int(head_dim * fraction) // 2
        frequencies = base ** (-torch.arange(self.pairs, dtype=torch.float64) / max(1, self.pairs))
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)

    def at(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions start .. stop - 1, fp32 [stop - start, pairs] each."""
        return self.cosine[start:stop], self.sine[start:stop]


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate x [B, heads, T, E] by `Rotary.at`; dimension i is paired with dimension i + pairs."""
    cosine, sine = turn
    pairs = cosine.shape[-1]
    if not pairs:
        return x
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat([*(part.to(x.dtype) for part in turned), rest], dim=-1)


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one pass through a layer, for generation.

    Attributes:
        keys, values: [B, K, length, E], filled up to `filled`.
        filled: number of tokens so far.
    """

    keys: Tensor
    values: Tensor
    filled: int = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens [B, K, n, E] and return all so far, [B, K, filled + n, E]."""
        stop = self.filled + keys.shape[2]
        self.keys[:, :, self.filled : stop] = keys
        self.values[:, :, self.filled : stop] = values
        self.filled = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]


class CausalAttention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) with normalised queries and keys and a gain for each head.

    Args:
        settings: of the model.
    """

    def __init__(self, settings: GPTModelSettings) -> None:
        super().__init__()
        dim, self.heads, self.kv_heads = settings.model_dim, settings.num_heads, settings.num_kv_heads
        self.head_dim = dim // self.heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.value = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.gain = nn.Parameter(torch.full((self.heads,), settings.qk_gain_init))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: LayerCache | None = None) -> Tensor:
        """Attend from each token to itself and the tokens before it.

        Args:
            x: [B, T, D], normalised.
            turn: rotary positions of the T tokens.
            cache: of the tokens before these; extended in place.

        Returns:
            [B, T, D].
        """
        paired = cache is None and by_hand(x) and self.head_dim % 2 == 0
        query, key, value = self._paired(x, turn) if paired else self._plain(x, turn)
        if cache is not None:
            key, value = cache.extend(key, value)
        return self.out(attend(query, key, value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _plain(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, heads, T, E], keys and values [B, K, T, E]."""
        query = rms_norm(self._heads(self.query(x), self.heads))
        query = rotate(query * self.gain[:, None, None].to(query.dtype), turn)
        key = rotate(rms_norm(self._heads(self.key(x), self.kv_heads)), turn)
        return query, key, self._heads(self.value(x), self.kv_heads)

    def _paired(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Like `_plain`, with a single product, and with the dimensions of queries and keys reordered so that rotated
        pairs are adjacent.
        """
        heads = self.heads + self.kv_heads
        compared = interleaved(torch.cat([self.query.weight, self.key.weight]), heads, turn[0].shape[-1])
        projected = functional.linear(x, torch.cat([compared, self.value.weight]))
        both, value = torch.split(projected, [len(compared), len(self.value.weight)], dim=-1)
        gain = torch.cat([self.gain, self.gain.new_ones(self.kv_heads)])
        turned = norm_and_turn(both.reshape(*both.shape[:2], heads, -1), gain, turn).transpose(1, 2)
        query, key = torch.split(turned, [self.heads, self.kv_heads], dim=1)
        return query, key, self._heads(value, self.kv_heads)

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        """Reshape [B, T, heads * E] to [B, heads, T, E]."""
        return x.reshape(*x.shape[:2], heads, self.head_dim).transpose(1, 2)


class MLP(nn.Module):
    """Two matrices around a squared (leaky) ReLU (arXiv 2109.08668)."""

    def __init__(self, settings: GPTModelSettings) -> None:
        super().__init__()
        hidden = round(settings.mlp_mult * settings.model_dim)
        self.slope = settings.activation_slope
        self.up = nn.Linear(settings.model_dim, hidden, bias=False)
        self.down = nn.Linear(hidden, settings.model_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.down(squared_leaky_relu(self.up(x), self.slope))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A layer on the residual stream: attention and then the MLP, or both in parallel.

    Args:
        settings: of the model.
        parallel: attention and MLP read the same input.
        gated: a skip connection ends here, with a gate per dimension that starts half open.
    """

    def __init__(self, settings: GPTModelSettings, *, parallel: bool, gated: bool) -> None:
        super().__init__()
        self.parallel = parallel
        self.attention = CausalAttention(settings)
        self.mlp = MLP(settings)
        self.gate = nn.Parameter(torch.zeros(settings.model_dim)) if gated else None

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        skip: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Map [B, T, D] to [B, T, D]; `skip` [B, T, D] is added first, `turn` and `cache` are for attention."""
        if self.gate is not None and skip is not None:
            x = x + self.gate.sigmoid().to(x.dtype) * skip
        read = rms_norm(x)
        attended = self.attention(read, turn, cache)
        if self.parallel:
            return x + attended + self.mlp(read)  # type: ignore[no-any-return]
        x = x + attended
        return x + self.mlp(rms_norm(x))  # type: ignore[no-any-return]


FINAL = -1
"""Value of `tap` that costs nothing: the final state of the residual stream, before its norm."""


class States(NamedTuple):
    """The hidden states of one forward pass.

    Attributes:
        final: [B, T, D], the residual stream after the last layer, before its norm.
        tapped: [B, T, D], the output of the requested layer.
    """

    final: Tensor
    tapped: Tensor


class GPT(nn.Module):
    """A causal transformer over tokens.

    Args:
        settings: sizes and options.
        vocab_size: V.
        seq_len: tokens of the longest sequence.

    Attributes:
        embedding: float32 [V, D], of the input tokens, and of the predicted ones if embeddings are tied.
        head: Linear from [D] to [V] if they are not tied, else None.
    """

    def __init__(self, settings: GPTModelSettings, *, vocab_size: int, seq_len: int) -> None:
        super().__init__()
        self.settings, self.vocab_size, self.seq_len = settings, vocab_size, seq_len
        count, dim = settings.num_layers, settings.model_dim
        parallel_from = count if settings.parallel_from is None else settings.parallel_from
        self.embedding = nn.Embedding(vocab_size, dim)
        self.head = None if settings.tie_embeddings else nn.Linear(dim, vocab_size, bias=False)
        self.rotary = Rotary(
            dim // settings.num_heads,
            fraction=settings.rope_fraction,
            base=settings.rope_base,
            length=seq_len,
        )
        self.blocks = nn.ModuleList(
            Block(
                settings,
                parallel=number >= parallel_from,
                gated=settings.skips and self.partner(number) is not None,
            )
            for number in range(count)
        )
        self._initialise()

    def partner(self, layer: int) -> int | None:
        """The layer whose output a layer of the second half reads through its skip connection."""
        mirrored = self.settings.num_layers - 1 - layer
        return mirrored if mirrored < layer else None

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draw matrices uniformly with variance 1 / (3 inputs); zero those that write to the residual stream."""
        nn.init.normal_(self.embedding.weight, std=self.settings.embedding_std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.mlp.down.weight)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def states(
        self,
        tokens: Tensor,
        *,
        tap: int = FINAL,
        looped: tuple[int, ...] = (),
        cache: list[LayerCache] | None = None,
    ) -> States:
        """Run the layers.

        Args:
            tokens: int64 [B, T], at positions that follow those in the cache.
            tap: layer whose output (after its last pass) is also returned; -1: the final state.
            looped: layers that are applied twice.
            cache: from `make_cache`, extended by these tokens.

        Returns:
            `States`; for -1, tapped is the same tensor as final.
        """
        start = cache[0].filled if cache else 0
        turn = self.rotary.at(start, start + tokens.shape[1])
        x = rms_norm(self.embedding(tokens))
        outputs: dict[int, Tensor] = {}
        for number, layer in enumerate(layer_order(self.settings.num_layers, looped)):
            partner = self.partner(layer)
            skip = None if partner is None else outputs[partner]
            x = outputs[layer] = self.blocks[layer](x, turn, skip, cache[number] if cache else None)
        return States(x, x if tap == FINAL else outputs[tap])

    def logits(self, final: Tensor) -> Tensor:
        """Scores of the next token [..., V] for final states [..., D], softly capped, in fp32."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        scores = functional.linear(rms_norm(final), weight).float()
        cap = self.settings.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def cross_entropy(self, final: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats, fp32 scalar, of the `logits` of final states [B, T, D] for the targets [B, T]."""
        if not (by_hand(final) and torch.is_grad_enabled()):
            return functional.cross_entropy(self.logits(final).flatten(0, 1), targets.flatten())
        weight = self.embedding.weight if self.head is None else self.head.weight
        return cross_entropy(rms_norm(final), weight, targets, self.settings.logit_softcap)

    def forward(self, tokens: Tensor, *, looped: tuple[int, ...] = ()) -> Tensor:
        """Scores [B, T, V] (fp32) of the token after each of the tokens [B, T]."""
        return self.logits(self.states(tokens, looped=looped).final)

    def make_cache(self, batch: int, length: int, *, looped: tuple[int, ...] = ()) -> list[LayerCache]:
        """Allocate the keys and values of `length` tokens, one entry for each pass through a layer.

        Raises:
            LangJepaError: the model has fewer positions.
        """
        if length > self.seq_len:
            raise LangJepaError(f"{length} tokens are more than the model's data.seq_len ({self.seq_len})")
        heads, size = self.settings.num_kv_heads, self.settings.model_dim // self.settings.num_heads
        shape = (batch, heads, length, size)
        passes = layer_order(self.settings.num_layers, looped)
        weight = self.embedding.weight
        room = torch.empty(shape, dtype=weight.dtype, device=weight.device)  # not like weight, which may be sharded
        return [LayerCache(torch.empty_like(room), torch.empty_like(room)) for _ in passes]


def layer_order(count: int, looped: Iterable[int]) -> tuple[int, ...]:
    """Layers in the order in which they are applied; consecutive looped layers are repeated together.

    >>> layer_order(5, (1, 2))
    (0, 1, 2, 1, 2, 3, 4)
    >>> layer_order(4, (0, 2))
    (0, 0, 1, 2, 2, 3)
    """
    twice = sorted(set(looped))
    ends = {a for a, b in pairwise([*twice, count + 1]) if b != a + 1}
    order: list[int] = []
    for layer in range(count):
        order.append(layer)
        if layer in ends:
            first = layer
            while first - 1 in twice:
                first -= 1
            order.extend(range(first, layer + 1))
    return tuple(order)
