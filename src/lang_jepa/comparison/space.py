"""What a sweep may change: settings with their ranges or choices, as text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lang_jepa.config import Settings
from lang_jepa.errors import LangJepaError
from lang_jepa.settings import parse_yaml

_FORM = "give SECTION.KEY=LOW:HIGH, LOW:HIGH:log, or A,B,C"


@dataclass(frozen=True)
class Dimension:
    """One setting of a sweep.

    Attributes:
        key: dotted, as in -o.
        low, high: ends of a range, both included; whole numbers make a range of whole numbers. None for choices.
        log: draw evenly on a logarithmic scale.
        choices: values, or empty for a range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def draw(self, trial: Any) -> Any:
        """A value that an optuna trial suggests."""
        if self.choices:
            return trial.suggest_categorical(self.key, list(self.choices))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def parse_dimension(text: str) -> Dimension:
    """`optimization.lr=1e-4:1e-2:log`, `model.num_layers=1:4` or `model.head=none,whitened`.

    Raises:
        LangJepaError: another form, or a range that is none.
    """
    key, separator, values = text.partition("=")
    if not separator or key.count(".") != 1 or not values:
        raise LangJepaError(f"space '{text}' is not understood: {_FORM}")
    key = key.strip()
    if ":" not in values:
        choices = tuple(parse_yaml(part, where=f"space '{text}'") for part in values.split(","))
        return Dimension(key, choices=choices)
    low, high, *scale = (part.strip() for part in values.split(":"))
    ends = [parse_yaml(end, where=f"space '{text}'") for end in (low, high)]
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends) or scale not in (
        [],
        ["log"],
    ):
        raise LangJepaError(f"space '{text}' is not understood: {_FORM}")
    if ends[0] >= ends[1] or (scale and ends[0] <= 0):
        raise LangJepaError(f"space '{text}': LOW must be below HIGH, and above 0 on a logarithmic scale")
    return Dimension(key, ends[0], ends[1], bool(scale))


def make_space(texts: Iterable[str], settings: Settings) -> tuple[Dimension, ...]:
    """The dimensions asked for; without any, the learning rate within ten times of the recipe's.

    Raises:
        LangJepaError: a dimension is not understood, or a setting stands twice.
    """
    space = tuple(parse_dimension(text) for text in texts)
    keys = [one.key for one in space]
    if len(set(keys)) < len(keys):
        raise LangJepaError("a setting stands twice in --space")
    rate = settings.optimization.lr
    return space or (Dimension("optimization.lr", rate / 10, rate * 10, log=True),)
