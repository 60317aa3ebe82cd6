"""The loader: the same batches however many processes make them, and a state that goes on exactly."""

from itertools import islice, product
from typing import Any

import numpy as np
import pytest
import torch

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.loader import CorpusBatches, Loader
from lang_jepa.data.views import View, make_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.data.views.order import Order
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

Summary = tuple[Any, ...]


@pytest.fixture(scope="module")
def view(stories_corpus: Corpus) -> View:
    settings = Settings.model_validate({"data": {"context": "causal", "passage_size": 4}})
    return make_view(settings, stories_corpus.train, stories_corpus.tokenizer)


def source(view: View, *, rank: int = 0, world: int = 1, batch_tokens: int | None = None) -> CorpusBatches:
    order = Order(
        count=view.count,
        sizes=view.sizes,
        world=world,
        batch_size=3,
        batch_tokens=batch_tokens,
        pool_batches=30,
        seed=7,
    )
    return CorpusBatches(view, order, rank)


def summary(batch: Batch) -> Summary:
    """Everything of a batch that a model sees."""
    sequences = batch.contexts.sequences
    return (
        batch.position,
        sequences.tokens.tolist(),
        sequences.lengths.tolist(),
        batch.contexts.windows.tolist(),
        batch.targets.sequences.tokens.tolist(),
        batch.sentence_ids.tolist(),
    )


def read(loader: Loader, count: int) -> list[Summary]:
    return [summary(batch) for batch in islice(loader, count)]


@pytest.mark.parametrize("batch_tokens", [None, 150])
def test_ranks_share_an_epoch(view: View, batch_tokens: int | None) -> None:
    """Disjoint, complete, and equally long."""
    for world in (1, 2, 3):
        steps = source(view, world=world, batch_tokens=batch_tokens).order.steps(0)
        parts: list[list[int]] = []
        for rank in range(world):
            loader = Loader(source(view, rank=rank, world=world, batch_tokens=batch_tokens), num_workers=0)
            batches = list(islice(loader, steps + 1))
            assert [batch.position[0] for batch in batches] == [0] * steps + [1]
            parts.append([i for batch in batches[:-1] for i in batch.sentence_ids.tolist()])
        together = sorted(i for part in parts for i in part)
        firsts = set(view.starts.tolist())
        assert together == [i for i in range(view.split.num_sentences) if i not in firsts]


def test_epochs_follow_each_other(view: View) -> None:
    """An epoch's batches are those of the order, and the next epoch has another order."""
    one = source(view)
    steps = [one.order.steps(0), one.order.steps(1)]
    batches = list(islice(iter(one), sum(steps) + 1))
    expected = [(epoch, number + 1, group[0].tolist()) for epoch in (0, 1) for number, group in one.order.groups(epoch)]
    for batch, (epoch, after, examples) in zip(batches, expected, strict=False):
        assert batch.position == (epoch, after)
        assert torch.equal(batch.sentence_ids, view.batch(np.array(examples)).sentence_ids)
    assert batches[-1].position == (2, 1)
    first, second = (
        [tuple(batch.sentence_ids.tolist()) for batch in batches if batch.position[0] == epoch] for epoch in (0, 1)
    )
    assert first != second
    assert sorted(i for part in first for i in part) == sorted(i for part in second for i in part)


def test_worker_processes_change_nothing(view: View) -> None:
    steps = source(view).order.steps(0)
    expected = read(Loader(source(view), num_workers=0), steps + 5)
    for workers in (1, 2):
        loader = Loader(source(view), num_workers=workers)
        assert read(loader, steps + 5) == expected
        assert loader.state == {"epoch": 1, "group": 5}


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (0, 2), (2, 0)])
def test_a_state_goes_on_exactly(view: View, before: int, after: int) -> None:
    """Wherever the first loader stopped, prefetched batches notwithstanding, and with any processes afterwards."""
    steps = source(view, world=2).order.steps(0)
    whole = read(Loader(source(view, world=2, rank=1), num_workers=0), steps + 9)
    for done in (3, steps - 1, steps) if before or after else (1, 2, 3, 4, steps - 1, steps, steps + 1):
        first = Loader(source(view, world=2, rank=1), num_workers=before)
        assert read(first, done) == whole[:done]
        second = Loader(source(view, world=2, rank=1), num_workers=after, state=dict(first.state))
        assert second.state == first.state
        assert read(second, 3) == whole[done : done + 3]


def test_the_state_is_the_same_on_all_ranks(view: View) -> None:
    for rank, done in product((0, 1), (1, 5)):
        loader = Loader(source(view, rank=rank, world=2), num_workers=0)
        read(loader, done)
        assert loader.state == {"epoch": 0, "group": done}


def test_a_state_before_the_first_batch_begins_at_the_beginning(view: View) -> None:
    fresh = Loader(source(view), num_workers=0)
    assert read(Loader(source(view), num_workers=0, state=fresh.state), 2) == read(fresh, 2)


def test_the_state_handed_in_is_not_changed(view: View) -> None:
    state = {"epoch": 0, "group": 2}
    loader = Loader(source(view), num_workers=0, state=state)
    read(loader, 3)
    assert state == {"epoch": 0, "group": 2}
    assert loader.state == {"epoch": 0, "group": 5}


def test_nothing_to_train_on_is_an_error_and_no_endless_loop(view: View) -> None:
    empty = Order(count=0, sizes=view.sizes, world=1, batch_size=3, batch_tokens=None, pool_batches=4, seed=0)
    with pytest.raises(LangJepaError, match="no examples"):
        next(Loader(CorpusBatches(view, empty, 0), num_workers=0))
