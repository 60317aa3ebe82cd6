"""YAML of settings. Two traps of PyYAML are closed: it reads `3e-4` as text, and it lets a later duplicate key win."""

import re
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from typing import Any

import yaml
from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.words import is_text

NULLS = ("null", "Null", "NULL")
"""What YAML reads as nothing, and a setting of text as it was typed."""
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


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes the strings which `_Loader` would read as numbers."""


for _class in (_Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"),
        list("-+0123456789."),
    )
    # The int resolver is consulted first, so plain integers stay integers.
    for _letter in "-+0123456789":
        _resolvers = _class.yaml_implicit_resolvers[_letter]
        _resolvers.sort(key=lambda pair: pair[0] != "tag:yaml.org,2002:int")


def parse_yaml(text: str, *, where: str, kind: type[BaseModel] | None = None) -> Any:
    """Parse YAML with the floats of YAML 1.2, without duplicate keys.

    Args:
        text: to parse.
        where: it stands, for the message.
        kind: of the settings that it holds, if any: what takes text is then text as it was typed, such as 2024 or no.

    Raises:
        LangJepaError: not YAML, or a key stands twice; the message names `where`.
    """
    if len(text) > LARGEST_YAML:
        raise LangJepaError(f"{where} is too long for settings: {len(text):,} characters")
    try:
        loader = _Loader(text)  # a SafeLoader subclass: builds plain data only
        try:
            node = loader.get_single_node()
            if kind is not None:
                _keep_texts(node, kind)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise LangJepaError(f"{where} is not YAML of settings: it is nested too deeply") from None
    except LangJepaError as error:
        raise LangJepaError(f"{where}, {error}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date or number that cannot be
        raise LangJepaError(f"{where} is not YAML: {error}") from error


def _keep_texts(node: yaml.Node | None, kind: type[BaseModel]) -> None:
    """Mark as text what stands unquoted at the place of a setting that takes text."""
    for section, name, value in _scalars(node):
        text, nullable = is_text(kind, section, name)
        null = value.tag.endswith(":null") and (nullable or value.value not in NULLS)
        if text and not null:
            value.tag = "tag:yaml.org,2002:str"


def _scalars(node: yaml.Node | None) -> Iterator[tuple[str, str, yaml.ScalarNode]]:
    """Section, name and value of each setting with a single value."""
    for section, inside in node.value if isinstance(node, yaml.MappingNode) else ():
        for name, value in inside.value if isinstance(inside, yaml.MappingNode) else ():
            if isinstance(value, yaml.ScalarNode):
                yield str(section.value), str(name.value), value
