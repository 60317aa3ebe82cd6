"""Settings as flat tables of dotted keys, to be changed, compared and told apart."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from lang_jepa.settings import build

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
        f"{key}: {one[key]!r} there, {other[key]!r} now"
        for key in one
        if one[key] != other[key] and key not in left_out
    ]
