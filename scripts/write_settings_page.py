"""Write docs/settings.md from the settings' own descriptions, or with --check test whether it is up to date."""

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lang_jepa.files.atomic import write_text
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.parts import Axis
from lang_jepa.settings.run import RunSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

INTRODUCTION = """# Settings

Every setting there is, with its default and its meaning. `python scripts/write_settings_page.py` writes this page from
`run.py`, `data.py`, `encoder.py`, `decoder.py` and `gpt.py` in `src/lang_jepa/settings`; change it there.

A recipe is a YAML file that changes some of these; `-o section.key=value` changes them again, and the last one wins.
Values are YAML: `null`, `true`, `3e-4`, `[1, 2]`. An unknown key, a wrong type or values that do not fit together are
errors that say what to set. A setting of text takes what was typed (`2024`, `no`; `null` where null is not allowed). A
setting that you choose and that has no effect beside the others, such as `data.limit` in a stream, is an error; a
default without effect is no error. The resolved settings of a run are saved as `settings.yaml` in its run directory,
with the version that wrote them.

Where the values end with `module:Class`, a class of your own can be named in place of a built-in part; settings that it
defines stand in a section of its axis: `own_view`, `own_predictor`, `own_target`, `own_regularizer` or `own_distance`
(see [own_parts.md](own_parts.md)).
"""

DECODERS = """
# Settings of a decoder

They are in `src/lang_jepa/settings/decoder.py`, apply to [concept decoders](decoder.md), and are changed with
`-d section.key=value`.
"""

GPTS = """
# Settings of a GPT

They are in `src/lang_jepa/settings/gpt.py`, apply to [GPTs](gpt.md), and are changed with `-o section.key=value` or
with environment variables.
"""

OLD_NAMES = """
# Old names

Names of the predecessor and of earlier versions, which mean the same and may be used everywhere (`use_bfloat16: true`
is `precision: bf16`). One setting by both names is an error.

| of | old name | setting |
|---|---|---|"""

HEADER = "| setting | default | values | meaning |\n|---|---|---|---|"


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [INTRODUCTION, *_sections(Settings), DECODERS, *_sections(DecoderSettings)]
    return "\n".join([*parts, GPTS, *_sections(GPTSettings), OLD_NAMES, *_old_names(), ""])


def _old_names() -> list[str]:
    """Return a row for every old name; names shared by all systems appear once."""
    kinds = {"": RunSettings, "decoder": DecoderSettings, "GPT": GPTSettings}
    return [
        f"| {what} | `{old}` | `{new}` |"
        for what, kind in kinds.items()
        for old, new in kind.OLD_NAMES.items()
        if kind is RunSettings or old not in RunSettings.OLD_NAMES
    ]


def _sections(settings: type[BaseModel]) -> list[str]:
    """Return the sections of one system's settings."""
    return [
        _section(name, field.annotation)
        for name, field in settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    ]


def _section(name: str, section: type[BaseModel]) -> str:
    """Return a heading, the description, and a table row for every setting."""
    rows = [
        f"| `{name}.{key}` | {_code(field.default)} | {_kind(field)} | {_one_line(field.description)} |"
        for key, field in section.model_fields.items()
    ]
    head = f"\n## {name}\n\n{_one_line(section.__doc__)}\n\n{HEADER}\n"
    return head + "\n".join(rows) + "\n"


def _kind(field: FieldInfo) -> str:
    """Describe type and bounds in words."""
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if hasattr(limit, name)
    ]
    axis = next((one for one in field.metadata if isinstance(one, Axis)), None)
    kind = _type(field.annotation) if axis is None else f"{_choices(axis.built_in)}, `module:Class`"
    return ", ".join([kind, *bounds])


def _choices(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _type(annotation: Any) -> str:
    """Name a type, e.g. `integer or null`, `true or false`."""
    if get_origin(annotation) is Literal:
        return _choices(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_type(part) for part in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}s"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
    return names[annotation]


def _code(value: object) -> str:
    """Format a default as in YAML."""
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    shown = (
        {None: "null", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    )
    return f"`{shown if shown is not None else value}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else f"{PAGE} is out of date: run {sys.argv[0]}")
    write_text(PAGE, page())
