"""The order of an epoch, computed: a permutation of any size in constant memory, pools, and cuts into batches.

Everything here is a pure function of (seed, epoch, position), so a position is two numbers and all ranks agree.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_ROUNDS = 4


def _mix(x: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """SplitMix64's finaliser of x + key: a cheap, well-mixed hash."""
    with np.errstate(over="ignore"):
        x = x + key
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permuted(positions: Indices, count: int, seed: int, epoch: int) -> Indices:
    """Elements at the given positions of a pseudo-random permutation of range(count).

    A Feistel network on the next even number of bits is a bijection; results beyond `count` are passed through it
    again until they fall in range (cycle walking: under four rounds on average).

    Args:
        positions: int64 [n], each in range(count).
        count: size of the permutation.
        seed: with `epoch`, chooses the permutation.
        epoch: see seed.
    """
    half = max(1, (int(count - 1).bit_length() + 1) // 2)
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    keys = np.random.SeedSequence([seed, epoch, 0x5EED]).generate_state(_ROUNDS, np.uint64)
    result = positions.astype(np.uint64)
    outside = np.ones(len(result), dtype=bool)
    while outside.any():
        left, right = result[outside] >> shift, result[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        result[outside] = (left << shift) | right
        outside = result >= np.uint64(count)
    return result.astype(np.int64)


def uniform(examples: Indices, count: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """Draw numbers in [0, 1) for each example, [n, count], by hashing (seed, epoch, example, position).

    Args:
        examples: int64 [n], non-negative.
        count: numbers per example.
        seed: with `epoch`, determines all of them.
        epoch: see seed.
    """
    keys = np.random.SeedSequence([seed, epoch, 0xD1CE]).generate_state(2, np.uint64)
    mixed = _mix(np.asarray(examples, dtype=np.uint64), keys[0])[:, None]
    mixed = _mix(mixed ^ np.arange(count, dtype=np.uint64), keys[1])
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def by_length(lengths: Indices, budget: int, most: int | None = None) -> Iterator[Indices]:
    """Group rows by similar length, each group at most `budget` tokens (but at least one row) and `most` rows."""
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    begin = 0
    while begin < len(order):
        before = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, before + budget, side="right")))
        stop = stop if most is None else min(stop, begin + most)
        yield order[begin:stop]
        begin = stop


@dataclass(frozen=True, slots=True)
class Order:
    """How an epoch's examples become batches.

    Without `batch_tokens`, the groups do not depend on how the ranks share them: `world` ranks with batch_size B go
    through the same groups as one rank with world * B, each taking its part of every group. With `batch_tokens` the
    pools are the same, but where they are cut depends on `world`, because the token limit applies to each rank's batch.

    Attributes:
        count: examples in an epoch.
        sizes: tokens of each of the given examples, int64 [n] to int64 [n].
        world: number of ranks that share the batches; a group of `world` batches is one step of all ranks.
        batch_size: examples in one rank's batch (when batch_tokens is None).
        batch_tokens: maximum number of tokens in one rank's batch, though at least one example.
        pool_batches: groups in a length-sorted pool.
        seed: of the whole run.
    """

    count: int
    sizes: Callable[[Indices], Indices]
    world: int
    batch_size: int
    batch_tokens: int | None
    pool_batches: int
    seed: int

    @property
    def group_size(self) -> int:
        """Maximum number of examples in a step of all ranks (when batch_tokens is None)."""
        return self.world * self.batch_size

    @property
    def pool_size(self) -> int:
        """Examples in a pool: whole groups, so that only the last pool is cut unevenly."""
        return self.pool_batches * self.group_size

    def groups(self, epoch: int, start: int = 0) -> Iterator[tuple[int, list[Indices]]]:
        """Yield (group number in the epoch, its `world` batches of example indices), from group `start` on.

        Examples of similar length form a group, so ranks wait little for each other. A batch is empty only if its
        group has fewer examples than there are ranks.
        """
        number = 0
        for pool in range(self._pools):
            if self.batch_tokens is None and number + self._groups_in(pool) <= start:
                number += self._groups_in(pool)  # the number of groups is known: skip the pool without building it
                continue
            for group in self._pool(pool, epoch):
                if number >= start:
                    yield number, group
                number += 1

    def steps(self, epoch: int) -> int:
        """Groups in an epoch."""
        if self.batch_tokens is None:
            return sum(self._groups_in(pool) for pool in range(self._pools))
        return sum(len(self._pool(pool, epoch)) for pool in range(self._pools))

    @property
    def _pools(self) -> int:
        return -(-self.count // self.pool_size)

    def _groups_in(self, pool: int) -> int:
        size = min(self.pool_size, self.count - pool * self.pool_size)
        return -(-size // self.group_size)

    def _pool(self, pool: int, epoch: int) -> list[list[Indices]]:
        """The groups of one pool: examples sorted by size and cut into groups, which are then shuffled."""
        first = pool * self.pool_size
        positions = np.arange(first, min(first + self.pool_size, self.count), dtype=np.int64)
        examples = permuted(positions, self.count, self.seed, epoch)
        sizes = self.sizes(examples)
        by_size = np.argsort(sizes, kind="stable")
        examples, sizes = examples[by_size], sizes[by_size]
        groups = self._by_count(examples) if self.batch_tokens is None else self._by_tokens(examples, sizes)
        rng = np.random.default_rng([self.seed, epoch, pool])
        return [groups[i] for i in rng.permutation(len(groups))]

    def _by_count(self, examples: Indices) -> list[list[Indices]]:
        """Groups cut as one rank would cut its batches, each divided evenly among the ranks."""
        groups = -(-len(examples) // self.group_size)
        cuts = [round(i * len(examples) / groups) for i in range(groups + 1)]
        return [np.array_split(examples[a:b], self.world) for a, b in pairwise(cuts)]

    def _by_tokens(self, examples: Indices, sizes: Indices) -> list[list[Indices]]:
        """Full batches, with the largest ones halved until their number is a multiple of `world`."""
        assert self.batch_tokens is not None
        batches = [examples[rows] for rows in by_length(sizes, self.batch_tokens)]
        while len(batches) % self.world:
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            middle = len(batches[largest]) // 2
            batches[largest : largest + 1] = [batches[largest][:middle], batches[largest][middle:]]
        return [batches[i : i + self.world] for i in range(0, len(batches), self.world)]
