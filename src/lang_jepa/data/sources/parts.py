"""Parts of a source: what one reader reads without the rest, so that many readers read it once between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZE = 1 << 26
"""Bytes of a part, about, where a source is large enough."""
DAMAGED = "damaged row group"
"""Why rows of a parquet file are left out where it is read in parts."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file that follow each other.

    Attributes:
        file: number of the file in its source.
        first, stop: where they are, as the kind of file counts: row groups of a parquet file, bytes of JSON lines, rows
            of the stories, shards of a data set on the hub; 0 and 0 of a file that is read whole.
        size: bytes that are read for them.
    """

    file: int
    first: int
    stop: int
    size: int


Part = tuple[Piece, ...]
"""Pieces that are read one after the other."""
WHOLE: tuple[Part, ...] = ((),)
"""The parts of a source that can only be read from its beginning."""


def parts_of(pieces: Iterator[Piece], size: int) -> list[Part]:
    """Pieces in their order, as many in a part as it takes to reach `size` bytes."""
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
    """Parts of equal length of something that is counted, made as they are asked for.

    Args:
        total: rows in all.
        rows: of a part; the last one may have fewer.
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
