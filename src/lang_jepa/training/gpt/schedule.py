"""What changes in the course of a GPT's training, as pure functions of the optimizer step and the seconds trained.

`step` counts from 0 and the value is that of the update which takes place at this step. `seconds` only matters where
optimization.max_seconds is set.
"""

from dataclasses import dataclass

from lang_jepa.settings.gpt import GPTSettings


@dataclass(frozen=True, slots=True)
class GPTSchedule:
    """Rates, momentum, weight of the span loss, and looped layers of every step.

    Attributes:
        settings: of the run.
    """

    settings: GPTSettings

    def ended(self, step: int, seconds: float) -> bool:
        """Whether the steps are done, or the time is up."""
        limit = self.settings.optimization.max_seconds
        return step >= self.settings.optimization.max_steps or (limit is not None and seconds >= limit)

    def progress(self, step: int, seconds: float) -> float:
        """Share of training that is done, by steps or by time, whichever is nearer to the end."""
        optimization = self.settings.optimization
        by_time = 0.0 if optimization.max_seconds is None else seconds / optimization.max_seconds
        return min(1.0, max(step / optimization.max_steps, by_time))

    def rate(self, step: int, seconds: float) -> float:
        """Factor on all learning rates: linear from 1 / warmup to 1, constant, linear to 1 / warmdown at the last."""
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
        """Weight of the span loss: 0 before its start and in the final stretch, between them after a linear ramp."""
        jepa, progress = self.settings.jepa, self.progress(step, seconds)
        if not jepa.start_frac <= progress < jepa.end_frac:
            return 0.0
        if not jepa.ramp_frac:
            return jepa.weight
        return jepa.weight * min(1.0, (progress - jepa.start_frac) / jepa.ramp_frac)

    def looped(self, step: int, seconds: float) -> tuple[int, ...]:
        """Layers that are passed through twice, in order."""
        model, progress = self.settings.model, self.progress(step, seconds)
        pairs = zip(model.loop_layers, model.loop_starts, strict=True)
        return tuple(sorted(layer for layer, start in pairs if progress >= start))
