"""A quantised model as one compressed file, small enough to be counted in bytes and checked when it is read.

    8 bytes     LJQUANT and the version
    8 bytes     codec, as ASCII padded with spaces
    8 bytes     size of the unpacked body, little-endian
    32 bytes    SHA-256 of the rest
    the rest    compressed body: 4 bytes size of a JSON header, the header, the tensors' bytes in its order

Codes of 6 bits lie in 3 bytes for 4 of them, or in a byte each: a general compressor sees more in the latter, and the
smaller file is kept.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.export.quantise import Codes, Entry, Same
from lang_jepa.export.unpack import (
    LARGEST_HEADER,
    MOST_TIMES,
    Body,
    Bytes,
    Damaged,
    read_entries,
    read_header,
)
from lang_jepa.files.atomic import atomic_file, check_writable

MAGIC = b"LJQUANT"
VERSION = 1
START = 8 + 8 + 8 + 32
CAP = 16_000_000
"""Bytes that a model may take in the public comparisons of small models."""
ZSTD_LEVELS = (3, 17, 22)
Packing = Literal["packed", "bytes", "smallest"]
Check = Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], None]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a file.

    Attributes:
        bytes: its size.
        cap: what it was compared with.
        packing: of the codes of 6 bits.
    """

    bytes: int
    cap: int
    packing: str


def write_artifact(
    path: Path,
    entries: Mapping[str, Entry],
    about: Mapping[str, Any],
    *,
    codec: str = "zstd",
    packing: Packing = "smallest",
    cap: int = CAP,
) -> Written:
    """Write entries to a file, atomically.

    Args:
        path: of the file.
        entries: of `quantise_state`.
        about: anything JSON can hold that is wanted with the weights.
        codec: `zstd` or `brotli`.
        packing: of codes of 6 bits: `packed` (4 in 3 bytes), `bytes`, or `smallest` of the two after compression.
        cap: largest size of the file in bytes.

    Raises:
        LangJepaError: an unknown codec or one that is not installed, or the file would be larger than `cap`; then
            nothing is written.
    """
    compress = _compress(codec)
    ways = ("packed", "bytes") if packing == "smallest" else (packing,)
    if all(entry.bits == 8 for entry in entries.values() if isinstance(entry, Codes)):
        ways = ("bytes",)
    found = []
    for way in ways:
        body = _body(entries, about, packed=way == "packed")
        squeezed = compress(body)
        start = MAGIC + bytes([VERSION]) + codec.ljust(8).encode() + len(body).to_bytes(8, "little")
        found.append((start + hashlib.sha256(squeezed).digest() + squeezed, way))
    data, way = min(found, key=lambda one: len(one[0]))
    if len(body) > MOST_TIMES * len(data) + LARGEST_HEADER:
        raise LangJepaError(
            "the weights are all but constant: no reader would trust so small a file. Train the model"
        )
    if len(data) > cap:
        raise LangJepaError(
            f"the quantised model takes {len(data):,} bytes, {len(data) - cap:,} more than the cap of {cap:,}; "
            "nothing was written. Take fewer bits, a smaller model, or a larger cap"
        )
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return Written(len(data), cap, way)


def check_replaceable(path: Path) -> None:
    """Raise LangJepaError if `path` cannot be written, or that would lose something that is no quantised model."""
    check_writable(path)
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise LangJepaError(f"{path} is there and is no quantised model: choose another file")


def read_artifact(path: Path, *, check: Check | None = None) -> tuple[dict[str, Any], dict[str, Entry]]:
    """What `write_artifact` wrote: (about, entries).

    The file says how large it will be; that is held against its own size, and against the tensors that its header
    promises, before more than the header is unpacked.

    Args:
        path: of the file.
        check: is given what the header says about the model, and the shapes of the tensors by their names; it raises
            LangJepaError where they do not fit.

    Raises:
        LangJepaError: it cannot be read, is no quantised model, has another version, is damaged, or needs a codec that
            is not installed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LangJepaError(f"cannot read the quantised model {path}: {error.strerror}") from error
    if len(data) < START or not data.startswith(MAGIC):
        raise LangJepaError(f"{path} is no quantised model: `lang-jepa export RUN FILE --to int8` writes one")
    if data[len(MAGIC)] != VERSION:
        raise LangJepaError(f"{path} has version {data[len(MAGIC)]}, this program reads {VERSION}")
    if hashlib.sha256(data[START:]).digest() != data[24:START]:
        raise LangJepaError(
            f"{path} is damaged: its contents do not match its checksum. Fetch or write it again"
        )
    codec, size = data[8:16].decode("ascii", "replace").strip(), int.from_bytes(data[16:24], "little")
    try:
        if size > MOST_TIMES * len(data) + LARGEST_HEADER:
            raise Damaged(f"its {len(data):,} bytes are said to become {size:,}")
        body = Body(codec, memoryview(data)[START:], size)
        about, tensors = read_header(body)
        if check is not None:
            check(about, {one.name: one.shape for one in tensors})
        return about, dict(read_entries(tensors, body))
    except (Damaged, zstandard.ZstdError) as error:
        raise LangJepaError(f"{path} is damaged: {error}. Fetch or write it again") from error


def pack6(codes: NDArray[np.int8]) -> Bytes:
    """Codes -32 to 31, [N], four in three bytes: uint8 [3 ceil(N / 4)]."""
    values = np.zeros(-(-len(codes) // 4) * 4, dtype=np.uint32)
    values[: len(codes)] = codes.astype(np.int32) + 32
    four = values.reshape(-1, 4)
    joined = four[:, 0] | four[:, 1] << 6 | four[:, 2] << 12 | four[:, 3] << 18
    return joined.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].reshape(-1)


def _body(entries: Mapping[str, Entry], about: Mapping[str, Any], *, packed: bool) -> bytes:
    """Header and tensors, uncompressed."""
    tensors: list[dict[str, Any]] = []
    parts: list[NDArray[Any]] = []
    for name, entry in entries.items():
        if isinstance(entry, Same):
            tensors.append({"name": name, "same": entry.name})
            continue
        if isinstance(entry, Codes):
            flat = entry.codes.reshape(-1).numpy()
            parts += [pack6(flat) if packed and entry.bits == 6 else flat, entry.scale.numpy()]
            tensors.append({"name": name, "bits": entry.bits, "shape": entry.shape})
        else:
            parts.append(entry.contiguous().numpy())
            kind = str(entry.dtype).removeprefix("torch.")
            tensors.append({"name": name, "dtype": kind, "shape": tuple(entry.shape)})
    header = {"about": dict(about), "packed": packed, "tensors": tensors}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return len(text).to_bytes(4, "little") + text + b"".join(part.tobytes() for part in parts)


def _compress(name: str) -> Callable[[bytes], bytes]:
    """A codec at its best.

    Raises:
        LangJepaError: it is unknown or not installed.
    """
    if name == "zstd":
        return _smallest_zstd
    if name != "brotli":
        raise LangJepaError(f"unknown codec '{name}': use zstd or brotli")
    try:
        import brotli
    except ImportError as error:
        raise LangJepaError("Brotli is needed for this file: pip install 'lang-jepa[gpt]'") from error
    return lambda data: bytes(brotli.compress(data, quality=11, lgwin=24))


def _smallest_zstd(body: bytes) -> bytes:
    """The smallest of several levels: the highest finds matches in the noise of codes, which can cost it 4 %."""
    found = (zstandard.ZstdCompressor(level=level).compress(body) for level in ZSTD_LEVELS)
    return min(found, key=len)
