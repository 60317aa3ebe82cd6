"""Short documents: intruders and pieces fit into four sentences, and fewer are refused before any work."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.document_data import SHORT, USUAL, Sources, joined, lengths_of, with_intruders
from lang_jepa.evaluation.tasks.request import Grouped


def _chats(documents: int, turns: int) -> Grouped:
    texts = [[f"Chat {d}, turn {t}." for t in range(turns)] for d in range(documents)]
    return Grouped(texts, ["all"] * documents, [d % 3 == 0 for d in range(documents)])


@pytest.mark.parametrize("where", ["same group", "same document"])
@pytest.mark.parametrize("turns", [4, 5, 8])
def test_an_intruder_stands_inside_a_short_document(turns: int, where: str) -> None:
    chats = _chats(30, turns)
    made = with_intruders(Sources.of(chats), SHORT, where=where, seed=1)  # type: ignore[arg-type]
    assert len(made) == 30
    positions = set()
    for rows, truth, number in zip(made.documents, made.truth, made.clusters, strict=True):
        (position,) = truth.tolist()
        positions.add(position)
        wrong = [place for place, row in enumerate(rows) if row != number * turns + place]
        assert wrong == [position]
        own = rows[position] // turns == number
        assert own == (where == "same document")
        if own:
            assert abs(rows[position] % turns - position) > 1
    assert positions == set(range(2, turns - 1))


def test_pieces_of_short_documents_are_whole() -> None:
    made = joined(Sources.of(_chats(40, 5)), SHORT, same_group=True)
    for rows, truth in zip(made.documents, made.truth, strict=True):
        pieces = np.split(rows, truth)
        assert {len(piece) for piece in pieces} <= {4, 5}
        assert all((np.diff(piece) == 1).all() for piece in pieces)


def test_the_usual_lengths_are_taken_where_they_can_be() -> None:
    for turns, lengths in ((30, USUAL), (9, SHORT), (4, SHORT)):
        chats = _chats(40, turns)
        assert lengths_of(chats, Sources.of(chats)) is lengths


@pytest.mark.parametrize(("documents", "turns", "fit"), [(12, 5, 8), (40, 3, 0)])
def test_too_few_or_too_short_documents_are_counted(documents: int, turns: int, fit: int) -> None:
    chats = _chats(documents, turns)
    said = (
        rf"12 documents of one folder with 4 turns or more to report \(of the \d+ that there are, {fit} have as many\)"
    )
    with pytest.raises(LangJepaError, match=said):
        lengths_of(chats, Sources.of(chats), unit="turn")
