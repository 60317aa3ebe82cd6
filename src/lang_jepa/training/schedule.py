"""Schedules as pure functions of the optimizer step: resuming needs no scheduler state.

`step` counts from 0, and each value applies to the update made at that step, so the last update of a run of `total`
steps is step `total - 1`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lang_jepa.settings.encoder import EncoderOptimizationSettings, ObjectiveSettings
from lang_jepa.settings.gpt import GPTSettings


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from start (progress 0) to end (progress 1)."""
    progress = min(max(progress, 0.0), 1.0)
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate, weight decay and EMA momentum of every step.

    Attributes:
        settings: peak and final values.
        total: optimizer steps in the run.
        warmup: steps of linear warm-up.
    """

    settings: EncoderOptimizationSettings
    total: int
    warmup: int

    @classmethod
    def of(cls, settings: EncoderOptimizationSettings, *, total: int, steps_per_epoch: int | None) -> "Schedule":
        """Resolve the warm-up: the given steps, or else epochs, capped at a tenth of the run.

        Without the cap a short run would never reach its peak: with two epochs of warm-up, a run of one epoch would
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
        """A cosine over the whole run; constant if no final weight is given."""
        start, end = objective.regularizer_weight, objective.final_regularizer_weight
        return start if end is None else cosine(start, end, self._progress(step))

    def weights(self, objective: ObjectiveSettings, step: int) -> tuple[float, float]:
        """Return the weights of the distance and of the regularizer in the loss."""
        return objective.prediction_weight, self.regularizer_weight(objective, step)

    def momentum(self, step: int) -> float:
        """A cosine over the whole run (BYOL, arXiv 2006.07733, section 3.2)."""
        return cosine(self.settings.momentum_start, self.settings.momentum_end, self._progress(step))


@dataclass(frozen=True, slots=True)
class GPTSchedule:
    """Learning rates, momentum, weight of the span loss and looped layers of every step of a GPT, as pure functions of
    the step and the seconds trained; `seconds` only matters if optimization.max_seconds is set.

    Attributes:
        settings: of the run.
    """

    settings: GPTSettings

    def ended(self, step: int, seconds: float) -> bool:
        """Whether the steps are done, or the time is up."""
        limit = self.settings.optimization.max_seconds
        return step >= self.settings.optimization.max_steps or (limit is not None and seconds >= limit)

    def progress(self, step: int, seconds: float) -> float:
        """Return the fraction of training that is done, by steps or by time, whichever is larger."""
        optimization = self.settings.optimization
        by_time = 0.0 if optimization.max_seconds is None else seconds / optimization.max_seconds
        return min(1.0, max(step / optimization.max_steps, by_time))

    def rate(self, step: int, seconds: float) -> float:
        """Factor on all learning rates: linear from 1 / warmup to 1, constant, then linear to 1 / warmdown."""
        optimization = self.settings.optimization
        up = (step + 1) / max(1, optimization.warmup_steps)
        left = float(optimization.max_steps - step)
        if optimization.max_seconds is not None and step and seconds > 0:
            left = min(left, (optimization.max_seconds - seconds) * step / seconds)
        down = left / max(1, optimization.warmdown_steps)
        return max(0.0, min(1.0, up, down))

    def momentum(self, step: int) -> float:
        """Momentum of Muon: linear, then constant."""
        optimization = self.settings.optimization
        done = min(1.0, step / max(1, optimization.muon_momentum_steps))
        start = min(optimization.muon_momentum_start, optimization.muon_momentum)
        if not optimization.muon_momentum_steps:
            return optimization.muon_momentum
        return start + done * (optimization.muon_momentum - start)

    def span_weight(self, step: int, seconds: float) -> float:
        """Weight of the span loss: 0 before its start and after its end, in between constant after a linear ramp."""
        jepa, progress = self.settings.jepa, self.progress(step, seconds)
        if not jepa.start_frac <= progress < jepa.end_frac:
            return 0.0
        if not jepa.ramp_frac:
            return jepa.weight
        return jepa.weight * min(1.0, (progress - jepa.start_frac) / jepa.ramp_frac)

    def looped(self, step: int, seconds: float) -> tuple[int, ...]:
        """Return the layers that are passed through twice, in order."""
        model, progress = self.settings.model, self.progress(step, seconds)
        pairs = zip(model.loop_layers, model.loop_starts, strict=True)
        return tuple(sorted(layer for layer, start in pairs if progress >= start))


def epochs_ended(ends: Sequence[int], step: int) -> range:
    """Return the epochs, counted from 1, that end with a step, given the steps at which epochs end."""
    return range(bisect_left(ends, step) + 1, bisect_right(ends, step) + 1)


def is_validation_due(step: int, *, total: int, ends: Sequence[int], every: int | None) -> bool:
    """Whether a validation is due after a step.

    Args:
        step: optimizer steps done, at least 1.
        total: steps of the run; a validation always follows the last one.
        ends: the steps at which epochs end.
        every: steps between two validations (None: at the end of each epoch, or ten times in a run if that is more
            often).
    """
    if every is None:
        every = max(1, total // 10)
        if ends and ends[0] <= every:
            return step == total or bool(epochs_ended(ends, step))
    return step == total or step % every == 0
