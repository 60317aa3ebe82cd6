"""Parts of a source, each of which can be read independently, so that several readers together read it once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZE = 1 << 26
"""Approximate bytes of a part, if the source is large enough."""
DAMAGED = "damaged row group"
"""The reason given when rows of a parquet file that is read in parts are left out."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one file.

    Attributes:
        file: number of the file in its source.
        first, stop: range in the units of the kind of file: row groups of a parquet file, bytes of JSON lines, rows of
            the stories; 0 and 0 for a file that is read whole. For a dataset on the hub, `file` is the shard.
        size: number of bytes to read.
    """

    file: int
    first: int
    stop: int
    size: int


Part = tuple[Piece, ...]
"""Pieces to be read one after the other."""
WHOLE: tuple[Part, ...] = ((),)
"""The single part of a source that can only be read from its beginning."""


def parts_of(pieces: Iterator[Piece], size: int) -> list[Part]:
    """Group consecutive pieces into parts of at least `size` bytes (the last may be smaller), merging adjacent ones."""
    parts, part, held = list[Part](), list[Piece](), 0
    for piece in pieces:
        last = part[-1] if part else None
        if last and last.file == piece.file and last.stop == piece.first:
            part[-1] = Piece(piece.file, last.first, piece.stop, last.size + piece.size)
        else:
            part.append(piece)
        held += piece.size
        if held >= size:
            parts.append(tuple(part))
            part, held = [], 0
    return [*parts, tuple(part)] if part else parts


class EqualParts(Sequence[Part]):
    """Parts with equal numbers of rows, created on access.

    Args:
        total: total number of rows.
        rows: rows of a part; the last one may have fewer.
    """

    def __init__(self, total: int, rows: int) -> None:
        self.total, self.rows = total, rows

    def __len__(self) -> int:
        return -(-self.total // self.rows)

    def __getitem__(self, number: int) -> Part:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        first = number * self.rows
        return (Piece(0, first, min(first + self.rows, self.total), self.rows),)
