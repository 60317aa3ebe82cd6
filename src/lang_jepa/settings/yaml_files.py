"""Read and write YAML settings, without two traps of PyYAML: `3e-4` read as text, and later duplicate keys winning."""

import re
from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any

import yaml
from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.words import is_text

NULLS = ("null", "Null", "NULL")
"""Words that YAML reads as null; a text setting that cannot be null takes them literally."""
LARGEST_YAML = 200_000
"""Characters in the longest text that is parsed; settings have a few thousand."""
_MOST_NODES = 50_000


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats and without duplicate keys."""

    def get_single_node(self) -> Any:
        """Parse the text into nodes; aliases repeat their whole anchor, so a few of them can expand to many values."""
        node = super().get_single_node()
        if node is not None and _size(node, {}) > _MOST_NODES:
            raise yaml.YAMLError("its aliases stand for too many values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # SafeLoader raises an error for it
            if key in seen:
                line = key_node.start_mark.line + 1
                raise LangJepaError(f"line {line}: the key '{key}' occurs twice in one section")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a node with its aliases expanded."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES  # during the count, because a node that contains itself has no end
        children: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            children = chain.from_iterable(node.value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes strings which `_Loader` would read as numbers."""


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
    """Parse YAML with YAML 1.2 floats, refusing duplicate keys.

    Args:
        text: to parse.
        where: where the text comes from, for the message.
        kind: of the settings in the text, if any: values of text settings, such as 2024 or no, are then kept as typed.

    Raises:
        LangJepaError: the text is too long, not YAML, or has a duplicate key; the message names `where`.
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
    """Mark the unquoted values of settings that take text as strings."""
    for section, inside in node.value if isinstance(node, yaml.MappingNode) else ():
        for name, value in inside.value if isinstance(inside, yaml.MappingNode) else ():
            if not isinstance(value, yaml.ScalarNode):
                continue
            text, nullable = is_text(kind, str(section.value), str(name.value))
            null = value.tag.endswith(":null") and (nullable or value.value not in NULLS)
            if text and not null:
                value.tag = "tag:yaml.org,2002:str"
