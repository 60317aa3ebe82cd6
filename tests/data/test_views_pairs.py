"""Spans and the same sentence twice: what each side holds, and how it is drawn."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plain import PREFIX, SUFFIX, Documents, made_up, picked, split_of, unpacked

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.views import View, make_view
from lang_jepa.data.views.batch import Batch
from lang_jepa.data.views.spans import SameSentenceView, SpansView
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings


def spans(documents: Documents, *, chunk: int = 20, shortest: int = 3, parts: int = 1, seed: int = 0) -> SpansView:
    return SpansView(
        split_of(documents, parts=parts),
        chunk=chunk,
        shortest=shortest,
        prefix=PREFIX,
        suffix=SUFFIX,
        max_length=chunk - shortest + 3,
        seed=seed,
    )


def same(documents: Documents, *, crop: float | None = 0.6, room: int = 30, seed: int = 0) -> SameSentenceView:
    return SameSentenceView(
        split_of(documents), crop=crop, prefix=PREFIX, suffix=SUFFIX, max_length=room + 3, seed=seed
    )


def sides(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """(context, target) of each prediction, special tokens checked and taken off."""
    rows = unpacked(batch.contexts.sequences), picked(batch.targets)
    for row in (*rows[0], *rows[1]):
        assert (row[:1], row[-2:]) == (PREFIX, SUFFIX)
    assert batch.contexts.segments.tolist() == batch.contexts.sequences.owner().tolist(), "one segment each"
    assert batch.contexts.windows.tolist() == [[i] for i in range(len(rows[0]))]
    return [(one[1:-2], other[1:-2]) for one, other in zip(*rows, strict=True)]


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    chunk=st.integers(4, 40),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 999),
    parts=st.integers(1, 3),
    epoch=st.integers(0, 9),
)
def test_spans_rejoin_to_the_chunks_of_their_document(
    chunk: int, share: float, seed: int, parts: int, epoch: int
) -> None:
    """No token twice, none lost but the counted rests; both parts at least as long as they must be."""
    shortest = 1 + round(share * (chunk // 2 - 1))
    documents = made_up(seed, documents=9)
    view = spans(documents, chunk=chunk, shortest=shortest, parts=parts)
    expected, left = [], 0
    for number, document in enumerate(documents):
        tokens = [token for sentence in document for token in sentence]
        for begin in range(0, len(tokens), chunk):
            piece = tokens[begin : begin + chunk]
            if len(piece) < min(chunk, 2 * shortest):
                left += len(piece)
            else:
                expected.append((number, piece))
    assert (view.count, view.left_out, view.targets) == (len(expected), left, len(expected))
    if not expected:
        return
    examples = np.random.default_rng(seed).permutation(view.count)
    batch = view.batch(examples, epoch)
    for example, (one, other), document in zip(
        examples.tolist(), sides(batch), batch.document_ids.tolist(), strict=True
    ):
        assert (document, one + other) == expected[example]
        assert min(len(one), len(other)) >= shortest
    assert batch.sentence_ids.tolist() == examples.tolist()
    assert view.sizes(examples).tolist() == [len(expected[example][1]) for example in examples.tolist()]


def test_every_cut_is_drawn_equally_often() -> None:
    view = spans([[[k] for k in range(10)]], chunk=10, shortest=3)
    lengths = [len(sides(view.batch(np.array([0]), epoch))[0][0]) for epoch in range(1000)]
    assert np.bincount(lengths).tolist()[3:] == pytest.approx([200] * 5, abs=45)


def test_a_span_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LangJepaError, match=r"up to 9 tokens.*room for 8.*data\.chunk_size"):
        SpansView(split_of([[[1]]]), chunk=12, shortest=3, prefix=PREFIX, suffix=SUFFIX, max_length=11)


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    crop=st.none() | st.floats(0.05, 0.95),
    room=st.integers(3, 30),
    seed=st.integers(0, 999),
    epoch=st.integers(0, 9),
)
def test_crops_are_runs_of_their_share_of_the_sentence(crop: float | None, room: int, seed: int, epoch: int) -> None:
    documents = [*made_up(seed, tokens=25), [[7]]]
    sentences = [sentence for document in documents for sentence in document]
    view = same(documents, crop=crop, room=room)
    examples = np.random.default_rng(seed).permutation(view.count)
    batch = view.batch(examples, epoch)
    assert view.count == view.targets == len(sentences)
    for example, pair, size in zip(examples.tolist(), sides(batch), view.sizes(examples).tolist(), strict=True):
        whole = sentences[example][:room]
        wanted = len(whole) if crop is None else max(1, round(crop * len(whole)))
        assert size == wanted
        runs = [whole[i : i + wanted] for i in range(len(whole) - wanted + 1)]
        assert all(side in runs for side in pair)
    assert batch.sentence_ids.tolist() == examples.tolist()
    document = np.repeat(np.arange(len(documents)), [len(one) for one in documents])
    assert batch.document_ids.tolist() == document[examples].tolist()


def test_both_sides_are_cropped_on_their_own_and_everywhere() -> None:
    view = same([[list(range(10))]], crop=0.7)
    pairs = [sides(view.batch(np.array([0]), epoch))[0] for epoch in range(800)]
    places = np.array([(one[0], other[0]) for one, other in pairs])
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (places[:, 0], places[:, 1]), 1)
    assert counts.ravel().tolist() == pytest.approx([50] * 16, abs=28)


@pytest.mark.parametrize("make", [spans, same])
def test_draws_are_a_function_of_seed_epoch_and_example(make: type[View]) -> None:
    documents = made_up(2, documents=40)
    view = make(documents)  # type: ignore[arg-type]
    several = sides(view.batch(np.array([6, 2]), 4))
    assert several == [sides(view.batch(np.array([i]), 4))[0] for i in (6, 2)]
    everything = np.arange(view.count)
    draws = [
        sides(make(documents, seed=seed).batch(everything, epoch))  # type: ignore[arg-type, call-arg]
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert draws[0] == draws[1]
    for one, other in pairwise(draws[1:]):
        assert sum(a != b for a, b in zip(one, other, strict=True)) > view.count // 3


@pytest.mark.parametrize(
    ("view", "labels"),
    [("spans", ["begins", "goes on", "predicted"]), ("same_sentence", ["sentence", "found"])],
)
def test_an_example_in_words(view: str, labels: list[str], stories_corpus: Corpus) -> None:
    data = {"view": view, "chunk_size": 30, "span_min_length": 5}
    settings = Settings.model_validate({"data": data, "model": {"predictor": "linear"}})
    split = stories_corpus.train
    made = make_view(settings, split, stories_corpus.tokenizer, seed=0)
    lines = [line.split(": ", 1) for line in made.illustrate(0, 5).split("\n")]
    assert [label for label, _ in lines] == labels
    if view == "spans":
        (one, other), (_, found) = sides_of(made, stories_corpus, [0, 5])
        shown = [text.strip().removeprefix("[...] ").removesuffix(" [...]") for _, text in lines]
        assert shown == [one, other, found]
    else:
        assert [text.strip() for _, text in lines] == split.texts([0, 5])


def sides_of(view: View, corpus: Corpus, examples: list[int]) -> list[tuple[str, str]]:
    batch = view.batch(np.array(examples))
    rows = zip(unpacked(batch.contexts.sequences), picked(batch.targets), strict=True)
    return [(corpus.tokenizer.decode(one), corpus.tokenizer.decode(other)) for one, other in rows]
