"""The state of a monitor in a file, which is checked before it is restored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.cache import weights_hash
from lang_jepa.inference.courses import are_courses
from lang_jepa.inference.embedding import EmbeddingModel

FORMAT = 6
"""Format of the state: raise it whenever what is written changes."""


def read_state(path: Path, model: EmbeddingModel) -> Mapping[str, Any]:
    """Read what `Monitor.save` wrote.

    Raises:
        LangJepaError: the file is missing, is something else, or is of another version or another model.
    """
    state: Mapping[str, Any] = read_json(path, what="the state of a monitor")
    if not isinstance(state, Mapping) or not _is_state(state):
        raise LangJepaError(f"{path} is not the state of a monitor, as this version writes it: delete it")
    if state["model"] != weights_hash(model.jepa):
        raise LangJepaError(f"{path} is the state of a monitor with another model: give another file, or delete it")
    return state


def _is_state(state: Mapping[str, Any]) -> bool:
    """Whether a state has what `Monitor.save` writes."""
    recent, kinds = state.get("recent"), state.get("kinds")
    return (
        state.get("format") == FORMAT
        and isinstance(recent, list)
        and all(isinstance(one, bool) for one in recent)
        and isinstance(kinds, dict)
        and all(map(_is_count, kinds.values()))
        and are_courses(state.get("courses"))
        and all(_is_count(state.get(name)) for name in ("seen", "alarms", "apart", "unjudged"))
        and isinstance(state.get("model"), str)
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
