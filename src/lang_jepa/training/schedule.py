"""Schedules as pure functions of the optimizer step: resuming needs no scheduler state.

`step` counts from 0 and the value is that of the update which takes place at this step, so the last update of a run
of `total` steps is step `total - 1`.
"""

import math
from dataclasses import dataclass

from lang_jepa.settings.encoder import ObjectiveSettings, OptimizationSettings


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from start (progress 0) to end (progress 1)."""
    progress = min(max(progress, 0.0), 1.0)
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate, weight decay and EMA momentum of every step.

    Attributes:
        settings: peaks and ends.
        total: optimizer steps in the run.
        warmup: steps of linear warm-up.
    """

    settings: OptimizationSettings
    total: int
    warmup: int

    @classmethod
    def of(cls, settings: OptimizationSettings, *, total: int, steps_per_epoch: int | None) -> "Schedule":
        """Resolve the warm-up: given steps, else epochs, but never more than a tenth of the run.

        The cap is what lets a short run reach its peak at all: two epochs of warm-up in a run of one epoch would
        end before the learning rate has risen.
        """
        if settings.warmup_steps is not None:
            warmup = min(settings.warmup_steps, total - 1)
        else:
            wanted = settings.warmup * (steps_per_epoch or total)
            warmup = int(min(wanted, total / 10))
        return cls(settings, total, warmup)

    def _progress(self, step: int, begin: int = 0) -> float:
        return (step - begin) / max(1, self.total - 1 - begin)

    def learning_rate(self, step: int) -> float:
        """Linear from lr / warmup to lr, then a cosine to final_lr at the last step."""
        if step < self.warmup:
            return self.settings.lr * (step + 1) / self.warmup
        return cosine(self.settings.lr, self.settings.final_lr, self._progress(step, self.warmup))

    def weight_decay(self, step: int) -> float:
        """A cosine over the whole run."""
        return cosine(self.settings.weight_decay, self.settings.final_weight_decay, self._progress(step))

    def regularizer_weight(self, objective: ObjectiveSettings, step: int) -> float:
        """A cosine over the whole run, constant where no final weight is given."""
        start, end = objective.regularizer_weight, objective.final_regularizer_weight
        return start if end is None else cosine(start, end, self._progress(step))

    def weights(self, objective: ObjectiveSettings, step: int) -> tuple[float, float]:
        """Weights of the distance and of the regularizer in the loss."""
        return objective.prediction_weight, self.regularizer_weight(objective, step)

    def momentum(self, step: int) -> float:
        """A cosine over the whole run (BYOL, arXiv 2006.07733, section 3.2)."""
        return cosine(self.settings.momentum_start, self.settings.momentum_end, self._progress(step))
