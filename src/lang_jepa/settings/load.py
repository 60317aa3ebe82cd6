"""Recipes, YAML and dotted overrides to `Settings`, and back; all mistakes in one message."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import BaseModel, ValidationError

from lang_jepa import __version__
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import write_text
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.effect import NOBODY, TYPED, without_effect
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.words import is_text, mistakes, nearest, section_of, takes_list, unknown_settings
from lang_jepa.settings.yaml_files import LARGEST_YAML, NULLS, Dumper, parse_yaml

Model = TypeVar("Model", bound=BaseModel)
BASE = "base"
"""Key of a recipe file that names the recipe which it changes."""
VERSION = "version"
"""Key of saved settings that says which version wrote them."""
SAVED = "settings.yaml"
"""Name of the file in a run or model directory that holds its resolved settings."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return _names_in("")


def decoder_recipe_names() -> list[str]:
    """Names of the recipes of decoders that come with the package."""
    return _names_in("decoder")


def gpt_recipe_names() -> list[str]:
    """Names of the recipes of GPTs that come with the package."""
    return _names_in("gpt")


def recipe_purposes() -> dict[str, str]:
    """What each built-in recipe is for, by name: the first sentence of its head comment."""
    purposes = {}
    for folder in ("", "decoder", "gpt"):
        for name in _names_in(folder):
            text = (resources.files("lang_jepa") / "recipes" / folder / f"{name}.yaml").read_text("utf-8")
            head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
            said = " ".join(line.lstrip("# ") for line in head)
            purposes[name] = said.partition(". ")[0].rstrip(".")
    return purposes


def _names_in(folder: str) -> list[str]:
    entries = (resources.files("lang_jepa") / "recipes" / folder).iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml"))


def load_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> Settings:
    """Settings of a recipe (a built-in name or the path of a YAML file) with overrides on top.

    Args:
        recipe: name or path.
        overrides: each `section.key=value`; of two for one key the last holds.
        usual: overrides that nobody chose, put below the others: they may be without effect.

    Raises:
        LangJepaError: unknown recipe, unreadable YAML, unknown key, wrong type, values that do not fit together, a
            setting of the user that has no effect beside the others.
    """
    return _load(Settings, recipe, overrides, folder="", names=recipe_names(), usual=usual)


def load_decoder_settings(
    recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()
) -> DecoderSettings:
    """The same for the recipe of a decoder."""
    return _load(
        DecoderSettings, recipe, overrides, folder="decoder", names=decoder_recipe_names(), usual=usual
    )


def load_gpt_settings(recipe: str, overrides: Iterable[str] = (), usual: Iterable[str] = ()) -> GPTSettings:
    """The same for the recipe of a GPT."""
    return _load(GPTSettings, recipe, overrides, folder="gpt", names=gpt_recipe_names(), usual=usual)


def is_decoder_recipe(recipe: str) -> bool:
    """Whether a recipe (name or path) is one of a decoder."""
    return _kind_of(recipe) is DecoderSettings


def is_gpt_recipe(recipe: str) -> bool:
    """Whether a recipe (name or path) is one of a GPT."""
    return _kind_of(recipe) is GPTSettings


def _kind_of(recipe: str) -> type[BaseModel]:
    """The kind of settings in a recipe: as the built-in one that it is, inherits from or came from; else the kind
    that has most of its settings, an encoder's where several have as many."""
    names: dict[type[BaseModel], list[str]] = {
        Settings: recipe_names(),
        DecoderSettings: decoder_recipe_names(),
        GPTSettings: gpt_recipe_names(),
    }
    trees: list[dict[str, Any]] = []
    for one in _lineage(recipe):
        name = one if isinstance(one, str) else one.get("recipe")
        for kind, known in names.items():
            if name in known:
                return kind
        if isinstance(one, dict):
            trees.append(one)
    return max(names, key=lambda kind: sum(_known(kind, tree) for tree in trees))


def _known(kind: type[BaseModel], tree: Mapping[str, Any]) -> int:
    """How many sections and settings of a tree a kind of settings has."""
    groups = {name: section_of(kind, str(name)) for name in tree}
    inside = [(group, tree[name]) for name, group in groups.items() if group is not None]
    return sum(1 + len(group.model_fields.keys() & set(own or ())) for group, own in inside)


def _lineage(recipe: str) -> Iterator[dict[str, Any] | str]:
    """The trees of a recipe file and of the files that it inherits from; last the name of a recipe, if it ends in one.

    It ends without a word at what cannot be used: whoever loads it is told.
    """
    seen: set[Path] = set()
    while _is_yaml(recipe) and Path(recipe).is_file() and Path(recipe).resolve() not in seen:
        seen.add(Path(recipe).resolve())
        tree = parse_yaml(_read(Path(recipe)), where=recipe)
        if not isinstance(tree, dict):
            return
        yield tree
        if not isinstance(tree.get(BASE), str):
            return
        recipe = _beside(Path(recipe), tree[BASE])
    if not _is_yaml(recipe):
        yield recipe


def _is_yaml(recipe: str) -> bool:
    return Path(recipe).suffix in {".yaml", ".yml"}


def _beside(heir: Path, base: str) -> str:
    """The recipe that a file's `base` names: a path counts from the file's folder."""
    return str(heir.parent / base) if _is_yaml(base) else base


def _load(
    kind: type[Model],
    recipe: str,
    overrides: Iterable[str],
    *,
    folder: str,
    names: list[str],
    usual: Iterable[str] = (),
) -> Model:
    chosen: dict[str, int | None] = {}
    tree = _sections(kind, recipe, folder, names, (), chosen)
    tree.setdefault("recipe", Path(recipe).stem)
    for override in usual:
        apply_override(tree, override, kind)
        chosen[override.partition("=")[0].strip()] = NOBODY
    for override in overrides:
        apply_override(tree, override, kind)
        chosen[override.partition("=")[0].strip()] = TYPED
    where = recipe if _is_yaml(recipe) else f"recipe {recipe}"
    settings = build(kind, tree, where=where)
    for complaint in without_effect(settings, chosen):
        raise LangJepaError(f"{where}: {complaint}")
    return settings


def _sections(
    kind: type[BaseModel],
    recipe: str,
    folder: str,
    names: list[str],
    heirs: tuple[str, ...],
    chosen: dict[str, int | None],
) -> dict[str, Any]:
    """The sections of a recipe, on top of those of its `base`.

    Args:
        kind: of the settings.
        recipe: name or path.
        folder, names: of the built-in recipes of this kind.
        heirs: files that inherit from it, the first one last named.
        chosen: gets what a user's own files set, as `section.key`, and at which level: that of a base is lower. Saved
            settings set everything, so nothing by choice.

    Raises:
        LangJepaError: it cannot be found or read, or inherits from itself.
    """
    path = Path(recipe)
    by = f" (the base of {heirs[-1]})" if heirs else ""
    if _is_yaml(recipe):
        if not path.is_file():
            raise LangJepaError(f"no recipe file at {path}{by}")
        tree, where = parse_yaml(_read(path), where=str(path), kind=kind), str(path)
        if isinstance(tree, dict) and _is_saved(kind, tree):
            tree = _of_this_version(kind, tree, where)
        elif isinstance(tree, dict):
            mine = {f"{name}.{key}" for name, own in tree.items() if isinstance(own, dict) for key in own}
            chosen |= dict.fromkeys(mine - chosen.keys(), -len(heirs))
    else:
        if recipe not in names:
            raise LangJepaError(
                f"no recipe named '{recipe}'{by}{nearest(recipe, names) or '.'} Built in: "
                f"{', '.join(names)}; or give the path of a .yaml file."
            )
        text = (resources.files("lang_jepa") / "recipes" / folder / f"{recipe}.yaml").read_text("utf-8")
        tree, where = parse_yaml(text, where=f"recipe {recipe}"), f"recipe {recipe}"
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise LangJepaError(f"{where}: expected sections of settings, found {type(tree).__name__}")
    if BASE not in tree:
        return tree
    base = tree.pop(BASE)
    if not isinstance(base, str) or not base:
        raise LangJepaError(
            f"{where}: {BASE} is the name of a recipe or the path of a YAML file, not {base!r}"
        )
    base, line = _beside(path, base), (*heirs, str(path))
    if _is_yaml(base) and Path(base).resolve() in [Path(one).resolve() for one in line]:
        raise LangJepaError(f"{where} inherits from itself: {' -> '.join([*line, base])}")
    return _on_top(_sections(kind, base, folder, names, line, chosen), tree)


def _on_top(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Sections with the settings of `own` in place of those of `base`, whose own name is gone."""
    merged = {key: value for key, value in base.items() if key != "recipe"}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def apply_override(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    """Put one `section.key=value` into a tree of settings of some kind, in place.

    The value is YAML; of a setting that takes text it is the text as it was typed, unless it is a string in quotes. A
    setting that takes a list takes one text alone too.
    """
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
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
    tree[keys[-1]] = typed if plain else [typed] if alone else parse_yaml(text, where=where)


def build(kind: type[Model], tree: Mapping[str, Any], *, where: str) -> Model:
    """Validate a tree against a model; on failure name every path, with the nearest known key.

    Raises:
        LangJepaError: with one line per mistake.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as failure:
        lines = mistakes(kind, failure)
        raise LangJepaError("\n  ".join([f"{where}: the settings have mistakes:", *lines])) from None


def build_saved(kind: type[Model], tree: Any, *, where: str) -> Model:
    """As `build`, of settings that were saved by some version: that one is named, since nobody mistyped them.

    Args:
        kind: of the settings.
        tree: as `save_settings` wrote it, or the settings of a checkpoint.
        where: the file.

    Raises:
        LangJepaError: no settings, settings of another version, or with one line per mistake.
    """
    if not isinstance(tree, Mapping):
        raise LangJepaError(f"{where}: expected sections of settings, found {type(tree).__name__}")
    try:
        return build(kind, _of_this_version(kind, tree, where), where=where)
    except LangJepaError as error:
        writer = tree.get(VERSION, __version__)
        if writer == __version__:
            raise
        raise LangJepaError(
            f"{error}\n  (written by version {writer} of lang-jepa; this is {__version__})"
        ) from None


def _is_saved(kind: type[BaseModel], tree: Mapping[str, Any]) -> bool:
    """Whether `save_settings` wrote a tree, with its version or before it did so: nobody writes down half of all."""
    every = {
        name: dict.fromkeys(group.model_fields)
        for name in kind.model_fields
        if (group := section_of(kind, name))
    }
    return VERSION in tree or _known(kind, tree) > _known(kind, every) / 2


def _of_this_version(kind: type[BaseModel], tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Saved settings without the version that wrote them.

    Raises:
        LangJepaError: some of them are not known here.
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
    """Write resolved settings as YAML, atomically, with the version that writes them."""
    tree = {VERSION: __version__} | settings.model_dump()
    # ASCII only: with allow_unicode PyYAML writes some line breaks (U+0085) in a way that it cannot read back.
    write_text(path, yaml.dump(tree, Dumper=Dumper, sort_keys=False))


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
    return build_saved(kind, parse_yaml(_read(path), where=str(path)), where=str(path))


def _read(path: Path) -> str:
    """A file's text."""
    try:
        if path.stat().st_size > 4 * LARGEST_YAML:
            raise LangJepaError(f"{path} is too long for settings: {path.stat().st_size:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LangJepaError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LangJepaError(f"{path} is not UTF-8: {error}") from error
