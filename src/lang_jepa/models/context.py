"""What a predictor is given: one interface for every view and context mode."""

from dataclasses import dataclass

from torch import Tensor

from lang_jepa.models.pooling import take_rows


@dataclass(frozen=True, slots=True)
class Context:
    """What a predictor reads.

    Attributes:
        states: [T, D] states in the space of the embeddings (after the encoder's head).
        segments: int64 [T], the segment of each state, never falling.
        windows: int64 [Q, W], segments that each prediction may read, oldest first, -1 where there is none. The last
            one is the place that is asked.
        passages: int64 [P] on the CPU, segments of each passage; they sum to the number of segments.
        horizons: int64 [Q], sentences between the context and each target (None: none).
    """

    states: Tensor
    segments: Tensor
    windows: Tensor
    passages: Tensor
    horizons: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of segments."""
        return int(self.passages.sum())

    def at_the_asked_places(self) -> Tensor:
        """States [Q, D] of the segments that are asked, where there is one state per segment.

        Raises:
            ValueError: the states are those of tokens.
        """
        self.check_sentences()
        return take_rows(self.states, self.windows[:, -1])

    def check_sentences(self) -> None:
        """Raise ValueError unless there is one state per segment."""
        if len(self.states) != self.count:
            raise ValueError("this predictor reads one vector per segment, and was given states of tokens")
