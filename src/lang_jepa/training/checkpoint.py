"""Checkpoints to resume from: written atomically, hashed, read without running code, compared with the settings.

A file carries its own SHA-256, so that no flipped bit is ever loaded. The hash is stored as the comment at the end of
the zip archive, which zip readers ignore: the checkpoint remains a single file that is written atomically and that any
program can read with `torch.load`. The hash covers everything before the comment, including its two length bytes.

An intact checkpoint may still be of another system, of a version that lacked a part, or of a run whose weights were
spoilt. So all parts and their types are checked, and numbers must be finite, before any of it is used.
"""

import hashlib
import math
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import BaseModel

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import atomic_file
from lang_jepa.models.precision import as_it_was
from lang_jepa.models.sharded import shared_out
from lang_jepa.settings.load import build_saved
from lang_jepa.settings.run import RunSettings
from lang_jepa.training import sharded_checkpoint

_MARK = b"lang-jepa sha256 "
_COMMENT = len(_MARK) + 64
_FORMAT = re.compile(rb"X\x06\x00\x00\x00format(?:q.|r.{4})?K(.)", re.DOTALL)
"""Start of a checkpoint's pickle, whose first entry is the format."""


def seal(file: BinaryIO) -> None:
    """Append the hash to the archive just written to a file, which must be open for reading and writing."""
    file.seek(-2, os.SEEK_END)  # the length of the comment, still 0
    file.write(_COMMENT.to_bytes(2, "little"))
    file.write(_MARK + _digest(file, file.tell()))


def broken_seal(file: BinaryIO) -> str:
    """Return what is wrong with a file that should be sealed; empty if it is intact."""
    size = file.seek(0, os.SEEK_END)
    if size < _COMMENT:
        return "it is truncated or not a checkpoint"
    file.seek(-_COMMENT, os.SEEK_END)
    comment = file.read()
    if not comment.startswith(_MARK):
        return "it is truncated or not a checkpoint"
    if comment != _MARK + _digest(file, size - _COMMENT):
        return "it is damaged: its contents do not match its checksum"
    return ""


def format_of(file: BinaryIO) -> int | None:
    """Read the format from the start of an archive without loading it; None if it is not a checkpoint."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as pickle:
                found = _FORMAT.search(pickle.read(64))
    except (StopIteration, *_UNREADABLE):
        return None
    return found[1][0] if found else None


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256 of a file's first `size` bytes in hex; leave the file positioned after them."""
    total = hashlib.sha256()
    file.seek(0)
    while size:
        part = file.read(min(size, 2**20))
        total.update(part)
        size -= len(part)
    return total.hexdigest().encode()


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
"""The parts of every checkpoint and their allowed types."""
LEARNT = ("model", "target", "optimizers", "average", "centre")
"""Parts in which every number must be finite."""


_INSTEAD = {
    "gpt": ": give the GPT's run directory, which has a model at the end of the run",
    "decoder": ": give the encoder's run directory, and the decoder beside it (infer: with --decoder)",
}
"""What to use instead of a checkpoint that is not of the requested system."""


def check_contents(
    checkpoint: Mapping[str, Any], contents: Mapping[str, Any], *, system: str | None, where: str
) -> None:
    """Refuse a checkpoint that cannot be used or resumed from.

    Args:
        checkpoint: the checkpoint as read.
        contents: the system's own parts and their allowed types.
        system: the system it must belong to (None: any).
        where: names it in the message.

    Raises:
        LangJepaError: of another system, or a part is missing, of the wrong type, out of range, or not finite.
    """
    found = checkpoint.get("system")
    if not isinstance(found, str) or (system is not None and found != system):
        raise LangJepaError(
            f"{where} is a checkpoint of {found or 'an unknown system'}, not of {system or 'ours'}"
            + (_INSTEAD.get(str(found), "") if system is not None else "")
        )
    if problem := what_is_wrong(checkpoint, contents):
        raise LangJepaError(f"{where} {problem}")
    check_finite({name: checkpoint[name] for name in LEARNT if name in checkpoint}, where=where)


def what_is_wrong(checkpoint: Mapping[str, Any], contents: Mapping[str, Any]) -> str:
    """Return why a checkpoint cannot be resumed from, as a grammatical predicate (a part is missing, of the wrong type
    or out of range); empty if it can. `contents` is as in `check_contents`.
    """
    parts = {**COMMON, **contents}
    if missing := [name for name in parts if name not in checkpoint]:
        return f"is not whole: it lacks {', '.join(missing)}"
    wrong = [name for name, kind in parts.items() if not _is(checkpoint[name], kind)]
    if wrong:
        return "is damaged: " + ", ".join(f"{name} is {type(checkpoint[name]).__name__}" for name in wrong)
    odd = _odd_counts(checkpoint)
    return f"is damaged: {odd}" if odd else ""


def _odd_counts(checkpoint: Mapping[str, Any]) -> str:
    """Return what is wrong with the numbers, e.g. a step beyond the run, or not one entry for each process."""
    step, total, world = (checkpoint[name] for name in ("step", "total", "world"))
    if not 0 <= step <= total:
        return f"it says step {step} of {total}"
    if not (math.isfinite(checkpoint["seconds"]) and checkpoint["seconds"] >= 0):
        return f"it says {checkpoint['seconds']} seconds"
    for name in ("batches", "generators"):
        if world < 1 or len(checkpoint[name]) != world:
            return f"its {name} is not of {world} processes"
    best = checkpoint.get("best")
    if best and not (len(best) == 2 and _is(best[0], int) and _is(best[1], _NUMBER) and math.isfinite(best[1])):
        return f"its best is {best!r}"
    return ""


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


FORMAT = 3
"""3: one form for all systems; 2: a hash over all of the file."""
LAST, BEST = "checkpoint-last.pth", "checkpoint-best.pth"

# What torch's reader has been seen to raise for truncated and foreign files.
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    struct.error,
)

Checkpoint = dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint (tensors, numbers, strings, lists, dictionaries) atomically.

    Raises:
        LangJepaError: the disk is full, or something learnt is not finite; the previous checkpoint stays in place.
    """
    learnt = {name: checkpoint[name] for name in LEARNT if name in checkpoint}
    check_finite(learnt, where=f"what would be written to {path}")
    # If torch is given a path instead of a file, it does not report why it failed.
    with atomic_file(path) as temporary, temporary.open("w+b") as file:
        torch.save({"format": FORMAT, "rounding": _rounding(), **checkpoint}, file)
        seal(file)


def load_checkpoint(
    path: Path,
    *,
    system: str | None = None,
    contents: Mapping[str, Any] | None = None,
    fabric: Any = None,
    parts: Collection[str] | None = None,
) -> Checkpoint:
    """Read a checkpoint. Nothing in the file is executed (weights_only), and nothing is loaded before its hash matches.

    Args:
        path: the checkpoint file.
        system: the system it must belong to (None: any).
        contents: parts it must have beside those of every system, and their allowed types.
        fabric, parts: for shards, see `sharded_checkpoint.fill`.

    Raises:
        LangJepaError: it is missing, truncated, damaged, not a checkpoint, of another format or system, lacks a part,
            or holds numbers that are not finite.
    """
    if not path.is_file():
        raise LangJepaError(f"no checkpoint at {path}")
    try:
        with path.open("rb") as file:
            wrong = broken_seal(file)
            found = format_of(file) if wrong else FORMAT
            if found not in (None, FORMAT):
                raise LangJepaError(f"the checkpoint {path} has format {found}; this version reads format {FORMAT}")
            if wrong:
                raise LangJepaError(f"the checkpoint {path} cannot be used: {wrong}")
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise LangJepaError(f"the checkpoint {path} cannot be used: it is not a checkpoint ({reason})") from error
    said = checkpoint.get("format") if isinstance(checkpoint, dict) else None
    if said != FORMAT:
        raise LangJepaError(f"the checkpoint {path} has format {said}; this version reads format {FORMAT}")
    if sharded_checkpoint.ENTRY in checkpoint:
        sharded_checkpoint.fill(checkpoint, path, fabric=fabric, parts=parts)
    check_contents(checkpoint, contents or {}, system=system, where=f"the checkpoint {path}")
    return checkpoint  # type: ignore[no-any-return]


def check_matches(
    checkpoint: Checkpoint,
    settings: RunSettings,
    *,
    data: str,
    world: int | None,
    total: int,
    path: Path,
    free: tuple[str, ...],
    allowed: tuple[str, ...] = (),
) -> list[Any]:
    """Refuse to resume if the run would not continue as before.

    Args:
        checkpoint: as returned by `load_checkpoint`.
        settings: this run's settings, of the same class as the checkpoint's.
        data: identity of this run's data.
        world: number of processes (None: it may differ).
        total: optimizer steps planned.
        path: of the checkpoint, for the message.
        free: prefixes of the settings that may differ.
        allowed: settings that may differ although they affect the results, because the run stopped and named them.

    Returns:
        The changes made now and earlier, each as [step, {setting: [before, after]}].

    Raises:
        LangJepaError: settings, data or world size differ (all are named), or the step is beyond the last.
    """
    if checkpoint["step"] > total:
        raise LangJepaError(f"cannot resume from {path}: it is at step {checkpoint['step']}, and the run has {total}")
    # Built as settings, so that one added since then counts as its default.
    before = as_it_was(build_saved(type(settings), checkpoint["settings"], where=str(path)))
    different = differing(before, settings, free)
    differences = in_words(different, allowed)
    if checkpoint["data"] != data:
        differences.append(f"data: checkpoint {checkpoint['data']}, now {data}")
    if world is not None and checkpoint["world"] != world:
        differences.append(f"number of processes: checkpoint {checkpoint['world']}, now {world}")
    if differences:
        raise cannot_go_on(path, differences)
    changed = {key: different[key] for key in allowed if key in different}
    return [*checkpoint.get("changes", []), *([[checkpoint["step"], changed]] if changed else [])]


def in_words(different: Mapping[str, list[Any]], allowed: tuple[str, ...]) -> list[str]:
    """Describe what `differing` found, except for the settings that are allowed to differ."""
    return [f"{key}: checkpoint {a!r}, now {b!r}" for key, (a, b) in different.items() if key not in allowed]


def cannot_go_on(path: Path, differences: list[str]) -> LangJepaError:
    """Return the error for a run that would not continue as before."""
    return LangJepaError(
        f"cannot resume from {path}, because the run would not continue unchanged:\n  "
        + "\n  ".join(differences)
        + "\nUse the settings of the checkpoint (settings.yaml beside it), or start a new run in another "
        "logging.log_dir."
    )


def differing(before: BaseModel, settings: BaseModel, free: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return settings that differ and affect the results, {setting: [before, now]}; `free`: prefixes to ignore."""
    then, now = _flat(before.model_dump()), _flat(settings.model_dump())
    return {
        key: [then.get(key), now.get(key)]
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(free)
    }


def _rounding() -> dict[str, str]:
    """Return what determines the order of summation on a CPU."""
    return {"torch": str(torch.__version__), "threads": str(torch.get_num_threads())}


def rounds_otherwise(checkpoint: Checkpoint, device: torch.device) -> str:
    """Return a warning if a resumed run differs by rounding, which training makes visible; else an empty string.

    Args:
        checkpoint: as returned by `load_checkpoint`.
        device: device of the resumed run; sums on a GPU do not depend on the number of threads.
    """
    now = _rounding() if device.type == "cpu" else {"torch": str(torch.__version__)}
    then = checkpoint.get("rounding", now)  # earlier versions did not save it
    changes = [f"{name} {then[name]} in the checkpoint, {now[name]} now" for name in now if then[name] != now[name]]
    if not changes:
        return ""
    return (
        f"the run is resumed, but not bit for bit: {'; '.join(changes)}. The number of threads is that of "
        "OMP_NUM_THREADS, or of the cores."
    )


def other_processes(checkpoint: Checkpoint, *, world: int, sharded: bool) -> str:
    """Like `rounds_otherwise`, for a changed number of processes, or weights that are now sharded or no longer are.

    Args:
        checkpoint: as returned by `load_checkpoint`.
        world: number of processes that resume.
        sharded: whether the weights are sharded over them.
    """
    then, now = (checkpoint["world"], sharded_checkpoint.ENTRY in checkpoint), (world, sharded)
    if then == now:
        return ""
    there, here = (
        f"{counted(count, 'process', 'processes')}{' with weights shared out' if parts else ''}"
        for count, parts in (then, now)
    )
    return f"the run is resumed, but not bit for bit: {there} in the checkpoint, {here} now."


def load_weights(module: torch.nn.Module, state: Mapping[str, torch.Tensor], *, what: str) -> None:
    """Load a state dict strictly.

    Raises:
        LangJepaError: tensors are missing, unexpected or of the wrong shape; they are named.
    """
    mine = module.state_dict()
    wrong = [f"missing {name}" for name in mine.keys() - state.keys()]
    wrong += [f"unexpected {name}" for name in state.keys() - mine.keys()]
    wrong += [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(mine[name].shape)}"
        for name in mine.keys() & state.keys()
        if state[name].shape != mine[name].shape
    ]
    if wrong:
        raise LangJepaError(f"{what} does not fit these settings: " + "; ".join(sorted(wrong)[:8]))
    module.load_state_dict({name: shared_out(state[name], one) for name, one in mine.items()})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
