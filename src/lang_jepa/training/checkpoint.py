"""Checkpoints to resume from: written atomically, hashed, read without running code, compared with the settings."""

import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import atomic_file
from lang_jepa.settings.load import build_saved
from lang_jepa.training.contents import LEARNT, check_contents
from lang_jepa.training.sealed import broken_seal, format_of, seal

FORMAT = 3
"""3: one form for all systems; 2: a hash over all of the file."""
LAST, BEST = "checkpoint-last.pth", "checkpoint-best.pth"

# What torch's reader was seen to raise for files that are cut off or something else.
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
        LangJepaError: the disk is full; something learnt is not finite. The one there before stays.
    """
    learnt = {name: checkpoint[name] for name in LEARNT if name in checkpoint}
    check_finite(learnt, where=f"what would be written to {path}")
    # Given a path instead of a file, torch does not say why it failed.
    with atomic_file(path) as temporary, temporary.open("w+b") as file:
        torch.save({"format": FORMAT, "rounding": _rounding(), **checkpoint}, file)
        seal(file)


def load_checkpoint(path: Path, *, system: str | None = None, contents: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed (weights_only), and nothing loaded before its hash is right.

    Args:
        path: of the file.
        system: of the settings, if it must be of that one.
        contents: parts that it must have beside those of every system, with the types that they may have.

    Raises:
        LangJepaError: missing, truncated, damaged, foreign, of another format or system, without one of its parts, or
            with numbers that are none.
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
        raise LangJepaError(f"the checkpoint {path} cannot be used: it is not one ({reason})") from error
    said = checkpoint.get("format") if isinstance(checkpoint, dict) else None
    if said != FORMAT:
        raise LangJepaError(f"the checkpoint {path} has format {said}; this version reads format {FORMAT}")
    check_contents(checkpoint, contents or {}, system=system, where=f"the checkpoint {path}")
    return checkpoint  # type: ignore[no-any-return]


def check_matches(
    checkpoint: Checkpoint,
    settings: BaseModel,
    *,
    data: str,
    world: int,
    total: int,
    path: Path,
    free: tuple[str, ...],
    allowed: tuple[str, ...] = (),
) -> list[Any]:
    """Refuse to resume where the numbers would not go on as they were.

    Args:
        checkpoint: as `load_checkpoint` gave it.
        settings: of this run, of the same kind as the checkpoint's.
        data: its identity.
        world: number of processes.
        total: optimizer steps planned.
        path: of the checkpoint, for the message.
        free: beginnings of the settings that may differ.
        allowed: settings that may differ although they touch the numbers, because the run stopped and named them.

    Returns:
        What was changed on the way, now and earlier: [step, {setting: [before, after]}] each.

    Raises:
        LangJepaError: names every setting, and the data or world size, that differs; a step beyond the last.
    """
    if checkpoint["step"] > total:
        raise LangJepaError(f"cannot resume from {path}: it is at step {checkpoint['step']}, and the run has {total}")
    # Through the settings, so that one that did not exist yet then counts as its default.
    before = build_saved(type(settings), checkpoint["settings"], where=str(path))
    different = differing(before, settings, free)
    differences = in_words(different, allowed)
    if checkpoint["data"] != data:
        differences.append(f"data: checkpoint {checkpoint['data']}, now {data}")
    if checkpoint["world"] != world:
        differences.append(f"number of processes: checkpoint {checkpoint['world']}, now {world}")
    if differences:
        raise cannot_go_on(path, differences)
    changed = {key: different[key] for key in allowed if key in different}
    return [*checkpoint.get("changes", []), *([[checkpoint["step"], changed]] if changed else [])]


def in_words(different: Mapping[str, list[Any]], allowed: tuple[str, ...]) -> list[str]:
    """What `differing` found, but for what may differ."""
    return [f"{key}: checkpoint {a!r}, now {b!r}" for key, (a, b) in different.items() if key not in allowed]


def cannot_go_on(path: Path, differences: list[str]) -> LangJepaError:
    """What to raise where a run would go on otherwise."""
    return LangJepaError(
        f"cannot resume from {path}, because the run would not go on as it was:\n  "
        + "\n  ".join(differences)
        + "\nUse the settings of the checkpoint (settings.yaml beside it), or start a new run in another "
        "logging.log_dir."
    )


def differing(before: BaseModel, settings: BaseModel, free: tuple[str, ...]) -> dict[str, list[Any]]:
    """Settings that touch the numbers and differ: {setting: [before, now]}; `free`: beginnings of those that may."""
    then, now = _flat(before.model_dump()), _flat(settings.model_dump())
    return {
        key: [then.get(key), now.get(key)]
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(free)
    }


def _rounding() -> dict[str, str]:
    """What decides, on a CPU, in which order sums are added."""
    return {"torch": str(torch.__version__), "threads": str(torch.get_num_threads())}


def rounds_otherwise(checkpoint: Checkpoint, device: torch.device) -> str:
    """A warning where a run goes on exactly but for rounding, which training makes visible; else nothing.

    Args:
        checkpoint: as `load_checkpoint` gave it.
        device: where the run goes on; a GPU's sums do not depend on the threads.
    """
    now = _rounding() if device.type == "cpu" else {"torch": str(torch.__version__)}
    then = checkpoint.get("rounding", now)  # of earlier versions
    changes = [f"{name} {then[name]} there, {now[name]} now" for name in now if then[name] != now[name]]
    if not changes:
        return ""
    return (
        f"the run goes on, but not bit for bit as it would have: {'; '.join(changes)}. Threads are those of "
        "OMP_NUM_THREADS, or the cores."
    )


def load_weights(module: torch.nn.Module, state: Mapping[str, torch.Tensor], *, what: str) -> None:
    """Load a state dict strictly.

    Raises:
        LangJepaError: names missing, unexpected and misshapen tensors.
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
    module.load_state_dict(state)


def load_optimizer(optimizer: Any, state: Mapping[str, Any], *, what: str) -> None:
    """Load an optimizer's state, if it is one of these parameters.

    Raises:
        LangJepaError: other groups, other parameters, or a tensor of another shape.
    """
    try:
        sizes = [len(group["params"]) for group in state["param_groups"]]
        if sizes != [len(group["params"]) for group in optimizer.param_groups]:
            raise ValueError(f"its groups have {sizes} parameters")
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        for number, entries in state["state"].items():
            shapes = {tuple(one.shape) for one in entries.values() if isinstance(one, torch.Tensor) and one.dim()}
            if shapes - {tuple(parameters[number].shape)}:
                raise ValueError(f"parameter {number} has the shape {tuple(parameters[number].shape)}, not {shapes}")
        optimizer.load_state_dict(state)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise LangJepaError(f"{what} does not fit these settings: {error}") from error


def load_optimizers(optimizers: Sequence[Any], states: Sequence[Mapping[str, Any]], path: Path) -> None:
    """`load_optimizer` of several, from the checkpoint at `path`."""
    if len(states) != len(optimizers):
        raise LangJepaError(f"{path} has {len(states)} optimizers, not {len(optimizers)}")
    for optimizer, state in zip(optimizers, states, strict=True):
        load_optimizer(optimizer, state, what=f"an optimizer in {path}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
