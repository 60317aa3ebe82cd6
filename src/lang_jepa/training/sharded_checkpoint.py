"""Checkpoints of sharded weights: each process writes its own part (torch.distributed.checkpoint).

    checkpoint-last.pth            everything else, sealed; names the folder of the parts and the SHA-256 of each file
    checkpoint-last/step-40/       the parts: one file for each process, and .metadata, which says what lies where

Each save uses a new folder, and the `.pth` is put in place last, in one system call. Until then the previous
checkpoint remains the valid one, and none of it has been touched.
"""

import os
import pickle
import shutil
import warnings
from collections.abc import Collection, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lang_jepa.errors import LangJepaError
from lang_jepa.files.arrays import check_finite
from lang_jepa.files.atomic import flush, make_folder, sha256, writing
from lang_jepa.models.sharded import is_sharded
from lang_jepa.training.ranks import gather

ENTRY = "shards"
"""Entry of a checkpoint that says where its shards are."""
_AT = "__shard__"
_METADATA = ".metadata"
_KNOWN = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata", "TensorStorageMetadata", "ChunkStorageMetadata", "BytesStorageMetadata", "TensorProperties",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size", "float32", "float64", "float16", "bfloat16", "int64"),
    "pathlib": ("Path", "PosixPath"),
    "pathlib._local": ("Path", "PosixPath"),
}  # fmt: skip
"""All classes and functions that a checkpoint's metadata may contain."""


def write(fabric: Any, path: Path, state: Mapping[str, Any], learnt: Collection[str]) -> dict[str, Any]:
    """Write the shards of a checkpoint. Every process must call this.

    Args:
        fabric: of the run.
        path: of the checkpoint, into which the caller then writes what this returns.
        state: the checkpoint, with its sharded tensors as each process holds them.
        learnt: parts of it whose numbers must be finite.

    Returns:
        The checkpoint with references into the shards in place of the sharded tensors.

    Raises:
        LangJepaError: the disk is full, or something learnt is not finite, on any of the processes.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    rest, tensors = _taken_out(state, "")
    mine = {name: one for name, one in tensors.items() if name.split("/")[0] in learnt}
    _all_well(_complaint(mine, f"what would be written to {path}"))
    name = gather(_free_name(path, int(state["step"])) if fabric.is_global_zero else "")[0]
    folder = path.with_suffix("") / name
    try:
        with writing(path):
            make_folder(folder)
            save(tensors, storage_writer=FileSystemWriter(folder))
            own = {file.name: sha256(file) for file in sorted(folder.glob(f"__{fabric.global_rank}_*"))}
            if fabric.is_global_zero:
                own[_METADATA] = sha256(folder / _METADATA)
                flush(folder)
    except BaseException:
        if fabric.is_global_zero:  # an incomplete folder would only take up disk space
            shutil.rmtree(folder, ignore_errors=True)
        raise
    files = {name: total for some in gather(own) for name, total in some.items()}
    return {**rest, ENTRY: {"folder": f"{folder.parent.name}/{name}", "sha256": files}}


def fill(checkpoint: dict[str, Any], path: Path, *, fabric: Any = None, parts: Collection[str] | None = None) -> None:
    """Put the tensors that `write` moved to shards back into a checkpoint.

    Args:
        checkpoint: the checkpoint as read; modified in place.
        path: of its file.
        fabric: of a run with `meta.strategy=fsdp`. Every process must call this, and gets its part of each tensor,
            whatever the number of processes that wrote them. None: tensors are read whole.
        parts: the parts of the checkpoint to restore (None: all).

    Raises:
        LangJepaError: a shard file is missing or damaged; it is named.
    """
    entry = checkpoint[ENTRY]
    folder = _folder(path, entry)
    if fabric is None:
        if wrong := _broken(folder, entry["sha256"]):
            raise LangJepaError(f"the checkpoint {path} cannot be used: {wrong}")
    else:
        names = sorted(entry["sha256"])[fabric.global_rank :: fabric.world_size]
        wrong = _broken(folder, {name: entry["sha256"][name] for name in names})
        _all_well(wrong and f"the checkpoint {path} cannot be used: {wrong}")
    chosen = [name for name in checkpoint if parts is None or name in parts]
    tensors: dict[str, Tensor] = {}
    for name in chosen:
        checkpoint[name] = _made(checkpoint[name], tensors, fabric)
    _read(folder, tensors, alone=fabric is None)


def are_of(path: Path) -> bool:
    """Whether a checkpoint has shards."""
    return path.is_file() and path.with_suffix("").is_dir()


def remove(path: Path, *, but: str | None = None) -> None:
    """Remove the shards of a checkpoint, except for the folder `but`, named as in the checkpoint."""
    folder = path.with_suffix("")
    for entry in folder.glob("step-*"):
        if f"{folder.name}/{entry.name}" != but:
            shutil.rmtree(entry)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def copy(origin: Path, path: Path) -> None:
    """Copy the shards of a checkpoint, if it has any."""
    if are_of(origin):
        with writing(path):
            shutil.copytree(origin.with_suffix(""), path.with_suffix(""), dirs_exist_ok=True)


def _free_name(path: Path, step: int) -> str:
    names = chain([f"step-{step}"], (f"step-{step}-{number}" for number in count(1)))
    return next(name for name in names if not (path.with_suffix("") / name).exists())


def _folder(path: Path, entry: Mapping[str, Any]) -> Path:
    """Return the folder of the shards: beside the file, wherever both were moved."""
    found = str(entry["folder"]).split("/")
    if len(found) != 2 or not found[1].startswith("step-"):
        raise LangJepaError(f"the checkpoint {path} is damaged: its shards are said to be in {entry['folder']!r}")
    return path.parent / found[0].strip(".") / found[1]


def _broken(folder: Path, sums: Mapping[str, str]) -> str:
    """Return what is wrong with the shard files; empty if they are intact."""
    for name, total in sums.items():
        file = folder / os.path.basename(name)
        if not file.is_file():
            return f"its shard {file} is missing"
        if sha256(file) != total:
            return f"its shard {file} is damaged: its contents do not match its checksum"
    return ""


def _complaint(tree: object, where: str) -> str:
    try:
        check_finite(tree, where=where)
    except LangJepaError as error:
        return str(error)
    return ""


def _all_well(own: str) -> None:
    """Raise LangJepaError on every process if any of them reports a problem."""
    if wrong := next(filter(None, gather(own)), None):
        raise LangJepaError(wrong)


def _taken_out(tree: Any, place: str) -> tuple[Any, dict[str, Tensor]]:
    """Return a tree with references in place of its sharded tensors, and these tensors by their place in the tree."""
    if is_sharded(tree):
        there = {_AT: place, "shape": list(tree.shape), "dtype": tree.dtype}
        return there, {place: tree.detach()}
    if not isinstance(tree, dict | list | tuple):
        return tree, {}
    found: dict[str, Tensor] = {}
    made: dict[Any, Any] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        made[key], some = _taken_out(value, f"{place}/{key}" if place else str(key))
        found |= some
    return (made if isinstance(tree, dict) else list(made.values())), found


def _made(tree: Any, tensors: dict[str, Tensor], fabric: Any) -> Any:
    """Return a tree with new tensors in place of the references of `_taken_out`; add the tensors to `tensors`."""
    if isinstance(tree, dict) and _AT in tree:
        tensors[tree[_AT]] = made = _empty(tree["shape"], tree["dtype"], fabric)
        return made
    if isinstance(tree, dict):
        return {key: _made(value, tensors, fabric) for key, value in tree.items()}
    return [_made(value, tensors, fabric) for value in tree] if isinstance(tree, list) else tree


def _empty(shape: list[int], dtype: torch.dtype, fabric: Any) -> Tensor:
    if fabric is None:
        return torch.zeros(shape, dtype=dtype)
    from torch.distributed import tensor

    from lang_jepa.training.sharding import mesh_of

    placed: Tensor = tensor.zeros(shape, dtype=dtype, device_mesh=mesh_of(fabric), placements=[tensor.Shard(0)])
    return placed


class _Unpickler(pickle.Unpickler):
    """Unpickles only what metadata may contain, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _KNOWN.get(module, ()):
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return super().find_class(module, name)


def _metadata(folder: Path) -> Any:
    """Read the metadata of shards.

    Raises:
        LangJepaError: it cannot be read, or contains something else.
    """
    try:
        with (folder / _METADATA).open("rb") as file:
            return _Unpickler(file).load()
    except (pickle.UnpicklingError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise LangJepaError(f"the shards in {folder} cannot be read: invalid {_METADATA} ({error})") from error


def _read(folder: Path, tensors: dict[str, Tensor], *, alone: bool) -> None:
    """Read tensors from shards, in place."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import StorageMeta
    from torch.distributed.checkpoint.state_dict_loader import load

    metadata = _metadata(folder)

    class Reader(FileSystemReader):
        """Uses the metadata already read: the base class would unpickle it and run whatever it contains."""

        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            metadata.storage_meta = StorageMeta(load_id=self.load_id)
            return metadata

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is")  # reading in a single process is intended
            load(tensors, storage_reader=Reader(folder), no_dist=alone)
    except (CheckpointException, ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise LangJepaError(f"the shards in {folder} cannot be read: {reason}") from error
