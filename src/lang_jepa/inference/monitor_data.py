"""What a monitor reads: of the training corpus units that are counted and known, usual units, and its saved state."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.rarity import KNOWN, least_rate
from lang_jepa.files.atomic import read_json
from lang_jepa.inference.cache import weights_hash
from lang_jepa.inference.embedding import EmbeddingModel

COUNTED = 500_000
"""Most training units that the n-grams count; the known units are among them."""
LEAST = 200
"""Fewest usual units that can set a threshold, not counting those with none before them."""
USUAL_RATE = 1.0
"""False alarms per thousand units, unless another rate is asked for."""
FORMAT = 6
"""Format of the state: raise it whenever what is written changes."""
_Count = Annotated[int, Field(ge=0)]


def key_of(ids: Any, room: int) -> bytes:
    """Return a key for a unit: its tokens, as far as the model reads them."""
    return np.asarray(ids[:room], dtype=np.int32).tobytes()


def counted_units(split: CorpusSplit, room: int, *, names: bool) -> tuple[list[list[bytes]], NDArray[np.int64]]:
    """Return the keys of the training units that are counted, a list for each document, and rows of distinct ones.

    Args:
        split: the training side. If it has more than `COUNTED` units, the last ones of each document count, in
            proportion to its length. At most `KNOWN` of the distinct ones are returned, spread evenly.
        room: most tokens of a unit that the model reads.
        names: whether units of different speakers are distinct.
    """
    keys: dict[bytes, bytes] = {}
    first: dict[tuple[bytes, int], int] = {}
    share, starts = min(1.0, COUNTED / split.num_sentences), split.document_starts.tolist()
    lines = []
    for begin, stop in pairwise(starts):
        rows = range(stop - max(1, int((stop - begin) * share)), stop)
        line = [key_of(split.tokens(row, row + 1), room) for row in rows]
        lines.append([keys.setdefault(key, key) for key in line])
        said = split.speakers(np.array(rows)).tolist() if names else [0] * len(rows)
        for row, key, speaker in zip(rows, lines[-1], said, strict=True):
            first.setdefault((key, speaker), row)
    every = np.array(list(first.values()))
    return lines, every[np.unique(np.linspace(0, len(every) - 1, min(KNOWN, len(every))).astype(int))]


def batches(documents: Sequence[list[str]], most: int = 4096) -> Iterator[list[list[str]]]:
    """Yield documents in order, grouped until a group has `most` units or more."""
    some: list[list[str]] = []
    count = 0
    for one in documents:
        some.append(one)
        count += len(one)
        if count >= most:
            yield some
            some, count = [], 0
    if some:
        yield some


def documents(split: CorpusSplit, *, names: bool) -> Iterator[list[str]]:
    """Yield the units of each document of a side as the model reads them; `names`: with their speakers."""
    starts = split.document_starts
    for row in range(split.num_documents):
        rows = np.arange(starts[row], starts[row + 1])
        yield split.units(rows) if names else split.texts(rows)


def rate_of(wanted: float | None, lengths: Sequence[int], which: str) -> float:
    """Return the rate of false alarms per thousand units.

    Args:
        wanted: the rate that the user wants (None: `USUAL_RATE`, or the least that the usual units can set).
        lengths: number of usual units in each course (file, session, conversation).
        which: what messages call these units: usual or held-out.

    Raises:
        LangJepaError: there are too few usual units for any rate, or for this one; or too few that follow another.
    """
    count, following = sum(lengths), sum(length - 1 for length in lengths if length)
    cure = (
        "give a longer file" if which == "usual"
        else "train with data.val_fraction (and data.val_split=tail for logs), or give usual ones with --usual"
    )  # fmt: skip
    if count < LEAST:
        raise LangJepaError(f"a threshold needs {LEAST} {which} units or more, and there are {count}: {cure}")
    if following < LEAST:
        raise LangJepaError(
            f"a threshold needs {LEAST} {which} units or more that have another before them, and {following} of "
            f"{count:,} have, in {counted(len(lengths), 'session or conversation', 'sessions or conversations')}: a "
            "single unit does not show what usually follows. Give longer ones, or more of them (for a log whose "
            "sessions have one line each: train without data.session)"
        )
    least = 1000 * least_rate(count)
    if wanted is None:
        return max(USUAL_RATE, least)
    if wanted < least:
        raise LangJepaError(
            f"{count:,} {which} units cannot set a threshold for {wanted:g} false alarms in a thousand: the least is "
            f"{least:.2g}. Ask for more, hold out more, or give more usual units with --usual"
        )
    return wanted


def no_threshold(wanted: float, events: int, count: int) -> str:
    """Say why no threshold gives a rate: `count` usual units in `events` runs of equal ones make no more alarms."""
    return (
        f"no threshold gives {wanted:g} false alarms in a thousand: a unit that repeats the last one is not an alarm "
        f"of its own, and that leaves {events:,} of {counted(count, 'usual unit')}. Ask for "
        f"{int(1000 * events / count)} at most"
    )


class _State(BaseModel):
    """What `Monitor.save` writes; whoever calls it may add to that."""

    model_config = ConfigDict(strict=True, extra="allow")
    format: int
    model: str
    seen: _Count
    alarms: _Count
    apart: _Count
    unjudged: _Count
    recent: list[bool]
    kinds: dict[str, _Count]
    courses: list[Annotated[tuple[str | None, list[str], float, int, int | None], Strict(False)]]  # JSON has no tuples


def read_state(path: Path, model: EmbeddingModel) -> Mapping[str, Any]:
    """Read what `Monitor.save` wrote.

    Raises:
        LangJepaError: the file is missing, is something else, or is of another version or another model.
    """
    state: Mapping[str, Any] = read_json(path, what="the state of a monitor")
    try:
        known = _State.model_validate(state).format == FORMAT
    except ValidationError:
        known = False
    if not known:
        raise LangJepaError(f"{path} is not the state of a monitor, as this version writes it: delete it")
    if state["model"] != weights_hash(model.jepa):
        raise LangJepaError(f"{path} is the state of a monitor with another model: give another file, or delete it")
    return state
