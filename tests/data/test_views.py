"""Views against an independent implementation in plain lists: every field of every batch, in all context modes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plain import PREFIX, SUFFIX, Documents, made_up, picked, split_of, unpacked

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.views import make_plain_view, make_view
from lang_jepa.data.views.batch import Batch, Contexts, Sequences, Targets
from lang_jepa.data.views.next_sentence import CONTEXTS, NextSentenceView
from lang_jepa.settings.encoder import Settings

MODES = ["window", "causal", "concepts"]


def test_targets_of_the_same_text_have_the_same_number() -> None:
    """Whichever sequence they stand in; another order of the same tokens is another text."""
    tokens = [[5, 6], [6, 5], [5, 6], [5, 6, 0], [5, 5, 6], [7]]
    flat = torch.tensor([token for text in tokens for token in text])
    lengths = torch.tensor([len(text) for text in tokens])
    segments = torch.repeat_interleave(torch.arange(6), lengths)
    picked = torch.tensor([2, 0, 1, 3, 4, 5, 0])
    alone = Targets(Sequences(flat, lengths), segments, 6, picked)
    together = Targets(Sequences(flat, torch.tensor([7, 6])), segments, 6, picked)
    assert torch.equal(alone.texts(), together.texts())
    same = alone.texts()[:, None] == alone.texts()[None]
    expected = torch.tensor([[tokens[one] == tokens[other] for other in picked] for one in picked])
    assert torch.equal(same, expected)


def make(
    mode: str,
    documents: Documents,
    *,
    parts: int = 1,
    room: int = 20,
    window: int = 3,
    passage: int = 4,
    horizons: int = 1,
) -> NextSentenceView:
    """A view with three special tokens around every sequence; `parts` shards."""
    return CONTEXTS[mode](
        split_of(documents, parts=parts),
        prefix=PREFIX,
        suffix=SUFFIX,
        max_length=room + 3,
        window=window,
        passage=passage,
        horizons=horizons,
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
                self.examples += [(max(first, target - window), target) for target in range(first + 1, last + 1)]
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
                predicted += [piece[-1] + 1] if self.mode == "window" else [sentence + 1 for sentence in piece]
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


SHAPES = st.fixed_dictionaries({"room": st.integers(5, 40), "window": st.integers(1, 6), "passage": st.integers(2, 7)})


@pytest.mark.parametrize("mode", MODES)
@hypothesis_settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), parts=st.integers(1, 3), tokens=st.integers(1, 30))
def test_batches_equal_plain_lists(mode: str, shape: dict[str, int], seed: int, parts: int, tokens: int) -> None:
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
def test_every_boundary_is_a_target_exactly_once(mode: str, shape: dict[str, int], seed: int, tokens: int) -> None:
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
def test_questions_equal_plain_lists(mode: str, shape: dict[str, int], seed: int, data: st.DataObject) -> None:
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
    expected = [sum(len(naive.sentences[i]) for i in range(*naive.examples[example])) for example in examples.tolist()]
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("horizons", [2, 3, 9])
def test_every_horizon_is_asked_once_from_the_window_of_the_next_sentence(mode: str, horizons: int) -> None:
    """Targets +1 to +k of each boundary that lie in its document, beyond its passage too, from one context pass."""
    documents = [*made_up(3), [[1, 2], [3]]]
    near, far = (make(mode, documents, horizons=k) for k in (1, horizons))
    ends = far.starts[1:]
    for first in range(0, near.count, 3):
        examples = np.arange(first, min(first + 3, near.count))
        one, many = near.batch(examples), far.batch(examples)
        assert unpacked(one.contexts.sequences) == unpacked(many.contexts.sequences)
        expected = []
        for window, following in zip(one.contexts.windows.tolist(), one.sentence_ids.tolist(), strict=True):
            end = ends[ends > following][0]
            expected += [(window, ahead, following + ahead) for ahead in range(horizons) if following + ahead < end]
        assert many.contexts.horizons is not None
        found = (many.contexts.windows, many.contexts.horizons, many.sentence_ids)
        assert list(zip(*(column.tolist() for column in found), strict=True)) == expected
        assert picked(many.targets) == unpacked(far.sentences(many.sentence_ids.numpy()))
        assert len(many.targets.sequences) == len(set(many.sentence_ids.tolist())), "each is encoded once"
        assert torch.equal(many.document_ids, far.documents_of(many.sentence_ids.numpy()))
    total = sum(far.batch(np.array([example])).predictions for example in range(far.count))
    assert far.targets == total > near.targets


def test_validations_and_questions_ask_for_the_next_sentence_only(stories_corpus: Corpus) -> None:
    settings = Settings.model_validate({"data": {"horizons": 3}})
    args = (settings, stories_corpus.train, stories_corpus.tokenizer)
    assert make_view(*args).batch(np.arange(4)).contexts.horizons is not None
    held_out = make_plain_view(*args).batch(np.arange(4))
    assert held_out.contexts.horizons is None
    assert held_out.predictions == 4
