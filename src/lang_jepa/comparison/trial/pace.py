"""The pace of a training whose time is given: one that will be late is ended early, while it can be planned anew."""

import time
from collections.abc import Callable, Mapping

from lang_jepa.training.reporter import Reporter

CHECKED = 0.125
"""Share of the time after which the pace is judged: what is trained until then is lost if it is planned anew."""
LATE = 1.1
"""Share of the time from which on a training is late."""
_LEAST = 3
"""Steps before the pace is judged; the first is slower than others."""


class TooSlow(Exception):
    """A training will be late.

    Attributes:
        seconds: that it has taken so far.
        per_step, per_validation: seconds that each takes, as measured in it.
    """

    def __init__(self, seconds: float, per_step: float, per_validation: float) -> None:
        super().__init__(seconds, per_step, per_validation)
        self.seconds, self.per_step, self.per_validation = seconds, per_step, per_validation


class Pace(Reporter):
    """A reporter that ends a training that began here if it will be late, and passes everything on.

    Args:
        reporter: everything is passed on to it.
        seconds: given for the training.
        least: number of steps that are made however long they take.
        validations: in the whole training.
        clock: returns seconds.
    """

    def __init__(
        self,
        reporter: Reporter,
        seconds: float,
        *,
        least: int,
        validations: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._seconds, self._least, self._clock = reporter, seconds, least, clock
        self._validations = validations
        self._began = self._first = self._last = 0.0
        self._alone: list[float] = []  # seconds of steps without a validation before them
        self._total, self._left, self._validated, self._judged = 0, 0, False, True

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        self._began, self._total, self._alone = self._clock(), total, []
        self._left = self._validations
        self._judged = start > 0 or total <= self._least  # a training that is resumed ends as it was planned
        self._reporter.begin(total=total, start=start, every=every, info=info)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass a step on.

        Raises:
            TooSlow: at most once, after an eighth of the time.
        """
        self._reporter.step(step, metrics)
        now = self._clock()
        if step == 1:
            self._first = now
        elif not self._validated:
            self._alone.append(now - self._last)
        self._last, self._validated = now, False
        if not self._judged and step >= _LEAST and now - self._began >= CHECKED * self._seconds:
            self._judged = True
            self._judge(step, now)

    def _judge(self, step: int, now: float) -> None:
        """End the training if steps and validations at their pace so far need too much time."""
        per_step = sum(self._alone) / len(self._alone) if self._alone else (now - self._first) / (step - 1)
        per_validation = max(0.0, self._first - self._began - per_step)  # one is made before the first step
        taken = now - self._began
        expected = taken + (self._total - step) * per_step + self._left * per_validation
        if expected > LATE * self._seconds:
            raise TooSlow(taken, per_step, per_validation)

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._validated = True
        self._left -= 1
        self._reporter.validation(step, metrics)

    def message(self, text: str) -> None:
        self._reporter.message(text)

    def warning(self, text: str) -> None:
        self._reporter.warning(text)

    def end(self) -> None:
        self._reporter.end()
