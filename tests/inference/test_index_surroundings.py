"""Indices of conversations: units with what surrounds them, and what followed in places like the one asked about."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics, prepare
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines, SplitDocuments
from lang_jepa.inference.index.surroundings import Surroundings
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.inference.replies import ReplyBank
from tiny import tiny_settings
from typed import Type

WORDS = ("tea", "rain", "dogs", "trains", "music", "bread", "snow")
CHATS = [
    [(("Anna", "Ben")[turn % 2], f"About {WORDS[(row + turn) % 7]}: point {turn} of {row}.") for turn in range(1 + row % 6)]
    for row in range(9)
]  # fmt: skip
WINDOW = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConceptModel:
    """One with random weights that knows who speaks."""
    folder = tmp_path_factory.mktemp("run")
    turns = ("data.units=turns", "data.speakers=embedding", "model.predictor=turn_transformer", "data.text_column=chat")
    settings = tiny_settings(folder, *turns, f"data.window_size={WINDOW}")
    tokenizer = train_tokenizer([text for chat in CHATS for _, text in chat] * 3, 330)
    torch.manual_seed(0)
    jepa = build_jepa(settings, tokenizer)
    with torch.no_grad():
        for parameter in jepa.predictor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    statistics = Statistics.of(np.random.default_rng(0).standard_normal((99, 32)))
    ConceptModel(jepa, tokenizer, statistics, settings).save(folder / "model")
    return ConceptModel.load(folder / "model")


@pytest.fixture
def source(model: ConceptModel, tmp_path: Path) -> SplitDocuments:
    rows = [
        {"chat": [{"role": name, "content": text} for name, text in chat], "id": f"c{row}"}
        for row, chat in enumerate(CHATS)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changed = {"train_file": str(tmp_path / "chats.jsonl"), "limit": None}
    return SplitDocuments.open(model.settings.data.model_copy(update=changed))


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def prepared(model: ConceptModel, vectors: Any, side: Any = "concepts") -> Any:
    return prepare(vectors, model.statistics, model.similarity_kind, side=side)


def own(model: ConceptModel, chat: Sequence[tuple[str, str]]) -> Any:
    """Of what is said, without names."""
    return prepared(model, model.encode([text for _, text in chat], turns=False))


def named(chat: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name}: {text}" for name, text in chat]


def expected(model: ConceptModel, chat: Sequence[tuple[str, str]], place: int) -> Any:
    before = named(chat)[max(0, place - WINDOW) : place]
    return prepared(model, model.predict_next([before]), "predictions")[0]


@pytest.mark.parametrize("block", [2, 7, 4096])
def test_neighbours_are_those_of_the_conversation_whatever_the_block(
    block: int, model: ConceptModel, source: SplitDocuments, tmp_path: Path
) -> None:
    how = Surroundings("neighbours", 0.5)
    index = Index.build(model, source, tmp_path / "index", dtype="float32", surroundings=how, block=block)
    wanted = []
    for chat in CHATS:
        rows = own(model, chat)
        for place in range(len(chat)):
            near = [rows[other] for other in range(len(chat)) if 0 < abs(other - place) <= 2]
            wanted.append(unit(0.5 * rows[place] + 0.5 * np.mean(near or [rows[place]], axis=0)))
    np.testing.assert_allclose(index.arrays.vectors, wanted, atol=2e-6)
    assert index.surroundings == how
    assert ("surroundings", "0.5 of each vector is the mean of 2 units on either side") in index.summary()


def test_what_is_expected_at_a_place_is_mixed_in_and_stored(
    model: ConceptModel, source: SplitDocuments, tmp_path: Path
) -> None:
    how = Surroundings("predictor", 0.3, predictions=True)
    index = Index.build(model, source, tmp_path / "index", dtype="float32", surroundings=how, block=5)
    assert index.arrays.predicted is not None
    row = 0
    for chat in CHATS:
        for place, vector in enumerate(own(model, chat)):
            prediction = expected(model, chat, place) if place else np.zeros(32)
            np.testing.assert_allclose(index.arrays.predicted[row], prediction, atol=2e-6)
            mixed = unit(0.7 * vector + 0.3 * prediction) if place else vector
            np.testing.assert_allclose(index.arrays.vectors[row], mixed, atol=2e-6)
            row += 1
    assert row == len(index)


def test_a_vote_is_that_of_a_bank_of_the_same_conversations(
    model: ConceptModel, source: SplitDocuments, tmp_path: Path
) -> None:
    context = ["Anna: About tea: point 0 of 8.", "Ben: About rain."]
    how = Surroundings("neighbours", predictions=True)  # what is mixed in has no part in it
    index = Index.build(model, source, tmp_path / "index", dtype="float32", surroundings=how)
    found = index.voted_after(context, top_k=10)
    bank = ReplyBank(model, [named(chat) for chat in CHATS if len(chat) > 1])
    replies = bank.reply(context, k=10, top=10)
    assert len(found) > 3
    assert [one.hit.text.partition(": ")[2] for one in found] == [one.text for one in replies]
    assert [one.hit.score for one in found] == pytest.approx([one.score for one in replies], abs=1e-5)
    assert [(one.after, one.likeness) for one in found] == [
        (reply.context[-1], pytest.approx(reply.likeness, abs=1e-5)) for reply in replies
    ]
    assert [one.hit for one in index.voted_after(context, top_k=2)] == [one.hit for one in found[:2]]


class _Stopped(Exception):
    pass


def test_another_context_is_another_index_and_a_stopped_one_goes_on(
    model: ConceptModel, source: SplitDocuments, tmp_path: Path
) -> None:
    def stop(progress: Any) -> None:
        if progress.rows >= 8:
            raise _Stopped

    ways = [Surroundings(), Surroundings("neighbours"), Surroundings("neighbours", 0.5),
            Surroundings("predictor"), Surroundings(predictions=True)]  # fmt: skip
    whole = [Index.build(model, source, tmp_path / f"{n}", surroundings=way, block=4) for n, way in enumerate(ways)]
    assert len({one.info["generation"] for one in whole}) == len(ways)
    folder = tmp_path / "stopped"
    for way, one in zip(ways, whole, strict=True):
        with pytest.raises(_Stopped):
            Index.build(model, source, folder, surroundings=way, block=4, on_event=stop)
        again = Index.build(model, source, folder, surroundings=way, block=4)
        assert again.info == one.info
        for name in again.info["sha256"]:
            assert (folder / name).read_bytes() == (one.folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Surroundings("neighbours", 1.0), "a share between 0 and 1, not 1.0"),
        (Surroundings("both"), "one of none, neighbours, predictor, not 'both'"),  # type: ignore[arg-type]
    ],
)
def test_surroundings_that_are_none_are_refused(
    how: Surroundings, said: str, model: ConceptModel, source: SplitDocuments, tmp_path: Path
) -> None:
    with pytest.raises(LangJepaError, match=said):
        Index.build(model, source, tmp_path / "index", surroundings=how)
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    with pytest.raises(LangJepaError, match="a document of its own, which nothing surrounds"):
        Index.build(model, Lines(tmp_path / "lines.txt"), tmp_path / "index", surroundings=Surroundings("neighbours"))


def test_an_encoder_alone_expects_nothing(source: SplitDocuments, minilm: Path, tmp_path: Path) -> None:
    plain = ConceptModel.load(minilm)
    with pytest.raises(LangJepaError, match="predicts no next unit, so an index by it can hold no predictions"):
        Index.build(plain, source, tmp_path / "index", surroundings=Surroundings("predictor"))
    assert len(Index.build(plain, source, tmp_path / "index", surroundings=Surroundings("neighbours")))


def test_the_verbs_name_what_is_mixed_in(
    model: ConceptModel, source: SplitDocuments, tmp_path: Path, type_in: Type
) -> None:
    chats, run = tmp_path / "chats.jsonl", model.folder
    made = type_in(
        "index", run, chats, "--output", tmp_path / "a", "--context", "neighbours", "--context-weight", "0.5"
    )
    assert (made.status, "0.5 of each vector is the mean" in made.out) == (0, True), made.err
    found = type_in("search", tmp_path / "a", "About tea", "--after", "Ben: About rain.", "--top-k", 2)
    assert "0.5 of each vector is the mean" in found.out
    assert found.out.count("[c") == 4
    refused = type_in("search", tmp_path / "a", "--after", "Ben: About rain.", "--by", "context-vote")
    assert (refused.status, "does not hold what the model expects" in refused.err) == (2, True)
    assert type_in("index", run, chats, "--output", tmp_path / "b", "--predictions").status == 0
    found = type_in("search", tmp_path / "b", "--after", "Ben: About rain.", "--by", "context-vote", "--top-k", 2)
    assert found.out.count("after: Anna: ") + found.out.count("after: Ben: ") == 3  # the question, and two places
    for words, said in (
        (("--after", "x", "--by", "magic"), "--by is prediction or context-vote"),
        (("--after", "x", "--by", "context-vote", "--exact"), "always compares all predictions"),
        (("x", "--by", "context-vote"), "--by has no effect without --after"),
    ):
        refused = type_in("search", tmp_path / "b", *words)
        assert (refused.status, said in refused.err) == (2, True)
    refused = type_in("index", run, chats, "--output", tmp_path / "b", "--context-weight", "0.5")
    assert (refused.status, "--context-weight has no effect with --context none" in refused.err) == (2, True)
