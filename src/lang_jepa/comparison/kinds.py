"""The kinds of runs that can be compared: those of any system."""

from collections.abc import Iterable
from typing import Any

from lang_jepa.comparison.encoder_runs import ENCODERS
from lang_jepa.comparison.gpt_runs import GPTS
from lang_jepa.comparison.kind import RunKind
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import settings_class
from lang_jepa.settings.recipes import system_of

KINDS: dict[str, RunKind[Any]] = {
    "encoder": ENCODERS,
    "decoder": RunKind("decoder", "a decoder"),
    "gpt": GPTS,
}
"""Of the built-in systems; one of your own is compared by its validation."""


def kind_named(name: str) -> RunKind[Any]:
    """The kind that a plan names.

    Raises:
        LangJepaError: there is no such system.
    """
    if name in KINDS:
        return KINDS[name]
    settings_class(name)  # raises where there is no such system
    return RunKind(name, f"a {name}")


def kind_of(recipes: Iterable[str]) -> RunKind[Any]:
    """The kind that all of some recipes have.

    Raises:
        LangJepaError: they have different ones.
    """
    found: dict[str, list[str]] = {}
    for recipe in recipes:
        found.setdefault(system_of(recipe), []).append(recipe)
    if len(found) > 1:
        lists = "; ".join(f"{name}: {', '.join(some)}" for name, some in found.items())
        raise LangJepaError(
            f"recipes of different systems are not measured by the same numbers and cannot be compared ({lists})"
        )
    return kind_named(next(iter(found)))
