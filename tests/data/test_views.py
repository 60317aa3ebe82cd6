"""Views against an independent implementation in plain lists: every field of every batch, in all context modes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lang_jepa.config import Settings
from lang_jepa.data.corpus import Corpus, CorpusSplit
from lang_jepa.data.sequences import Batch, Contexts, Sequences, Targets
from lang_jepa.data.shards import Shard
from lang_jepa.data.views import CONTEXTS, View, make_view

MODES = ["window", "causal", "concepts"]
PREFIX, SUFFIX = [1001], [1002, 1003]
Documents = list[list[list[int]]]
"""Documents as sentences as tokens."""


def shard(documents: Documents) -> Shard:
    sentences = [sentence for document in documents for sentence in document]
    tokens = np.array([token for sentence in sentences for token in sentence], dtype=np.uint16)
    return Shard(
        tokens,
        np.cumsum([0] + [len(sentence) for sentence in sentences]).astype(np.int64),
        np.cumsum([0] + [len(document) for document in documents]).astype(np.int64),
        np.array([f"d{i}".encode() for i in range(len(documents))]),
    )


def make(
    mode: str, documents: Documents, *, parts: int = 1, room: int = 20, window: int = 3, passage: int = 4
) -> View:
    """A view with three special tokens around every sequence; `parts` shards."""
    cuts = np.linspace(0, len(documents), parts + 1).astype(int).tolist()
    if parts == 1:
        one = shard(documents)
        split = CorpusSplit.from_arrays(one.tokens, one.sentences, one.documents, one.ids, None)  # type: ignore[arg-type]
    else:
        shards = [shard(documents[a:b]) for a, b in pairwise(cuts) if b > a]
        split = CorpusSplit(shards, lambda: None)  # type: ignore[arg-type, return-value]
    return CONTEXTS[mode](
        split, prefix=PREFIX, suffix=SUFFIX, max_length=room + 3, window=window, passage=passage
    )


class Naive:
    """What a batch should be, one example and one sentence at a time.

    Sentences are numbered through the split. An example is (first context sentence, last predicted sentence).
    """

    def __init__(self, mode: str, documents: Documents, room: int, window: int, passage: int) -> None:
        self.mode, self.room, self.window = mode, room, window
        self.sentences: list[list[int]] = []
        self.document: list[int] = []
        self.examples: list[tuple[int, int]] = []
        for number, document in enumerate(documents):
            first = len(self.sentences)
            last = first + len(document) - 1
            self.sentences += document
            self.document += [number] * len(document)
            if mode == "window":
                self.examples += [
                    (max(first, target - window), target) for target in range(first + 1, last + 1)
                ]
            else:
                begin = first
                while begin < last:
                    self.examples.append((begin, min(begin + passage - 1, last)))
                    begin += passage - 1

    def pieces(self, first: int, stop: int) -> list[list[int]]:
        """Context sentences first .. stop - 1 in pieces that fit into a sequence, filled from the end (causal)."""
        if self.mode != "causal":
            return [list(range(first, stop))]
        pieces: list[list[int]] = [[]]
        for sentence in reversed(range(first, stop)):
            used = sum(min(len(self.sentences[other]), self.room) for other in pieces[0])
            if used + min(len(self.sentences[sentence]), self.room) > self.room and pieces[0]:
                pieces.insert(0, [])
            pieces[0].insert(0, sentence)
        return pieces

    def contexts(self, runs: list[list[int]], *, last_only: bool = False) -> dict[str, Any]:
        """Fields of Contexts for runs of context sentences, each one passage (or one pair)."""
        sequences: list[list[int]] = []
        segments: list[int] = []
        local: list[int] = []
        windows: list[list[int]] = []
        passages: list[int] = []
        count = 0
        for run in runs:
            if self.mode == "window":
                tokens = [token for sentence in run for token in self.sentences[sentence]][-self.room :]
                sequences.append(PREFIX + tokens + SUFFIX)
                segments += [count] * len(sequences[-1])
                windows.append([count])
                passages.append(1)
                count += 1
                continue
            if self.mode == "concepts":
                for place, sentence in enumerate(run):
                    sequences.append(PREFIX + self.sentences[sentence][: self.room] + SUFFIX)
                    segments += [count + place] * len(sequences[-1])
            else:
                row: list[int] = []
                for place, sentence in enumerate(run):
                    tokens = self.sentences[sentence][-self.room :]
                    tokens = (PREFIX if place == 0 else []) + tokens
                    row += tokens
                    segments += [count + place] * len(tokens)
                    local += [place] * len(tokens)
                sequences.append(row)
            for place in range(len(run)):
                seen = [count + place - back for back in range(self.window) if place - back >= 0][::-1]
                windows.append([-1] * (self.window - len(seen)) + seen)
            if last_only:
                windows[-len(run) :] = windows[-1:]
            passages.append(len(run))
            count += len(run)
        return {
            "sequences": sequences,
            "segments": segments,
            "local": local if self.mode == "causal" else None,
            "windows": windows,
            "passages": passages,
        }

    def batch(self, examples: list[int]) -> dict[str, Any]:
        """Fields of a Batch."""
        runs, predicted = [], []
        for example in examples:
            first, last = self.examples[example]
            for piece in self.pieces(first, last):
                runs.append(piece)
                predicted += (
                    [piece[-1] + 1] if self.mode == "window" else [sentence + 1 for sentence in piece]
                )
        return {
            **self.contexts(runs),
            "targets": [PREFIX + self.sentences[sentence][: self.room] + SUFFIX for sentence in predicted],
            "sentence_ids": predicted,
            "document_ids": [self.document[sentence] for sentence in predicted],
        }

    def questions(self, runs: list[tuple[int, int]]) -> dict[str, Any]:
        """Fields of the contexts of runs (first, count) that are asked only at their end."""
        cut = [(max(first, first + count - self.window), first + count) for first, count in runs]
        return self.contexts([self.pieces(first, stop)[-1] for first, stop in cut], last_only=True)


def unpacked(sequences: Sequences) -> list[list[int]]:
    assert sequences.tokens.dtype == sequences.lengths.dtype == torch.int64
    return [part.tolist() for part in sequences.tokens.split(sequences.lengths.tolist())]


def picked(targets: Targets) -> list[list[int]]:
    """The target of each prediction as a list of tokens."""
    assert targets.count == int(targets.segments.max()) + 1
    everything = unpacked(Sequences(targets.sequences.tokens, targets.segments.bincount()))
    return [everything[segment] for segment in targets.picked.tolist()]


def fields(contexts: Contexts) -> dict[str, Any]:
    sentences = contexts.sequences.sentences
    return {
        "sequences": unpacked(contexts.sequences),
        "segments": contexts.segments.tolist(),
        "local": None if sentences is None else sentences.tolist(),
        "windows": contexts.windows.tolist(),
        "passages": contexts.passages.tolist(),
    }


def batch_fields(batch: Batch) -> dict[str, Any]:
    assert batch.predictions == len(batch.contexts.windows) == len(batch.sentence_ids)
    return {
        **fields(batch.contexts),
        "targets": picked(batch.targets),
        "sentence_ids": batch.sentence_ids.tolist(),
        "document_ids": batch.document_ids.tolist(),
    }


def made_up(seed: int, documents: int = 7, sentences: int = 9, tokens: int = 9) -> Documents:
    """Random documents, of one sentence too."""
    rng = np.random.default_rng(seed)
    return [
        [
            rng.integers(0, 1000, rng.integers(1, tokens + 1)).tolist()
            for _ in range(rng.integers(1, sentences + 1))
        ]
        for _ in range(documents)
    ]


SHAPES = st.fixed_dictionaries(
    {"room": st.integers(5, 40), "window": st.integers(1, 6), "passage": st.integers(2, 7)}
)


@pytest.mark.parametrize("mode", MODES)
@hypothesis_settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), parts=st.integers(1, 3), tokens=st.integers(1, 30))
def test_batches_equal_plain_lists(
    mode: str, shape: dict[str, int], seed: int, parts: int, tokens: int
) -> None:
    """All fields of batches of random examples, among them sentences longer than a sequence may be."""
    documents = [*made_up(seed, tokens=tokens), [[1, 2], [3]]]
    view = make(mode, documents, parts=parts, **shape)
    naive = Naive(mode, documents, **shape)
    assert view.count == len(naive.examples)
    examples = np.random.default_rng(seed).permutation(view.count)[:5]
    assert batch_fields(view.batch(examples)) == naive.batch(examples.tolist())


@pytest.mark.parametrize("mode", MODES)
@hypothesis_settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), tokens=st.integers(1, 30))
def test_every_boundary_is_a_target_exactly_once(
    mode: str, shape: dict[str, int], seed: int, tokens: int
) -> None:
    documents = [*made_up(seed, tokens=tokens), [[1, 2], [3]]]
    view = make(mode, documents, **shape)
    batches = [view.batch(np.arange(i, min(i + 3, view.count))) for i in range(0, view.count, 3)]
    predicted = sorted(i for batch in batches for i in batch.sentence_ids.tolist())
    firsts = set(view.split.document_starts.tolist())
    assert predicted == [i for i in range(view.split.num_sentences) if i not in firsts]
    assert view.targets == len(predicted)


@pytest.mark.parametrize("mode", MODES)
@hypothesis_settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), data=st.data())
def test_questions_equal_plain_lists(
    mode: str, shape: dict[str, int], seed: int, data: st.DataObject
) -> None:
    """Runs that do not overlap, in any order, some of them neighbours."""
    documents = made_up(seed, tokens=12)
    view = make(mode, documents, **shape)
    naive = Naive(mode, documents, **shape)
    runs = []
    for first, stop in pairwise(view.split.document_starts.tolist()):
        middle = data.draw(st.integers(first + 1, stop))
        runs += [(first, middle - first)] + ([(middle, stop - middle)] if stop > middle else [])
    runs = data.draw(st.permutations(runs))
    first, counts = (np.array(column, dtype=np.int64) for column in zip(*runs, strict=True))
    assert fields(view.questions(first, counts)) == naive.questions(runs)


@pytest.mark.parametrize("mode", MODES)
def test_a_question_is_the_last_boundary_of_training(mode: str) -> None:
    """A passage's last prediction reads the same when only it is asked for."""
    documents = [[[10 * k, 10 * k + 1] for k in range(4)], [[100], [101, 102], [103]]]
    view = make(mode, documents, window=3, passage=4)
    for first, stop in ((0, 3), (4, 6)):
        wanted = np.flatnonzero([stop in view.batch(np.array([i])).sentence_ids for i in range(view.count)])
        batch = view.batch(wanted)
        asked = view.questions(np.array([first]), np.array([stop - first]))
        place = batch.sentence_ids.tolist().index(stop)
        assert readable(batch.contexts, place) == readable(asked, 0)


def readable(contexts: Contexts, question: int) -> list[int]:
    """Tokens that a prediction reads."""
    segments = [segment for segment in contexts.windows[question].tolist() if segment >= 0]
    return [
        token
        for token, segment in zip(contexts.sequences.tokens.tolist(), contexts.segments.tolist(), strict=True)
        if segment in segments
    ]


def test_contexts_are_cut_on_the_left_and_targets_on_the_right() -> None:
    documents = [[[1, 2, 3], [4, 5, 6], [10, 11, 12, 13, 14, 15, 16]]]
    window = make("window", documents, room=5).batch(np.array([1]))
    assert unpacked(window.contexts.sequences) == [[*PREFIX, 2, 3, 4, 5, 6, *SUFFIX]]
    assert picked(window.targets) == [[*PREFIX, 10, 11, 12, 13, 14, *SUFFIX]]
    long = [[[10, 11, 12, 13, 14, 15, 16], [1], [2]]]
    causal = make("causal", long, room=5).batch(np.array([0]))
    assert unpacked(causal.contexts.sequences) == [
        [*PREFIX, 12, 13, 14, 15, 16],
        [*PREFIX, 1],
    ]
    concepts = make("concepts", long, room=5).batch(np.array([0]))
    assert unpacked(concepts.contexts.sequences)[0] == [*PREFIX, 10, 11, 12, 13, 14, *SUFFIX]


def test_a_window_holds_at_most_its_sentences_of_one_document() -> None:
    documents = [[[k] for k in range(5)], [[k] for k in range(10, 13)]]
    batch = make("window", documents, window=2).batch(np.arange(6))
    assert [row[1:-2] for row in unpacked(batch.contexts.sequences)] == [
        [0],
        [0, 1],
        [1, 2],
        [2, 3],
        [10],
        [10, 11],
    ]
    assert [row[1:-2] for row in picked(batch.targets)] == [[1], [2], [3], [4], [11], [12]]


def test_a_passage_that_is_too_long_is_split_without_losing_targets() -> None:
    documents = [[[k, k, k] for k in range(7)]]
    batch = make("causal", documents, room=8, passage=7, window=9).batch(np.array([0]))
    contents = [row[1:] for row in unpacked(batch.contexts.sequences)]
    assert contents == [[0] * 3 + [1] * 3, [2] * 3 + [3] * 3, [4] * 3 + [5] * 3]
    assert batch.sentence_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.contexts.passages.tolist() == [2, 2, 2]
    assert batch.contexts.windows.max(1).values.tolist() == [0, 1, 2, 3, 4, 5]
    assert (batch.contexts.windows[::2] >= 0).sum().item() == 3  # a piece's first sentence stands alone
    assert batch.contexts.sequences.window == 9


@pytest.mark.parametrize("mode", MODES)
def test_sizes_are_tokens_of_the_context(mode: str) -> None:
    """In the order of the examples, without special tokens, and never more than a window can hold."""
    documents = made_up(5)
    view = make(mode, documents, room=10**4)
    naive = Naive(mode, documents, room=10**4, window=3, passage=4)
    examples = np.random.default_rng(0).permutation(view.count)
    expected = [
        sum(len(naive.sentences[i]) for i in range(*naive.examples[example])) for example in examples.tolist()
    ]
    assert view.sizes(examples).tolist() == expected
    if mode == "window":
        assert make(mode, documents, room=6).sizes(examples).tolist() == [min(size, 6) for size in expected]


@pytest.mark.parametrize("mode", MODES)
def test_views_of_a_prepared_corpus(mode: str, stories_corpus: Corpus) -> None:
    """The settings reach the view, and what it makes decodes to the sentences in their order."""
    settings = Settings.model_validate(
        {"data": {"context": mode, "window_size": 2, "passage_size": 5}, "model": {"max_length": 40}}
    )
    tokenizer = stories_corpus.tokenizer
    view = make_view(settings, stories_corpus.train, tokenizer)
    assert type(view) is CONTEXTS[mode]
    assert (view.window, view.passage, view.room) == (2, 5, 38)
    batch = view.batch(np.arange(5))
    for row, sentence in zip(picked(batch.targets), batch.sentence_ids.tolist(), strict=True):
        assert row[:1] == list(tokenizer.prefix_ids)
        assert row[-1:] == list(tokenizer.suffix_ids)
        assert tokenizer.decode(row[1:-1]) == stories_corpus.train.texts([sentence])[0]
    for question, sentence in enumerate(batch.sentence_ids.tolist()):
        before = stories_corpus.train.tokens(sentence - 1, sentence).tolist()
        read = [token for token in readable(batch.contexts, question) if token not in (row[0], row[-1])]
        assert read[-len(before) :] == before
    assert max(batch.contexts.sequences.lengths) <= 40


@pytest.mark.parametrize("mode", MODES)
def test_moving_a_batch_keeps_what_is_planned_on_the_cpu(mode: str) -> None:
    batch = make(mode, made_up(1)).batch(np.arange(2)).to("meta")
    for there in (
        batch.contexts.sequences.tokens,
        batch.contexts.segments,
        batch.contexts.windows,
        batch.targets.sequences.tokens,
        batch.targets.segments,
        batch.targets.picked,
    ):
        assert there.device.type == "meta"
    for here in (
        batch.contexts.sequences.lengths,
        batch.contexts.passages,
        batch.targets.sequences.lengths,
        batch.sentence_ids,
    ):
        assert here.device.type == "cpu"
    if mode == "causal":
        assert batch.contexts.sequences.sentences.device.type == "meta"
        assert batch.contexts.sequences.window == 3


def test_positions_and_owners() -> None:
    sequences = Sequences(torch.arange(6), torch.tensor([2, 1, 3]))
    assert sequences.positions().tolist() == [0, 1, 0, 0, 1, 2]
    assert sequences.owner().tolist() == [0, 0, 1, 2, 2, 2]
    assert len(sequences) == 3
