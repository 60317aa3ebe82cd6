"""The exchangeable parts of a JEPA: five axes, each with built-in parts by name and room for custom classes.

A part declares its properties (it predicts the next sentence, it needs several rows ...) as class attributes, which the
rules of the settings read. Classes are referred to by import path, custom ones in the recipe as `module:Class`, the
tables of built-in ones below; they are imported only when settings are read, so this package imports no other.
"""

import inspect
import json
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import core_schema

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.words import mistakes, nearest

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Axis:
    """One axis. In the annotation of the setting that chooses a part, it defines which values the setting takes.

    Attributes:
        name: of the axis.
        setting: dotted path of the setting that chooses the part.
        module: import path of the module with the table and the base class.
        table: name of the table of built-in parts: classes by name, or None for no part at all.
        base: name of the class from which every part derives.
        given, named: positional and keyword arguments with which a custom class is called; `settings=` is added if it
            has a class `Settings`.
    """

    name: str
    setting: str
    module: str
    table: str
    base: str
    given: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The section with the settings of a custom class."""
        return f"own_{self.name}"

    @property
    def built_in(self) -> Mapping[str, Any]:
        """The built-in parts by name."""
        table: Mapping[str, Any] = getattr(import_module(self.module), self.table)
        return table

    def chosen(self, settings: Any) -> str:
        """The name or import path that the settings choose."""
        return str(attrgetter(self.setting)(settings))

    def part(self, name: str) -> Any:
        """The class of a built-in name or of `module:Class`.

        Raises:
            ValueError: there is no such class, or it does not meet the requirements of the axis.
            LangJepaError: importing its module fails.
        """
        if ":" not in name:
            return self.built_in[name]
        try:
            return self._checked(load_class(name))
        except ValueError as error:
            raise ValueError(f"{self.setting}={name}: {error}") from error

    def own_settings(self, part: Any, values: Mapping[str, Any]) -> BaseModel | None:
        """The settings of a custom class, with its defaults; None if it defines none.

        Raises:
            ValueError: a setting is unknown or of a wrong type.
        """
        kind: type[BaseModel] | None = getattr(part, "Settings", None)
        if kind is None:
            if values:
                raise ValueError(f"{self.section}: {part.__name__} has no settings; give it a class Settings")
            return None
        try:  # through JSON, since they are saved as YAML, which has no further types
            return kind.model_validate_json(json.dumps(values, default=str), strict=True)
        except ValidationError as failure:
            lines = mistakes(kind, failure)
            raise ValueError("\n  ".join(f"{self.section}: {line}" for line in lines)) from None

    def options(self, part: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for a custom class: `settings`, if it defines some."""
        own = self.own_settings(part, values)
        return {} if own is None else {"settings": own}

    def _checked(self, part: Any) -> Any:
        """Return a custom class if it meets the requirements of the axis."""
        base = getattr(import_module(self.module), self.base)
        if not (isinstance(part, type) and issubclass(part, base)):
            raise ValueError(f"it is not a {self.base}: derive it from {self.module}.{self.base}")
        if lacking := sorted(getattr(part, "__abstractmethods__", ())):
            raise ValueError(f"it does not implement {', '.join(lacking)}; see {self.module}.{self.base}")
        kind = getattr(part, "Settings", None)
        is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
        if kind is not None and not (is_model and kind.model_config.get("extra") == "forbid"):
            raise ValueError("its class Settings must be strict: derive it from lang_jepa.settings.data.Section")
        named = [*self.named, *([] if kind is None else ["settings"])]
        if part.of.__func__ is base.of.__func__:  # type: ignore[attr-defined]
            try:
                inspect.signature(part).bind(*self.given, **dict.fromkeys(named))
            except TypeError as error:
                call = ", ".join([*self.given, *(f"{name}={name}" for name in named)])
                raise ValueError(f"it cannot be built as {part.__name__}({call}): {error}") from None
        return part

    def _named(self, value: str) -> str:
        """Return the value if it is the name of a built-in part or has the form of a custom class."""
        own = "or a class of your own as module:Class"
        if ":" in value and not _PATH.fullmatch(value):
            raise ValueError(f"input should be the name of a built-in part, {own}")
        if ":" not in value and value not in self.built_in:
            names = ", ".join(f"'{name}'" for name in self.built_in)
            raise ValueError(f"input should be {names}, {own}{nearest(value, self.built_in)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """A string that `_named` accepts."""
        return core_schema.no_info_after_validator_function(self._named, handler(source))


VIEW = Axis(
    "view",
    "data.view",
    "lang_jepa.data.views",
    "VIEWS",
    "View",
    ("split",),
    ("prefix", "suffix", "max_length", "seed"),
)
PREDICTOR = Axis(
    "predictor",
    "model.predictor",
    "lang_jepa.models.predictors.predictor",
    "PREDICTORS",
    "Predictor",
    ("dim", "window"),
)
TARGET = Axis("target", "objective.target", "lang_jepa.models.target", "TARGETS", "Target", ("encoder",))
REGULARIZER = Axis(
    "regularizer",
    "objective.regularizer",
    "lang_jepa.objectives.regularizer",
    "REGULARIZERS",
    "Regularizer",
)
DISTANCE = Axis("distance", "optimization.loss_fn", "lang_jepa.objectives.distance", "DISTANCES", "Distance")
AXES = (VIEW, PREDICTOR, TARGET, REGULARIZER, DISTANCE)


class Parts(NamedTuple):
    """The classes that an encoder's settings choose, one for each axis; `regularizer` may be None."""

    view: Any
    predictor: Any
    target: Any
    regularizer: Any
    distance: Any


def parts_of(settings: Any) -> Parts:
    """The classes that the settings choose, with the view in its chosen mode.

    Raises:
        ValueError, LangJepaError: see `Axis.part`.
    """
    view, *others = (axis.part(axis.chosen(settings)) for axis in AXES)
    return Parts(view.in_mode(settings.data), *others)


def load_class(path: str) -> Any:
    """Import the class `module:Class`, looking in the current folder first and then where Python does.

    Files in a model or run directory are never executed, even if it is the current folder: settings that come with a
    model can name a class but not bring one along.

    Raises:
        ValueError: there is no such module or class, or the module lies in a model or run directory.
        LangJepaError: importing the module fails.
    """
    module, _, name = path.partition(":")
    top, here = module.partition(".")[0], Path.cwd()
    if str(here) not in sys.path and not _is_model(here):
        sys.path.insert(0, str(here))
    invalidate_caches()  # the file may be a second old
    missing = f"there is no module '{module}' in {here} or where Python looks (PYTHONPATH, installed packages)"
    if top == "__main__":
        raise ValueError("put the class into a file of its own, which other processes can import too")
    spec = find_spec(top)
    if spec is None:
        raise ValueError(missing)
    for place in [spec.origin, *(spec.submodule_search_locations or ())]:
        if place and _is_model(Path(place)):
            raise ValueError(f"{place} lies in a model or run directory, whose files are never run: move it")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(missing) from None
        raise _failed(module, error) from error
    except Exception as error:
        raise _failed(module, error) from error
    if not hasattr(found, name):
        known = [key for key, one in vars(found).items() if isinstance(one, type)]
        raise ValueError(f"the module {module} has no class '{name}'{nearest(name, known)}")
    return getattr(found, name)


def _failed(module: str, error: Exception) -> LangJepaError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return LangJepaError(f"importing {module} failed with {type(error).__name__}: {error}{where}")


def _is_model(place: Path) -> bool:
    """Whether a file or folder lies in a model or run directory."""
    return any(
        (folder / "lang_jepa.json").is_file()
        or _is_saved(folder / "settings.yaml")
        or ((folder / "settings.yaml").is_file() and any(folder.glob("checkpoint-*.pth")))
        or ((folder / "settings.yaml").is_file() and (folder / "model" / "lang_jepa.json").is_file())
        for folder in (place, *place.parents)
    )


def _is_saved(path: Path) -> bool:
    """Whether a settings file begins as `save_settings` writes it."""
    try:
        with path.open("rb") as file:
            return file.read(8) == b"version:"
    except OSError:
        return False
