"""The online side of the model: encoder and predictor as one module, so that it is wrapped and saved as one."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lang_jepa.data.sequences import Contexts
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.pooling import segment_mean
from lang_jepa.models.predictor import Context


class Output(NamedTuple):
    """What one pass gives.

    Attributes:
        predictions: [Q, D], not normalised.
        embeddings: [S, D], the online embedding of every context segment, not normalised (for regularizers).
    """

    predictions: Tensor
    embeddings: Tensor


class Jepa(nn.Module):
    """Context encoder and predictor.

    The head is linear, so it commutes with the mean over tokens. It is applied to the token states before the
    predictor reads them: predictor, regularizer and target then all live in one space, and the head learns in every
    context mode.

    Args:
        encoder: context encoder.
        predictor: see `lang_jepa.models.predictor`.
        reads_sentences: the predictor gets one vector per segment (`concepts`) instead of one state per token.
    """

    def __init__(self, encoder: TextEncoder, predictor: nn.Module, *, reads_sentences: bool) -> None:
        super().__init__()
        self.reads_sentences = reads_sentences
        self.encoder = encoder
        self.predictor = predictor

    def forward(self, contexts: Contexts) -> Output:
        """Predict the target of every window of the contexts."""
        states = self._mapped(self.encoder.states(contexts.sequences))
        embeddings = segment_mean(states, contexts.segments, int(contexts.passages.sum()))
        if self.reads_sentences:
            segments = torch.arange(len(embeddings), device=embeddings.device)
            context = Context(embeddings, segments, contexts.windows, contexts.passages)
        else:
            context = Context(states, contexts.segments, contexts.windows, contexts.passages)
        return Output(self.predictor(context), embeddings)

    def _mapped(self, states: Tensor) -> Tensor:
        """States in the space of the embeddings."""
        head = self.encoder.head
        return states if head is None else head(states)
