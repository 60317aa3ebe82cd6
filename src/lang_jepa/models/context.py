"""The base class of predictors and their input: one interface for every view and context mode."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lang_jepa.data.views import View
from lang_jepa.models.encoder import take_rows
from lang_jepa.settings.encoder import ModelSettings
from lang_jepa.settings.parts import PREDICTOR


@dataclass(frozen=True, slots=True)
class Context:
    """The input of a predictor.

    Attributes:
        states: [T, D] states in the space of the embeddings (after the encoder's head).
        segments: int64 [T], the segment of each state, non-decreasing.
        windows: int64 [Q, W], segments that each prediction may read, oldest first, -1 for empty slots. The last one is
            the queried position.
        passages: int64 [P] on the CPU, segments of each passage; they sum to the number of segments.
        horizons: int64 [Q], sentences between the context and each target (None: none).
        speakers: int64 [S], the speaker number of each segment (None: not known for any).
        asked: int64 [Q], the speaker number of the turn to predict, 0 if not known; with `speakers`.
    """

    states: Tensor
    segments: Tensor
    windows: Tensor
    passages: Tensor
    horizons: Tensor | None = None
    speakers: Tensor | None = None
    asked: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of segments."""
        return int(self.passages.sum())

    def at_queries(self) -> Tensor:
        """States [Q, D] of the queried segments, given one state per segment.

        Raises:
            ValueError: the states are those of tokens.
        """
        self.check_sentences()
        return take_rows(self.states, self.windows[:, -1])

    def check_sentences(self) -> None:
        """Raise ValueError unless there is one state per segment."""
        if len(self.states) != self.count:
            raise ValueError("this predictor reads one vector per segment, and was given states of tokens")


class Predictor(nn.Module, ABC):
    """Turns the states of a context into predictions of its targets' embeddings.

    A custom class is called with the width D and the maximum number of segments that it sees (`View.reach`), and with
    `settings=` if it has a class `Settings`.

    Attributes:
        reads_tokens: it can read one state per token; otherwise it gets one vector per segment. (Views that encode
            sentences alone always give it one vector per segment.)
        reads_speakers: it gets the speaker of each segment and of the turn to predict, if the corpus has them.
        learns: it has weights.
        closed_form: part of it is solved on training pairs before the first step, for the next sentence.
        needs: what it needs from a view that it does not fit, in words; empty if no setting could provide it.
        reads: settings that have an effect with this predictor but not with every predictor.
    """

    reads_tokens: ClassVar[bool] = False
    reads_speakers: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    closed_form: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def fits(cls, view: type[View]) -> bool:
        """Whether it can read the contexts of a view; by default, if predictions read only the past."""
        return not view.two_sided

    @classmethod
    def of(cls, settings: ModelSettings, window: int, own: Mapping[str, Any]) -> Self:
        """Build the predictor from settings.

        Args:
            settings: of the model.
            window: see `View.reach`.
            own: the settings that a custom class defines.
        """
        return cls(settings.embed_dim, window, **PREDICTOR.options(cls, own))

    @abstractmethod
    def forward(self, context: Context) -> Tensor:
        """Predictions [Q, D], one per window of the context, not normalised."""


@torch.no_grad()
def zero_weights(*modules: nn.Module) -> None:
    """Set the weights of modules to zero, so that a predictor starts as what it is without them."""
    for parameter in chain.from_iterable(module.parameters() for module in modules):
        parameter.zero_()
