"""Conversations from the file to the tools: who speaks is shown, and what the task `turns` measured decides."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.evaluation.table import Detail, Row
from lang_jepa.evaluation.tasks.request import Budget
from lang_jepa.evaluation.tasks.turns import OF_LINES, TITLES, choices_of_turns
from lang_jepa.inference.document import continuations, study
from lang_jepa.inference.document_reading import units_of
from lang_jepa.inference.model import ConceptModel
from lang_jepa.report import evaluate_run
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.training.train import train
from tiny import TINY, corpora, tiny_settings
from typed import Type

TOPICS = ("tea", "rain", "trains", "dogs", "music")
TURNS = ("data.units=turns", "data.min_length=1", "data.deduplicate=none", "data.limit=null")
KNOWING = ("data.speakers=embedding", "model.predictor=turn_transformer")
CHAT = [("Anna", "About tea, point 0."), ("Ben", "Note: about rain."), ("Anna", "About tea, point 2.")]
TEXT = "\n".join(f"{name}: {text}" for name, text in CHAT)
SAID = [text for _, text in CHAT]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        [
            {"role": ("user", "assistant")[turn % 2], "content": f"About {TOPICS[row % 5]}, point {turn} of {row}."}
            for turn in range(6)
        ]
        for row in range(60)
    ]
    path = tmp_path_factory.mktemp("chats") / "chats.parquet"
    pq.write_table(pa.table({"messages": rows}), path)
    return path


@pytest.fixture(scope="module")
def make(chats: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    def run(*more: str) -> Path:
        given = (f"data.train_file={chats}", "data.text_column=messages", "data.val_fraction=0.3")
        folder = tmp_path_factory.mktemp("runs") / "run"
        return train(tiny_settings(folder, *given, *TURNS, "optimization.max_steps=2", *more)).folder

    return run


@pytest.fixture(scope="module")
def knowing(make: Make) -> Path:
    return make(*KNOWING)


@pytest.mark.parametrize("speakers", ["none", "prefix", "embedding"])
def test_a_conversation_is_shown_by_speaker(
    speakers: str, make: Make, knowing: Path, tmp_path: Path, type_in: Type
) -> None:
    run = knowing if speakers == "embedding" else make(f"data.speakers={speakers}")
    (tmp_path / "chat.txt").write_text(TEXT)
    messages = [{"role": name, "content": text} for name, text in CHAT]
    (tmp_path / "chat.json").write_text(json.dumps({"messages": messages}))
    shown = [type_in("document", run, tmp_path / name) for name in ("chat.txt", "chat.json")]
    for name, text in CHAT:
        assert f"  {name}: {text}" in shown[0].out
    assert shown[0].out == shown[1].out
    found = study(ConceptModel.load(run), TEXT)
    assert found.speakers == ["Anna", "Ben", "Anna"]
    given = SAID if speakers == "none" else TEXT.split("\n")
    assert [one.sentence for one in found.surprise.sentences] == given
    refused = type_in("document", run, tmp_path / "nothing.json")
    assert (refused.status, "nothing.json" in refused.err) == (2, True)
    (tmp_path / "odd.json").write_text('[{"text_of_it": 1}]')
    assert "is not a conversation: a message without role" in type_in("document", run, tmp_path / "odd.json").err


def test_messages_without_text_are_counted(knowing: Path, tmp_path: Path, type_in: Type) -> None:
    """In the words of what a corpus lost, whichever verb reads them."""
    messages: list[dict[str, object]] = [{"role": name, "content": text} for name, text in CHAT]
    messages[1:1] = [{"role": "assistant", "content": None, "tool_calls": []}]
    messages.append({"role": "user", "content": [{"type": "image_url", "image_url": "a.png"}]})
    (tmp_path / "chat.json").write_text(json.dumps(messages))
    (tmp_path / "answers.txt").write_text("About tea.\n")
    rank = ("rank", knowing, "--context", tmp_path / "chat.json", "--candidates", tmp_path / "answers.txt")
    for given in (rank, ("document", knowing, tmp_path / "chat.json")):
        code, _, err = type_in(*given)
        assert (code, "chat.json: no prose, left out of the texts: 2 messages without text" in " ".join(err.split())) == (
            0, True,
        )  # fmt: skip
    (tmp_path / "chat.json").write_text(json.dumps(messages[2:4]))
    assert "without text" not in type_in(*rank).err


def test_what_training_warned_of_is_said_where_the_model_is_used(knowing: Path, tmp_path: Path, type_in: Type) -> None:
    run = shutil.copytree(knowing, tmp_path / "run")
    (tmp_path / "answers.txt").write_text("About tea.\n")
    (tmp_path / "chat.txt").write_text(TEXT)
    summary = json.loads((run / "summary.json").read_text())
    for alarms, said in (
        ({"alarms": [], "task_alarms": []}, ""),
        (
            {"alarms": [], "task_alarms": ["nothing is learnt, step 9: 2 is not below 1. Train longer."]},
            "nothing is learnt, step 9",
        ),
        ({"alarms": ["collapse at step 3"], "task_alarms": ["nothing is learnt"]}, "collapse at step 3"),
    ):
        (run / "summary.json").write_text(json.dumps(summary | alarms))
        for given in (
            ("document", run, tmp_path / "chat.txt"),
            ("rank", run, "--context", tmp_path / "chat.txt", "--candidates", tmp_path / "answers.txt"),
        ):
            err = type_in(*given).err
            assert [line for line in err.splitlines() if "its training warned" in line] == (
                [f"its training warned: {said} (more in its summary.json)"] if said else []
            )


def test_names_are_no_part_of_what_a_turn_says(knowing: Path) -> None:
    model = ConceptModel.load(knowing)
    named, bare = (study(model, text, using="baseline", against="training") for text in (TEXT, SAID))
    assert [one.fit for one in named.surprise.sentences] == [one.fit for one in bare.surprise.sentences]
    assert units_of(model, SAID)[0] == [f"-: {text}" for text in SAID]
    ranked, _ = continuations(model, TEXT.split("\n"), ["Ben: Yes.", "Yes.", "Note: Yes."])
    assert ranked[0].fit != ranked[2].fit
    fits = {one.sentence: one.fit for one in ranked}
    assert fits["Ben: Yes."] == fits["Yes."] != fits["Note: Yes."]  # nobody is called Note


def test_a_conversation_in_json_is_for_models_of_turns(tmp_path: Path, type_in: Type, trained: Path) -> None:
    (tmp_path / "chat.json").write_text(json.dumps([{"role": "user", "content": "Hello."}]))
    refused = type_in("document", trained, tmp_path / "chat.json")
    assert (refused.status, "is a conversation, and the model was trained on sentences" in refused.err) == (2, True)


def _row(name: str, value: float, *, detailed: bool = False, chosen: bool = True) -> Row:
    clusters = np.array([0, 0, 1])
    detail = Detail(np.full(3, value), clusters, None, "x") if detailed else None
    return Row(TITLES["same"], "held out", "mrr", name, value, None, None, 3, "centred", chosen, detail=detail)


def test_the_better_rule_of_the_next_turn_is_taken() -> None:
    others = [_row("copy-forward (model)", 0.4), _row("recency mean (model)", 0.3), _row("ridge on means (model)", 0.9)]
    for own, used in ((0.5, "prediction"), (0.4, "last sentence"), (0.1, "last sentence")):
        rows = [_row("model", 0.05, chosen=False), _row("model", own, detailed=True), *others]
        choice = choices_of_turns(rows)["next"]
        assert (choice.used.rule, choice.documents, choice.baseline.merit) == (used, 2, 0.4)
    assert choices_of_turns([_row("model", 0.5), *others]) == {}  # of an earlier evaluation
    assert choices_of_turns([]) == {}
    of_lines = [replace(row, task=OF_LINES["same"]) for row in (_row("model", 0.5, detailed=True), *others)]
    assert choices_of_turns(of_lines)["next"].used.rule == "prediction"


def test_document_expects_as_the_evaluation_of_turns_found_better(knowing: Path, tmp_path: Path, type_in: Type) -> None:
    options = EvaluateOptions(tasks="turns", output=tmp_path / "s.json", budget=Budget(turn_queries=60, turn_pairs=80))
    report, _ = evaluate_run(knowing, options)
    choice = ConceptModel.load(knowing).choices["next"]
    values = {
        name: report.value(TITLES["same"], "held out", "mrr", name)
        for name in ("model", "copy-forward (model)", "recency mean (model)")
    }
    best = max(values, key=lambda name: values[name])
    rules = {"model": "prediction", "copy-forward (model)": "last sentence", "recency mean (model)": "recency mean"}
    assert choice.used.rule == rules[best]
    assert choice.used.merit == pytest.approx(values[best], abs=1e-3)
    (tmp_path / "chat.txt").write_text(TEXT)
    shown = " ".join(type_in("document", knowing, tmp_path / "chat.txt").out.split())
    assert f"surprise by {choice.used.rule} [{choice.used.similarity}]: next turn, same conversation, MRR" in shown
    assert shown.count("(not measured)") == 3


def test_the_context_of_rank_may_be_a_table_and_numbers_are_explained(
    knowing: Path, tmp_path: Path, type_in: Type
) -> None:
    rows = "".join(f'{name},"{text}"\n' for name, text in CHAT)
    (tmp_path / "chat.csv").write_text(f"speaker,text\n{rows}")
    (tmp_path / "chat.txt").write_text(TEXT)
    (tmp_path / "next.txt").write_text("About dogs.\nAbout tea.\n")
    asked = [
        type_in("rank", knowing, "--context", tmp_path / name, "--candidates", tmp_path / "next.txt")
        for name in ("chat.csv", "chat.txt")
    ]
    assert asked[0].out == asked[1].out
    cues = "\n\n".join(f"00:0{n}.000 --> 00:0{n}.900\n<v {name}>{text}" for n, (name, text) in enumerate(CHAT))
    (tmp_path / "chat.vtt").write_text(f"WEBVTT\n\n{cues}\n")
    (tmp_path / "next.json").write_text('["About dogs.", "", "About tea."]')
    again = type_in("rank", knowing, "--context", tmp_path / "chat.vtt", "--candidates", tmp_path / "next.json")
    assert again.out == asked[0].out
    refused = type_in("rank", knowing, "--context", tmp_path / "chat.vtt", "--candidates", tmp_path / "chat.csv")
    assert (refused.status, "write one candidate a line" in refused.err) == (2, True)
    assert "cosine with the prediction; what fits is closer to it than 95% of the training turns" in " ".join(
        asked[0].out.split()
    )
    both = f"speaker,text,chat_id\n{''.join(f'{n},x,{k}{chr(10)}' for k in (1, 2) for n in ('a', 'b'))}"
    (tmp_path / "both.csv").write_text(both)
    refused = type_in("rank", knowing, "--context", tmp_path / "both.csv", "--candidates", tmp_path / "next.txt")
    assert (refused.status, "holds the messages of 2 conversations (column 'chat_id')" in refused.err) == (2, True)
    found = type_in("rank", knowing, "--context", tmp_path / "chat.csv", "--bank", tmp_path / "chat.txt")
    assert "votes, mean" in " ".join(found.out.split())


def test_a_model_that_was_trained_on_no_names_reads_none(make: Make, tmp_path: Path, type_in: Type) -> None:
    run, said = make("data.speakers=none"), ["About tea, point 0.", "Note: about rain."]
    asked = []
    for names in (("user: ", "assistant: "), ("", "")):
        turns = [f"{name}{text}" for name, text in zip(names, said, strict=True)]
        (tmp_path / "chat.json").write_text(json.dumps(turns))
        (tmp_path / "next.txt").write_text(f"{names[0]}About dogs.\n{names[1]}About tea.\n")
        asked.append(
            type_in("rank", run, "--context", tmp_path / "chat.json", "--candidates", tmp_path / "next.txt").out
        )
    assert asked[0] == asked[1]
    assert "About dogs" in asked[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "a conversation without text"),
        ('[""]', "a conversation without text"),
        ('[{"role": "user", "content": null}]', "a conversation without text"),
    ],
)
def test_a_context_without_text_is_refused(
    content: str, said: str, knowing: Path, tmp_path: Path, type_in: Type
) -> None:
    for name in ("chat.json", "chat.txt") if content else ("chat.txt",):
        (tmp_path / name).write_text(content)
        (tmp_path / "next.txt").write_text("About dogs.\n")
        refused = type_in("rank", knowing, "--context", tmp_path / name, "--candidates", tmp_path / "next.txt")
        assert (refused.status, refused.out) == (2, "")
        assert said in " ".join(refused.err.split())
        assert name in refused.err
    if content:
        refused = type_in("document", knowing, tmp_path / "chat.txt")
        assert (refused.status, said in " ".join(refused.err.split())) == (2, True)


@pytest.fixture
def odd_table(tmp_path: Path) -> Path:
    """Two conversations, of which neither who speaks nor what is shared has a usual name."""
    rows = [{"ref": 1, "who": name, "sender_id": number, "text": text} for number, (name, text) in enumerate(CHAT)]
    pq.write_table(pa.Table.from_pylist(rows + [{**row, "sender_id": 0} for row in rows]), tmp_path / "odd.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "one.parquet")
    (tmp_path / "chat.txt").write_text(TEXT)
    (tmp_path / "next.txt").write_text("About dogs.\nAbout tea.\n")
    return tmp_path / "one.parquet"


def test_columns_reach_the_context_of_rank(knowing: Path, odd_table: Path, tmp_path: Path, type_in: Type) -> None:
    asked = ("rank", knowing, "--candidates", tmp_path / "next.txt", "--context")
    plain = type_in(*asked, tmp_path / "chat.txt")
    assert type_in(*asked, odd_table, "--speaker-column", "who").out == plain.out
    assert type_in(*asked, odd_table, "--speaker-column", "who", "--group-column", "ref").out == plain.out
    several = type_in(*asked, tmp_path / "odd.parquet", "--group-column", "sender_id")
    assert "messages of 3 conversations (column 'sender_id')" in several.err
    missing = type_in(*asked, odd_table, "--speaker-column", "whom")
    assert "one.parquet has no column 'whom'; its columns are ref, who, sender_id, text" in missing.err
    none = type_in(*asked, tmp_path / "chat.txt", "--group-column", "ref")
    assert f"--group-column has no effect: {tmp_path / 'chat.txt'} has no columns" in none.err
    assert (several.status, missing.status, none.status) == (2, 2, 2)
    bank = ("rank", knowing, "--bank", tmp_path / "chat.txt", "--context")
    voted = type_in(*bank, tmp_path / "chat.txt")
    assert voted.status == 0
    assert type_in(*bank, odd_table, "--speaker-column", "who").out == voted.out
    refused = type_in(*bank, tmp_path / "chat.txt", "--speaker-column", "who")
    assert "--speaker-column has no effect without --group-column" in refused.err


@pytest.mark.parametrize("name", ["one.parquet", "one.csv", "one.jsonl", "whole.parquet", "whole.jsonl"])
def test_document_reads_the_conversation_of_a_table(
    name: str, knowing: Path, odd_table: Path, tmp_path: Path, type_in: Type
) -> None:
    table = pq.read_table(odd_table).to_pylist()
    messages = [{"role": row["who"], "content": row["text"]} for row in table]
    whole, options = [{"messages": messages}], list[str]()
    if name == "one.csv":
        rows = "".join(f'{row["who"]},"{row["text"]}"\n' for row in table)
        (tmp_path / name).write_text(f"who,text\n{rows}")
    elif name.endswith(".jsonl"):
        values = table if name == "one.jsonl" else whole
        (tmp_path / name).write_text("\n".join(map(json.dumps, values)))
    elif name == "whole.parquet":
        pq.write_table(pa.Table.from_pylist(whole), tmp_path / name)
    if name.startswith("one"):
        options = ["--speaker-column", "who"]
    shown = type_in("document", knowing, tmp_path / name, *options)
    assert (shown.out, shown.err) == type_in("document", knowing, tmp_path / "chat.txt")[1:]


def test_document_refuses_what_is_no_one_conversation(
    knowing: Path, odd_table: Path, tmp_path: Path, type_in: Type, trained: Path
) -> None:
    (tmp_path / "two.jsonl").write_text((json.dumps({"messages": [{"role": "a", "content": "x"}] * 2}) + "\n") * 2)
    refused = type_in("document", knowing, tmp_path / "two.jsonl")
    assert "two.jsonl holds 2 conversations, but exactly one is expected" in refused.err
    of_sentences = type_in("document", trained, odd_table)
    assert "is a table of many values, and the model was trained on sentences" in of_sentences.err
    unread = type_in("document", knowing, tmp_path / "chat.txt", "--text-column", "x")
    assert "--text-column has no effect with a text without columns" in unread.err
    unread = type_in("document", knowing, "--text", "a", "--text-column", "x")
    assert "--text-column has no effect with a text without columns" in unread.err


def test_a_context_of_search_is_read_as_one_of_rank(knowing: Path, tmp_path: Path, type_in: Type, make: Make) -> None:
    run = make("data.speakers=none")
    (tmp_path / "chat.txt").write_text(TEXT)
    assert type_in("index", run, tmp_path / "chat.txt", "--output", tmp_path / "index").status == 0
    named, bare = (
        type_in("search", tmp_path / "index", *(word for text in some for word in ("--after", text))).out.split("\n")
        for some in (TEXT.split("\n")[:2], ["About tea, point 0.", "Note: about rain."])
    )
    assert named[3:] == bare[3:]
    assert "among 3 turns" in named[0]


def test_training_and_index_of_turns_speak_of_turns(chats: Path, tmp_path: Path, type_in: Type) -> None:
    """Also where warnings are given: of too little text, of a collapse, of turns that are cut."""
    given = (*TURNS, f"data.train_file={chats}", "data.text_column=messages", "data.val_fraction=0.3", *TINY,
             f"logging.log_dir={tmp_path / 'run'}", f"data.corpus_dir={corpora()}", "optimization.max_steps=4",
             "logging.eval_freq=1", "model.max_length=8", "model.embed_dim=256", "model.pred_dim=256",
             "optimization.lr=3", "objective.regularizer=none", "data.batch_size=4")  # fmt: skip
    trained = type_in("train", "documents", *(part for one in given for part in ("-o", one)))
    said = " ".join(trained.out.split())
    for part in (" turns ", "among ", "mrr among 1", "training turns, 8 per dimension", "two turns have cosine",
                 "training turns are too few", "turns at 8 tokens"):  # fmt: skip
        assert part in said, (part, trained.out)
    built = type_in("index", tmp_path / "run", chats, "--output", tmp_path / "index")
    assert "360 of 60 documents" in built.out
    assert "sentence" not in (trained.out + built.out).replace("data.min_sentences", "").replace("val_sentences", "")
