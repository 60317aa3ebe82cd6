"""Made documents: boundaries and intruders are where the truth says, and nobody chooses on what is reported."""

import numpy as np
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks.document_data import (
    FAR,
    LONGEST,
    PIECE,
    SEGMENTS,
    Sources,
    group_of,
    joined,
    with_intruders,
)
from lang_jepa.evaluation.tasks.request import Grouped


def grouped(documents: int = 48, sentences: int = 60, groups: int = 3) -> Grouped:
    texts = [[f"Document {d}, sentence {s}." for s in range(sentences)] for d in range(documents)]
    return Grouped(texts, [f"book {d % groups}" for d in range(documents)], [d % 4 == 0 for d in range(documents)])


def owner(sources: Sources, row: int) -> int:
    return int(sources.sentences[row].split(",")[0].removeprefix("Document "))


def place(sources: Sources, row: int) -> int:
    return int(sources.sentences[row].rstrip(".").rsplit(" ", 1)[1])


@pytest.mark.parametrize("same_group", [True, False])
def test_joined_documents_change_their_source_at_the_boundaries_alone(same_group: bool) -> None:
    sources = Sources.of(grouped())
    made = joined(sources, same_group=same_group, seed=1)
    assert len(made) > 8
    used: dict[int, int] = {}
    seen: set[int] = set()
    for rows, truth, cluster, chooses in zip(made.documents, made.truth, made.clusters, made.choosing, strict=True):
        owners = [owner(sources, int(row)) for row in rows]
        changes = [i for i in range(1, len(rows)) if owners[i] != owners[i - 1]]
        assert changes == truth.tolist()
        assert len(truth) == SEGMENTS - 1
        sizes = np.diff([0, *truth.tolist(), len(rows)])
        assert sizes.min() >= PIECE[0]
        assert sizes.max() <= PIECE[1]
        places = [place(sources, int(row)) for row in rows]
        assert all(places[i] == places[i - 1] + 1 for i in range(1, len(rows)) if i not in truth), "whole runs"
        groups = {int(sources.groups[one]) for one in owners}
        assert (len(groups) == 1) == same_group
        assert {bool(sources.choosing[one]) for one in owners} == {bool(chooses)}
        assert all(used.setdefault(one, int(cluster)) == cluster for one in owners), "a source is of one cluster"
        assert not seen & set(rows.tolist()), "no sentence is used twice"
        seen |= set(rows.tolist())


@pytest.mark.parametrize("where", ["same group", "same document"])
def test_intruders_stand_where_the_truth_says_and_nowhere_else(where: str) -> None:
    sources = Sources.of(grouped(documents=24, sentences=130))
    made = with_intruders(sources, where=where, seed=2)  # type: ignore[arg-type]
    assert len(made) == 24
    for number, (rows, truth) in enumerate(zip(made.documents, made.truth, strict=True)):
        own = sources.documents[number][:LONGEST]
        assert np.flatnonzero(rows != own).tolist() == truth.tolist()
        assert len(truth) == len(own) // 12
        assert truth.min() >= 2
        for position in truth.tolist():
            stranger = owner(sources, int(rows[position]))
            if where == "same group":
                assert stranger != number
                assert sources.groups[stranger] == sources.groups[number]
                assert sources.choosing[stranger] == sources.choosing[number]
            else:
                assert stranger == number
                assert abs(place(sources, int(rows[position])) - position) > FAR


def test_the_same_seed_makes_the_same() -> None:
    sources = Sources.of(grouped())
    one, again, other = (joined(sources, same_group=True, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one.documents, again.documents, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one.documents, other.documents, strict=False))


def test_short_documents_are_left_out() -> None:
    short = Grouped([["One."], ["Two.", "Three."]] * 10, [""] * 20, [False] * 20)
    assert len(joined(Sources.of(short), same_group=True)) == 0
    assert len(with_intruders(Sources.of(short), where="same group")) == 0


def test_groups_come_from_ids() -> None:
    assert group_of("openstax/biology/m44387") == "openstax/biology"
    assert group_of("story-17") == ""


def test_refusals() -> None:
    with pytest.raises(LangJepaError, match="differ in number"):
        Grouped([["A."]], ["x", "y"], [True])
    with pytest.raises(LangJepaError, match="document 1 of the evaluation holds an empty sentence"):
        Sources.of(Grouped([["A."], ["B.", " "]], ["", ""], [True, False]))
