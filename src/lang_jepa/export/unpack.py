"""Reading a quantised model from a file that anyone may have made: nothing is unpacked that was not accounted for."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.errors import LangJepaError
from lang_jepa.export.quantise import Codes, Entry, Same

MOST_TIMES = 64
"""Times that a file may grow when it is unpacked: codes of trained weights hardly do, and zeros more than these do."""
LARGEST_HEADER = 2**20
_DTYPES = ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")
Bytes = NDArray[np.uint8]


class Damaged(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as the header describes it.

    Attributes:
        name, shape: of the tensor.
        same: the tensor that it shares its memory with.
        bits: of its codes, if it is quantised.
        dtype: if it is not.
        packed: codes of 6 bits lie four in three bytes.
    """

    name: str
    shape: tuple[int, ...]
    same: str | None
    bits: int | None
    dtype: str
    packed: bool

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def code_bytes(self) -> int:
        """Bytes of its codes, or of its numbers."""
        if self.bits is None:
            return self.count * np.dtype(self.dtype).itemsize
        return -(-self.count // 4) * 3 if self.packed else self.count

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        if self.same is not None:
            return 0
        return self.code_bytes + (0 if self.bits is None else 2 * self.shape[0])


class Body:
    """The unpacked contents, of which no more is unpacked than is asked for.

    Args:
        codec: `zstd` or `brotli`.
        data: compressed.
        size: of the whole, as the file says.
    """

    def __init__(self, codec: str, data: memoryview, size: int) -> None:
        self.left = size
        self._more: Callable[[int], bytes]
        if codec == "zstd":
            window = max(2**10, 1 << (size - 1).bit_length())  # of a file that was compressed whole
            reader = zstandard.ZstdDecompressor(max_window_size=window).stream_reader(io.BytesIO(data))
            self._more = reader.read
        elif codec == "brotli":
            self._more = _brotli(data)
        else:
            raise LangJepaError(f"unknown codec '{codec[:8]}': use zstd or brotli")

    def read(self, count: int) -> bytearray:
        """The next bytes.

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
        """Raise Damaged if there is more than the file said."""
        if self._more(1):
            raise Damaged("it is longer than it says")


def read_header(body: Body) -> tuple[dict[str, Any], list[Stored]]:
    """What the header says about the model, and the tensors, whose bytes are all that is left.

    Raises:
        Damaged: it says something impossible.
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
    """The tensors, in order.

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
            yield (
                one.name,
                Codes(codes.reshape(one.shape[0], -1), scale, one.shape, 8 if one.bits == 8 else 6),
            )
    body.end()


def unpack6(packed: Bytes, count: int) -> NDArray[np.int8]:
    """The first `count` codes of what `pack6` made."""
    wide = np.zeros((len(packed) // 3, 4), dtype=np.uint8)
    wide[:, :3] = packed.reshape(-1, 3)
    joined = wide.view("<u4")
    values = joined >> np.array([0, 6, 12, 18], dtype=np.uint32) & 63
    return (values.reshape(-1)[:count].astype(np.int32) - 32).astype(np.int8)


def _tensor(data: bytearray, dtype: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype))


def _stored(one: Any, packed: bool, before: Mapping[str, Stored]) -> Stored:
    """One entry of the header."""
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise Damaged(f"its header has an odd entry: {str(one)[:80]}")
    name = one["name"]
    if "same" in one:
        if one["same"] not in before:
            raise Damaged(
                f"{name} is said to be the same as {str(one['same'])[:80]}, which does not come before it"
            )
        return Stored(name, before[one["same"]].shape, one["same"], None, "", False)
    shape, bits, dtype = one.get("shape"), one.get("bits"), one.get("dtype", "float16")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
        raise Damaged(f"{name} has the shape {str(shape)[:80]}")
    if dtype not in _DTYPES or bits not in (None, 6, 8) or (bits is not None and (not shape or not shape[0])):
        raise Damaged(f"{name} is of {str(dtype)[:80]} in {str(bits)[:80]} bits")
    return Stored(name, tuple(shape), None, bits, dtype, packed and bits == 6)


def _brotli(data: memoryview) -> Callable[[int], bytes]:
    """Reads of so many bytes at most, from compressed data."""
    try:
        import brotli
    except ImportError as error:
        raise LangJepaError("Brotli is needed for this file: pip install 'lang-jepa[gpt]'") from error
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
