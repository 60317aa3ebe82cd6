"""Find recipes by name or path, and tell what each is for and which system it trains."""

import itertools
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.run import RunSettings
from lang_jepa.settings.words import nearest
from lang_jepa.settings.yaml_files import LARGEST_YAML, parse_yaml

BASE = "base"
"""Key of a recipe file that names the recipe it builds on."""
SYSTEM = "system"
"""Key of a recipe file that says what it trains; a recipe with neither this key nor a base trains an encoder."""
SYSTEMS: dict[str, type[RunSettings]] = {"encoder": Settings, "decoder": DecoderSettings, "gpt": GPTSettings}
"""Settings of the built-in systems, by name."""


SITUATIONS = {
    "First steps, on built-in stories": ("concepts", "concept_decoder"),
    "Documents of your own": ("documents",),
    "Dialogues": ("dialogue", "dialogue_pretrained"),
    "Logs": ("log",),
    "A pretrained encoder": ("pretrained", "concept_sequence", "masked_concepts"),
    "Research objectives": (
        "next_sentence",
        "next_sentence_causal",
        "next_sentence_sigreg",
        "next_sentence_vicreg",
        "same_sentence_sigreg",
        "masked_sentences",
        "lejepa_spans",
        "lejepa_spans_notebook",
        "lejepa_wikitext",
        "concept_decoder_original",
    ),
    "GPTs": ("gpt_jepa", "gpt_jepa_public"),
}
"""Recipes by what the user has or wants, in the order to try them; every recipe is listed once."""


def recipe_names(system: str | None = None) -> list[str]:
    """Names of the built-in recipes, of one system or of all."""
    entries = (resources.files("lang_jepa") / "recipes").iterdir()
    files = [entry.name for entry in entries if entry.name.endswith(".yaml")]
    names = sorted(name[:-5] for name in files if not name.startswith("_"))  # the others only serve as bases
    return [name for name in names if system is None or system_of(name) == system]


def recipe_purposes() -> dict[str, str]:
    """What each built-in recipe is for (the first sentence of its head comment), grouped by system."""
    names = sorted(recipe_names(), key=lambda name: list(SYSTEMS).index(system_of(name)))
    return {name: purpose_in(built_in(name)) for name in names}


def purpose_in(text: str) -> str:
    """What a recipe is for: the first sentence of the head comment of its text."""
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in head).partition(". ")[0].rstrip(".")


def recipe_files(recipe: str) -> dict[str, str]:
    """The text of a recipe (name or path), then of those that it builds on, by name or path.

    Raises:
        LangJepaError: one of them does not exist or cannot be read.
    """
    files: dict[str, str] = {}
    while recipe not in files:
        files[recipe] = read_text(Path(recipe)) if is_yaml(recipe) else built_in(recipe)
        tree = parse_yaml(files[recipe], where=recipe)
        if isinstance(tree, dict) and isinstance(tree.get(BASE), str):
            recipe = beside(Path(recipe), tree[BASE])
    return files


@cache
def built_in(name: str, by: str = "") -> str:
    """The text of a built-in recipe; `by` says what asked for it, for the error message.

    Raises:
        LangJepaError: there is no recipe of this name.
    """
    known: Traversable = resources.files("lang_jepa") / "recipes" / f"{name}.yaml"
    if Path(name).name != name or not known.is_file():
        names = recipe_names()
        raise LangJepaError(
            f"no recipe named '{name}'{by}{nearest(name, names) or '.'} Built in: {', '.join(names)}; or give the path "
            "of a .yaml file."
        )
    return known.read_text("utf-8")


def system_of(recipe: str) -> str:
    """The system that a recipe (name or path) trains, as stated by itself or by the closest of its bases.

    An unreadable recipe counts as an encoder's; loading it reports what is wrong.
    """
    return stated_system(recipe) or "encoder"


def stated_system(recipe: str) -> str | None:
    """Like `system_of`, but None if neither the recipe nor any of its bases states a system."""
    for tree in _lineage(recipe):
        if isinstance(tree.get(SYSTEM), str):
            return str(tree[SYSTEM])
        if SYSTEM in tree:
            wanted = f"{', '.join(SYSTEMS)}, or module:Class of your own"
            raise LangJepaError(f"{recipe}: system must be a name, not {tree[SYSTEM]!r}: {wanted}")
    return None


def _lineage(recipe: str) -> Iterator[dict[str, Any]]:
    """The trees of a recipe and of its bases, as far as they can be read."""
    seen: set[str] = set()
    while recipe not in seen:
        seen.add(recipe)
        try:
            text = read_text(Path(recipe)) if is_yaml(recipe) else built_in(recipe)
            tree = parse_yaml(text, where=recipe)
        except LangJepaError:
            return
        if not isinstance(tree, dict):
            return
        yield tree
        if not isinstance(tree.get(BASE), str):
            return
        recipe = beside(Path(recipe), tree[BASE])


def is_yaml(recipe: str) -> bool:
    """Whether a recipe is the path of a file rather than a built-in name."""
    return Path(recipe).suffix in {".yaml", ".yml"}


def beside(heir: Path, base: str) -> str:
    """The recipe that a file's `base` names; a path is relative to the file's folder."""
    return str(heir.parent / base) if is_yaml(base) else base


def read_text(path: Path) -> str:
    """Read the text of a settings file.

    Raises:
        LangJepaError: the file cannot be read, is too long, or is not UTF-8.
    """
    try:
        if path.stat().st_size > 4 * LARGEST_YAML:
            raise LangJepaError(f"{path} is too long for settings: {path.stat().st_size:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LangJepaError(f"{path} is not UTF-8: {error}") from error
