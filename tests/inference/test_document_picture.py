"""The picture of a document: what a reader takes from its bars."""

from itertools import pairwise

import pytest

from lang_jepa.inference.document_findings import Fits, SentenceFit, Study, Topics
from lang_jepa.inference.document_picture import _draw_rows

figure = pytest.importorskip("matplotlib.figure")


def _study(surprise: list[float | None], outliers: list[float | None]) -> Study:
    def fits(values: list[float | None]) -> Fits:
        return Fits([SentenceFit(n, f"Sentence {n}.", 0.0, one) for n, one in enumerate(values)], "", "training")

    topics = Topics([f"Sentence {n}." for n in range(len(surprise))], [2], [0.0] * (len(surprise) - 1), "")
    return Study(fits(surprise), fits(outliers), topics, [], [], "", [], "")


@pytest.mark.parametrize("surprise", [[None, -6.0, -1.5, -4.0], [None, 0.5, 2.0, 1.0], [None, -3.0, 0.7, -0.1]])
def test_a_longer_bar_is_more_surprising(surprise: list[float | None]) -> None:
    axes = figure.Figure().subplots()
    _draw_rows(axes, _study(surprise, surprise), range(4))
    drawn = {round(bar.get_y() + bar.get_height() / 2): bar for bar in axes.patches}
    assert sorted(drawn) == [1, 2, 3], "the first sentence has no surprise and no bar"
    ranked = sorted(drawn, key=lambda row: drawn[row].get_width())
    assert ranked == [1, 3, 2]
    assert all(drawn[low].get_width() < drawn[high].get_width() for low, high in pairwise(ranked))
    for row, bar in drawn.items():
        assert bar.get_x() + bar.get_width() == pytest.approx(surprise[row]), "it ends at its surprise"
        assert bar.get_x() == axes.get_xlim()[0]


def test_what_is_out_of_place_is_drawn_where_it_differs() -> None:
    same, other = (figure.Figure().subplots() for _ in range(2))
    _draw_rows(same, _study([None, -1.0, 1.0, 0.0], [None, -1.0, 1.0, 0.0]), range(4))
    _draw_rows(other, _study([None, -1.0, 1.0, 0.0], [None, -1.0, 2.0, 0.0]), range(4))
    labels = [{text.get_text() for text in axes.get_legend().get_texts()} for axes in (same, other)]
    assert labels[0] == {"surprise", "a shuffled sentence", "a topic begins"}
    assert labels[1] == labels[0] | {"out of place"}
