"""The kinds of runs that can be compared."""

from collections.abc import Iterable
from typing import Any

from lang_jepa.comparison.encoder_runs import ENCODERS
from lang_jepa.comparison.gpt_runs import GPTS
from lang_jepa.comparison.kind import RunKind
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.recipes import system_of

KINDS: tuple[RunKind[Any], ...] = (ENCODERS, GPTS)


def kind_named(name: str) -> RunKind[Any]:
    """The kind that a plan names.

    Raises:
        LangJepaError: there is none of that name.
    """
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise LangJepaError(f"there are no runs of kind '{name}'; known: {', '.join(one.name for one in KINDS)}")


def kind_of(recipes: Iterable[str]) -> RunKind[Any]:
    """The kind that all of some recipes have.

    Raises:
        LangJepaError: they have different ones, or one that cannot be compared.
    """
    found: dict[str, list[str]] = {}
    for recipe in recipes:
        system = system_of(recipe)
        if system == "decoder":
            raise LangJepaError(f"{recipe} is the recipe of a decoder; encoders and GPTs can be compared")
        kind = kind_named(system)
        found.setdefault(kind.name, []).append(recipe)
    if len(found) > 1:
        lists = "; ".join(f"{name}: {', '.join(some)}" for name, some in found.items())
        raise LangJepaError(
            f"recipes of encoders and of GPTs are not measured by the same numbers and cannot be compared ({lists})"
        )
    return kind_named(next(iter(found)))
