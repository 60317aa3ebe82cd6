"""What a checkpoint must hold, checked before any of it is used: every part, its kind, and that numbers are numbers.

A checkpoint that is whole (see `sealed.py`) may still be one of another system, of a version that lacked a part, or
made by a run whose weights were spoilt.
"""

import math
from collections.abc import Mapping
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite

_NUMBER = (int, float)
COMMON: dict[str, Any] = {
    "settings": dict,
    "data": str,
    "world": int,
    "step": int,
    "total": int,
    "seconds": _NUMBER,
    "epoch_loss": list,
    "metrics": dict,
    "best": (list, type(None)),
    "changes": list,
    "batches": list,
    "generators": list,
}
"""The parts of every checkpoint, with the types that they may have."""
LEARNT = ("model", "target", "optimizers", "average", "centre")
"""Parts in which every number is finite."""


_INSTEAD = {
    "gpt": ": give the GPT's run directory, which has a model at the end of the run",
    "decoder": ": give the encoder's run directory, and the decoder beside it (infer: with --decoder)",
}
"""What is usable in the place of a checkpoint of another system than was asked for."""


def check_contents(
    checkpoint: Mapping[str, Any], contents: Mapping[str, Any], *, system: str | None, where: str
) -> None:
    """Refuse a checkpoint that cannot be gone on with, or used.

    Args:
        checkpoint: as it was read.
        contents: parts of the system itself, with the types that they may have.
        system: that it must be of (None: whichever it says).
        where: names it in the message.

    Raises:
        LangJepaError: another system's, or a part is missing, of another type, out of range, or not finite.
    """
    found = checkpoint.get("system")
    if not isinstance(found, str) or (system is not None and found != system):
        raise LangJepaError(
            f"{where} is a checkpoint of {found or 'an unknown system'}, not of {system or 'ours'}"
            + (_INSTEAD.get(str(found), "") if system is not None else "")
        )
    parts = {**COMMON, **contents}
    if missing := [name for name in parts if name not in checkpoint]:
        raise LangJepaError(f"{where} is not whole: it lacks {', '.join(missing)}")
    wrong = [name for name, kind in parts.items() if not _is(checkpoint[name], kind)]
    if wrong:
        described = ", ".join(f"{name} is {type(checkpoint[name]).__name__}" for name in wrong)
        raise LangJepaError(f"{where} is damaged: {described}")
    _check_counts(checkpoint, where)
    check_finite({name: checkpoint[name] for name in LEARNT if name in checkpoint}, where=where)


def _check_counts(checkpoint: Mapping[str, Any], where: str) -> None:
    """Steps within the run, one entry for each process."""
    step, total, world = (checkpoint[name] for name in ("step", "total", "world"))
    if not 0 <= step <= total:
        raise LangJepaError(f"{where} is damaged: it says step {step} of {total}")
    if not (math.isfinite(checkpoint["seconds"]) and checkpoint["seconds"] >= 0):
        raise LangJepaError(f"{where} is damaged: it says {checkpoint['seconds']} seconds")
    for name in ("batches", "generators"):
        if world < 1 or len(checkpoint[name]) != world:
            raise LangJepaError(f"{where} is damaged: its {name} is not of {world} processes")
    best = checkpoint.get("best")
    if best and not (len(best) == 2 and _is(best[0], int) and _is(best[1], _NUMBER) and math.isfinite(best[1])):
        raise LangJepaError(f"{where} is damaged: its best is {best!r}")


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
