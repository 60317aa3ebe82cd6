"""Segment means against a loop, in precision and at the edges."""

import torch

from lang_jepa.models.pooling import segment_mean


def test_equals_a_loop_with_gradient() -> None:
    torch.manual_seed(0)
    states = torch.randn(10, 3, requires_grad=True)
    segments = torch.tensor([0, 0, 0, 1, 2, 2, 4, 4, 4, 4])
    weight = torch.randn(5, 3)
    means = segment_mean(states, segments, 5)
    for segment in (0, 1, 2, 4):
        torch.testing.assert_close(means[segment], states[segments == segment].mean(0))
    assert torch.equal(means[3], torch.zeros(3))  # a segment without states
    means.backward(weight)
    counts = torch.tensor([3, 1, 2, 1, 4])
    torch.testing.assert_close(states.grad, (weight / counts[:, None])[segments])


def test_half_precision_is_summed_in_fp32() -> None:
    """In bf16 a running sum of ones stops at 256."""
    states = torch.ones(5000, 2, dtype=torch.bfloat16)
    states[-1] = 3.0
    mean = segment_mean(states, torch.zeros(5000, dtype=torch.int64), 1)
    assert mean.dtype is torch.float32
    torch.testing.assert_close(mean, torch.full((1, 2), 5002 / 5000))
