"""A run of conversations: what is measured by default, labels and questions from files, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.tasks import Budget
from lang_jepa.evaluation.tasks.replies import LABEL, TITLE
from lang_jepa.report import evaluate_run
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.training.train import train
from tiny import tiny_encoder, tiny_settings

TOPICS = ("tea", "rain", "trains", "dogs", "music")
OPTIONS = EvaluateOptions(budget=Budget(turn_queries=60, turn_pairs=100, conversations=30))


def _chats(path: Path, first: int, count: int, **columns: list[Any]) -> Path:
    rows = [
        [
            {"role": ("user", "assistant")[turn % 2], "content": f"{TOPICS[row % 5]} in turn {turn} of chat {row}."}
            for turn in range(8)
        ]
        for row in range(first, first + count)
    ]
    for messages in rows:
        messages[3]["content"] = ""  # as of a call of a tool: it is no turn
    acts = [[("ask", "tell")[turn % 2] for turn in range(8)] for _ in rows]
    ids = [f"chat/{row}" for row in range(first, first + count)]
    pq.write_table(pa.table({"id": ids, "messages": rows, "acts": acts, **columns}), path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chats")
    chats = _chats(folder / "chats.parquet", 0, 50)
    data = (f"data.train_file={chats}", "data.text_column=messages", "data.val_fraction=0.3", "data.units=turns")
    more = ("data.min_length=1", "data.deduplicate=none", "data.limit=null", "optimization.max_steps=2")
    return train(tiny_settings(folder / "run", *data, *more)).folder


def test_turns_and_replies_are_measured_by_default_with_labels_of_the_file(run: Path, tmp_path: Path) -> None:
    """Replies are the assistant's, whose turns all have the label of the true one."""
    report, _ = evaluate_run(run, replace(OPTIONS, labels="acts", beside=["words"]))
    assert list(report.sources) == ["turns", "replies"]
    found = {(row.metric, row.name): row for row in report.rows if row.task == TITLE}
    assert found[LABEL, "model"].value == found[LABEL, "chance"].value == 1
    assert ("similarity by words", "nearest context (words)") in found
    assert "what the assistant answers" in report.sources["replies"]
    assert report.sources["replies"].count("1 label") == 1
    others = _chats(tmp_path / "others.parquet", 100, 6)
    report, _ = evaluate_run(run, replace(OPTIONS, tasks="replies", labels="acts", documents=str(others)))
    assert "of 6 conversations" in report.sources["replies"]
    assert report.value(TITLE, "held out", LABEL, "model") == 1


def test_questions_about_conversations_are_read_from_their_file(run: Path, tmp_path: Path) -> None:
    """A span counts the message without text, which is no unit."""
    queries = [
        [{"query": f"What of {row}?", "spans": [[2, 4]]}, {"query": "Nothing?", "spans": [[3, 3]]}] for row in range(6)
    ]
    path = _chats(tmp_path / "asked.parquet", 200, 6, queries=queries)
    report, _ = evaluate_run(run, replace(OPTIONS, tasks="passages", documents=str(path)))
    assert report.sources["passages"] == (
        f"6 questions about 6 of 6 documents of {path} (42 units); 6 left out that no unit answers"
    )
    chance = {row.task: row.value for row in report.rows if (row.name, row.metric) == ("chance", "recall@1")}
    assert chance == {"passage, same document": pytest.approx(2 / 7), "passage, all documents": pytest.approx(2 / 42)}
    assert {row.split for row in report.rows} == {"asked.parquet"}
    assert "untrained + prediction" in {row.name for row in report.rows}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": "turns", "labels": "acts"}, "--labels belongs to the task replies"),
        ({"tasks": "replies", "labels": "mood"}, "labels: mood cannot be read: .* no column 'mood'"),
        ({"tasks": "passages"}, "the task passages needs --documents FILE"),
        ({"tasks": "passages", "documents": "chats.parquet"}, "the column 'queries' cannot be read: .* no column"),
    ],
)
def test_what_lacks_its_data_is_refused(options: dict[str, Any], said: str, run: Path) -> None:
    if "documents" in options:
        options = options | {"documents": str(run.parent / options["documents"])}
    with pytest.raises(LangJepaError, match=said):
        evaluate_run(run, replace(OPTIONS, **options))


def test_a_model_of_sentences_has_no_replies(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "run")
    with pytest.raises(LangJepaError, match="the tasks turns and replies ask for turns of conversations"):
        evaluate_run(folder, replace(OPTIONS, tasks="turns,replies"))
    with pytest.raises(LangJepaError, match="the task turns asks for turns of conversations"):
        evaluate_run(folder, replace(OPTIONS, tasks="turns"))
