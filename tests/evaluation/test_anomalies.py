"""Faults are what they are called, and the task `anomalies` measures what it says; rarities and their sums."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speaker_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.ngrams import ROW
from lang_jepa.evaluation.embedder import EncoderOnly
from lang_jepa.evaluation.faults import APART, KINDS, NEAR, REPEATS, UNKNOWN, WARM, Kind, Pools, with_faults
from lang_jepa.evaluation.metrics.segmentation import auc
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.evaluation.rarity import Usual, least_rate, subsets, threshold
from lang_jepa.evaluation.tasks import Request, evaluate
from lang_jepa.evaluation.tasks.anomalies import FOUND, MEAN, RATE, Boards, Copies
from lang_jepa.evaluation.tasks.request import Budget, Conversations

STEPS = 12


def _course(start: int, size: int, name: str) -> list[str]:
    """Steps in their order, over and over, a few of them left out."""
    return [f"{name} does step {(start + n + n // 17) % STEPS}" for n in range(size)]


@pytest.fixture(scope="module")
def lines() -> Conversations:
    """Two files in pieces of 64 lines."""
    documents = [_course(64 * row, 64, name) for name in ("alpha", "beta") for row in range(8)]
    train = [_course(5, 600, name) for name in ("alpha", "beta")]
    return Conversations(
        documents, None, [row % 4 == 0 for row in range(16)], train, "16 pieces", files=[0] * 8 + [1] * 8
    )


@pytest.fixture(scope="module")
def chats() -> Conversations:
    documents = [_course(row, 14, f"person {row % 5}") for row in range(24)]
    speakers = [[1 + turn % 2 for turn in range(14)] for _ in documents]
    return Conversations(documents, speakers, [row % 4 == 0 for row in range(24)], documents[:8], "24 chats")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_what_it_says_and_nothing_else(kind: Kind) -> None:
    document = [f"alpha does step {n}" for n in range(100)]
    foreign, own = _course(0, 20, "beta"), [*document, "alpha is late", "alpha is early"]
    for seed in range(20):
        made = with_faults(document, kind, Pools(foreign, own), np.random.default_rng(seed))
        assert len(made.faults) == (100 - WARM) // APART
        assert all(positions[0] >= WARM for positions in made.faults)
        units = made.units
        for positions in reversed(made.faults):
            first, new = positions[0], [units[at] for at in positions]
            if kind == "burst":
                assert new == [units[first - 1]] * REPEATS
                del units[first : first + REPEATS]
            elif kind == "swapped":
                assert new[0] != new[1]
                assert (positions[1] - first) % 2 == 0
                units[first], units[positions[1]] = new[::-1]
            elif kind == "deleted":
                before, after = document.index(units[first - 1]), document.index(new[0])
                assert after - before - 1 in (2, 4, 6, 8)
                units[first:first] = document[before + 1 : after]
            else:
                assert new[0] in {"foreign": foreign, "unknown": UNKNOWN, "displaced": own}[kind]
                assert new[0] not in document[first - NEAR : first + NEAR + 1]
                units[first] = document[first]
        assert units == document


def test_turns_are_replaced_by_turns_of_the_same_speaker() -> None:
    names = ("user", "assistant")
    document = [f"{names[n % 2]}: {text}" for n, text in enumerate(_course(0, 30, "alpha"))]
    other = [f"{names[n % 2]}: {text}" for n, text in enumerate(_course(0, 30, "beta"))]
    for kind in ("foreign", "unknown", "displaced", "deleted", "swapped"):
        for seed in range(10):
            made = with_faults(document, kind, Pools(other, document, spoken=True), np.random.default_rng(seed))
            assert [speaker_of(unit)[0] for unit in made.units] == [1 + n % 2 for n in range(len(made.units))]


def test_no_place_for_a_fault_is_no_fault() -> None:
    generator = np.random.default_rng(0)
    same, short = ["a"] * 40, ["a", "b", "c"]
    for kind in ("foreign", "displaced", "deleted", "swapped"):
        assert with_faults(same, kind, Pools([], same), generator).faults == []
    for kind in KINDS:
        assert with_faults(short, kind, Pools(["x"], short), generator).units == short


def test_the_first_half_of_each_file_chooses(lines: Conversations, chats: Conversations) -> None:
    made = Copies.of(lines, 0)
    assert made.choosing.tolist() == ([True] * 4 + [False] * 4) * 2
    others = replace(lines, choosing=[True] * 8 + [False] * 8)  # of --documents
    assert Copies.of(others, 0).choosing.tolist() == [True] * 12 + [False] * 4
    spoken = Copies.of(chats, 0)
    assert spoken.choosing.tolist() == list(chats.choosing)
    assert spoken.units[0] == f"user: {spoken.texts[0]}"
    assert {text.partition(" does step")[0] for text in made.texts if text not in UNKNOWN} == {"alpha", "beta"}


def test_auc_found_and_false_alarms_are_those_of_plain_counting(lines: Conversations) -> None:
    made = Copies.of(lines, 0)
    boards = Boards(made, "", 0)
    scores = np.random.default_rng(1).integers(0, 40, len(made.texts)).astype(float)
    values = boards._values(scores)
    chooses = made.choosing[made.owners]
    for source in (0, 1):
        here = made.usual & (made.sources[made.owners] == source)
        usual, limit = scores[here & ~chooses], threshold(scores[here & chooses], RATE)
        faults = [
            (row, rows)
            for row, (owner, rows) in enumerate(made.faults["displaced"])
            if made.sources[owner] == source and not made.choosing[owner]
        ]
        own = np.array([scores[rows[0]] for _, rows in faults])
        found = values["displaced"]
        marks = np.arange(len(usual) + len(own)) >= len(usual)
        wanted = auc(np.concatenate([usual, own]), marks)
        assert found["AUC"][[row for row, _ in faults]].mean() == pytest.approx(wanted)
        assert found[FOUND][[row for row, _ in faults]].tolist() == (own > limit).tolist()
    shares = [values[kind]["AUC"][~boards.boards[kind].choosing].mean() for kind in MEAN]  # type: ignore[operator]
    mean = boards.boards["mean"]
    assert values["mean"]["AUC"][~mean.choosing].mean() == pytest.approx(np.mean(shares))  # type: ignore[operator]
    assert values["usual"]["false alarms"].shape == (made.usual.sum(),)


class Expecting:
    """Encodes a text by a hash and expects the next step."""

    dim = 32
    statistics = Statistics.identity(32)

    def __init__(self, *, knows_speakers: bool) -> None:
        self.knows_speakers = knows_speakers

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        said = [speaker_of(text)[1] if self.knows_speakers else text for text in sentences]
        rows = [np.random.default_rng(list(text.encode())).standard_normal(self.dim) for text in said]
        return unit_rows(np.array(rows, dtype=np.float32))

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        assert all((": " in text) == self.knows_speakers for context in contexts for text in context if "does" in text)
        last = [context[-1].rpartition(" ") for context in contexts]
        expected = [f"{who} {(int(step) + 1) % STEPS}" if step.isdigit() else "?" for who, _, step in last]
        return self.encode(expected)


@pytest.mark.parametrize("of_lines", [True, False])
def test_a_model_that_expects_the_course_finds_faults(
    of_lines: bool, lines: Conversations, chats: Conversations
) -> None:
    given = lines if of_lines else chats
    model = Expecting(knows_speakers=not of_lines)
    report = evaluate(Request(model, ["anomalies"], conversations=given, budget=Budget(turn_pairs=200)))
    found = {(row.task, row.name): row for row in report.rows if row.metric == "AUC"}
    names = {"model", "novelty (model)", "monitor (model)", "ridge on means (model)", ROW, "repetition",
             "n-gram + repetition", "rarity of the template", "novelty, TF-IDF", "chance"}  # fmt: skip
    for kind in (*KINDS, "mean"):
        task = f"anomalies, {kind}"
        assert {name for owner, name in found if owner == task} == names
        assert found[task, "chance"].value == 0.5
        assert found[task, "model"].value > 0.9
        low, high = found[task, "novelty (model)"].low, found[task, "novelty (model)"].high
        assert low is not None
        assert high is not None
        assert 0 <= low <= found[task, "novelty (model)"].value <= high <= 1
    for name in names:
        of_kinds = [found[f"anomalies, {kind}", name].value for kind in MEAN]
        assert found["anomalies, mean", name].value == pytest.approx(np.mean(of_kinds))
    assert found["anomalies, burst", "repetition"].value > 0.9
    assert found["anomalies, unknown", "novelty (model)"].value > 0.9
    assert found["anomalies, displaced", "novelty (model)"].value == pytest.approx(0.5, abs=0.1)
    alarms = [row for row in report.rows if row.metric == "false alarms"]
    assert {row.name for row in alarms} == names - {"chance"}
    assert "surprise" in found["anomalies, mean", "monitor (model)"].note


def test_an_encoder_without_a_predictor_has_novelty_and_a_centred_ridge(lines: Conversations) -> None:
    model = EncoderOnly(Expecting(knows_speakers=False))
    report = evaluate(Request(model, ["anomalies"], conversations=lines, budget=Budget(turn_pairs=200)))
    found = {row.name: row.similarity for row in report.rows if row.task == "anomalies, mean" and row.chosen}
    assert {"model", "monitor (model)"}.isdisjoint(found)
    assert "novelty (model)" in found
    assert found["ridge on means (model)"] == "centred"


def test_too_few_documents_are_refused(lines: Conversations) -> None:
    few = replace(lines, documents=lines.documents[:2], choosing=[True, False], files=[0, 0])
    with pytest.raises(LangJepaError, match="several held-out documents to choose on"):
        evaluate(Request(Expecting(knows_speakers=False), ["anomalies"], conversations=few))
    pairs = [document[:2] for document in lines.documents]
    with pytest.raises(LangJepaError, match="several held-out documents to choose on"):
        evaluate(Request(Expecting(knows_speakers=False), ["anomalies"], conversations=replace(lines, documents=pairs)))


def test_rarity_is_the_share_of_usual_units_with_as_much() -> None:
    scores = np.random.default_rng(0).integers(0, 9, (50, 2)).astype(float)
    usual = Usual(scores)
    for value in (-1.0, 0.0, 4.0, 8.0, 9.0):
        one = np.array([[value, value]])
        for column in (0, 1):
            own = scores[:, column]
            assert usual.less(one)[0, column] == pytest.approx((own < value).mean())
            assert np.exp(-usual.rarity(one)[0, column]) == pytest.approx(((own >= value).sum() + 1) / 51)
    for row in (0, 17):  # as if it were a new unit beside the 49 others
        others = Usual(np.delete(scores, row, axis=0)).rarity(scores[row : row + 1])
        np.testing.assert_allclose(usual.rarity(scores[row : row + 1], own=True), others)
    assert [len(one) for one in subsets(3)] == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("count", [200, 301, 1000])
def test_a_threshold_keeps_its_rate_where_scores_differ(count: int) -> None:
    usual = np.random.default_rng(0).permutation(count).astype(float)
    for rate in (0.01, 0.05, 0.5):
        above = (usual > threshold(usual, rate)).sum()
        assert rate * count - 1 <= above <= rate * count
    assert threshold(usual, least_rate(count)) == usual.max()
    assert threshold(np.ones(count), 0.01) == 1
