"""Segment means against a loop, in precision and at the edges."""

from collections.abc import Callable

import pytest
import torch

from lang_jepa.models.encoder import POOLINGS, segment_mean, take_rows


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


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_equals_a_loop(name: str) -> None:
    torch.manual_seed(0)
    states, lengths = torch.randn(10, 3), [3, 1, 2, 4]
    of: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "mean": lambda x: x.mean(0),
        "cls": lambda x: x[0],
        "lasttoken": lambda x: x[-1],
        "max": lambda x: x.amax(0),
    }
    segments = torch.arange(4).repeat_interleave(torch.tensor(lengths))
    expected = torch.stack([of[name](part) for part in states.split(lengths)])
    torch.testing.assert_close(POOLINGS[name](states, segments, 4), expected)


def test_half_precision_is_summed_in_fp32() -> None:
    """In bf16 a running sum of ones stops at 256."""
    states = torch.ones(5000, 2, dtype=torch.bfloat16)
    states[-1] = 3.0
    mean = segment_mean(states, torch.zeros(5000, dtype=torch.int64), 1)
    assert mean.dtype is torch.float32
    torch.testing.assert_close(mean, torch.full((1, 2), 5002 / 5000))


def test_rows_are_taken_as_by_indexing_and_their_gradients_are_summed_in_order() -> None:
    """Many threads add to one row: with atomic additions two passes would differ in their last bits."""
    before = torch.get_num_threads()
    torch.manual_seed(0)
    x = torch.randn(7, 3, 64, requires_grad=True)
    rows = torch.randint(0, 7, (400, 8))
    weights = torch.randn(400, 8, 3, 64)
    taken = take_rows(x, rows)
    assert torch.equal(taken, x[rows])
    (expected,) = torch.autograd.grad((x.double()[rows] * weights).sum(), x)
    torch.set_num_threads(4)
    try:
        found = [torch.autograd.grad((take_rows(x, rows) * weights).sum(), x)[0] for _ in range(20)]
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(one, found[0]) for one in found)
