"""The alarm for tasks that prove nothing: too easy to need learning, or not learnt at all.

A distance says nothing by itself. Here it stands beside what predictions without any learning score by the same one
(`lang_jepa.training.held_out`): the same predictions with shuffled targets, the mean target for every context, and the
last sentence of the context. All of it follows from one look's figures, so that a resumed run needs no state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lang_jepa.training.metrics import STEP

Figures = Mapping[str, float]

EARLY = 100
"""Optimizer steps within which no honest prediction task is solved."""
SOLVED = 0.05
"""Share of the shuffled distance below which a task counts as solved."""


@dataclass(frozen=True, slots=True)
class TaskAlarm:
    """What is wrong with the task.

    Attributes:
        step: optimizer step of the look.
        kind: `too easy` or `nothing is learnt`.
        reason: in words, with the numbers.
    """

    step: int
    kind: Literal["too easy", "nothing is learnt"]
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}, step {self.step}: {self.reason}"


def task_alarm(step: int, total: int, figures: Figures) -> TaskAlarm | None:
    """The alarm of one look, if there is one.

    `too easy`: up to step 100 the distance is under 5 % of the shuffled one. A run whose first look comes later cannot
    be judged by this rule. `nothing is learnt`: at the last step the distance is not below both the shuffled and
    the mean-target one.

    Args:
        step: of the look; total: the run's last.
        figures: `val/distance` and its three companions.
    """
    distance, shuffled = figures["val/distance"], figures["val/distance_shuffled"]
    mean, copy = figures["val/distance_mean_target"], figures["val/distance_copy_forward"]
    if 0 < step <= EARLY and distance < SOLVED * shuffled:
        return TaskAlarm(
            step,
            "too easy",
            f"the held-out distance {distance:.4g} is {100 * distance / shuffled:.1f} % of that with shuffled targets "
            f"({shuffled:.4g}); copying the last sentence scores {copy:.4g}. Contexts give their targets away: look "
            "for repeated sentences and for targets inside contexts. A comparison on this task says little.",
        )
    if step == total and not (distance < shuffled and distance < mean):
        return TaskAlarm(
            step,
            "nothing is learnt",
            f"the held-out distance {distance:.4g} is not below both that with shuffled targets ({shuffled:.4g}) and "
            f"that of the mean target for every context ({mean:.4g}). Train longer, or look at "
            "optimization.lr and at the collapse figures.",
        )
    return None


def task_alarms(rows: Iterable[Figures], *, total: int) -> list[TaskAlarm]:
    """The alarms of a run, from the rows of its metrics; one of each kind at most, the first."""
    looks = (row for row in rows if "val/distance_shuffled" in row)
    found: dict[str, TaskAlarm] = {}
    for row in looks:
        alarm = task_alarm(int(row[STEP]), total, row)
        if alarm:
            found.setdefault(alarm.kind, alarm)
    return list(found.values())
