"""Settings as flat tables of dotted keys, to be changed, compared and told apart."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import build

Tree = TypeVar("Tree", bound=BaseModel)


def flat(settings: BaseModel) -> dict[str, Any]:
    """Settings as dotted keys."""
    found: dict[str, Any] = {}
    for section, value in settings.model_dump().items():
        if isinstance(value, dict):
            found |= {f"{section}.{key}": one for key, one in value.items()}
        else:
            found[section] = value
    return found


def changed(settings: Tree, **sections: Mapping[str, Any]) -> Tree:
    """Settings with some values changed, validated again."""
    tree = settings.model_dump()
    for section, changes in sections.items():
        tree[section] |= changes
    return build(type(settings), tree, where="the comparison's plan")


def setting_differences(then: BaseModel, now: BaseModel, *, ignore: Iterable[str] = ()) -> list[str]:
    """Lines that name what differs between two settings of one kind."""
    one, other = flat(then), flat(now)
    left_out = set(ignore)
    return [
        f"{key}: {one.get(key)!r} there, {other.get(key)!r} now"
        for key in one | other
        if one.get(key) != other.get(key) and key not in left_out
    ]


_OPEN, _CLOSE = "[{", "]}"


def parse_vary(text: str) -> tuple[str, list[str]]:
    """The setting, and its values as they were written.

    >>> parse_vary("jepa.weight=0,0.01")
    ('jepa.weight', ['0', '0.01'])
    >>> parse_vary("model.loop_layers=[],[1,2]")
    ('model.loop_layers', ['[]', '[1,2]'])

    Raises:
        LangJepaError: another form, or fewer than two values.
    """
    key, separator, values = text.partition("=")
    found = [value.strip() for value in _split(values)]
    if not separator or "." not in key or len(found) < 2 or not all(found):
        raise LangJepaError(
            f"--vary '{text}' is not understood: give a setting and two values or more, the baseline's first, such as "
            "jepa.weight=0,0.01,0.05"
        )
    return key.strip(), found


def variant_name(key: str, value: str) -> str:
    """What a variant is called; it is a folder's name too."""
    return f"{key}={value}".replace("/", "_")


def _split(values: str) -> list[str]:
    """At commas that stand in no list."""
    parts, depth = [""], 0
    for letter in values:
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
