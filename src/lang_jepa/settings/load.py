"""Build settings from recipes, YAML and dotted overrides, reporting all mistakes in one message, and save them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import BaseModel, ValidationError

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import write_text
from lang_jepa.files.version import __version__
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.effect import NOBODY, TYPED, without_effect
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.parts import load_class
from lang_jepa.settings.recipes import (
    BASE,
    SYSTEM,
    SYSTEMS,
    beside,
    built_in,
    is_yaml,
    read_text,
    stated_system,
    system_of,
)
from lang_jepa.settings.run import RunSettings
from lang_jepa.settings.words import (
    current_name,
    current_value,
    is_text,
    mistakes,
    nearest,
    section_of,
    takes_list,
    unknown_settings,
    with_current_names,
)
from lang_jepa.settings.yaml_files import NULLS, Dumper, parse_yaml

_BUILT_IN = frozenset(SYSTEMS.values())
Model = TypeVar("Model", bound=BaseModel)
VERSION = "version"
"""Key of saved settings with the version that wrote them."""
SAVED = "settings.yaml"
"""Name of the file with the resolved settings in a run or model directory."""


def load_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> Settings:
    """Load the settings of an encoder's recipe (a built-in name or the path of a YAML file) and apply overrides.

    Args:
        recipe: name or path.
        overrides: each `section.key=value`; the last one for a key wins.
        usual: overrides set by the program, applied before the others; they may have no effect.

    Raises:
        LangJepaError: unknown recipe, recipe of another system, unreadable YAML, unknown key, wrong type, values that
            do not fit together, or a setting chosen by the user that has no effect beside the others.
    """
    return _load(Settings, recipe, overrides, usual)


def load_decoder_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> DecoderSettings:
    """Like `load_settings`, for the recipe of a decoder."""
    return _load(DecoderSettings, recipe, overrides, usual)


def load_gpt_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> GPTSettings:
    """Like `load_settings`, for the recipe of a GPT."""
    return _load(GPTSettings, recipe, overrides, usual)


def load_run_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> RunSettings:
    """Like `load_settings`, for a recipe of any system, including custom ones."""
    return _load(settings_class(system_of(recipe)), recipe, overrides, usual)


def settings_class(system: str) -> type[RunSettings]:
    """The settings class of a system.

    Args:
        system: a built-in name, or `module:Class` of a `lang_jepa.training.method.Method`, which names the class.

    Raises:
        LangJepaError: there is no such system.
    """
    if system in SYSTEMS:
        return SYSTEMS[system]
    if ":" not in system:
        raise LangJepaError(
            f"there is no system '{system}'{nearest(system, SYSTEMS) or '.'} Built in: {', '.join(SYSTEMS)}; or a "
            "class of your own as module:Class"
        )
    found = getattr(own_system(system), "settings_class", None)
    if not (isinstance(found, type) and issubclass(found, RunSettings)):
        raise LangJepaError(
            f"system={system}: it has no class attribute settings_class that derives from "
            "lang_jepa.settings.run.RunSettings"
        )
    for name in ("optimization", "logging", "meta"):
        wanted = section_of(RunSettings, name)
        section = section_of(found, name)
        if wanted is None or section is None or not issubclass(section, wanted):
            raise LangJepaError(
                f"system={system}: the section {name} of {found.__name__} must derive from "
                f"lang_jepa.settings.run.{wanted.__name__ if wanted else name}, which the engine reads"
            )
    return found


def own_system(path: str) -> Any:
    """Import the class of a custom system, `module:Class`.

    Raises:
        LangJepaError: it cannot be imported.
    """
    try:
        return load_class(path)
    except ValueError as error:
        raise LangJepaError(f"system={path}: {error}") from None


def _load(kind: type[Model], recipe: str, overrides: Iterable[str], usual: Iterable[str]) -> Model:
    chosen: dict[str, int | None] = {}
    where = recipe if is_yaml(recipe) else f"recipe {recipe}"
    stated = stated_system(recipe)
    _check_wanted(kind, stated, where)
    tree = _sections(kind, recipe, (), chosen)
    tree = {"recipe": Path(recipe).stem} | tree | ({SYSTEM: stated} if stated else {})
    for level, some in ((NOBODY, usual), (TYPED, overrides)):
        given: dict[str, str] = {}
        for override in some:
            name, now = override.partition("=")[0].strip(), apply_override(tree, override, kind)
            if given.setdefault(now, name) != name:
                raise LangJepaError(f"{given[now]} and {name} are one setting, which is {now}: give it once")
            chosen[now] = level
    settings = build(kind, tree, where=where)
    for complaint in without_effect(settings, chosen):
        raise LangJepaError(f"{where}: {complaint}")
    return settings


def _check_wanted(kind: type[BaseModel], stated: str | None, where: str) -> None:
    """Raise if a recipe trains a different built-in system from the one that the settings are for."""
    wanted = next((name for name, settings in SYSTEMS.items() if settings is kind), None)
    if stated is not None and wanted is not None and stated != wanted:
        raise LangJepaError(f"{where} trains system {stated}, but a recipe for system {wanted} is expected here")


def _sections(
    kind: type[BaseModel], recipe: str, heirs: tuple[str, ...], chosen: dict[str, int | None]
) -> dict[str, Any]:
    """The sections of a recipe, merged over those of its `base`.

    Args:
        kind: of the settings.
        recipe: name or path.
        heirs: files that inherit from the recipe, the direct heir last.
        chosen: filled with the settings (`section.key`) of the user's own files and their levels, lower for a base.
            Saved settings contain everything, so none of them counts as chosen.

    Raises:
        LangJepaError: the recipe cannot be found or read, or inherits from itself.
    """
    path = Path(recipe)
    by = f" (the base of {heirs[-1]})" if heirs else ""
    own, where = is_yaml(recipe), recipe if is_yaml(recipe) else f"recipe {recipe}"
    if own and not path.is_file():
        raise LangJepaError(f"no recipe file at {path}{by}")
    tree = parse_yaml(read_text(path) if own else built_in(recipe, by), where=where, kind=kind)
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise LangJepaError(f"{where}: expected sections of settings, found {type(tree).__name__}")
    tree = with_current_names(kind, tree, where)
    if own and _is_saved(kind, tree):
        tree = _of_this_version(kind, tree, where)
    elif own:
        mine = {f"{name}.{key}" for name, some in tree.items() if isinstance(some, dict) for key in some}
        chosen |= dict.fromkeys(mine - chosen.keys(), -len(heirs))
        _check_system(kind, tree, where)
    if BASE not in tree:
        return tree
    base = tree.pop(BASE)
    if not isinstance(base, str) or not base:
        raise LangJepaError(f"{where}: {BASE} is the name of a recipe or the path of a YAML file, not {base!r}")
    base, line = beside(path, base), (*heirs, str(path))
    said, theirs = tree.get(SYSTEM), stated_system(base) or "encoder"
    if said is not None and not issubclass(settings_class(said), settings_class(theirs)):
        raise LangJepaError(f"{where} says system {said}, and its base {base} is a recipe of system {theirs}")
    if is_yaml(base) and Path(base).resolve() in [Path(one).resolve() for one in line]:
        raise LangJepaError(f"{where} inherits from itself: {' -> '.join([*line, base])}")
    return _on_top(_sections(kind, base, line, chosen), tree)


def _check_system(kind: type[BaseModel], tree: Mapping[str, Any], where: str) -> None:
    """Raise if a file that names neither a system nor a base has only settings of another system."""
    unknown = unknown_settings(kind, {key: own for key, own in tree.items() if key != BASE})
    if SYSTEM in tree or BASE in tree or not unknown:
        return
    for system, other in SYSTEMS.items():
        if not unknown_settings(other, with_current_names(other, tree, where)):
            raise LangJepaError(f"{where} has settings of a {system}: begin it with `{SYSTEM}: {system}`")


def _on_top(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of `own` over those of `base`, whose recipe name is dropped."""
    merged = {key: value for key, value in base.items() if key != "recipe"}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def apply_override(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> str:
    """Apply one `section.key=value` to a tree of settings, in place, and return the setting's current name.

    The value is parsed as YAML. For a setting that takes text, an unquoted value is taken literally; for one that takes
    a list, a single text is accepted too.
    """
    path, separator, text = override.partition("=")
    given, path = path.strip(), current_name(kind, path.strip())
    keys = path.split(".")
    if not separator or not all(keys):
        raise LangJepaError(f"override '{override}' is not of the form section.key=value")
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise LangJepaError(f"override '{override}': '{key}' is a value, not a section")
        tree = branch
    typed, where = text.strip(), f"override '{override}'"
    takes_text, nullable = is_text(kind, keys[0], keys[1]) if len(keys) == 2 else (False, False)
    null = not typed or (nullable and typed in (*NULLS, "~"))
    plain = takes_text and not null and typed[0] not in "'\""
    alone = len(keys) == 2 and takes_list(kind, *keys) and typed[:1] not in ("", "[")
    value = typed if plain else [typed] if alone else parse_yaml(text, where=where)
    tree[keys[-1]] = current_value(given, value)
    return path


def build(kind: type[Model], tree: Mapping[str, Any], *, where: str) -> Model:
    """Validate a tree against a model; the error lists every mistake with its path and the closest known key.

    Raises:
        LangJepaError: with one line per mistake.
    """
    current = with_current_names(kind, tree, where)
    try:
        if kind in _BUILT_IN:
            return kind.model_validate(current)
        # Through JSON, since settings are saved as YAML, which has no further types: a tuple is a list there.
        return kind.model_validate_json(json.dumps(current, default=str))
    except ValidationError as failure:
        lines = mistakes(kind, failure)
        raise LangJepaError("\n  ".join([f"{where}: the settings have mistakes:", *lines])) from None


def build_saved(kind: type[Model], tree: Any, *, where: str) -> Model:
    """Like `build`, for saved settings: errors name the version that wrote them, since nobody mistyped them.

    Args:
        kind: of the settings.
        tree: as `save_settings` wrote it, or the settings of a checkpoint.
        where: the file.

    Raises:
        LangJepaError: these are no settings, or settings of another version; otherwise with one line per mistake.
    """
    if not isinstance(tree, Mapping):
        raise LangJepaError(f"{where}: expected sections of settings, found {type(tree).__name__}")
    try:
        return build(kind, _of_this_version(kind, with_current_names(kind, tree, where), where), where=where)
    except LangJepaError as error:
        writer = tree.get(VERSION, __version__)
        if writer == __version__:
            raise
        raise LangJepaError(f"{error}\n  (written by version {writer} of lang-jepa; this is {__version__})") from None


def _known(kind: type[BaseModel], tree: Mapping[str, Any]) -> int:
    """Count the sections and settings of a tree that a kind of settings has."""
    groups = {name: section_of(kind, str(name)) for name in tree}
    inside = [(group, tree[name]) for name, group in groups.items() if group is not None]
    return sum(1 + len(group.model_fields.keys() & set(own or ())) for group, own in inside)


def _is_saved(kind: type[BaseModel], tree: Mapping[str, Any]) -> bool:
    """Whether `save_settings` wrote a tree, even before it stored the version: nobody sets half of all settings."""
    every = {name: dict.fromkeys(group.model_fields) for name in kind.model_fields if (group := section_of(kind, name))}
    return VERSION in tree or _known(kind, tree) > _known(kind, every) / 2


def _of_this_version(kind: type[BaseModel], tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return saved settings without the version that wrote them.

    Raises:
        LangJepaError: some of them are unknown to this version.
    """
    own = {key: one for key, one in tree.items() if key != VERSION}
    unknown = unknown_settings(kind, own)
    if unknown:
        writer = tree.get(VERSION, __version__)
        other = "another version" if writer == __version__ else f"version {writer}"
        raise LangJepaError(
            f"{where} was written by {other} of lang-jepa: this one ({__version__}) has no {', '.join(unknown)}. Use "
            f"the version that wrote it. Or, if you can do without: remove what is unknown here from {SAVED}; a "
            "checkpoint cannot be changed, so train again in another folder"
        )
    return own


def save_settings(settings: BaseModel, path: Path) -> None:
    """Write resolved settings as YAML, atomically, with the version of lang-jepa."""
    tree = {VERSION: __version__} | settings.model_dump(mode="json")
    # ASCII only: with allow_unicode, PyYAML cannot read back some of the line breaks that it writes (U+0085).
    write_text(path, yaml.dump(tree, Dumper=Dumper, sort_keys=False))


def is_saved(path: Path) -> bool:
    """Whether a file looks like one that `save_settings` wrote, for any version and system."""
    try:
        tree = parse_yaml(read_text(path), where=str(path))
    except LangJepaError:
        return False
    return VERSION in tree or "meta" in tree


@overload
def read_settings(path: Path) -> Settings: ...


@overload
def read_settings(path: Path, kind: type[Model]) -> Model: ...


def read_settings(path: Path, kind: type[BaseModel] = Settings) -> BaseModel:
    """Read settings that `save_settings` wrote.

    Args:
        path: of the file.
        kind: of the settings.
    """
    if not path.is_file():
        raise LangJepaError(f"no settings at {path}: is this a run directory?")
    return build_saved(kind, parse_yaml(read_text(path), where=str(path)), where=str(path))
