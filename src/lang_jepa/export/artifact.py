"""Write and read a quantised model as one compressed file, which is checked when it is read.

    8 bytes     LJQUANT and the version
    8 bytes     codec, as ASCII padded with spaces
    8 bytes     size of the unpacked body, little-endian
    32 bytes    SHA-256 of the rest
    the rest    compressed body: 4 bytes size of a JSON header, the header, the tensors' bytes in its order

6-bit codes are stored four in three bytes or one in a byte, whichever file is smaller: a general compressor finds more
structure in the latter.
"""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.errors import LangJepaError, optional
from lang_jepa.export.quantise import Codes, Entry, Same
from lang_jepa.files.atomic import atomic_file, check_writable

MOST_TIMES = 64
"""Factor by which a file may grow when unpacked: codes of trained weights hardly grow, whereas zeros exceed it."""
LARGEST_HEADER = 2**20
_DTYPES = ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")
Bytes = NDArray[np.uint8]
_BROTLI = ("brotli", "gpt", "this file needs Brotli, which is not installed")
MAGIC = b"LJQUANT"
VERSION = 1
START = 8 + 8 + 8 + 32
CAP = 16_000_000
"""Maximum bytes of a model in the public comparisons of small models."""
ZSTD_LEVELS = (3, 17, 22)
Packing = Literal["packed", "bytes", "smallest"]
Check = Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], None]


@dataclass(frozen=True, slots=True)
class Written:
    """A written file.

    Attributes:
        bytes: its size.
        cap: the limit on its size.
        packing: of the 6-bit codes.
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
        entries: from `quantise_state`.
        about: any JSON values to store with the weights.
        codec: `zstd` or `brotli`.
        packing: of 6-bit codes: `packed` (4 in 3 bytes), `bytes`, or `smallest` of the two after compression.
        cap: largest size of the file in bytes.

    Raises:
        LangJepaError: the codec is unknown or not installed, the weights are nearly constant, or the file would be
            larger than `cap`; then nothing is written.
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
            "the weights are nearly constant, and a reader would reject so small a file: train the model first"
        )
    if len(data) > cap:
        raise LangJepaError(
            f"the quantised model takes {len(data):,} bytes, {len(data) - cap:,} more than the cap of {cap:,}; "
            "nothing was written. Take fewer bits, a smaller model, or a larger cap"
        )
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return Written(len(data), cap, way)


def check_artifact_path(path: Path) -> None:
    """Raise LangJepaError if `path` cannot be written, or if that would overwrite anything but a quantised model."""
    check_writable(path)
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise LangJepaError(f"{path} exists and is not a quantised model: choose another file")


def read_artifact(path: Path, *, check: Check | None = None) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Read a file of `write_artifact` and return (about, entries).

    The unpacked size that the file states is checked against its own size, and against the tensors listed in its
    header, before more than the header is unpacked.

    Args:
        path: of the file.
        check: called with the header's `about` and the shapes of the tensors by name; raises LangJepaError if they do
            not fit.

    Raises:
        LangJepaError: the file cannot be read, is no quantised model, has another version, is damaged, or needs a codec
            that is not installed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LangJepaError(f"cannot read the quantised model {path}: {error.strerror}") from error
    if len(data) < START or not data.startswith(MAGIC):
        raise LangJepaError(f"{path} is not a quantised model: `lang-jepa export RUN FILE --to int8` writes one")
    if data[len(MAGIC)] != VERSION:
        raise LangJepaError(f"{path} has version {data[len(MAGIC)]}, this program reads {VERSION}")
    if hashlib.sha256(data[START:]).digest() != data[24:START]:
        raise LangJepaError(f"{path} is damaged: its contents do not match its checksum. Fetch or write it again")
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
    """Pack codes -32 to 31, [N], four into three bytes: uint8 [3 ceil(N / 4)]."""
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
    """The compression function of a codec, at its strongest setting.

    Raises:
        LangJepaError: the codec is unknown or not installed.
    """
    if name == "zstd":
        return _smallest_zstd
    if name != "brotli":
        raise LangJepaError(f"unknown codec '{name}': use zstd or brotli")
    brotli = optional(*_BROTLI)
    return lambda data: bytes(brotli.compress(data, quality=11, lgwin=24))


def _smallest_zstd(body: bytes) -> bytes:
    """Compress at several levels and keep the smallest: the highest matches noise in the codes, which can cost 4 %."""
    found = (zstandard.ZstdCompressor(level=level).compress(body) for level in ZSTD_LEVELS)
    return min(found, key=len)


class Damaged(Exception):
    """A file is damaged; the message says how."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as the header describes it.

    Attributes:
        name, shape: of the tensor.
        same: the tensor with which it shares its memory.
        bits: of its codes, if it is quantised.
        dtype: if it is not quantised.
        packed: whether 6-bit codes are stored four in three bytes.
    """

    name: str
    shape: tuple[int, ...]
    same: str | None
    bits: int | None
    dtype: str
    packed: bool

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def code_bytes(self) -> int:
        """Bytes of its codes, or of its values if it is not quantised."""
        if self.bits is None:
            return self.count * np.dtype(self.dtype).itemsize
        return -(-self.count // 4) * 3 if self.packed else self.count

    @property
    def bytes(self) -> int:
        if self.same is not None:
            return 0
        return self.code_bytes + (0 if self.bits is None else 2 * self.shape[0])


class Body:
    """The contents of a file, unpacked only as far as they are read.

    Args:
        codec: `zstd` or `brotli`.
        data: compressed.
        size: of the unpacked contents, as stated in the file.
    """

    def __init__(self, codec: str, data: memoryview, size: int) -> None:
        self.left = size
        self._more: Callable[[int], bytes]
        if codec == "zstd":
            window = max(2**10, 1 << (size - 1).bit_length())  # of a file compressed as a whole
            reader = zstandard.ZstdDecompressor(max_window_size=window).stream_reader(io.BytesIO(data))
            self._more = reader.read
        elif codec == "brotli":
            self._more = _brotli(data)
        else:
            raise LangJepaError(f"unknown codec '{codec[:8]}': use zstd or brotli")

    def read(self, count: int) -> bytearray:
        """Return the next `count` bytes.

        Raises:
            Damaged: there are fewer, or they cannot be unpacked.
        """
        found = bytearray()
        while len(found) < count:
            part = self._more(min(count - len(found), 2**20))
            if not part:
                raise Damaged("it is shorter than it says")
            found += part
        self.left -= count
        return found

    def end(self) -> None:
        """Raise Damaged if there is more than the file states."""
        if self._more(1):
            raise Damaged("it is longer than it says")


def read_header(body: Body) -> tuple[dict[str, Any], list[Stored]]:
    """Read the header's `about` and its tensors, whose bytes must be all that is left.

    Raises:
        Damaged: the header is invalid or contradicts the size of the file.
    """
    size = int.from_bytes(body.read(4), "little")
    if size > LARGEST_HEADER:
        raise Damaged(f"its header is said to have {size:,} bytes")
    try:
        header = json.loads(body.read(size))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its header is not JSON ({type(error).__name__})") from error
    if not isinstance(header, dict) or not isinstance(header.get("about"), dict):
        raise Damaged("its header says nothing about a model")
    listed, packed = header.get("tensors"), header.get("packed")
    if not isinstance(listed, list) or not isinstance(packed, bool):
        raise Damaged("its header lists no tensors")
    tensors: dict[str, Stored] = {}
    for one in listed:
        stored = _stored(one, packed, tensors)
        tensors[stored.name] = stored
    total = sum(one.bytes for one in tensors.values())
    if len(tensors) != len(listed) or total != body.left:
        raise Damaged(f"its tensors take {total:,} bytes, and it has {body.left:,}")
    return header["about"], list(tensors.values())


def read_entries(tensors: list[Stored], body: Body) -> Iterator[tuple[str, Entry]]:
    """Yield the tensors in order, with their names.

    Raises:
        Damaged: the contents are shorter or longer than the header says.
    """
    for one in tensors:
        if one.same is not None:
            yield one.name, Same(one.same)
        elif one.bits is None:
            yield one.name, _tensor(body.read(one.code_bytes), one.dtype).reshape(one.shape)
        else:
            codes = _tensor(body.read(one.code_bytes), "uint8" if one.packed else "int8")
            if one.packed:
                codes = torch.from_numpy(unpack6(codes.numpy(), one.count))
            scale = _tensor(body.read(2 * one.shape[0]), "float16")
            yield (one.name, Codes(codes.reshape(one.shape[0], -1), scale, one.shape, 8 if one.bits == 8 else 6))
    body.end()


def unpack6(packed: Bytes, count: int) -> NDArray[np.int8]:
    """Unpack the first `count` codes from `pack6`."""
    wide = np.zeros((len(packed) // 3, 4), dtype=np.uint8)
    wide[:, :3] = packed.reshape(-1, 3)
    joined = wide.view("<u4")
    values = joined >> np.array([0, 6, 12, 18], dtype=np.uint32) & 63
    return (values.reshape(-1)[:count].astype(np.int32) - 32).astype(np.int8)


def _tensor(data: bytearray, dtype: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype))


def _stored(one: Any, packed: bool, before: Mapping[str, Stored]) -> Stored:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise Damaged(f"its header has an odd entry: {str(one)[:80]}")
    name = one["name"]
    if "same" in one:
        if one["same"] not in before:
            raise Damaged(f"{name} is said to be the same as {str(one['same'])[:80]}, which does not come before it")
        return Stored(name, before[one["same"]].shape, one["same"], None, "", False)
    shape, bits, dtype = one.get("shape"), one.get("bits"), one.get("dtype", "float16")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
        raise Damaged(f"{name} has the shape {str(shape)[:80]}")
    if dtype not in _DTYPES or bits not in (None, 6, 8) or (bits is not None and (not shape or not shape[0])):
        raise Damaged(f"{name} is of {str(dtype)[:80]} in {str(bits)[:80]} bits")
    return Stored(name, tuple(shape), None, bits, dtype, packed and bits == 6)


def _brotli(data: memoryview) -> Callable[[int], bytes]:
    """A function that unpacks up to the requested number of bytes from compressed data."""
    brotli = optional(*_BROTLI)
    unpacker, given, spare = brotli.Decompressor(), [bytes(data)], bytearray()

    def more(wanted: int) -> bytes:
        try:
            while not spare and not unpacker.is_finished():
                part = unpacker.process(given.pop() if given else b"", output_buffer_limit=wanted)
                spare.extend(part)
                if not part and not given and unpacker.can_accept_more_data():
                    break
        except brotli.error as error:
            raise Damaged("it cannot be unpacked") from error
        found = bytes(spare[:wanted])
        del spare[:wanted]
        return found

    return more
