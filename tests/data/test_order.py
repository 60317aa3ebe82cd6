"""The order of an epoch: every example once, equal shares for all ranks, and any group reachable by its number."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lang_jepa.data.views.order import Indices, Order, permuted, uniform

SEEDS = st.integers(0, 2**63)


def lengths(examples: Indices) -> Indices:
    """A made-up number of tokens, 1 to 97, for each example."""
    return (examples * 2654435761 % 97 + 1).astype(np.int64)


def order(count: int, **changes: Any) -> Order:
    values: dict[str, Any] = {
        "sizes": lengths,
        "world": 1,
        "batch_size": 4,
        "batch_tokens": None,
        "pool_batches": 8,
        "seed": 0,
    }
    return Order(count=count, **(values | changes))


def groups(order: Order, epoch: int = 0, start: int = 0) -> list[tuple[int, list[list[int]]]]:
    return [(number, [batch.tolist() for batch in group]) for number, group in order.groups(epoch, start)]


def counts(order: Order, epoch: int = 0) -> Counter[int]:
    """How often each example is in some batch."""
    return Counter(i for _, group in groups(order, epoch) for batch in group for i in batch)


ORDERS = st.builds(
    order,
    count=st.integers(1, 300),
    world=st.integers(1, 5),
    batch_size=st.integers(1, 9),
    batch_tokens=st.none() | st.integers(16, 400),
    pool_batches=st.integers(1, 90),
    seed=st.integers(0, 5),
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 3000), seed=SEEDS, epoch=st.integers(0, 10**6))
def test_permutation_is_a_bijection(count: int, seed: int, epoch: int) -> None:
    result = permuted(np.arange(count), count, seed, epoch)
    assert result.dtype == np.int64
    assert sorted(result.tolist()) == list(range(count))


@hypothesis_settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 2**40), seed=SEEDS, positions=st.lists(st.integers(0, 2**40), max_size=30))
def test_permutation_of_any_size_at_any_places(count: int, seed: int, positions: list[int]) -> None:
    wanted = np.unique(np.array(positions, dtype=np.int64) % count)
    result = permuted(wanted, count, seed, 0)
    assert ((result >= 0) & (result < count)).all()
    assert len(np.unique(result)) == len(wanted)
    # A place's element does not depend on which other positions are asked for.
    one_by_one = [int(permuted(wanted[i : i + 1], count, seed, 0)[0]) for i in range(len(wanted))]
    assert result.tolist() == one_by_one


def test_permutation_depends_on_seed_and_epoch_alone() -> None:
    positions = np.arange(1000)
    made = {(seed, epoch): permuted(positions, 1000, seed, epoch).tolist() for seed in range(3) for epoch in range(3)}
    assert len({tuple(value) for value in made.values()}) == 9
    assert made[1, 2] == permuted(positions, 1000, 1, 2).tolist()
    assert not (positions == np.array(made[0, 0])).mean() > 0.01


def test_permutation_looks_random() -> None:
    """Neighbours are unrelated and no place prefers small or large elements."""
    count = 5000
    result = permuted(np.arange(count), count, 0, 0)
    assert abs(np.corrcoef(result[:-1], result[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(np.arange(count), result)[0, 1]) < 0.05
    many = np.array([permuted(np.arange(200), 200, seed, 0) for seed in range(300)])
    assert abs(many.mean(0) - 99.5).max() < 5 * 57.7 / 300**0.5  # five standard deviations of a mean


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS, st.integers(0, 3))
def test_every_example_exactly_once(order: Order, epoch: int) -> None:
    """Over all ranks together, whatever their number."""
    assert counts(order, epoch) == Counter(range(order.count))


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 400),
    world=st.integers(1, 4),
    batch_size=st.integers(1, 6),
    pool_batches=st.integers(1, 12),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_ranks_together_go_through_the_batches_of_one(
    count: int, world: int, batch_size: int, pool_batches: int, seed: int, epoch: int
) -> None:
    """Step by step, over several pools, with odd numbers of examples, and where some rank has none of its own."""
    same: dict[str, Any] = {"pool_batches": pool_batches, "seed": seed}
    one = order(count, batch_size=world * batch_size, **same)
    many = order(count, world=world, batch_size=batch_size, **same)
    joined = [(number, [list(itertools.chain(*group))]) for number, group in groups(many, epoch)]
    assert joined == groups(one, epoch)


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS, st.integers(0, 2))
def test_pools_of_token_batches_hold_the_same_for_any_number_of_ranks(many: Order, epoch: int) -> None:
    """There only where a pool is cut depends on the ranks, because each keeps to its tokens."""
    one = replace(many, world=1, batch_size=many.group_size)
    for pool in range(-(-many.count // many.pool_size)):
        found = [
            sorted(np.concatenate([batch for group in some._pool(pool, epoch) for batch in group]).tolist())
            for some in (one, many)
        ]
        assert found[0] == found[1]


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS)
def test_ranks_have_equally_many_batches(order: Order) -> None:
    """Empty ones only where a group has fewer examples than there are ranks, or where batches of one are left over."""
    for place, (number, group) in enumerate(groups(order)):
        assert number == place
        assert len(group) == order.world
        assert any(group)
        if order.batch_tokens is None:
            assert all(group) or sum(map(len, group)) < order.world
        else:
            assert all(group) or max(map(len, group)) == 1


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS)
def test_batches_keep_to_their_size(order: Order) -> None:
    for _, group in groups(order):
        for batch in group:
            if order.batch_tokens is None:
                assert len(batch) <= order.batch_size
            else:
                assert len(batch) <= 1 or lengths(np.array(batch)).sum() <= order.batch_tokens


def test_token_batches_are_filled() -> None:
    """With one rank no batch of a pool could take the next longer example as well."""
    one = order(400, batch_tokens=300, pool_batches=100)
    batches = sorted((batch for _, (batch,) in groups(one)), key=lambda b: lengths(np.array(b)).max())
    for batch, following in itertools.pairwise(batches):
        shortest = lengths(np.array(following)).min()
        assert lengths(np.array(batch)).sum() + shortest > 300


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS, st.integers(0, 2), st.integers(0, 40))
def test_start_gives_exactly_the_tail(order: Order, epoch: int, start: int) -> None:
    assert groups(order, epoch, start) == groups(order, epoch)[start:]


@hypothesis_settings(max_examples=60, deadline=None)
@given(ORDERS, st.integers(0, 2))
def test_steps_is_the_number_of_groups(order: Order, epoch: int) -> None:
    assert order.steps(epoch) == len(groups(order, epoch))


@pytest.mark.parametrize("batch_tokens", [None, 200])
def test_epochs_and_seeds(batch_tokens: int | None) -> None:
    def made(seed: int, epoch: int) -> list[tuple[int, list[list[int]]]]:
        return groups(order(200, seed=seed, batch_tokens=batch_tokens), epoch)

    assert made(0, 0) == made(0, 0)
    assert made(0, 0) != made(0, 1)
    assert made(0, 0) != made(1, 0)

    def together(batches: list[tuple[int, list[list[int]]]]) -> set[frozenset[int]]:
        return {frozenset(batch) for _, group in batches for batch in group if len(batch) > 1}

    # Not only the order of the batches differs, but who is with whom.
    assert not together(made(0, 0)) & together(made(0, 1))


def test_pool_larger_than_the_epoch() -> None:
    """One pool of everything: sorted by length, so that batches hardly overlap in length."""
    whole = order(50, batch_size=5, pool_batches=10**6)
    spans = sorted((lengths(np.array(batch)).min(), lengths(np.array(batch)).max()) for _, (batch,) in groups(whole))
    assert len(spans) == 10
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    firsts = [lengths(np.array(batch)).min() for _, (batch,) in groups(whole)]
    assert firsts != sorted(firsts)  # the batches themselves come in random order


def test_ranks_of_a_group_are_neighbours_in_length() -> None:
    for _, group in groups(order(240, world=4, batch_size=5, pool_batches=10**6)):
        inside = [lengths(np.array(batch)) for batch in group]
        order_of_group = np.argsort([part.min() for part in inside])
        assert max(part.max() for part in inside) - min(part.min() for part in inside) <= 20
        for left, right in itertools.pairwise(order_of_group):
            assert inside[left].max() <= inside[right].min()


def test_smaller_pools_shuffle_more_finely() -> None:
    """With a pool of one batch, batches are what the permutation puts side by side."""
    fine = order(40, batch_size=4, pool_batches=1)
    expected = permuted(np.arange(40), 40, 0, 0).reshape(10, 4)
    assert [sorted(batch) for _, (batch,) in groups(fine)] == [sorted(row) for row in expected.tolist()]


def test_an_empty_epoch_has_no_groups() -> None:
    assert groups(order(0)) == []
    assert order(0).steps(0) == 0


def test_sizes_are_asked_only_for_one_pool_at_a_time() -> None:
    """So that memory and the wait for the first batch do not grow with the corpus."""
    asked: list[int] = []

    def counting(examples: Indices) -> Indices:
        asked.append(len(examples))
        return lengths(examples)

    huge = order(10**6, sizes=counting)
    start = huge.steps(0) - 1
    assert len(list(huge.groups(0, start))) == 1
    assert asked == [huge.pool_size]


def resumed(make: Callable[[], Order], after: int) -> list[Any]:
    """Groups of two epochs with a stop after so many groups."""
    found: list[Any] = []
    for epoch in (0, 1):
        found += [(epoch, *group) for group in groups(make(), epoch)]
    head, position = found[:after], (found[after][0], found[after][1])
    tail = [(position[0], *group) for group in groups(make(), position[0], position[1])]
    tail += [(1, *group) for group in groups(make(), 1)] if position[0] == 0 else []
    return [found, head + tail]


@pytest.mark.parametrize("after", [0, 1, 12, 13, 20])
def test_two_epochs_with_a_stop_in_between(after: int) -> None:
    whole, pieces = resumed(lambda: order(100, world=2, pool_batches=4), after)
    assert pieces == whole


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_a_pool_is_whole_groups(world: int) -> None:
    """So that only the last pool has batches that are not full."""
    one = order(10_000, world=world, pool_batches=5)
    assert one.pool_size % (world * one.batch_size) == 0
    sizes = [len(batch) for _, group in groups(one) for batch in group]
    in_whole_pools = 10_000 // one.pool_size * one.pool_size
    assert sizes[: in_whole_pools // 4] == [4] * (in_whole_pools // 4)


def test_draws_depend_on_seed_epoch_and_example_alone() -> None:
    """The same number for an example in whatever company; uniform, and unrelated between neighbours."""
    drawn = uniform(np.arange(20_000), 3, seed=1, epoch=2)
    assert drawn.shape == (20_000, 3)
    assert np.array_equal(uniform(np.array([7, 19_999, 7]), 3, seed=1, epoch=2), drawn[[7, 19_999, 7]])
    assert np.array_equal(uniform(np.arange(9), 1, seed=1, epoch=2), drawn[:9, :1])
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert np.abs(counts / 3000 - 1).max() < 0.1
    others = [uniform(np.arange(20_000), 3, seed=s, epoch=e) for s, e in ((1, 3), (2, 2))]
    rows = [drawn[:-1, 0], drawn[1:, 0], drawn[:-1, 1], *(other[:-1, 0] for other in others)]
    correlation = np.corrcoef(rows) - np.eye(5)
    assert np.abs(correlation).max() < 0.03
