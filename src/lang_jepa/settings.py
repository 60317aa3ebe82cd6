"""Recipes, YAML and dotted overrides to `Settings`, and back; all mistakes in one message.

Two traps of PyYAML are closed here: it reads `3e-4` as a string, and it lets a later duplicate key win.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import BaseModel, ValidationError

from lang_jepa.config import Settings
from lang_jepa.config_decoder import DecoderSettings
from lang_jepa.config_gpt import GPTSettings
from lang_jepa.errors import LangJepaError
from lang_jepa.files import write_text

Model = TypeVar("Model", bound=BaseModel)
BASE = "base"
"""Key of a recipe file that names the recipe which it changes."""


LARGEST_YAML = 200_000
"""Characters of the largest text that is parsed: settings have a few thousand."""
_MOST_NODES = 50_000


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats and without duplicate keys."""

    def get_single_node(self) -> Any:
        """The text as nodes. An alias stands for its whole anchor, so few of them can stand for very many values."""
        node = super().get_single_node()
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise yaml.YAMLError("its aliases stand for too many values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # SafeLoader has an error for it
            if key in seen:
                line = key_node.start_mark.line + 1
                raise LangJepaError(f"line {line}: the key '{key}' stands twice in one section")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for, its aliases written out."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES  # while it is counted: one that holds itself has no end
        children: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            children = chain.from_iterable(node.value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes the strings which `_Loader` would read as numbers."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"),
        list("-+0123456789."),
    )
    # The int resolver is consulted first, so plain integers stay integers.
    for _letter in "-+0123456789":
        _resolvers = _class.yaml_implicit_resolvers[_letter]
        _resolvers.sort(key=lambda pair: pair[0] != "tag:yaml.org,2002:int")


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML with the floats of YAML 1.2, without duplicate keys.

    Raises:
        LangJepaError: not YAML, or a key stands twice; the message names `where`.
    """
    if len(text) > LARGEST_YAML:
        raise LangJepaError(f"{where} is too long for settings: {len(text):,} characters")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader subclass: builds plain data only
    except RecursionError:
        raise LangJepaError(f"{where} is not YAML of settings: it is nested too deeply") from None
    except LangJepaError as error:
        raise LangJepaError(f"{where}, {error}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date or number that cannot be
        raise LangJepaError(f"{where} is not YAML: {error}") from error


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return _names_in("")


def decoder_recipe_names() -> list[str]:
    """Names of the recipes of decoders that come with the package."""
    return _names_in("decoder")


def gpt_recipe_names() -> list[str]:
    """Names of the recipes of GPTs that come with the package."""
    return _names_in("gpt")


def _names_in(folder: str) -> list[str]:
    entries = (resources.files("lang_jepa") / "recipes" / folder).iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml"))


def load_settings(recipe: str, overrides: Iterable[str] = ()) -> Settings:
    """Settings of a recipe (a built-in name or the path of a YAML file) with overrides on top.

    Raises:
        LangJepaError: unknown recipe, unreadable YAML, unknown key, wrong type, values that do not fit together.
    """
    return _load(Settings, recipe, overrides, folder="", names=recipe_names())


def load_decoder_settings(recipe: str, overrides: Iterable[str] = ()) -> DecoderSettings:
    """The same for the recipe of a decoder."""
    return _load(DecoderSettings, recipe, overrides, folder="decoder", names=decoder_recipe_names())


def load_gpt_settings(recipe: str, overrides: Iterable[str] = ()) -> GPTSettings:
    """The same for the recipe of a GPT."""
    return _load(GPTSettings, recipe, overrides, folder="gpt", names=gpt_recipe_names())


def is_decoder_recipe(recipe: str) -> bool:
    """Whether a recipe (name or path) is one of a decoder: a file that has one of its sections, and is not of a GPT."""
    sections = {"decoder", "training", "evaluation"}
    return _is_of(recipe, decoder_recipe_names(), sections) and not is_gpt_recipe(recipe)


def is_gpt_recipe(recipe: str) -> bool:
    """Whether a recipe (name or path) is one of a GPT: a file that has the section `jepa`, or whose `recipe` is
    a built-in one of a GPT."""
    return _is_of(recipe, gpt_recipe_names(), {"jepa"})


def _is_of(recipe: str, names: list[str], sections: set[str]) -> bool:
    for one in _lineage(recipe):
        if isinstance(one, str):
            return one in names
        if not sections.isdisjoint(one) or one.get("recipe") in names:
            return True
    return False


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
    kind: type[Model], recipe: str, overrides: Iterable[str], *, folder: str, names: list[str]
) -> Model:
    tree = _sections(recipe, folder, names, ())
    tree.setdefault("recipe", Path(recipe).stem)
    for override in overrides:
        apply_override(tree, override)
    return build(kind, tree, where=recipe if _is_yaml(recipe) else f"recipe {recipe}")


def _sections(recipe: str, folder: str, names: list[str], heirs: tuple[str, ...]) -> dict[str, Any]:
    """The sections of a recipe, on top of those of its `base`.

    Args:
        recipe: name or path.
        folder, names: of the built-in recipes of this kind.
        heirs: files that inherit from it, the first one last named.

    Raises:
        LangJepaError: it cannot be found or read, or inherits from itself.
    """
    path = Path(recipe)
    by = f" (the base of {heirs[-1]})" if heirs else ""
    if _is_yaml(recipe):
        if not path.is_file():
            raise LangJepaError(f"no recipe file at {path}{by}")
        tree, where = parse_yaml(_read(path), where=str(path)), str(path)
    else:
        if recipe not in names:
            raise LangJepaError(
                f"no recipe named '{recipe}'{by}{_nearest(recipe, names)}. Built in: "
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
    return _on_top(_sections(base, folder, names, line), tree)


def _on_top(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Sections with the settings of `own` in place of those of `base`, whose own name is gone."""
    merged = {key: value for key, value in base.items() if key != "recipe"}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Put one `section.key=value` (value in YAML) into a tree of settings, in place."""
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise LangJepaError(f"override '{override}' is not of the form section.key=value")
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise LangJepaError(f"override '{override}': '{key}' is a value, not a section")
        tree = branch
    tree[keys[-1]] = parse_yaml(text, where=f"override '{override}'")


def build(kind: type[Model], tree: Mapping[str, Any], *, where: str) -> Model:
    """Validate a tree against a model; on failure name every path, with the nearest known key.

    Raises:
        LangJepaError: with one line per mistake.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as failure:
        lines = [_explain(kind, error) for error in failure.errors()]
        raise LangJepaError("\n  ".join([f"{where}: the settings have mistakes:", *lines])) from None


def save_settings(settings: BaseModel, path: Path) -> None:
    """Write resolved settings as YAML, atomically."""
    tree = settings.model_dump()
    # ASCII only: with allow_unicode PyYAML writes some line breaks (U+0085) in a way that it cannot read back.
    write_text(path, yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


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
    return build(kind, parse_yaml(_read(path), where=str(path)), where=str(path))


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


def _explain(kind: type[BaseModel], error: Any) -> str:
    """One line for one pydantic error."""
    keys = [str(part) for part in error["loc"]]
    path = ".".join(keys)
    if error["type"] == "extra_forbidden":
        known = _fields_at(kind, keys[:-1])
        return f"{path}: unknown setting{_nearest(keys[-1], known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    return f"{path}: {message[0].lower() + message[1:]} (given: {repr(error['input'])[:200]})"


def _fields_at(kind: type[BaseModel], keys: list[str]) -> list[str]:
    """Names of the fields of the section that `keys` lead to."""
    for key in keys:
        field = kind.model_fields.get(key)
        if field is None or not isinstance(field.annotation, type):
            return []
        kind = field.annotation
    return list(kind.model_fields)


def _nearest(word: str, known: list[str]) -> str:
    """A `did you mean` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
