"""What a served model says of contexts and documents is what the same model says in Python."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live, serving

from lang_jepa.data.sources.source import elsewhere
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.inference import document
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.serving import shapes
from lang_jepa.serving.documents import flat_map
from lang_jepa.serving.served import Served
from lang_jepa.training.load import load_decoder
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.train import train
from tiny import tiny_settings

CONTEXT = ["Anna went to the river.", "It was cold.", "She saw two birds."]
CANDIDATES = ["Tom sold a car.", "The birds flew away.", "Anna went home."]
STORY = " ".join([*CONTEXT, *CANDIDATES, "Anna went home.", *(f"There were {n} birds." for n in range(3, 20))])


@pytest.fixture(scope="module")
def model(run: Path) -> ConceptModel:
    return ConceptModel.load(run)


def test_health_names_the_model_and_what_it_can_do(live: Live, index: Path) -> None:
    about = live.ask("GET", "/health").body
    assert about == shapes.Health(
        model="tiny-run",
        recipe="concepts",
        units="sentences",
        precision="fp32",
        can=[
            *("/v1/embeddings", "/v1/models", "/document", "/surprise", "/neighbours", "/segment"),
            *("/predict", "/rank", "/search", "/reply"),
        ],
        index=shapes.IndexInfo(units=len(Index.open(index))),
    ).model_dump(mode="json")


def test_predict_gives_the_prediction_and_what_is_nearest(live: Live, model: ConceptModel, index: Path) -> None:
    found = live.post("/predict", {"context": CONTEXT, "top_k": 4}).body
    np.testing.assert_allclose(found["embedding"], model.predict_next(CONTEXT), atol=1e-6)
    (expected,) = Index.open(index, model).search_after([CONTEXT], top_k=4)
    assert [(one["text"], one["place"]) for one in found["nearest"]] == [
        (hit.text, {"document": hit.document, "position": hit.position}) for hit in expected
    ]
    assert live.post("/predict", {"context": " ".join(CONTEXT), "top_k": 4}).body == found, "one text is split"


def test_rank_by_the_prediction_and_beside_it_by_the_recency_weighted_mean(live: Live, model: ConceptModel) -> None:
    ranked = live.post("/rank", {"context": CONTEXT, "candidates": CANDIDATES}).body["ranked"]
    expected = model.rank(CONTEXT, CANDIDATES)
    assert [one["text"] for one in ranked] == [one.text for one in expected] == [CANDIDATES[r["index"]] for r in ranked]
    np.testing.assert_allclose([one["score"] for one in ranked], [one.score for one in expected], atol=1e-5)
    kind, statistics = model.similarity_kind, model.statistics
    before, after = (prepare(model.encode(texts), statistics, kind) for texts in (CONTEXT, CANDIDATES))
    mean = 0.2 * before[-1] + 0.8 * before.mean(0)  # the last three and the last eight are all three
    copying = after @ (mean / np.linalg.norm(mean))
    np.testing.assert_allclose([one["copying"] for one in ranked], [copying[one["index"]] for one in ranked], atol=1e-5)


def test_document_is_what_the_document_tools_find(live: Live, model: ConceptModel) -> None:
    expected = document.study(model, STORY)
    found = shapes.Study.model_validate(live.post("/document", {"text": STORY}).body)
    assert [unit.text for unit in found.units] == expected.topics.sentences
    for ours, theirs in (("surprise", expected.surprise), ("out_of_place", expected.outliers)):
        for unit, fit in zip(found.units, theirs.sentences, strict=True):
            value = getattr(unit, ours)
            assert (value is None) == (fit.surprise is None)
            assert value is None or math.isclose(value, fit.surprise, abs_tol=1e-4)
        assert found.by[ours].words == theirs.used
    assert found.by["surprise"].choice == "copying", "nothing was measured for this model"
    assert found.boundaries == expected.topics.boundaries
    assert [one.end for one in found.segments] == [*found.boundaries, len(found.units)]
    assert all(found.units[one.start].text for one in found.segments)
    repeated = [(one.position, one.earlier) for one in expected.repetitions if one.repeats]
    assert [(one.unit, one.earlier) for one in found.repeated] == repeated
    assert (6, 5) in repeated, "Anna went home. Anna went home."
    assert any("lang-jepa evaluate" in note for note in found.notes)
    assert all(len(unit.expected) == 3 for unit in found.units if unit.surprise is not None), "there is an index"


def test_surprise_and_segment_are_parts_of_document(live: Live) -> None:
    whole = live.post("/document", {"text": STORY, "using": "predictor", "segments": 3}).body
    assert whole["by"]["surprise"]["choice"] == "prediction"
    surprise = live.post("/surprise", {"text": STORY, "using": "predictor"}).body
    assert [one["surprise"] for one in surprise["units"]] == [one["surprise"] for one in whole["units"]]
    assert [one["expected"] for one in surprise["units"]] == [one["expected"] for one in whole["units"]]
    segments = live.post("/segment", {"text": STORY, "using": "predictor", "segments": 3}).body
    assert segments["segments"] == whole["segments"]
    assert live.post("/surprise", {"text": STORY, "segments": 3}).status == 400


def test_lines_and_speakers_of_units(run: Path) -> None:
    with serving(Served.open(run)) as live:
        text = "First line here. Second sentence\ngoes on here.\n\nAnna: Good morning.\nTom: Good morning."
        prose = live.post("/document", {"text": text, "format": "prose"}).body["units"]
        assert [(one["text"], one["line"]) for one in prose] == [
            ("First line here.", 1),
            ("Second sentence\ngoes on here.", 1),
            ("Anna: Good morning.", 4),
            ("Tom: Good morning.", 5),
        ]
        turns = live.post("/document", {"text": "Anna: Hello there.\n\nTom: Hello.\n", "format": "turns"}).body
        assert [(one["text"], one["speaker"], one["line"]) for one in turns["units"]] == [
            ("Hello there.", "Anna", 1),
            ("Hello.", "Tom", 3),
        ]
        assert any("turns" in note for note in turns["notes"]), "the model was trained on sentences"
        lines = live.post("/segment", {"units": ["one", "two"], "format": "lines"}).body["units"]
        assert [(one["text"], one["line"]) for one in lines] == [("one", 1), ("two", 2)]


def test_turns_of_a_model_that_knows_who_speaks(tmp_path: Path) -> None:
    chats = Path(__file__).parents[2] / "examples" / "chats.jsonl"
    turns = ("data.units=turns", "data.speakers=embedding", "model.predictor=turn_transformer", "data.min_length=1")
    places = (f"data.train_file={chats}", "data.text_column=messages", "optimization.max_steps=2", "data.limit=null")
    train(tiny_settings(tmp_path / "chat-run", *turns, *places))
    model = ConceptModel.load(tmp_path / "chat-run")
    said, roles = ["I want a table.", "For how many?", "For four."], ["user", "assistant", "user"]
    named = [f"{role}: {text}" for role, text in zip(roles, said, strict=True)]
    with serving(Served.open(tmp_path / "chat-run")) as live:
        found = live.post("/predict", {"context": said, "roles": roles, "role": "user"}).body["embedding"]
        np.testing.assert_allclose(found, model.predict_next(named, role="user"), atol=1e-6)
        other = live.post("/predict", {"context": "\n".join(named), "role": "assistant"}).body["embedding"]
        np.testing.assert_allclose(other, model.predict_next(named, role="assistant"), atol=1e-6)
        assert not np.allclose(found, other, atol=1e-6)
        chat: list[Any] = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
        chat[1] = {"role": "assistant", "content": [{"type": "text", "text": said[1]}], "tool_calls": []}
        found = live.post("/predict", {"context": chat, "role": "assistant"}).body["embedding"]
        np.testing.assert_allclose(found, other, atol=1e-6)
        assert "leave roles out" in str(live.post("/predict", {"context": chat, "roles": roles}).body)
        assert live.post("/predict", {"context": said, "roles": roles[:2]}).status == 400
        surrogate = [{"role": "\ud800", "content": "hi"}]
        for odd in (
            {"context": said[:1], "roles": ["\ud800"]},
            *({"context": one} for one in (surrogate, ["\ud800: hi", "Bob: yes"])),
        ):
            assert live.post("/predict", odd).status == 400
        units = live.post("/document", {"text": "\n".join(named * 5)}).body["units"]
        assert [(one["text"], one["speaker"]) for one in units] == [*zip(said, roles, strict=True)] * 5
        expected = document.study(model, "\n".join(named * 5)).surprise.sentences
        assert [one["surprise"] for one in units] == pytest.approx([one.surprise for one in expected], abs=1e-4)
        ranked = live.post("/rank", {"context": named, "candidates": ["assistant: Done.", "Done."]}).body["ranked"]
        assert ranked[0]["score"] == pytest.approx(ranked[1]["score"]), "a speaker of the context is not read"
        fits = {one.text: one.fits for one in model.rank(named, [*said, "Done."])}
        ranked = live.post("/rank", {"context": chat, "candidates": [*said, "Done."]}).body["ranked"]
        assert {one["text"]: one["fits"] for one in ranked} == fits
        silent = json.dumps([*chat, {"role": "assistant", "content": None, "tool_calls": []}])
        found = live.post("/document", {"text": silent}).body
        assert (len(found["units"]), "left out: 1 message without text" in found["notes"]) == (3, True)
        for odd in ("/predict", {"context": ["", " "]}), ("/surprise", {"text": '[{"role": "user", "content": null}]'}):
            refused = live.post(*odd)
            assert (refused.status, "a conversation without text" in str(refused.body)) == (400, True)


def test_turns_of_a_model_that_knows_no_names(tmp_path: Path) -> None:
    """Wherever they are given, names are not read."""
    chats = Path(__file__).parents[2] / "examples" / "chats.jsonl"
    turns = ("data.units=turns", "data.min_length=1", f"data.train_file={chats}", "data.text_column=messages")
    train(tiny_settings(tmp_path / "run", *turns, "optimization.max_steps=2", "data.limit=null"))
    said = ["I want a table.", "For how many?", "For four."]
    named = [f"{role}: {text}" for role, text in zip(("user", "assistant", "user"), said, strict=True)]
    with serving(Served.open(tmp_path / "run")) as live:
        assert live.ask("GET", "/health").body["model"] == f"{tmp_path.name}/run", "run alone names nothing"
        whole = live.post("/document", {"text": "\n".join(named)}).body["units"]
        for units in (named, said):
            found = live.post("/document", {"units": units}).body["units"]
            assert [one["text"] for one in found] == said
            assert [one["surprise"] for one in found] == [one["surprise"] for one in whole]
            assert (found[0]["speaker"] == whole[0]["speaker"] == "user") is (units is named)
            ranked = live.post("/rank", {"context": units, "candidates": ["assistant: Done.", "Done."]}).body["ranked"]
            assert ranked[0]["score"] == pytest.approx(ranked[1]["score"])
        found = live.post("/document", {"units": ["Anna: Hi.", "@ben: Ho.", "Anna: Good."]}).body["units"]
        assert [(one["text"], one["speaker"]) for one in found] == [("Hi.", "Anna"), ("Ho.", "@ben"), ("Good.", "Anna")]


def test_the_map_keeps_what_two_axes_can_keep() -> None:
    random = np.random.default_rng(0)
    flat = random.standard_normal((30, 2)) * [3.0, 1.0]
    turned = np.linalg.qr(random.standard_normal((8, 8)))[0][:2]
    found = np.array(flat_map((flat @ turned + 5).astype(np.float32)))
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (flat, found)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    assert found[:, 0].var() > found[:, 1].var()
    assert flat_map(np.ones((1, 8), dtype=np.float32)) == [(0.0, 0.0)]


def test_search_by_meaning_and_after_a_context(live: Live, model: ConceptModel, index: Path) -> None:
    opened = Index.open(index, model)
    text = opened.arrays.text(7)
    first = live.post("/search", {"query": text, "top_k": 1}).body["hits"][0]
    assert (first["text"], round(first["score"], 3)) == (text, 1.0)
    after = live.post("/search", {"context": CONTEXT, "mode": "after", "top_k": 5}).body["hits"]
    assert [one["text"] for one in after] == [hit.text for hit in opened.search_after([CONTEXT], top_k=5)[0]]
    assert live.post("/search", {"mode": "meaning", "context": CONTEXT}).status == 400


def test_hits_have_their_line_and_where_that_is_asked_their_paragraph(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("Tom sold a car.\nAnna went home.\n\nThe birds flew away.\n", encoding="utf-8")
    model = ConceptModel.load(run)
    Index.build(model, SplitDocuments.open(elsewhere(model.settings.data, str(text))), tmp_path / "index")
    with serving(Served.open(run, tmp_path / "index")) as live:
        asked = {"query": "Anna went home.", "top_k": 1}
        (plain,) = live.post("/search", asked).body["hits"]
        assert (Path(plain["path"]).name, plain["line"], plain["paragraph"]) == ("notes.txt", 2, None)
        (found,) = live.post("/search", asked | {"paragraph": True}).body["hits"]
        text.write_text("A new line.\nTom sold a car.\nAnna went home.\n", encoding="utf-8")
        (moved,) = live.post("/search", asked).body["hits"]
        text.unlink()
        (gone,) = live.post("/search", asked).body["hits"]
    assert found["paragraph"].split("\n") == ["Tom sold a car.", "Anna went home."]
    assert found | {"paragraph": None} == plain
    assert moved == plain | {"line": 3}
    assert (gone["path"], gone["line"]) == (None, None)


def test_the_precision_is_what_was_asked_or_what_the_index_was_made_in(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("Tom sold a car.\nAnna went home.\n", encoding="utf-8")
    half = ConceptModel.load(run, precision="bf16")
    index = tmp_path / "index"
    Index.build(half, SplitDocuments.open(elsewhere(half.settings.data, str(text))), index)
    for served in (Served.open(run, index), Served.open(run, None, "bf16")):
        with serving(served) as live:
            found = live.post("/v1/embeddings", {"input": "Anna went home."}).body["data"][0]["embedding"]
            assert live.ask("GET", "/health").body["precision"] == "bf16"
        np.testing.assert_array_equal(np.float32(found), half.encode("Anna went home."))
    assert not np.array_equal(np.float32(found), ConceptModel.load(run).encode("Anna went home."))
    with pytest.raises(LangJepaError, match=r"was made in bf16.*leave --precision out.*--precision fp32"):
        Served.open(run, index, "fp32")
    with pytest.raises(LangJepaError, match="one of auto, fp32, bf16"):
        Served.open(run, None, "half")


def test_replies_by_the_predictor_and_without_one(live: Live, model: ConceptModel, index: Path) -> None:
    opened = Index.open(index, model)
    found = live.post("/reply", {"context": CONTEXT, "top_k": 2}).body
    expected = opened.voted_after(CONTEXT, top_k=2)
    assert [(one["text"], one["after"]) for one in found["replies"]] == [(one.hit.text, one.after) for one in expected]
    known = [opened.arrays.text(3), opened.arrays.text(4)]  # places after that very sentence have likeness 1
    copying = live.post("/reply", {"context": known, "top_k": 10}).body["copying"]
    assert copying[0]["likeness"] <= 1.001
    assert any(one["after"] == known[-1] and round(one["likeness"], 3) == 1.0 for one in copying)
    for one in copying:
        row = next(r for r in range(len(opened)) if opened.arrays.text(r) == one["text"]
                   and opened.arrays.document(r) == one["place"]["document"]
                   and opened.arrays.positions[r] == one["place"]["position"])  # fmt: skip
        assert opened.arrays.text(row - 1) == one["after"]
        assert opened.arrays.documents[row - 1] == opened.arrays.documents[row]


def test_a_decoders_run_brings_its_encoder(decoder: Path) -> None:
    expected = ConceptModel.load(decoder.parent / "tiny-run")
    load_decoder(decoder, expected)
    with serving(Served.open(decoder)) as live:
        assert {"/decode", "/continue", "/rank"} <= set(live.ask("GET", "/health").body["can"])
        texts = live.post("/decode", {"texts": CONTEXT}).body["texts"]
        assert texts == expected.decode(expected.encode(CONTEXT))
        after = live.post("/decode", {"context": CONTEXT}).body["texts"]
        assert after == expected.decode(expected.predict_next(CONTEXT)[None])
        assert live.post("/decode", {}).status == 400
        going_on = live.post("/continue", {"text": " ".join(CONTEXT), "sentences": 1})
        assert going_on.status == 200 or "no words" in going_on.message


def test_what_a_model_cannot_do_says_what_is_needed(run: Path, tmp_path: Path) -> None:
    with serving(Served.open(run)) as live:
        for path, body, cure in (
            ("/search", {"query": "x"}, "lang-jepa index tiny-run DATA"),
            ("/reply", {"context": ["x"]}, "lang-jepa index"),
            ("/decode", {"texts": ["x"]}, "lang-jepa train concept_decoder"),
            ("/continue", {"text": "x"}, "concept_decoder"),
        ):
            refused = live.post(path, body)
            assert (refused.status, refused.body["error"]["code"]) == (409, "not_possible_with_this_model")
            assert cure in refused.message


def test_a_pretrained_encoder_encodes_and_reads_documents(minilm: Path) -> None:
    with serving(Served.open(minilm)) as live:
        about = live.ask("GET", "/health").body
        assert (about["recipe"], about["can"][-1]) == (None, "/segment")
        found = np.array(live.post("/v1/embeddings", {"input": "A cat."}).body["data"][0]["embedding"])
        np.testing.assert_allclose(found, ConceptModel.load(minilm).encode("A cat."), atol=1e-6)
        refused = live.post("/rank", {"context": ["x"], "candidates": ["y"]})
        assert (refused.status, "no predictor" in refused.message) == (409, True)
        chat = live.post("/document", {"text": "Anna: Hello there.\nTom: Hello."}).body
        assert [one["speaker"] for one in chat["units"]] == ["Anna", "Tom"], "lines that name speakers are turns"
        assert live.ask("GET", "/run").body["curves"] == {}


def test_the_run_has_its_curves(live: Live, run: Path) -> None:
    found = shapes.Run.model_validate(live.ask("GET", "/run").body)
    rows = read_metrics(run / "metrics.csv")
    losses = found.curves["train/loss"]
    assert losses.value == [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses.step == [row["train/step"] for row in rows if "train/loss" in row]
    assert found.scores == []
    assert found.settings["recipe"] == "concepts"


def test_pages_load_nothing_from_elsewhere(live: Live) -> None:
    described = live.ask("GET", "/openapi.json").body
    assert set(live.ask("GET", "/health").body["can"]) | {"/decode", "/continue", "/run", "/health", "/metrics"} == set(
        described["paths"]
    )
    for path in ("/", "/docs"):
        page = live.ask("GET", path)
        assert page.status == 200
        assert "://" not in page.body.replace("http://www.w3.org/", "")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_neighbours_are_the_nearest_units_of_the_document(live: Live, model: ConceptModel) -> None:
    found = live.post("/neighbours", {"text": STORY, "using": "predictor"}).body
    sentences = document.study(model, STORY).topics.sentences
    assert len(found["units"]) == len(sentences)
    distinct = list(dict.fromkeys(sentences))
    assert found["different"] == len(distinct) == len(sentences) - 1, "Anna went home. is there twice"
    kind, statistics = model.similarity_kind, model.statistics
    own = prepare(model.encode(distinct), statistics, kind)
    for place in (0, 1, 5, 6, len(sentences) - 1):
        row, unit = distinct.index(sentences[place]), found["units"][place]
        alike = own @ own[row]
        others = [other for other in np.argsort(-alike, kind="stable") if other != row][:3]
        assert [one["unit"] for one in unit["similar"]] == [sentences.index(distinct[other]) for other in others]
        np.testing.assert_allclose([one["score"] for one in unit["similar"]], alike[others], atol=1e-5)
        if not place:
            assert (unit["rank"], unit["expected"]) == (None, [])
            continue
        predicted = model.predict_next(sentences[max(0, place - 16) : place])
        fits = own @ prepare(predicted[None], statistics, kind, side="predictions")[0]
        np.testing.assert_allclose([one["score"] for one in unit["expected"]], np.sort(fits)[::-1][:3], atol=1e-5)
        assert unit["rank"] == 1 + int(np.sum(fits > fits[row]))
    assert found["by"]["choice"] == "prediction"
    assert live.post("/neighbours", {"text": STORY, "segments": 3}).status == 400


def test_units_that_the_model_reads_as_the_same_are_one_neighbour(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("".join(f"INFO job {n} done\nWARN disk {n}\nINFO mail {n}\n" for n in range(200)))
    settings = tiny_settings(tmp_path / "log", f"data.train_file={tmp_path / 'app.log'}", "data.units=lines",
                             "data.mask=true", "data.val_split=tail", "optimization.max_steps=1")  # fmt: skip
    with serving(Served.open(train(settings).folder)) as live:
        text = "".join(f"INFO job {n} done\nWARN disk {n}\n" for n in range(4, 9))
        found = live.post("/neighbours", {"text": text}).body
    assert found["different"] == 2, "the numbers are masked"
    assert [[one["unit"] for one in unit["similar"]] for unit in found["units"]] == [[1], [0]] * 5


def test_the_run_says_what_its_scores_say(run: Path, tmp_path: Path) -> None:
    import shutil

    from lang_jepa.evaluation.conclusions import conclusions
    from lang_jepa.evaluation.table import Report, Row

    folder = Path(shutil.copytree(run, tmp_path / "scored"))
    rows = [
        Row("turns", "held-out", "recall@1", "model", 0.5, 0.4, 0.6, 100),
        Row("turns", "held-out", "recall@1", "copying", 0.2, 0.1, 0.3, 100),
        Row("other", "held-out", "recall@1", "model", 0.3, None, None, 10),
    ]
    Report(rows).save(folder / "scores.json")
    with serving(Served.open(folder)) as live:
        found = live.ask("GET", "/run").body
    assert [one["value"] for one in found["scores"]] == [0.5, 0.2, 0.3]
    assert [(one["task"], one["words"]) for one in found["conclusions"]] == [
        ("turns", conclusions(rows[:2])),
        ("other", conclusions(rows[2:])),
    ]
    assert "copying" in found["conclusions"][0]["words"][0]
