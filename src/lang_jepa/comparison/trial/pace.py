"""The pace of a training whose time is given: one that will be late is ended early, while it can be planned anew."""

import time
from collections.abc import Callable, Mapping

from lang_jepa.training.reporter import Reporter

FROM, TO = 0.125, 0.5
"""Shares of the time between which the pace is judged: what is trained until then is lost if it is planned anew."""
LATE = 1.1
"""Share of the time from which on a training is late; it is ended if it is later by what would be lost: the time it has
trained, and the time that starting takes.
"""
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

    One is made when the training is started, so that it knows how long that takes.

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
        self._made = self._began = self._first = self._last = clock()
        self._alone: list[float] = []  # seconds of each step that no validation came before
        self._total, self._left, self._validated, self._over = 0, 0, False, True

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        self._began, self._total, self._alone = self._clock(), total, []
        self._left = self._validations
        self._over = start > 0 or total <= self._least  # a training that is resumed ends as it was planned
        self._reporter.begin(total=total, start=start, every=every, info=info)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass a step on.

        Raises:
            TooSlow: the training will be late; between an eighth and half of the time.
        """
        self._reporter.step(step, metrics)
        now = self._clock()
        if step == 1:
            self._first = now
        elif not self._validated:
            self._alone.append(now - self._last)
        self._last, self._validated = now, False
        if not self._over and step >= _LEAST and FROM <= (now - self._began) / self._seconds <= TO:
            self._judge(step, now)

    def _judge(self, step: int, now: float) -> None:
        """End the training if steps and validations, at the pace of the later half so far, need too much time."""
        latest = self._alone[len(self._alone) // 2 :]
        per_step = sum(latest) / len(latest) if latest else (now - self._first) / (step - 1)
        per_validation = max(0.0, self._first - self._began - per_step)  # one is made before the first step
        taken = now - self._began
        expected = taken + (self._total - step) * per_step + self._left * per_validation
        starting = self._began - self._made
        if expected > (LATE - FROM) * self._seconds + taken + starting:
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
