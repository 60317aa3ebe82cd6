"""Spans of token sequences: inside one document, within their length, evenly drawn, and drawn again alike."""

import numpy as np
import pytest

from lang_jepa.data.tokens.token_stream import POSITIONS, draw_spans

BOS = 1
FORMS = tuple(POSITIONS)


def rows(count: int = 400, length: int = 40, kinds: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, kinds, (count, length))


def drawn(tokens: np.ndarray, form: str, *, bos: int | None = BOS, frac: float = 0.5, spans: int = 3) -> np.ndarray:
    return draw_spans(tokens, np.arange(len(tokens)), form=form, spans=spans, max_frac=frac, bos_id=bos, seed=7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frac", [0.01, 0.5, 1.0])
def test_no_span_crosses_the_beginning_of_a_document(form: str, frac: float) -> None:
    tokens = rows()
    places = drawn(tokens, form, frac=frac)
    assert places.shape == (400, 3, POSITIONS[form])
    assert (places >= 0).all()
    for row, of_row in zip(tokens, places, strict=True):
        for span in of_row:
            first, last = int(span[0]), int(span[-1])
            assert BOS not in row[first + 1 : last + 1]
            assert last - first >= 2
            if form == "triple":
                assert first < span[1] < last
            else:
                assert first == 0 or row[first] == BOS, "the place 0 is the document's first token"
                assert last == 39 or row[last + 1] == BOS, "the last place is the document's last token"
                assert first <= span[1] < span[2] <= last
                assert (span[1], span[2]) != (first, last), "something is left beside the span"


@pytest.mark.parametrize("form", FORMS)
def test_lengths_are_even_up_to_the_share(form: str) -> None:
    tokens = np.zeros((40_000, 21), dtype=int)
    places = drawn(tokens, form, bos=None, frac=0.5, spans=1)[:, 0]
    ends = (places[:, 1], places[:, 2]) if form == "partition" else (places[:, 0], places[:, 2])
    lengths, counts = np.unique(ends[1] - ends[0], return_counts=True)
    assert lengths.tolist() == list(range(1 if form == "partition" else 2, 11))
    assert np.abs(counts / counts.mean() - 1).max() < 0.07
    shortest = ends[0][ends[1] - ends[0] == lengths[0]]
    assert set(shortest.tolist()) == set(range(21 - lengths[0])), "it may lie anywhere"


def test_documents_are_drawn_by_their_tokens() -> None:
    row = np.full(40, 5)
    row[[10, 12, 20]] = BOS  # documents of 10, 2, 8 and 20 tokens: the second is too short
    first = drawn(np.tile(row, (20_000, 1)), "partition", spans=1)[:, 0, 0]
    shares = {start: float((first == start).mean()) for start in np.unique(first).tolist()}
    assert shares == pytest.approx({0: 10 / 38, 12: 8 / 38, 20: 20 / 38}, abs=0.015)


@pytest.mark.parametrize("form", FORMS)
def test_a_sequence_of_short_documents_has_no_span(form: str) -> None:
    tokens = rows(3)
    tokens[1] = np.tile([BOS, 5], 20)
    places = drawn(tokens, form)
    assert (places[1] == -1).all()
    assert (places[[0, 2]] >= 0).all()
    least = np.array([[BOS, 5, 6, BOS, 5, BOS]])
    expected = {(0, 0, 1, 2), (0, 1, 2, 2)} if form == "partition" else {(0, 1, 2)}
    assert {tuple(span) for span in drawn(least, form, frac=1.0, spans=50)[0].tolist()} == expected


@pytest.mark.parametrize("form", FORMS)
def test_what_is_drawn_belongs_to_the_sequence(form: str) -> None:
    """Not to its batch: any share of the rows gives the same spans, and another number or seed gives others."""
    tokens, numbers = rows(), np.arange(400) + 1000
    common = {"form": form, "spans": 2, "max_frac": 0.5, "bos_id": BOS}
    whole = draw_spans(tokens, numbers, seed=0, **common)
    some = draw_spans(tokens[37:90], numbers[37:90], seed=0, **common)
    assert np.array_equal(whole[37:90], some)
    for other in (
        draw_spans(tokens, numbers + 1, seed=0, **common),
        draw_spans(tokens, numbers, seed=1, **common),
    ):
        assert (other != whole).any(-1).mean() > 0.8
    assert (whole[:, 0] != whole[:, 1]).any(-1).mean() > 0.8, "the spans of a sequence differ"
