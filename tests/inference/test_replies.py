"""Ranking candidates and finding replies: the arithmetic of the vote, evidence, what fits, roles, and the verb."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.cli.rank import _show_replies
from lang_jepa.data.sources.conversations import speaker_of
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.replies import FAR, STRANGE, USUAL, ReplyBank
from lang_jepa.training.train import train
from tiny import tiny_settings
from typed import Type

TOPICS = ("tea", "rain", "trains", "dogs", "music")


def _chats(path: Path) -> list[list[dict[str, str]]]:
    rows = [
        [
            {"role": ("user", "assistant")[turn % 2], "content": f"About {TOPICS[row % 5]}, point {turn} of {row}."}
            for turn in range(6)
        ]
        for row in range(50)
    ]
    pq.write_table(pa.table({"messages": rows}), path)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replies")
    _chats(folder / "chats.parquet")
    chats = (f"data.train_file={folder / 'chats.parquet'}", "data.text_column=messages", "data.val_fraction=0.2")
    turns = ("data.units=turns", "data.speakers=embedding", "model.predictor=turn_transformer", "data.min_length=1")
    train(tiny_settings(folder / "run", *chats, *turns, "data.deduplicate=none", "data.limit=null"))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> ConceptModel:
    return ConceptModel.load(folder / "run")


@pytest.fixture(scope="module")
def past() -> list[list[str]]:
    return [
        [f"{('user', 'assistant')[turn % 2]}: About {topic}, point {turn} of {row}." for turn in range(4)]
        for row, topic in enumerate(TOPICS)
    ]


CONTEXT = ["user: About tea, point 0 of 7.", "assistant: About tea, point 1 of 7."]


def test_rank_is_the_cosine_with_the_prediction(model: ConceptModel) -> None:
    candidates = ["About tea, point 2 of 7.", "About dogs, point 5 of 9.", "Nothing of it."]
    found = model.rank(CONTEXT, candidates)
    kind, statistics = model.similarity_kind, model.statistics
    prediction = prepare(model.predict_next(CONTEXT)[None], statistics, kind, side="predictions")[0]
    expected = {text: float(prepare(model.encode([text]), statistics, kind)[0] @ prediction) for text in candidates}
    assert [one.text for one in found] == sorted(candidates, key=lambda text: -expected[text])
    assert [one.score for one in found] == pytest.approx([expected[one.text] for one in found], abs=1e-5)
    assert statistics.sample is not None
    usual = prepare(statistics.sample, statistics, kind) @ prediction
    assert [one.nearer for one in found] == pytest.approx(
        [float((usual < one.score).mean()) for one in found], abs=0.01
    )
    assert [one.fits for one in found] == [one.nearer >= USUAL for one in found]
    asked = model.rank(CONTEXT, candidates, role="assistant")
    assert [one.score for one in asked] != pytest.approx([one.score for one in found], abs=1e-6)


def test_a_reply_is_voted_for_by_what_followed_the_nearest_contexts(model: ConceptModel, past: list[list[str]]) -> None:
    bank = ReplyBank(model, past)
    found = model.reply(CONTEXT, bank, k=4, top=4)
    kind, statistics = model.similarity_kind, model.statistics

    def predicted(contexts: list[list[str]]) -> np.ndarray:
        return prepare(model.predict_next(contexts), statistics, kind, side="predictions")

    pairs = [(one[:position], one[position]) for one in past for position in range(1, len(one))]
    likeness = predicted([context for context, _ in pairs]) @ predicted([CONTEXT])[0]
    near = sorted(range(len(pairs)), key=lambda row: -likeness[row])[:4]
    turns = prepare(model.encode([pairs[row][1] for row in near]), statistics, kind)
    weights = np.clip(likeness[near], 1e-6, None)
    votes = {pairs[row][1]: float(turns[place] @ (weights @ turns) / weights.sum()) for place, row in enumerate(near)}
    assert [one.score for one in found] == pytest.approx(sorted(votes.values(), reverse=True), abs=1e-5)
    for one in found:
        ((context, turn),) = [pair for pair in pairs if speaker_of(pair[1])[1] == one.text]
        assert list(one.context) == context
        assert past[one.conversation][one.position] == turn
        assert one.score == pytest.approx(votes[turn], abs=1e-5)
        assert one.likeness == pytest.approx(float(likeness[pairs.index((context, turn))]), abs=1e-5)


def test_a_bank_by_role_has_the_turns_of_that_role(model: ConceptModel, past: list[list[str]]) -> None:
    bank = ReplyBank(model, past, role="assistant")
    assert len(bank.replies) == 2 * len(past)
    assert all(reply.startswith("assistant: ") for reply in bank.replies)
    assert [one.text for one in model.reply(CONTEXT, past, role="assistant", k=3)] == [
        one.text for one in bank.reply(CONTEXT, k=3)
    ]
    with pytest.raises(
        LangJepaError, match=r"no reply by system: turns .* like 'system: .*speak there: assistant, user"
    ):
        ReplyBank(model, past, role="system")
    with pytest.raises(LangJepaError, match="has replies by assistant, so role='user' comes too late"):
        model.reply(CONTEXT, bank, role="user")
    assert model.reply(CONTEXT, bank, role="assistant") == bank.reply(CONTEXT)
    assert len(bank.reply(CONTEXT, k=2)) == 2


def test_what_cannot_be_asked_is_named(folder: Path, model: ConceptModel, past: list[list[str]]) -> None:
    bank = ReplyBank(model, past)
    for wrong, said in (({"k": 0}, "not k=0"), ({"k": 1.5}, "not k=1.5"), ({"k": 3, "top": 4}, "4 replies cannot")):
        with pytest.raises(LangJepaError, match=said):
            bank.reply(CONTEXT, **wrong)
    for role in (3, ""):
        for asked in (
            lambda role=role: model.rank(CONTEXT, ["a"], role=role),
            lambda role=role: ReplyBank(model, past, role=role),
        ):
            with pytest.raises(LangJepaError, match="the role "):
                asked()
    with pytest.raises(LangJepaError, match="no candidates"):
        model.rank(CONTEXT, [])
    with pytest.raises(LangJepaError, match=r"turn 0 is not a string \(list\)"):
        model.rank([CONTEXT, CONTEXT], ["a", "a"])  # type: ignore[list-item]
    twice = model.rank(CONTEXT, ["About tea.", "About tea."])
    assert twice[0] == twice[1]
    with pytest.raises(LangJepaError, match="the bank was made with another model"):
        ConceptModel.load(folder / "run").reply(CONTEXT, bank)


def test_a_model_that_knows_no_speakers_takes_replies_by_role_too(folder: Path, past: list[list[str]]) -> None:
    chats = (f"data.train_file={folder / 'chats.parquet'}", "data.text_column=messages", "data.val_fraction=0.2")
    turns = ("data.units=turns", "data.min_length=1", "data.deduplicate=none", "data.limit=null")
    train(tiny_settings(folder / "plain", *chats, *turns, "optimization.max_steps=2"))
    plain = ConceptModel.load(folder / "plain")
    bank = ReplyBank(plain, past, role="assistant")
    said = [[speaker_of(turn)[1] for turn in one] for one in past]
    assert bank.replies == [one[position] for one in said for position in (1, 3)]
    assert bank.contexts[1] == said[0][:3]
    likely = bank.reply(past[0][:1], k=1)[0]
    assert likely.likeness == pytest.approx(1.0, abs=1e-4)  # names are taken off the context too
    noted = [bank.reply([past[0][0], f"{name}: bring it."], k=1)[0].likeness for name in ("Note", "-", "assistant")]
    assert noted[0] != noted[1] == noted[2]  # nobody is called Note, so the word is said
    with pytest.raises(LangJepaError, match="conversation 0 of the bank: expected a list of turns, not a single"):
        ReplyBank(plain, ["hello", "there"])
    assert ReplyBank(plain, said).replies == [turn for one in said for turn in one[1:]]


def test_a_context_unlike_all_others_does_not_fit(
    model: ConceptModel, past: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """And is far where it is less like them than all but one in a hundred of theirs, which is said otherwise."""
    bank = ReplyBank(model, past)
    likeness = bank._predictions @ bank._predictions.T
    likeness[bank._owners[:, None] == bank._owners] = -np.inf
    assert (bank._strange, bank._far) == pytest.approx(tuple(np.quantile(likeness.max(1), [STRANGE, FAR])), abs=1e-6)
    near = bank.reply(CONTEXT)[0].likeness
    care, nothing = "take these with care", "nothing here fits"
    for strange, far, fits, is_far, said in (
        (2.0, 2.0, False, True, nothing),
        (2.0, near - 0.5, False, False, care),
        (near - 0.1, near - 0.5, True, False, None),
    ):
        bank._strange, bank._far = strange, far
        found = bank.reply(CONTEXT)
        assert (found[0].fits, found[0].far) == (fits, is_far)
        _show_replies(found, ["chats.jsonl:1"] * len(found), model, 10)
        out = capsys.readouterr().out
        assert [one for one in (care, nothing) if one in out] == ([said] if said else [])
        assert said is None or said in out.splitlines()[0]


def test_whether_a_reply_of_one_conversation_fits_is_unknown(
    folder: Path, model: ConceptModel, past: list[list[str]], tmp_path: Path, type_in: Type
) -> None:
    assert [one.fits for one in ReplyBank(model, past[:1]).reply(CONTEXT)] == [None] * 3
    assert ReplyBank(model, past[:2]).reply(CONTEXT)[0].fits is not None
    messages = [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in past[0]]
    (tmp_path / "bank.jsonl").write_text(json.dumps({"messages": messages}))
    (tmp_path / "chat").write_text("\n".join(CONTEXT))
    given = ("rank", folder / "run", "--context", tmp_path / "chat", "--bank", tmp_path / "bank.jsonl")
    code, out, err = type_in(*given)
    assert (code, "whether anything here fits is unknown: the bank has the replies of one" in out) == (0, True), err
    assert out.startswith("whether anything here fits")
    found = json.loads(type_in(*given, "--json").out)
    assert found[0]["fits"] is None
    assert {one["place"] for one in found} == {f"{tmp_path / 'bank.jsonl'}:1"}


def test_a_reply_is_shown_with_the_line_it_stands_on(
    folder: Path, past: list[list[str]], tmp_path: Path, type_in: Type
) -> None:
    rows = [[dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in one] for one in past]
    (tmp_path / "bank.jsonl").write_text("".join(f"\n{json.dumps({'messages': one})}\n" for one in rows))
    (tmp_path / "chat").write_text("\n".join(CONTEXT))
    given = ("rank", folder / "run", "--context", tmp_path / "chat", "--bank", tmp_path / "bank.jsonl")
    lines = (tmp_path / "bank.jsonl").read_text().splitlines()
    for one in json.loads(type_in(*given, "--json").out):
        name, _, number = one["place"].rpartition(":")
        assert name == str(tmp_path / "bank.jsonl")
        assert one["text"] in lines[int(number) - 1]
        assert f"  [{one['place']}]\n" in type_in(*given).out


def test_counts_may_be_those_of_numpy(model: ConceptModel, past: list[list[str]]) -> None:
    bank = ReplyBank(model, past)
    assert model.reply(CONTEXT, bank, k=np.int64(5), top=np.int64(2)) == bank.reply(CONTEXT, k=5, top=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["messages", "list", "text", "lines"])
def test_the_verb_reads_every_form_of_a_conversation(
    form: str,
    folder: Path,
    model: ConceptModel,
    tmp_path: Path,
    type_in: Type,
) -> None:
    messages = [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in CONTEXT]
    text = {
        "messages": json.dumps({"messages": messages}),
        "list": json.dumps(messages),
        "text": "\n".join(CONTEXT),
        "lines": "\n".join(speaker_of(turn)[1] for turn in CONTEXT),
    }[form]
    (tmp_path / "chat").write_text(text)
    (tmp_path / "candidates.txt").write_text("About tea, point 2.\n\nAbout dogs.\n")
    given = ("rank", folder / "run", "--context", tmp_path / "chat", "--candidates", tmp_path / "candidates.txt")
    if form == "lines":  # this model reads who speaks
        code, _, err = type_in(*given)
        assert code == 2
        assert 'was trained on turns like "Anna: ..."' in err
        return
    code, out, _ = type_in(*given, "--json")
    assert code == 0
    expected = model.rank(CONTEXT, ["About tea, point 2.", "About dogs."])
    assert [(one["text"], one["score"]) for one in json.loads(out)] == [
        (one.text, pytest.approx(one.score, abs=1e-5)) for one in expected
    ]


def test_the_verb_finds_replies_in_a_file(folder: Path, tmp_path: Path, type_in: Type) -> None:
    (tmp_path / "chat").write_text("\n".join(CONTEXT))
    given = ("rank", folder / "run", "--context", tmp_path / "chat", "--bank", folder / "chats.parquet")
    code, out, _ = type_in(*given, "--top", 2)
    assert code == 0
    assert out.count("after: user: About ") + out.count("after: assistant: About ") == 2
    code, _, err = type_in(*given, "--top", 50)
    assert (code, "--top-k 50 replies cannot come from --votes 10 contexts" in err) == (2, True)
    code, out, _ = type_in(*given, "--votes", 1)
    assert (code, out.count("         after: ")) == (0, 1)
    code, _, err = type_in("rank", folder / "run", "--context", tmp_path / "chat")
    assert (code, "give what may come next" in err) == (2, True)
    (tmp_path / "odd.json").write_text('{"text": "x"}')
    code, _, err = type_in(*given[:3], tmp_path / "odd.json", *given[4:])
    assert (code, "is JSON without a list `messages`" in err) == (2, True)
    none = "looks like JSON but is not valid"
    cut = '{"role": "user", "content": "a"}\n{"role": "user"}'
    for text, said in (
        (cut, "line 2 (keys: role) is not a message"),
        ("[" * 100_000, none),
        ("hello, not JSON", none),
        ('{"messages": [],}', none),
    ):
        (tmp_path / "odd.json").write_text(text)
        code, _, err = type_in(*given[:3], tmp_path / "odd.json", *given[4:])
        assert (code, said in err) == (2, True), err
