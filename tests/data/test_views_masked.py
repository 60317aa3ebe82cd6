"""Masked sentences: what is hidden is nowhere in the context, everything else is, and every question has its mask."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plain import PREFIX, SUFFIX, Documents, made_up, picked, split_of, unpacked

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.views import make_view
from lang_jepa.data.views.batch import Batch, Contexts
from lang_jepa.data.views.masked import MaskedView
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.encoder import Settings

MASK = 1004
FRAMES = [(PREFIX, SUFFIX), ([], []), ([], SUFFIX), (PREFIX, [])]


def make(
    documents: Documents,
    *,
    room: int = 60,
    passage: int = 6,
    hidden: int = 2,
    in_context: bool = False,
    frame: tuple[list[int], list[int]] = FRAMES[0],
    seed: int = 0,
) -> MaskedView:
    prefix, suffix = frame
    return MaskedView(
        split_of(documents),
        mask=MASK,
        passage=passage,
        hidden=hidden,
        in_context=in_context,
        prefix=prefix,
        suffix=suffix,
        max_length=room + len(prefix) + len(suffix),
        seed=seed,
    )


def marked(documents: Documents) -> Documents:
    """The same documents with tokens that name their sentence."""
    number = iter(range(10**6))
    return [[[next(number)] * len(sentence) for sentence in document] for document in documents]


def whole(view: MaskedView, epoch: int = 0) -> Batch:
    return view.batch(np.random.default_rng(0).permutation(view.count), epoch)


SHAPES = st.fixed_dictionaries(
    {
        "room": st.integers(6, 60),
        "passage": st.integers(3, 9),
        "hidden": st.integers(1, 12),
        "frame": st.sampled_from(FRAMES),
    }
)


@hypothesis_settings(max_examples=120, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), tokens=st.integers(1, 30), epoch=st.integers(0, 5))
def test_every_sentence_is_shown_or_hidden_once(shape: dict[str, int], seed: int, tokens: int, epoch: int) -> None:
    """In its order, of every document with two sentences; hidden tokens never reach the context; one mask each."""
    documents = marked([*made_up(seed, tokens=tokens), [[1], [2]]])
    view = make(documents, **shape)  # type: ignore[arg-type]
    batch = whole(view, epoch)
    prefix, suffix = shape["frame"]  # type: ignore[misc]
    starts = view.starts.tolist()
    usable = [i for a, b in pairwise(starts) if b - a > 1 for i in range(a, b)]
    hidden, seen = iter(batch.sentence_ids.tolist()), []
    for row, places in zip(unpacked(batch.contexts.sequences), batch.contexts.passages.tolist(), strict=True):
        assert len(row) <= shape["room"] + len(prefix) + len(suffix)
        assert row[: len(prefix)] == prefix
        assert row[len(row) - len(suffix) :] == suffix
        inner = row[len(prefix) : len(row) - len(suffix)]
        parts: list[tuple[int, bool]] = []
        for token in inner:
            if token == MASK:
                parts.append((next(hidden), True))
            elif not parts or parts[-1] != (token, False):
                parts.append((token, False))
        assert [number for number, _ in parts] == list(range(parts[0][0], parts[0][0] + len(parts)))
        masks = sum(mask for _, mask in parts)
        assert masks == min(shape["hidden"], len(parts) - 1) > 0
        assert places == len(parts) + bool(prefix) + bool(suffix)
        for number, mask in parts:
            length = min(len(view.split.tokens(number, number + 1)), shape["room"] // 3)
            assert mask or inner.count(number) == length
        seen += [number for number, _ in parts]
    assert sorted(seen) == usable
    assert not list(hidden)


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize("frame", FRAMES)
def test_questions_and_targets(in_context: bool, frame: tuple[list[int], list[int]]) -> None:
    """A prediction is asked at a segment that is one mask token; its target is its sentence."""
    documents = marked(made_up(7))
    view = make(documents, in_context=in_context, frame=frame)
    batch = whole(view)
    assert batch.predictions == len(batch.sentence_ids) == len(batch.contexts.windows)
    contexts = batch.contexts
    tokens, segments = contexts.sequences.tokens, contexts.segments
    assert (segments.diff() >= 0).all()
    assert segments.max() + 1 == contexts.passages.sum()
    for segment in contexts.windows[:, -1].tolist():
        assert tokens[segments == segment].tolist() == [MASK]
    assert contexts.shown is not None
    shown = {int(token) for s in contexts.shown.tolist() for token in tokens[segments == s]}
    assert shown == set(tokens.tolist()) - {MASK, *frame[0], *frame[1]}
    assert not shown & set(batch.sentence_ids.tolist())
    for target, number in zip(picked(batch.targets), batch.sentence_ids.tolist(), strict=True):
        own = view.split.tokens(number, number + 1).tolist()
        assert target == own if in_context else target == [*frame[0], *own, *frame[1]]
    if in_context:
        rows = zip(unpacked(batch.targets.sequences), unpacked(contexts.sequences), strict=True)
        assert all(set(row) - {MASK} < set(unmasked) for unmasked, row in rows)
    documents_ids = np.searchsorted(view.starts, batch.sentence_ids.numpy(), side="right") - 1
    assert batch.document_ids.tolist() == documents_ids.tolist()


def test_passages_are_of_nearly_equal_size_and_targets_are_counted() -> None:
    view = make([[[k] for k in range(size)] for size in (1, 2, 6, 7, 13)], passage=6)
    batch = view.batch(np.arange(view.count))
    assert (batch.contexts.passages - 2).tolist() == [2, 6, 3, 4, 4, 4, 5]
    assert view.targets == batch.predictions == 1 + 6 * 2
    assert view.sizes(np.array([1, 0])).tolist() == [6, 2]


def test_a_passage_in_pieces_leaves_no_sentence_alone() -> None:
    """Seven sentences of which three fit: the last piece borrows one, instead of being a single sentence."""
    view = make(marked([[[0] * 4] * 7]), room=12, passage=7, hidden=1)
    batch = view.batch(np.array([0]))
    assert (batch.contexts.passages - 2).tolist() == [3, 2, 2]


def test_what_is_hidden_is_a_function_of_seed_epoch_and_example() -> None:
    documents = made_up(4, documents=30)
    view = make(documents)
    several, alone = view.batch(np.array([5, 9]), 3), [view.batch(np.array([i]), 3) for i in (5, 9)]
    assert several.sentence_ids.tolist() == [i for one in alone for i in one.sentence_ids.tolist()]
    draws = [
        whole(make(documents, seed=seed), epoch).sentence_ids.tolist()
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2] != draws[3] != draws[0]


def test_every_place_is_hidden_equally_often() -> None:
    view = make([[[k] for k in range(6)]], hidden=2)
    hidden = [i for epoch in range(600) for i in view.batch(np.array([0]), epoch).sentence_ids.tolist()]
    assert np.bincount(hidden).tolist() == pytest.approx([200] * 6, abs=45)


def test_a_question_is_a_mask_after_the_newest_sentences() -> None:
    documents = [[[k] * 3 for k in range(9)]]
    view = make(documents, room=12, passage=7)
    asked = view.questions(np.array([0, 3]), np.array([2, 6]))
    assert [row[1:-2] for row in unpacked(asked.sequences)] == [
        [*[0] * 3, *[1] * 3, MASK],
        [*[6] * 3, *[7] * 3, *[8] * 3, MASK],
    ]
    wide = make(documents, room=99, passage=4).questions(np.array([0]), np.array([9]))
    assert [row[1:-2] for row in unpacked(wide.sequences)] == [[*[6] * 3, *[7] * 3, *[8] * 3, MASK]]
    assert at(asked, 0) == at(asked, 1) == [MASK]


def at(contexts: Contexts, question: int) -> list[int]:
    tokens: torch.Tensor = contexts.sequences.tokens[contexts.segments == contexts.windows[question, -1]]
    return [int(token) for token in tokens]


def test_a_question_is_as_in_training(stories_corpus: Corpus) -> None:
    """Where training hides the last sentence of a passage only, the question after the others reads the same."""
    settings = Settings.model_validate(
        {
            "data": {"view": "masked_sentences", "masked_sentences": 1, "passage_size": 5},
            "model": {"predictor": "mask_mlp"},
        }
    )
    view = make_view(settings, stories_corpus.train, stories_corpus.tokenizer)
    assert isinstance(view, MaskedView)
    assert view.mask == stories_corpus.tokenizer.mask_id
    compared = 0
    for epoch in range(12):
        batch = view.batch(np.arange(1), epoch)
        count = int(batch.contexts.passages[0]) - 2
        if batch.sentence_ids.tolist() == [count - 1]:
            asked = view.questions(np.array([0]), np.array([count - 1]))
            assert unpacked(asked.sequences) == unpacked(batch.contexts.sequences)
            assert torch.equal(asked.windows, batch.contexts.windows)
            compared += 1
    assert compared


def test_an_example_in_words(stories_corpus: Corpus) -> None:
    settings = Settings.model_validate({"data": {"view": "masked_sentences"}, "model": {"predictor": "mask_mlp"}})
    split = stories_corpus.train
    view = make_view(settings, split, stories_corpus.tokenizer)
    end = int(split.document_starts[1])
    texts = split.texts(np.arange(end + 1))
    lines = view.illustrate(1, 4).split("\n")
    assert lines == [
        f"beside:    {texts[0]} [...] {texts[2]}",
        f"hidden:    {texts[1]}",
        f"predicted: {texts[4]}",
    ]
    assert view.illustrate(0, 4).startswith(f"beside:    {texts[1]}\n")
    assert view.illustrate(end - 1, 4).startswith(f"beside:    {texts[end - 2]}\n")


def test_a_tokenizer_without_mask_is_refused() -> None:
    with pytest.raises(LangJepaError, match=r"no(ne| mask).*data\.tokenizer_path"):
        MaskedView(
            split_of(made_up(0)),
            mask=None,
            passage=4,
            hidden=1,
            in_context=False,
            prefix=PREFIX,
            suffix=SUFFIX,
            max_length=30,
        )
