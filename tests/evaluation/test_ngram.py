"""The n-gram model against its formula written with dictionaries, and as a probability."""

import math
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines import language
from lang_jepa.evaluation.baselines.language import NGram

VOCAB = 23


def tokens(count: int, seed: int = 0) -> np.ndarray:
    """A row in which some n-grams recur: a random walk on a sparse table."""
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(99).integers(0, VOCAB - 2, (VOCAB, 3))
    row = [1]
    for _ in range(count - 1):
        row.append(int(table[row[-1], rng.integers(3)]) if rng.random() < 0.9 else int(rng.integers(VOCAB - 2)))
    return np.array(row, dtype=np.uint16)


class Plain:
    """Interpolated modified Kneser-Ney, as Chen and Goodman write it, with dictionaries."""

    def __init__(self, row: list[int], order: int) -> None:
        self.counts: dict[int, Counter[tuple[int, ...]]] = {
            order: Counter(tuple(row[i : i + order]) for i in range(len(row) - order + 1))
        }
        for k in range(order - 1, 0, -1):
            self.counts[k] = Counter(gram[1:] for gram in self.counts[k + 1])
        self.after: dict[int, dict[tuple[int, ...], list[int]]] = {}
        self.discount: dict[int, list[float]] = {}
        for k, counts in self.counts.items():
            self.after[k] = defaultdict(list)
            for gram, count in counts.items():
                self.after[k][gram[:-1]].append(count)
            n = [sum(count == times for count in counts.values()) for times in range(5)]
            y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
            found = [t - (t + 1) * y * n[t + 1] / n[t] if n[t] else -1.0 for t in (1, 2, 3)]
            fits = all(0 < d <= t for t, d in enumerate(found, start=1))
            self.discount[k] = [0.0, *(found if fits else [0.75] * 3)]

    @cache  # noqa: B019
    def p(self, word: int, context: tuple[int, ...]) -> float:
        k = len(context) + 1
        below = self.p(word, context[1:]) if context else 1 / VOCAB
        seen = self.after[k].get(context)
        if seen is None:
            return below
        taken = [self.discount[k][min(count, 3)] for count in seen]
        count = self.counts[k][(*context, word)]
        return (count - self.discount[k][min(count, 3)] + sum(taken) * below) / sum(seen)


def distribution(model: NGram, context: np.ndarray) -> np.ndarray:
    """The probability of each token after a context, float64 [V], from the model's counts of each order."""
    result = np.full(model.vocab_size, 1 / model.vocab_size)
    for size, order in enumerate(model._orders[: len(context) + 1]):
        before = 0
        for token in context[len(context) - size :].tolist():
            before = before << model._bits | token
        words = np.arange(model.vocab_size, dtype=np.uint64)
        grams = np.uint64(before) << np.uint64(model._bits) | words
        result = order.apply(grams, np.full(model.vocab_size, before, dtype=np.uint64), result)
    return result


@pytest.mark.parametrize("order", [2, 3, 5])
def test_equals_the_formula(order: int) -> None:
    train, held = tokens(4000), tokens(300, seed=1)
    plain, model = Plain(train.tolist(), order), NGram.fit(train, VOCAB, order=order)
    row = held.tolist()
    wanted = [-math.log(plain.p(row[i], tuple(row[max(0, i - order + 1) : i]))) for i in range(1, len(row))]
    np.testing.assert_allclose(model.nats(held), wanted, rtol=1e-10)
    assert any(len(set(discount)) == 4 for discount in plain.discount.values()), "discounts worth testing"


@pytest.mark.parametrize("count", [5, 12, 40, 4000])
def test_probabilities_sum_to_one(count: int) -> None:
    model = NGram.fit(tokens(count), VOCAB)
    rng = np.random.default_rng(2)
    contexts = [rng.integers(0, VOCAB, n) for n in (0, 1, 2, 3, 4, 7)]
    contexts += [tokens(count)[i : i + 4] for i in (0, 1, count - 4)]
    for context in contexts:
        p = distribution(model, context)
        assert p.dtype == np.float64
        assert p.min() > 0
        assert p.sum() == pytest.approx(1, abs=1e-12)


def test_a_text_asked_token_by_token() -> None:
    model, held = NGram.fit(tokens(4000), VOCAB), tokens(60, seed=3)
    one_by_one = [-math.log(distribution(model, held[:i])[held[i]]) for i in range(1, 60)]
    np.testing.assert_allclose(model.nats(held), one_by_one, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 4])
def test_pieces_of_a_long_text_see_across_their_borders(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, held = NGram.fit(tokens(4000), VOCAB, order=order), tokens(100, seed=4)
    whole = model.nats(held)
    for size in (1, 2, 7, 99):
        monkeypatch.setattr(language, "QUERIES", size)
        np.testing.assert_array_equal(model.nats(held), whole)
    assert len(model.nats(held[:1])) == len(model.nats(held[:0])) == 0


def test_it_beats_shorter_ones_on_text_with_structure() -> None:
    train, held = tokens(20_000), tokens(2000, seed=5)
    nats = [float(NGram.fit(train, VOCAB, order=order).nats(held).mean()) for order in (1, 2)]
    assert nats[1] < nats[0] - 0.5 < math.log(VOCAB) - 0.5


def test_the_largest_order_that_fits_and_beyond() -> None:
    row = tokens(500)
    assert distribution(NGram.fit(row, 2**16, order=4), row[:3]).sum() == pytest.approx(1)
    with pytest.raises(LangJepaError, match=r"order of 5 does not work with 65536 ids.*orders 1 to 4"):
        NGram.fit(row, 2**16)
    with pytest.raises(LangJepaError, match="order of 0"):
        NGram.fit(row, VOCAB, order=0)
    with pytest.raises(LangJepaError, match="4 tokens are too few"):
        NGram.fit(row[:4], VOCAB)
