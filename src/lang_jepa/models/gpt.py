"""A GPT: one forward kernel for training, evaluation and generation, which can hand out any layer's states.

Legend: B sequences, T tokens, D width, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lang_jepa.config_gpt import GPTModelSettings
from lang_jepa.errors import LangJepaError
from lang_jepa.models.gpt_blocks import Block, LayerCache, Rotary, rms_norm

FINAL = -1
"""The tap that costs nothing: the last state of the residual stream, before its norm."""


class States(NamedTuple):
    """What the kernel gives.

    Attributes:
        final: [B, T, D], the residual stream behind the last layer, before its norm.
        tapped: [B, T, D], the output of the layer asked for.
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
        embedding: float32 [V, D], of the tokens read, and of those predicted where they are tied.
        head: Linear [D] to [V] where they are not.
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
        """The layer whose output a layer of the second half reads over its skip connection."""
        mirrored = self.settings.num_layers - 1 - layer
        return mirrored if mirrored < layer else None

    @torch.no_grad()
    def _initialise(self) -> None:
        """Matrices uniform with a variance of 1 / (3 inputs), those that write to the residual stream zero."""
        nn.init.normal_(self.embedding.weight, std=self.settings.embedding_std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound)
        for block in self._layers():
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.mlp.down.weight)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def _layers(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

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
            tap: layer whose output (behind its last pass) is handed out too; -1: the final state.
            looped: layers that are passed through twice.
            cache: of `make_cache`, extended by these tokens.

        Returns:
            `States`; tapped is the same tensor as final for -1.
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
        """Scores of the next token [..., V] from final states [..., D], softly capped, in fp32."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        scores = functional.linear(rms_norm(final), weight).float()
        cap = self.settings.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def forward(self, tokens: Tensor, *, looped: tuple[int, ...] = ()) -> Tensor:
        """Scores [B, T, V] (fp32) of the token after each of tokens [B, T]."""
        return self.logits(self.states(tokens, looped=looped).final)

    def make_cache(self, batch: int, length: int, *, looped: tuple[int, ...] = ()) -> list[LayerCache]:
        """Room for the keys and values of `length` tokens, one entry for each pass through a layer.

        Raises:
            LangJepaError: the model has no positions for so many.
        """
        if length > self.seq_len:
            raise LangJepaError(f"{length} tokens are more than the model's data.seq_len ({self.seq_len})")
        weight = self.embedding.weight
        heads, size = self.settings.num_kv_heads, self.settings.model_dim // self.settings.num_heads
        shape = (batch, heads, length, size)
        passes = layer_order(self.settings.num_layers, looped)
        return [LayerCache(weight.new_empty(shape), weight.new_empty(shape)) for _ in passes]


def layer_order(count: int, looped: Iterable[int]) -> tuple[int, ...]:
    """Layers in the order in which they are passed through; neighbours that are looped are repeated together.

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
