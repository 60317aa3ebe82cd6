"""Who speaks, from the file to the predictor: numbers, arrays, batches, and the same at inference."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lang_jepa.data.corpus.blocks import process_documents, read_block, write_block
from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.base import Document
from lang_jepa.data.sources.conversations import (
    FIRST_NAME,
    as_turns,
    conversation_text,
    names_in,
    speaker_name,
    speaker_number,
    speaker_of,
    without_speaker,
)
from lang_jepa.data.sources.conversations import turns as read
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.views import make_view
from lang_jepa.data.views.next_sentence import UNTOLD, likely_speakers
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.load import load_settings
from lang_jepa.training.checkpoint import LAST
from lang_jepa.training.train import resume_settings, train
from tiny import StopAt, assert_same_checkpoint, tiny_settings

TURNS = ("data.units=turns", "data.speakers=embedding", "model.predictor=turn_transformer", "data.min_length=1")


def test_numbers_are_of_roles_or_of_names() -> None:
    assert [speaker_number(name) for name in ("user", "Human", "ASSISTANT", "gpt", "System", "tool")] == [
        1, 1, 2, 2, 3, 4,
    ]  # fmt: skip
    assert (speaker_number(""), speaker_number("-"), speaker_number("  ")) == (0, 0, 0)
    assert speaker_number("Anna  Bell") == speaker_number("anna bell") >= FIRST_NAME
    names = {speaker_number(f"person {number}") for number in range(2000)}
    assert min(names) == FIRST_NAME
    assert max(names) == 255
    assert all(speaker_number(speaker_name(number)) == number for number in range(256))


@pytest.mark.parametrize(
    ("unit", "found"),
    [
        ("user: Good: morning", (1, "Good: morning")),
        ("-: hm", (0, "hm")),
        ("no speaker here", (0, "no speaker here")),
        ("http://x.org", (0, "http://x.org")),
        ("user:", (0, "user:")),
        ("x" * 41 + ": too long", (0, "x" * 41 + ": too long")),
    ],
)
def test_a_prefix_is_taken_off(unit: str, found: tuple[int, str]) -> None:
    assert speaker_of(unit) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Note: bring it", "Note: bring it"),
        ("Anna: bring it", "Anna: bring it"),
        ("Ben  BELL: bring it", "bring it"),
        ("User: bring it", "bring it"),
        ("-: Note: bring it", "Note: bring it"),
        ("#17: bring it", "bring it"),
        ("#1700: bring it", "#1700: bring it"),
    ],
)
def test_a_word_in_front_of_a_text_alone_is_its_speaker_where_it_is_known(text: str, said: str) -> None:
    assert without_speaker([text], {"ben bell"}) == [said]


def test_names_are_speakers_where_every_turn_has_one() -> None:
    named = ["Anna: Good morning.", "Ben  Bell: Note: bring it."]
    assert as_turns(named) == named
    assert names_in(named) == {"anna", "ben bell"}
    mixed = ["user: Good morning.", "Note: bring it.", "Yes."]
    assert as_turns(mixed) == ["user: Good morning.", "-: Note: bring it.", "-: Yes."]
    assert names_in(mixed) == {"user", "-"}
    assert as_turns([]) == []


@given(st.lists(st.tuples(st.text(max_size=50), st.text(max_size=30)), min_size=1, max_size=6))
def test_every_turn_of_a_conversation_gives_its_speaker_and_its_text(turns: list[tuple[str, str]]) -> None:
    """Whatever names and texts hold: colons, line breaks, nothing."""
    messages = [{"role": role, "content": text} for role, text in turns]
    try:
        plain = [turn.text for turn in read(messages) if turn.text]
    except ValueError:
        return
    whole, _ = conversation_text(messages)
    assert [speaker_of(line)[1] for line in whole.split("\n")] == plain


def test_the_next_speaker_is_the_one_before_the_last() -> None:
    speakers = np.array([1, 2, 1, 1, 7, 8, 8, 9, 9])
    counts = np.array([3, 1, 3, 2])  # 1 2 1 | 1 | 7 8 8 | 9 9
    assert likely_speakers(speakers, counts).tolist() == [2, 0, 7, 0]
    assert likely_speakers(np.array([3]), np.array([1])).tolist() == [0]


def _chats(path: Path, count: int = 40) -> Path:
    names = ("user", "assistant", "Anna")
    rows = [
        [{"role": names[turn % (2 + row % 2)], "content": f"What is {turn} plus {row}?"} for turn in range(3 + row % 4)]
        for row in range(count)
    ]
    pq.write_table(pa.table({"messages": rows}), path)
    return path


def _settings(tmp_path: Path, *more: str) -> object:
    chats = _chats(tmp_path / "chats.parquet")
    return tiny_settings(
        tmp_path / "run", f"data.train_file={chats}", "data.text_column=messages", *TURNS,
        "data.deduplicate=none", "data.limit=null", "data.val_fraction=0.2", *more,
    )  # fmt: skip


def test_blocks_keep_who_speaks_through_every_step(tmp_path: Path) -> None:
    settings = load_settings("concepts", [*TURNS[:3]])
    corpus = prepare(_settings(tmp_path).data)  # type: ignore[attr-defined]
    texts = ("user: One two.\nassistant: Three.\n-: Four.", "Anna: Five.\nBen: Six.")
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    block = process_documents(documents, make_splitter(settings.data), corpus.tokenizer, settings.data)
    assert block.speakers is not None
    assert block.speakers.tolist() == [1, 2, 0, speaker_number("Anna"), speaker_number("Ben")]
    write_block(tmp_path / "block.npz", block)
    again = read_block(tmp_path / "block.npz")
    assert again.speakers is not None
    assert again.speakers.tolist() == block.speakers.tolist()
    kept = again.select(np.array([False, True])).speakers
    assert kept is not None
    assert kept.tolist() == block.speakers[3:].tolist()
    split = CorpusSplit.from_block(block, corpus.tokenizer)
    assert split.units([0, 2, 3]) == ["user: One two.", "-: Four.", f"#{block.speakers[3]}: Five."]
    assert pickle.loads(pickle.dumps(split)).speakers(np.arange(5)).tolist() == block.speakers.tolist()


def test_a_corpus_and_its_batches_know_who_speaks(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    corpus = prepare(settings.data)  # type: ignore[attr-defined]
    split = corpus.train
    assert split.has_speakers
    for document, first in enumerate(split.document_starts[:-1].tolist()):
        row = int(split.document_id(document).rpartition("#")[2] if "#" in split.document_id(document) else -1)
        assert split.speakers(np.array([first])).tolist() == [1], row
    view = make_view(settings, split, corpus.tokenizer)  # type: ignore[arg-type]
    known = []
    for epoch in range(20):
        batch = view.batch(np.arange(view.count), epoch)
        contexts, true = batch.contexts, split.speakers(batch.sentence_ids.numpy())
        assert contexts.speakers is not None
        assert contexts.asked is not None
        assert len(contexts.speakers) == int(contexts.passages.sum())
        asked = contexts.asked.numpy()
        assert ((asked == true) | (asked == 0)).all()
        known.append((asked > 0).mean())
    assert np.mean(known) == pytest.approx(1 - UNTOLD, abs=0.02)
    assert len(set(known)) > 1


def test_training_resumes_and_inference_asks_as_training_did(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    train(settings)  # type: ignore[arg-type]
    parts = load_settings(str(tmp_path / "run" / "settings.yaml"), [f"logging.log_dir={tmp_path / 'parts'}"])
    assert train(parts, StopAt(3)).interrupted
    train(resume_settings(tmp_path / "parts"))
    assert_same_checkpoint(tmp_path / "run" / LAST, tmp_path / "parts" / LAST)

    model = ConceptModel.load(tmp_path / "run")
    context = ["user: What is 1 plus 2?", "assistant: What is 2 plus 3?"]
    likely = model.predict_next(context)
    np.testing.assert_allclose(model.predict_next(context, role="user"), likely, atol=1e-6)
    assert not np.allclose(model.predict_next(context, role="assistant"), likely, atol=1e-4)
    np.testing.assert_allclose(model.encode("user: Hello there."), model.encode("Hello there."), atol=1e-6)

    np.testing.assert_array_equal(model.encode(["Anna: Hello."], turns=True), model.encode(["Hello."]))
    assert not np.allclose(model.encode("Note: Hello."), model.encode("Hello."), atol=1e-3)
    spelt = [model.predict_next([*context, "Hm.", turn]) for turn in ("Note: yes.", "-: Note: yes.", "-: yes.")]
    np.testing.assert_array_equal(spelt[0], spelt[1])
    assert not np.allclose(spelt[1], spelt[2], atol=1e-4)
    apart = [one.score for one in model.rank(["Anna: Hi.", "Ben: Yes."], ["Ben: Hello.", "Hello.", "Note: Hello."])]
    assert len(set(apart)) == 2  # Ben speaks there, and nobody is called Note

    split = prepare(settings.data).train  # type: ignore[attr-defined]
    view = make_view(model.settings, split, model.tokenizer)
    batch = view.batch(np.arange(4), 0)
    assert batch.contexts.asked is not None
    with torch.inference_mode():
        made = torch.nn.functional.normalize(model.jepa.eval()(batch.contexts).predictions, dim=-1).numpy()
    for prediction, target, asked in zip(made, batch.sentence_ids.tolist(), batch.contexts.asked.tolist(), strict=True):
        first = int(split.document_starts[split.document_of(np.array([target]))[0]])
        before = split.units(np.arange(max(first, target - model.settings.data.window_size), target))
        np.testing.assert_allclose(model.predict_next(before, role=speaker_name(asked)), prediction, atol=1e-5)


def test_a_model_that_knows_no_speakers_refuses_a_role(tmp_path: Path) -> None:
    with pytest.raises(LangJepaError, match=r"needs a predictor that reads speakers: set model\.predictor=turn_transf"):
        _settings(tmp_path, "model.predictor=concept_transformer")
    train(_settings(tmp_path, "data.speakers=none"))  # type: ignore[arg-type]
    with pytest.raises(LangJepaError, match="does not know who speaks, so a role changes nothing"):
        ConceptModel.load(tmp_path / "run").predict_next(["Hello."], role="user")
