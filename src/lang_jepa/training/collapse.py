"""The collapse monitor: reads the held-out metrics of each validation and warns when embeddings collapse.

A falling loss proves nothing, since a constant encoder predicts itself perfectly. A collapse shows in the spread of
the targets. A healthy run may also lose some of it for a while (a mean cosine was seen to rise to .56 and fall
again), so the monitor warns at once only of what no healthy run has shown, and otherwise requires several signs at two
validations in a row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.models.target import target_of
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import parts_of
from lang_jepa.training.metrics import STEP

Metrics = Mapping[str, float]

_STD = "val/embeddings/target_std_relative"
_COSINE = "val/embeddings/mean_pairwise_cosine"
_SHARE = "val/embeddings/first_component_share"
_RAW = "val/embeddings/raw_std"
_RANK = "val/embeddings/target_eff_rank"
_RETRIEVAL = "val/retrieval/mrr"
_NOTHING_FOUND = 0.05  # twice the chance level of MRR among 256 candidates


@dataclass(frozen=True, slots=True)
class Alarm:
    """A collapse warning.

    Attributes:
        step: optimizer step of the validation.
        signs: the signs observed, in words with their values.
        advice: cause and remedy.
    """

    step: int
    signs: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        return f"collapse at step {self.step}: {'; '.join(self.signs)}. {self.advice}"


class CollapseMonitor:
    """Compares each validation with the one at step 0.

    Args:
        advice: cause and remedy for these settings (see `monitor_for`).
        units: name of the units that are embedded.
    """

    def __init__(self, advice: str, units: str = "sentences") -> None:
        self.advice, self.units = advice, units
        self.first: dict[str, float] = {}
        self.best_retrieval = 0.0
        self.in_a_row = 0

    def check(self, step: int, metrics: Metrics) -> Alarm | None:
        """Process the metrics of one validation; return a warning if they show a collapse."""
        if not self.first:
            self.first = {name: metrics[name] for name in (_STD, _COSINE, _SHARE, _RAW, _RANK)}
            self.best_retrieval = metrics[_RETRIEVAL]
            return None
        certain, signs = self._certain(metrics), self._signs(metrics)
        # Near chance level, a slow rise does not count as learning: a run that lost nine tenths of its directions
        # was seen to go from .026 to .050 in 1,100 steps.
        learning = metrics[_RETRIEVAL] > max(self.best_retrieval, _NOTHING_FOUND)
        self.best_retrieval = max(self.best_retrieval, metrics[_RETRIEVAL])
        # A start that is already collapsed can change no further; a narrow pretrained one still retrieves something.
        stuck = metrics[_COSINE] > 0.9 and metrics[_RETRIEVAL] < _NOTHING_FOUND
        if stuck and not certain:
            signs.append(f"two {self.units} still have cosine {metrics[_COSINE]:.2f} on average")
        suspicious = len(signs) >= 3 or stuck
        self.in_a_row = self.in_a_row + 1 if suspicious and not learning else 0
        if certain or self.in_a_row >= 2:
            return Alarm(step, tuple(certain + signs), self.advice)
        return None

    def _certain(self, metrics: Metrics) -> list[str]:
        """Return the signs that no healthy run has shown."""
        certain = []
        if metrics[_COSINE] > max(0.9, self.first[_COSINE] + 0.05):
            certain.append(f"two {self.units} have cosine {metrics[_COSINE]:.2f} on average")
        if metrics[_STD] < 0.3 * self.first[_STD]:
            certain.append(f"spread of the embeddings {metrics[_STD]:.2f}, {self.first[_STD]:.2f} at the start")
        return certain

    def _signs(self, metrics: Metrics) -> list[str]:
        """Return the signs that mean a collapse only in combination and if they persist."""
        first = self.first
        share_limit = max(0.2, min(3 * first[_SHARE], first[_SHARE] + 0.3))
        rules = (
            (metrics[_COSINE] > first[_COSINE] + 0.15, f"mean cosine of two {self.units}", _COSINE),
            (metrics[_STD] < 0.6 * first[_STD], "spread of normalised embeddings", _STD),
            (metrics[_SHARE] > share_limit, "share of the first direction", _SHARE),
            (metrics[_RAW] < 0.6 * first[_RAW], "spread of raw embeddings", _RAW),
            (metrics[_RANK] < 0.6 * first[_RANK], "effective rank", _RANK),
        )
        return [f"{words} {first[name]:.2f} -> {metrics[name]:.2f}" for seen, words, name in rules if seen]

    def state_dict(self) -> dict[str, object]:
        """Return the state to store in a checkpoint."""
        return {"first": self.first, "best": self.best_retrieval, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            LangJepaError: it is something else.
        """
        first, best, in_a_row = (state.get(name) for name in ("first", "best", "in_a_row"))
        known = {_STD, _COSINE, _SHARE, _RAW, _RANK}
        if not (isinstance(first, dict) and isinstance(best, float) and isinstance(in_a_row, int)) or (
            first and first.keys() != known
        ):
            raise LangJepaError(f"the state of the collapse monitor is damaged: {str(state)[:200]}")
        self.first, self.best_retrieval, self.in_a_row = dict(first), best, in_a_row


def cures_for(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what may keep a run with these settings from collapsing: descriptions, each with the settings to change.

    Each remedy is compatible with the other settings. If the distance itself tells targets apart, smaller steps come
    first: collapse is then due to little, repetitive text, on which a slowly moving target helped in one of two cases.
    """
    optimization = settings.optimization
    slow = {
        "optimization.momentum_start": 0.99,
        "optimization.momentum_end": max(0.99, optimization.momentum_end),
    }
    follow = {"objective.target": "ema", "objective.target_gradient": False, "objective.teacher_path": None}
    cures: dict[str, dict[str, Any]] = {
        "start from spread-out embeddings": {"model.head": "whitened"},
        "add a regularizer": {"objective.regularizer": "vicreg"},
        "let the target move slowly": {**follow, **(slow if optimization.momentum_start < 0.98 else {})},
        "lower the learning rate": {"optimization.lr": optimization.lr / 3},
    }
    if settings.objective.regularized:
        del cures["add a regularizer"]
    if parts_of(settings).distance.among_targets:
        cures = {words: cures[words] for words in sorted(cures, key=lambda words: words != "lower the learning rate")}
    if target_of(settings).follows:
        cures["let the target move slowly"] = slow if optimization.momentum_start < 0.98 else {}
    now = settings.model_dump()
    changed = {
        words: {key: value for key, value in changes.items() if now[key.split(".")[0]][key.split(".")[1]] != value}
        for words, changes in cures.items()
    }
    return {words: changes for words, changes in changed.items() if changes and _fit(settings, changes)}


def _fit(settings: Settings, changes: Mapping[str, Any]) -> bool:
    tree = settings.model_dump()
    for key, value in changes.items():
        section, name = key.split(".")
        tree[section][name] = value
    try:
        Settings.model_validate(tree)
    except ValidationError:
        return False
    return True


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


def monitor_for(settings: Settings) -> CollapseMonitor:
    """Return a new monitor whose advice fits these settings."""
    cures = [
        f"{words} ({' '.join(f'-o {key}={_shown(value)}' for key, value in changes.items())})"
        for words, changes in cures_for(settings).items()
    ]
    return CollapseMonitor(
        "The encoder is becoming constant, which any predictor can predict. To cure it, start a new run and "
        + ", or ".join(cures),
        settings.data.units,
    )


EARLY = 100
"""Optimizer steps within which no genuine prediction task is solved."""
SOLVED = 0.05
"""Fraction of the shuffled distance below which a task counts as solved."""


@dataclass(frozen=True, slots=True)
class TaskAlarm:
    """A warning about the prediction task.

    Attributes:
        step: optimizer step of the validation.
        kind: `too easy` or `nothing is learnt`.
        reason: explanation with the values.
    """

    step: int
    kind: Literal["too easy", "nothing is learnt"]
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}, step {self.step}: {self.reason}"


def task_alarm(step: int, total: int, metrics: Metrics, unit: str = "sentence") -> TaskAlarm | None:
    """Return the warning that one validation gives rise to, if any.

    `too easy`: up to step 100, the distance is below 5 % of the shuffled one; a run that is first validated later
    cannot be judged by this rule. `nothing is learnt`: at the last step the distance is not below both the shuffled
    and the mean-target one.

    Args:
        step: of the validation; total: the run's last.
        metrics: `val/distance` and its three baselines.
        unit: name of the unit that is predicted.
    """
    distance, shuffled = metrics["val/distance"], metrics["val/distance_shuffled"]
    mean, copy = metrics["val/distance_mean_target"], metrics["val/distance_copy_forward"]
    if 0 < step <= EARLY and distance < SOLVED * shuffled:
        return TaskAlarm(
            step,
            "too easy",
            f"the held-out distance {distance:.4g} is {100 * distance / shuffled:.1f} % of that with shuffled targets "
            f"({shuffled:.4g}); copying the last {unit} scores {copy:.4g}. Contexts give their targets away: look "
            f"for repeated {unit}s and for targets inside contexts. A comparison on this task says little.",
        )
    if step == total and not (distance < shuffled and distance < mean):
        return TaskAlarm(
            step,
            "nothing is learnt",
            f"the held-out distance {distance:.4g} is not below both that with shuffled targets ({shuffled:.4g}) and "
            f"that of the mean target for every context ({mean:.4g}). If train/distance is far below, the model has "
            "memorised its text: use more text. Otherwise train longer, or check optimization.lr and the metrics of "
            "collapse.",
        )
    return None


def task_alarms(rows: Iterable[Metrics], *, total: int, unit: str = "sentence") -> list[TaskAlarm]:
    """Return a run's task warnings, from the rows of its metrics: the first of each kind."""
    validations = (row for row in rows if "val/distance_shuffled" in row)
    found: dict[str, TaskAlarm] = {}
    for row in validations:
        alarm = task_alarm(int(row[STEP]), total, row, unit)
        if alarm:
            found.setdefault(alarm.kind, alarm)
    return list(found.values())
