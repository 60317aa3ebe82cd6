"""Token states to sentence vectors, and rows of them by number."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def segment_mean(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """Mean of the states of each segment, accumulated in fp32.

    Args:
        states: [T, D], floating point.
        segments: int64 [T], the segment of each state: non-decreasing, in [0, count).
        count: number of segments.

    Returns:
        fp32 [count, D]; a segment without any state is zero.
    """
    sums = states.new_zeros((count, states.shape[1]), dtype=torch.float32)
    sums = sums.index_add(0, segments, states.float())
    edges = torch.searchsorted(segments, torch.arange(count + 1, device=segments.device))
    return sums / edges.diff().clamp(min=1).unsqueeze(1)


def segment_first(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The first state of each segment (`cls`); arguments and result as `segment_mean`, no segment empty."""
    starts = torch.searchsorted(segments, torch.arange(count, device=segments.device))
    return take_rows(states, starts).float()


def segment_last(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The last state of each segment; as `segment_first`."""
    ends = torch.searchsorted(segments, torch.arange(count, device=segments.device), right=True)
    return take_rows(states, ends - 1).float()


def segment_max(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """The largest number of each dimension in a segment; as `segment_first`."""
    rows = segments.unsqueeze(1).expand_as(states)
    lowest = states.new_full((count, states.shape[1]), -torch.inf, dtype=torch.float32)
    return lowest.scatter_reduce(0, rows, states.float(), "amax")


POOLINGS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "mean": segment_mean,
    "cls": segment_first,
    "lasttoken": segment_last,
    "max": segment_max,
}
"""Ways to make one vector of a sequence's states, by the names that sentence-transformers gives them."""


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x[rows]` with a gradient that is summed in a fixed order, whatever the number of threads.

    The gradient of plain indexing is added atomically by the threads of a CPU (`index_put_` with `accumulate`), so that
    a row that is taken more than twice has rounding of its own in each run, and no resumption could be exact.

    Args:
        x: [N, ...].
        rows: int64 of any shape, from 0 to N - 1.

    Returns:
        [*rows.shape, ...].
    """
    return functional.embedding(rows, x.flatten(1)).reshape(*rows.shape, *x.shape[1:])
