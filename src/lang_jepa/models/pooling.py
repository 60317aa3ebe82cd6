"""Token states to sentence vectors."""

import torch
from torch import Tensor


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
