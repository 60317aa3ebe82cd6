"""The target side: a slowly moving copy of the encoder."""

import copy

import torch
from torch import Tensor

from lang_jepa.data.sequences import Sequences
from lang_jepa.models.encoder import TextEncoder


class EMATarget:
    """An exponential moving average of an encoder's weights; always in eval mode, never given a gradient.

    Not an nn.Module on purpose: it must not be wrapped, counted, or moved into train mode with the model.

    Args:
        encoder: the online encoder; its weights are copied.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)

    @torch.no_grad()
    def embed(self, sequences: Sequences) -> Tensor:
        """[N, D] embeddings of the sequences, not normalised, without gradient."""
        self.encoder.eval()
        return self.encoder.embed(sequences)

    @torch.no_grad()
    def update(self, online: TextEncoder, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * online; buffers are copied. Once per optimizer step."""
        mine = [parameter.data for parameter in self.encoder.parameters()]
        theirs = [parameter.data for parameter in online.parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        for buffer, source in zip(self.encoder.buffers(), online.buffers(), strict=True):
            buffer.copy_(source)
