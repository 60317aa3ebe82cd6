"""The online side of the model: encoder and predictor in one module, which is wrapped and saved as a whole."""

from typing import Self

import torch
from torch import Tensor, nn

from lang_jepa.data.views.batch import Contexts, Targets
from lang_jepa.models.context import Context
from lang_jepa.models.encoder import TextEncoder, segment_mean, take_rows
from lang_jepa.models.target import Output
from lang_jepa.settings.encoder import Settings

__all__ = ["Jepa", "Output"]


class Jepa(nn.Module):
    """Context encoder and predictor.

    The head is linear, so it commutes with the mean over tokens. It is applied to the token states before the predictor
    reads them, so that predictor, regularizer and target share one space and the head learns in every context mode.

    Args:
        encoder: context encoder.
        predictor: see `lang_jepa.models.predictors.predictor`.
        reads_sentences: the predictor gets one vector per segment instead of one state per token.

    Attributes:
        even: every call makes the same number of encoder passes, whatever the batch, as sharded weights require.
    """

    def __init__(self, encoder: TextEncoder, predictor: nn.Module, *, reads_sentences: bool) -> None:
        super().__init__()
        self.reads_sentences, self.even = reads_sentences, False
        self.encoder = encoder
        self.predictor = predictor
        self._draws = any(
            isinstance(value, float) and value > 0
            for name, value in encoder.backbone.config.to_dict().items()
            if "dropout" in name or name.endswith("_pdrop")
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but leave an encoder without trainable parameters in eval mode, without dropout."""
        super().train(mode)
        self.encoder.train(mode and any(parameter.requires_grad for parameter in self.encoder.parameters()))
        return self

    def forward(self, contexts: Contexts, targets: Targets | None = None) -> Output:
        """Predict the target of every window of the contexts, and embed `targets`, which receive gradients.

        Both happen in one call, so that a wrapper such as DDP sees every use of the encoder's weights.
        """
        context, embeddings = self.read(contexts)
        predictions = self.predictor(context)
        made = None if targets is None else self._targets(targets, embeddings)
        if contexts.shown is not None:
            embeddings = take_rows(embeddings, contexts.shown)
        return Output(predictions, embeddings, made)

    def read(self, contexts: Contexts) -> tuple[Context, Tensor]:
        """The predictor's input, and the embeddings [S, D] of the contexts' segments."""
        if contexts.sequences.pooled is None:
            states = self.encoder.mapped(self.encoder.states(contexts.sequences))
            embeddings = segment_mean(states, contexts.segments, int(contexts.passages.sum()))
        else:  # only sentences encoded alone are ever precomputed, and then `reads_sentences` is set
            embeddings = self.encoder.embed(contexts.sequences).float()
        if self.reads_sentences:
            read, segments = embeddings, torch.arange(len(embeddings), device=embeddings.device)
        else:
            read, segments = states, contexts.segments
        context = Context(
            read,
            segments,
            contexts.windows,
            contexts.passages,
            contexts.horizons,
            contexts.speakers,
            contexts.asked,
        )
        return context, embeddings

    def _targets(self, targets: Targets, embeddings: Tensor) -> Tensor:
        """Embeddings of the targets, [Q, D]. If the encoder is deterministic, targets that the contexts hold too reuse
        their `embeddings` [S, D], so that each sequence is encoded once.
        """
        if targets.known is None or self._draws:
            return self.encoder.embed_targets(targets)
        every = [embeddings]
        rows = targets.known
        if targets.missing is not None:
            every.append(self.encoder.embed(targets.missing).float())
            absent = rows < 0
            rows = torch.where(absent, len(embeddings) + absent.cumsum(0) - 1, rows)
        elif self.even:  # the pass that a batch with missing ones makes
            every.append(self.encoder.embed(targets.sequences).float()[:0])
        return take_rows(torch.cat(every), rows[targets.picked])


def describe(jepa: Jepa, settings: Settings) -> list[str]:
    """Describe a model in a few words each: width, encoder, view and predictor, objective."""
    backbone, objective = jepa.encoder.backbone, settings.objective
    kind = getattr(backbone.config, "model_type", type(backbone).__name__)
    millions = sum(parameter.numel() for parameter in jepa.encoder.parameters()) / 1e6
    regularizer = f" + {objective.regularizer}" if objective.regularized else ""
    return [
        f"{jepa.encoder.dim} dimensions",
        f"encoder {kind} of {millions:.1f} M parameters",
        f"{settings.data.view} by {settings.model.predictor}",
        f"objective {settings.optimization.loss_fn}{regularizer}, target {objective.target}",
    ]
