"""A stream of several files: its shares are the whole, its position is exact, and held-out documents stay out."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, cycle, islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import get_worker_info

from lang_jepa.data import stream as streams
from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.loader import Loader
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.stream import Blocks, StreamBatches
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.data.views import make_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

DOCUMENTS = 61
BLOCK = 4
"""Rows of a block: 16 blocks, so that every one of 12 shares has at least one."""


def text(number: int) -> str:
    """A document whose sentences occur nowhere else; one in ten is too short to be taken."""
    if number % 10 == 7:
        return "Short."
    words = ["red", "blue", "old", "new", "tall"]
    return " ".join(
        f"Number {number} tells part {part} of a {words[(number + part) % 5]} tale." for part in range(2 + number % 4)
    )


TEXTS = [text(number) for number in range(DOCUMENTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four parquet files of unequal size, one of them with several row groups."""
    path = tmp_path_factory.mktemp("stream")
    bounds = [0, 5, 30, 31, DOCUMENTS]
    for number, (first, stop) in enumerate(pairwise(bounds)):
        pq.write_table(pa.table({"text": TEXTS[first:stop]}), path / f"part{number}.parquet", row_group_size=5)
    return path


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer(TEXTS, 400)


def settings(folder: Path, **data: Any) -> Settings:
    values = {
        "train_file": str(folder),
        "streaming": True,
        "shuffle_buffer": BLOCK,
        "min_length": 20,
        "batch_size": 2,
        "pool_batches": 2,
        "num_workers": 0,
        "limit": None,
        "context": "concepts",
        "passage_size": 3,
    }
    return Settings.model_validate({"data": values | data, "optimization": {"max_steps": 5}})


def stream(folder: Path, tokenizer: TextTokenizer, *, rank: int = 0, world: int = 1, **data: Any) -> StreamBatches:
    chosen = settings(folder, **data)
    return StreamBatches(chosen, Blocks(chosen, open_source(chosen.data), tokenizer), rank=rank, world=world)


def predicted(batch: Batch, tokenizer: TextTokenizer) -> list[str]:
    parts = batch.targets.sequences.tokens.split(batch.targets.sequences.lengths.tolist())
    return [tokenizer.decode(part[1:-1].tolist()) for part in parts]


def expected(sides: tuple[str, ...] = ("train",), fraction: float = 0.0) -> Counter[str]:
    """Every sentence but the first of the documents that are long enough."""
    kept = [one for one in TEXTS if len(one) >= 20 and side(hash_text(one), fraction) in sides]
    return Counter(part.strip() + "." for one in kept for part in one.split(".")[1:-1])


class Info:
    """What a loader process knows of itself."""

    def __init__(self, number: int, count: int) -> None:
        self.id, self.num_workers = number, count


def one_epoch(batches: StreamBatches, worker: int, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Batches of the first epoch of one loader process, iterated here."""
    info = Info(worker, batches.workers) if batches.settings.data.num_workers else None
    monkeypatch.setattr(streams, "get_worker_info", lambda: info)
    found = []
    for batch in batches:
        if batch.position[1] > 0:
            return found
        found.append(batch)
    raise AssertionError("a stream never ends")


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_shares_are_disjoint_and_complete(
    folder: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, world: int, workers: int
) -> None:
    """Over all processes of all ranks every boundary of the stream is predicted once in an epoch."""
    together: Counter[str] = Counter()
    for rank in range(world):
        for worker in range(max(1, workers)):
            batches = stream(folder, tokenizer, rank=rank, world=world, num_workers=workers)
            share = one_epoch(batches, worker, monkeypatch)
            assert share
            together.update(one for batch in share for one in predicted(batch, tokenizer))
    assert together == expected()


def dealt(
    folder: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, workers: int, **place: int
) -> Iterator[list[str]]:
    """What a rank predicts in each batch, its loader processes taking turns; they are iterated here."""
    iterators = []
    for worker in range(workers):
        monkeypatch.setattr(streams, "get_worker_info", lambda now=worker: Info(now, workers))
        batches = iter(stream(folder, tokenizer, num_workers=workers, **place))
        iterators.append(chain([next(batches)], batches))
    for iterator in cycle(iterators):
        yield predicted(next(iterator), tokenizer)


@pytest.mark.parametrize(("world", "workers"), [(2, 1), (2, 2), (3, 2), (4, 1)])
def test_ranks_go_through_the_micro_batches_of_one(
    folder: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, world: int, workers: int
) -> None:
    """A step of all ranks is a step of as many micro-batches on one rank with all their loader processes."""
    one = dealt(folder, tokenizer, monkeypatch, world * workers)
    many = [dealt(folder, tokenizer, monkeypatch, workers, rank=rank, world=world) for rank in range(world)]
    for _ in range(40):
        assert [next(rank) for rank in many] == [next(one) for _ in range(world)]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_hand_out_whole_epochs(folder: Path, tokenizer: TextTokenizer, workers: int) -> None:
    """With real processes: the first epochs of all workers of both ranks make up the whole."""
    together: Counter[str] = Counter()
    for rank in (0, 1):
        loader = Loader(stream(folder, tokenizer, rank=rank, world=2, num_workers=workers), num_workers=workers)
        ended: set[int] = set()
        for batch in loader:
            if batch.position[1] == 0:
                together.update(predicted(batch, tokenizer))
            else:
                ended.add(batch.position[0])
            if len(ended) == max(1, workers):
                break
    assert together == expected()


def test_epochs_are_equal_sets_in_different_orders(folder: Path, tokenizer: TextTokenizer) -> None:
    epochs: list[list[str]] = [[], [], []]
    for batch in stream(folder, tokenizer):
        if batch.position[1] == 3:
            break
        epochs[batch.position[1]] += predicted(batch, tokenizer)
    assert [Counter(epoch) for epoch in epochs] == [expected()] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def contents(batch: Batch) -> tuple[Any, ...]:
    return batch.position, batch.contexts.sequences.tokens.tolist(), batch.targets.sequences.tokens.tolist()


@pytest.mark.parametrize(("rank", "world", "block"), [(0, 1, BLOCK), (1, 2, BLOCK), (0, 1, 1000)])
def test_position_is_exact(folder: Path, tokenizer: TextTokenizer, rank: int, world: int, block: int) -> None:
    """After any number of batches of two epochs, a block's and an epoch's last ones among them."""
    make = {"rank": rank, "world": world, "shuffle_buffer": block}
    batches = iter(stream(folder, tokenizer, **make))
    whole = [contents(batch) for batch in islice(batches, 150)]
    count = sum(position[1] == 0 for position, _, _ in whole)
    assert count < 70
    for done in {1, 2, 3, 4, 5, count - 1, count, count + 1, 2 * count}:
        first = Loader(stream(folder, tokenizer, **make), num_workers=0)
        assert [contents(batch) for batch in islice(first, done)] == whole[:done]
        second = Loader(stream(folder, tokenizer, **make), num_workers=0, state=first.state)
        assert [contents(batch) for batch in islice(second, 6)] == whole[done : done + 6]


def test_position_with_loader_processes(folder: Path, tokenizer: TextTokenizer) -> None:
    """Whatever the processes had prefetched, and whoever's turn it was."""
    loader = Loader(stream(folder, tokenizer, num_workers=2), num_workers=2)
    whole = [contents(batch) for batch in islice(loader, 60)]
    assert {position[0] for position, _, _ in whole[:2]} == {0, 1}
    for done in (7, 44):
        first = Loader(stream(folder, tokenizer, num_workers=2), num_workers=2)
        assert [contents(batch) for batch in islice(first, done)] == whole[:done]
        second = Loader(stream(folder, tokenizer, num_workers=2), num_workers=2, state=first.state)
        assert [contents(batch) for batch in islice(second, 8)] == whole[done : done + 8]
        third = Loader(stream(folder, tokenizer, num_workers=2), num_workers=2, state=second.state)
        assert [contents(batch) for batch in islice(third, 3)] == whole[done + 8 : done + 11]


def going_on(
    folder: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, workers: int, state: Any, **more: Any
) -> Iterator[tuple[Batch, Any]]:
    """Batches of a rank whose loader processes take turns, iterated here, each with the state after it."""
    make = {"num_workers": workers, **more}
    parts = [stream(folder, tokenizer, **make) for _ in range(workers)]
    state = [one.restart(state) for one in parts].pop() if state else {}
    iterators = []
    for worker, one in enumerate(parts):
        monkeypatch.setattr(streams, "get_worker_info", lambda now=worker: Info(now, workers))
        batches = iter(one)
        iterators.append(chain([next(batches)], batches))
    for iterator in cycle(iterators):
        batch = next(iterator)
        state = parts[0].advance(state, batch)
        yield batch, state


@pytest.mark.parametrize("changes", [(2, 3), (3, 1), (1, 2), (4, 2, 3), (2, 1, 2)])
@pytest.mark.parametrize("after", [1, 7, 23, 40])
def test_another_number_of_loader_processes_goes_on(
    folder: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, changes: tuple[int, ...], after: int
) -> None:
    """In the middle of a file, and twice: over whole epochs nothing is lost and nothing comes twice."""
    epochs, seen, state = 4, Counter[str](), None
    for workers in changes:
        batches = going_on(folder, tokenizer, monkeypatch, workers, state)
        last = workers == changes[-1]
        ahead: set[int] = set()
        for number, (batch, now) in enumerate(batches, start=1):
            if batch.position[1] < epochs:
                seen.update(predicted(batch, tokenizer))
            ahead |= {batch.position[0]} if batch.position[1] >= epochs else set()
            state = now
            if len(ahead) == workers if last else number == after:
                break
    assert seen == Counter({one: count * epochs for one, count in expected().items()})


def test_held_out_documents_are_never_trained_on(folder: Path, tokenizer: TextTokenizer) -> None:
    fraction = 0.3
    trained: list[str] = []
    batches = stream(folder, tokenizer, val_fraction=fraction, rank=0)
    for batch in batches:
        if batch.position[1] == 2:
            break
        trained += predicted(batch, tokenizer)
    held_out = expected(("validation",), fraction)
    assert held_out
    assert not set(trained) & set(held_out)
    assert Counter(trained) == Counter(dict.fromkeys(expected(("train",), fraction), 2))
    split = batches.blocks.first("validation", 10**6)
    view = make_view(batches.settings, split, tokenizer)
    firsts = set(split.document_starts.tolist())
    assert Counter(split.texts([i for i in range(split.num_sentences) if i not in firsts])) == held_out
    assert view.targets == sum(held_out.values())


@pytest.mark.parametrize("wanted", [1, 20, 10**6])
def test_first_documents_of_a_side(folder: Path, tokenizer: TextTokenizer, wanted: int) -> None:
    """The first blocks of the source until there are enough sentences, and no more of them."""
    blocks = stream(folder, tokenizer).blocks
    split = blocks.first("train", wanted)
    kept = [one for one in TEXTS if len(one) >= 20]
    sentences = [part.strip() + "." for one in kept for part in one.split(".")[:-1]]
    assert split.texts(range(split.num_sentences)) == sentences[: split.num_sentences]
    if wanted <= len(sentences):
        longest_block = 5 * BLOCK
        assert wanted <= split.num_sentences < wanted + longest_block
    else:
        assert split.num_sentences == len(sentences)


def test_what_was_lost_of_the_first_documents(folder: Path, tokenizer: TextTokenizer) -> None:
    """Rows that are no document, and documents of too few sentences."""
    blocks = stream(folder, tokenizer, min_sentences=3, val_fraction=0.0).blocks
    blocks.first("train", 10**6)
    short = sum(len(one) < 20 for one in TEXTS)
    few = sum(len(one) >= 20 and one.count(".") < 3 for one in TEXTS)
    assert few > 0
    assert blocks.losses.rows == len(TEXTS)
    assert blocks.losses.rejected == {"too short": short, "fewer than 3 sentences": few}


def test_first_documents_with_ids_that_are_shortened(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    table = pa.table({"text": [TEXTS[0], TEXTS[3]], "id": ["http://" + "x" * 400, "http://" + "y" * 400]})
    pq.write_table(table, tmp_path / "long.parquet")
    split = stream(tmp_path, tokenizer).blocks.first("train", 10**6)
    assert split is not None
    assert split.num_documents == 2


def test_no_documents_of_a_side(folder: Path, tokenizer: TextTokenizer) -> None:
    assert stream(folder, tokenizer).blocks.first("validation", 1) is None


def test_a_share_with_nothing_in_it_is_an_error(folder: Path, tokenizer: TextTokenizer) -> None:
    with pytest.raises(LangJepaError, match=r"share 1 of 2 .*has nothing to train on"):
        next(iter(stream(folder, tokenizer, rank=0, world=2, min_sentences=50)))


def test_a_share_that_is_empty_for_an_epoch_goes_on(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    """Of three parts one of two readers takes the first, the third and only then the second, which alone has text."""
    empty = "one sentence alone " * 6
    for number, one in enumerate([empty, TEXTS[3], empty]):
        (tmp_path / f"{number}.txt").write_text(one)
    batch = next(iter(stream(tmp_path, tokenizer, rank=0, world=2, val_fraction=0.0)))
    assert batch.position[2] == 2
    with pytest.raises(LangJepaError, match=r"share 2 of 3 .*of its parts \(1 of 3\)"):
        (tmp_path / "1.txt").write_text(empty)
        next(iter(stream(tmp_path, tokenizer, rank=1, world=3, val_fraction=0.0)))


def test_fewer_parts_than_processes_are_refused(folder: Path, tokenizer: TextTokenizer) -> None:
    with pytest.raises(LangJepaError, match=r"can be read by 13 at a time, and there are 15 loader processes \(5 x"):
        stream(folder, tokenizer, world=5, num_workers=3)


def test_a_share_that_is_empty_only_at_its_end_goes_on(folder: Path, tokenizer: TextTokenizer) -> None:
    """Taken up in the last block after its last batch: the next epoch follows, and it is no error."""
    batches = stream(folder, tokenizer, shuffle_buffer=1000)
    stop = None
    for batch in batches:
        if batch.position[1]:
            break
        stop = batches.advance(stop or {}, batch)
    again = stream(folder, tokenizer, shuffle_buffer=1000)
    assert stop is not None
    again.restart(stop)
    assert next(iter(again)).position[:3] == (0, 1, len(again.parts))


def test_worker_info_is_what_the_tests_replace() -> None:
    assert streams.get_worker_info is get_worker_info
