"""What a comparison has to know of the runs that it compares: one class for encoders, one for GPTs.

Everything else in this package is written once for both.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from lang_jepa.evaluation.tasks.evaluate import Budget
from lang_jepa.training.reporter import Reporter

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report

Chosen = TypeVar("Chosen", bound=BaseModel)
Facts = dict[str, Any]
"""What a run starts with, as in its facts.json."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of panels in the figure of the curves.

    Attributes:
        metric: column of metrics.csv.
        title: in words.
        from_zero: the axis begins at 0, so that small changes look small.
    """

    metric: str
    title: str
    from_zero: bool = True


@dataclass(frozen=True, slots=True)
class Trained:
    """How a job's training ended.

    Attributes:
        step: optimizer steps done.
        interrupted: it was asked to stop before its end.
        alarms: what was wrong, in words.
    """

    step: int
    interrupted: bool
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exam:
    """What every finished run of a comparison is asked.

    Attributes:
        tasks: of the kind's `tasks`.
        data_dir: folder with stsb/ and sst2/, or None.
        questions: how much to evaluate.
        shared: folder for what is the same in several runs and need not be computed again.
        window: of the kind's `window`.
    """

    tasks: tuple[str, ...]
    data_dir: Path | None
    questions: Budget
    shared: Path
    window: int | None


class Stepper(Protocol):
    """A throw-away run whose steps are measured."""

    def step(self) -> Hashable:
        """Make one real optimizer step; steps of which this differs may cost differently."""

    def finish(self) -> None:
        """Close what was opened."""


class RunKind(ABC, Generic[Chosen]):
    """How runs of one kind are set up, trained, held against each other and scored.

    Attributes:
        name: in plan.json.
        what: for messages.
        settings_type: of their settings.
        ours: settings that a plan sets itself.
        on_purpose: settings that change the numbers or their choice without being an idea: different only with
            --allow-different.
        tasks: that they can be evaluated on.
        quick: how much --quick evaluates.
        facts: what is held against the baseline with the same seed, of `equality.FACT_LABELS`.
        panels: of the figure.
    """

    name: str
    what: str
    settings_type: type[Chosen]
    ours: frozenset[str]
    on_purpose: tuple[str, ...]
    tasks: tuple[str, ...]
    quick: Budget
    facts: tuple[str, ...]
    panels: tuple[Panel, ...]

    @abstractmethod
    def load(self, recipe: str, overrides: Iterable[str], shared: Iterable[str]) -> Chosen:
        """Settings of a recipe; `shared`: overrides of all variants, which may be without effect in this one."""

    @abstractmethod
    def check(self, name: str, settings: Chosen) -> None:
        """Raise LangJepaError for a variant that cannot be compared."""

    @abstractmethod
    def usual_tasks(self, settings: Chosen) -> tuple[str, ...]:
        """What is evaluated where nothing is said."""

    @abstractmethod
    def for_run(self, settings: Chosen, *, seed: int, steps: int, look_every: int, folder: Path) -> Chosen:
        """Settings of one run."""

    @abstractmethod
    def expected_equal(self, one: Chosen, other: Chosen) -> dict[str, bool]:
        """Which facts of two runs of one seed their settings say must be equal."""

    @abstractmethod
    def window(self, settings: Sequence[Chosen]) -> int | None:
        """Sentences of context in the questions, so that all variants are asked the same (None: nothing to choose)."""

    @abstractmethod
    def columns(self, settings: Chosen) -> tuple[str, ...]:
        """Columns of metrics.csv that the curves keep."""

    @abstractmethod
    def headlines(self, settings: Chosen) -> tuple[str, ...]:
        """Columns that are read at equal budgets."""

    @abstractmethod
    def alarms(self, folder: Path, *, total: int) -> dict[str, str]:
        """What was wrong with a finished run of `total` steps: kind of alarm -> in words."""

    @abstractmethod
    def notes(self, settings: Mapping[str, Chosen], first_looks: Mapping[str, float]) -> list[str]:
        """What a reader has to keep in mind.

        Args:
            settings: of the variants, by name, the baseline's first.
            first_looks: by variant, the step of its first look after training began.
        """

    @abstractmethod
    def check_tasks(
        self, settings: Mapping[str, Chosen], tasks: Sequence[str], data_dir: Path | None
    ) -> None:
        """Refuse, before anything is trained, tasks that would say nothing or whose data is not there.

        Args:
            settings: of the variants, by name, the baseline's first.
            tasks: of `tasks`.
            data_dir: folder with stsb/ and sst2/ (None: the hub).

        Raises:
            LangJepaError: with what to choose instead.
        """

    # What follows runs in the process of a job, and imports torch.

    @abstractmethod
    def eager(self, settings: Chosen) -> Chosen:
        """The same without torch.compile."""

    @abstractmethod
    def start(self, settings: Chosen, scratch: Path, *, steps: int) -> Stepper:
        """A run of so many steps that stands at its first one and writes into `scratch`."""

    @abstractmethod
    def train(self, settings: Chosen, reporter: Reporter, on_start: Callable[[Any], None]) -> Trained:
        """Train to the end, or go on to it; `on_start` is called with the run before its first step."""

    @abstractmethod
    def resume(self, folder: Path) -> Chosen:
        """Settings with which a run goes on from its last checkpoint."""

    @abstractmethod
    def facts_of(self, run: Any) -> Facts:
        """What a run that stands at its first step starts with: `facts`, and `parameters`, `precision`, `compile`."""

    @abstractmethod
    def evaluate(self, folder: Path, exam: Exam) -> "tuple[Report, Path]":
        """Score a finished run beside its baselines.

        Args:
            folder: of the run.
            exam: the same for all runs of a comparison.

        Returns:
            The report, and where it was written.
        """


def check_task_data(tasks: Sequence[str], data_dir: Path | None) -> None:
    """Look for the data of STS-B and SST-2 where a task needs it.

    Raises:
        LangJepaError: it is neither in the folder nor on the hub.
    """
    from lang_jepa.evaluation.tasks.public_data import find_sst2, find_stsb

    if {"sts", "au"} & {*tasks}:
        find_stsb(data_dir)
    if "probe" in tasks:
        find_sst2(data_dir)
