"""Which settings have no effect beside others. A user who chose one is told; a default stands there unnoticed."""

from collections.abc import Collection, Iterator
from typing import Any

_STREAM = "a stream has no end and keeps nothing: leave it out, or set data.streaming=false"
_IDLE: tuple[tuple[str, str, Any, str], ...] = (
    ("data.limit", "data.streaming", True, f"{_STREAM}; the length of training is optimization.max_steps"),
    ("data.deduplicate", "data.streaming", True, _STREAM),
    ("data.near_duplicate_share", "data.streaming", True, _STREAM),
    ("data.shuffle_buffer", "data.streaming", False, "it belongs to data.streaming=true; leave it out"),
    ("data.near_duplicate_share", "data.deduplicate", "none", "it belongs to data.deduplicate=near"),
    ("data.near_duplicate_share", "data.deduplicate", "exact", "it belongs to data.deduplicate=near"),
    ("data.splitter_device", "data.splitter", "rules", "it belongs to data.splitter=sat"),
    ("model.weights_path", "model.pretrained", False, "it belongs to model.pretrained=true"),
)
"""A setting, and another with the value beside which it does nothing; why, and what to do."""


def without_effect(settings: Any, chosen: Collection[str]) -> Iterator[str]:
    """A complaint for each chosen setting that has no effect.

    Args:
        settings: of any kind.
        chosen: what the user set, as `section.key`.
    """
    for setting, beside, value, why in _IDLE:
        if setting in chosen and _get(settings, beside) == value:
            told = str(value).lower() if isinstance(value, bool) else value
            yield f"{setting} has no effect beside {beside}={told}: {why}"


def _get(settings: Any, path: str) -> Any:
    """The value of a setting, None where this kind does not have it."""
    section, _, name = path.partition(".")
    return getattr(getattr(settings, section, None), name, None)
