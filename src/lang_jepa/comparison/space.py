"""What a sweep may change (settings, with ranges or choices as text), and what it may optimise (a held-out metric)."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lang_jepa.comparison.kind import flat
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import AXES
from lang_jepa.settings.yaml_files import parse_yaml
from lang_jepa.training.metrics import COLUMNS, OTHER_NAMES

LOWER_IS_BETTER = frozenset(
    {
        "val/loss",
        "val/distance",
        "val/regularizer",
        "val/embeddings/target_off_diag_cov_l1",
        "val/embeddings/mean_pairwise_cosine",
        "val/embeddings/first_component_share",
    }
)
"""Held-out metrics that are better when lower; if the last two are large, the embeddings have collapsed."""
NO_AIM = frozenset(
    {
        "val/count",
        "val/retrieval/candidates",
        "val/embeddings/target_eff_rank_limit",
        "val/embeddings/norm",
        "val/distance_shuffled",
        "val/distance_mean_target",
        "val/distance_copy_forward",
    }
)
"""Held-out metrics that are better neither higher nor lower: sizes, a length, and the distances of predictions that
need no learning, which a collapse makes small."""
OURS = ("logging.log_dir", "logging.best_metric", "logging.best_mode", "meta.load_checkpoint", "meta.checkpoint_path")
"""Settings that each trial gets from the sweep."""
_FORM = "give SECTION.KEY=LOW:HIGH, LOW:HIGH:log, or A,B,C"


@dataclass(frozen=True)
class Dimension:
    """One setting of a sweep.

    Attributes:
        key: dotted, as in -o.
        low, high: ends of a range, both included; two integers make a range of integers. None for choices.
        log: draw uniformly on a logarithmic scale.
        choices: values, or empty for a range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def draw(self, trial: Any) -> Any:
        """Return a value suggested by an Optuna trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, list(self.choices))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def parse_dimension(text: str) -> Dimension:
    """Parse `optimization.lr=1e-4:1e-2:log`, `model.num_layers=1:4` or `model.head=none,whitened`.

    Raises:
        LangJepaError: the text has another form, or the range is invalid.
    """
    key, separator, values = text.partition("=")
    if not separator or key.count(".") != 1 or not values:
        raise LangJepaError(f"space '{text}' is not understood: {_FORM}")
    key = key.strip()
    if ":" not in values or key in {axis.setting for axis in AXES}:  # whose values may be module:Class
        choices = tuple(parse_yaml(part, where=f"space '{text}'") for part in values.split(","))
        return Dimension(key, choices=choices)
    low, high, *scale = (part.strip() for part in values.split(":"))
    ends = [parse_yaml(end, where=f"space '{text}'") for end in (low, high)]
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends) or scale not in ([], ["log"]):
        raise LangJepaError(f"space '{text}' is not understood: {_FORM}")
    if ends[0] >= ends[1] or (scale and ends[0] <= 0):
        raise LangJepaError(f"space '{text}': LOW must be below HIGH, and above 0 on a logarithmic scale")
    return Dimension(key, ends[0], ends[1], bool(scale))


def make_space(texts: Iterable[str], settings: Settings) -> tuple[Dimension, ...]:
    """Return the dimensions asked for; without any, the learning rate within a factor of ten of the recipe's.

    Raises:
        LangJepaError: a dimension is not understood, or its setting is unknown, set by the sweep, or given twice.
    """
    space = tuple(parse_dimension(text) for text in texts)
    keys, known = [one.key for one in space], list(flat(settings))
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise LangJepaError(f"space '{key}': unknown setting{hint}")
    check_free(keys, "--space")
    if len(set(keys)) < len(keys):
        raise LangJepaError("a setting is given twice in --space")
    rate = settings.optimization.lr
    return space or (Dimension("optimization.lr", rate / 10, rate * 10, log=True),)


def check_free(changes: Iterable[str], option: str) -> None:
    """Refuse a change that would have no effect.

    Args:
        changes: `key` or `key=value`.
        option: the option that gave them.
    """
    for change in changes:
        key = change.partition("=")[0].strip()
        if key in OURS:
            raise LangJepaError(f"{option} {change}: a sweep sets {key} by itself (--metric, --output); leave it out")


def check_aim(settings: Settings, metric: str) -> None:
    """Refuse a metric that runs with these settings do not measure, or that is better in neither direction.

    Raises:
        LangJepaError: nothing is held out, or the metric is refused; lists the metrics to choose from.
    """
    if not settings.data.val_fraction:
        raise LangJepaError(
            f"{settings.recipe} holds nothing out, so no trial can be judged. Set data.val_fraction: "
            "-o data.val_fraction=0.05"
        )
    refused = {*NO_AIM, *OTHER_NAMES.values()}
    if not settings.objective.regularized:
        refused.add("val/regularizer")
    known = [name for name in COLUMNS if name.startswith("val/") and name not in refused]
    if metric not in known:
        raise LangJepaError(
            f"a trial of {settings.recipe} cannot be judged by '{metric}': it is not measured on held-out data, or "
            f"neither more nor less of it is better; choose one of {', '.join(known)}"
        )
