"""The commands of token data as people type them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TokenShards
from typed import Type

WORDS = ("sea", "hill", "town", "river", "market", "garden", "house")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    texts = [
        f"Anna went to the {WORDS[i % 7]} on day {i}. Ben saw {i * 3} birds over the {WORDS[i * 5 % 7]} and went home."
        for i in range(80)
    ]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_from_a_file_to_shards_and_their_baselines(file: Path, tmp_path: Path, type_in: Type) -> None:
    folder = tmp_path / "shards"
    words = ["shards", str(file), str(folder), "--vocab-size", "330", "--val-fraction", "0.3"]
    ran = type_in(*words)
    assert ran.status == 0
    out = ran.out
    assert "330 ids" in out
    assert "learning a tokenizer of 330 ids" in out
    assert TokenShards.find(folder, "train", vocab_size=330).num_tokens > 500
    ran = type_in(*words)
    assert ran.status == 0
    assert "up to date" in ran.out
    ran = type_in("bits", str(folder), "--order", "3", "--quick")
    assert ran.status == 0
    lines = ran.out
    for name in ("zlib", "bz2", "xz", "zstd", "zlib after the training text", "3-gram"):
        assert name in lines
    assert "zstd after" not in lines
    model = str(folder / "tokenizer.model")
    assert type_in("shards", str(file), str(tmp_path / "b"), "--tokenizer", model).status == 0
    assert (tmp_path / "b" / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()


def test_conversations_are_lines_that_begin_with_who_speaks(tmp_path: Path, type_in: Type) -> None:
    """Of both forms that people have: the tokens of each conversation spell out its turns, in order."""
    whole, rows = tmp_path / "whole.jsonl", tmp_path / "rows.jsonl"
    chats = [
        [{"role": "user", "content": f"Is the {WORDS[i % 7]} open on day {i}?"}, {"role": "bot", "content": f"No {i}."}]
        for i in range(40)
    ]
    whole.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    rows.write_text("".join(json.dumps({"chat": i, **turn}) + "\n" for i, chat in enumerate(chats) for turn in chat))
    expected = {f"user: Is the {WORDS[i % 7]} open on day {i}?\nbot: No {i}." for i in range(40)}
    forms = {whole: ["--text-column", "messages"], rows: ["--text-column", "content", "--group-column", "chat"]}
    for number, (path, words) in enumerate(forms.items()):
        folder = tmp_path / str(number)
        ran = type_in("shards", str(path), str(folder), "--units", "turns", "--vocab-size", "320", *words)
        assert ran.status == 0, ran.err
        pieces, shards = Pieces.load(folder / "tokenizer.model"), TokenShards.find(folder, "train", vocab_size=320)
        tokens = shards.read(0, shards.num_tokens)
        found = {pieces.decode(part[1:].tolist()) for part in np.split(tokens, np.flatnonzero(tokens == 1))[1:]}
        assert found <= expected
        assert len(found) > 30


def test_mistakes(file: Path, tmp_path: Path, type_in: Type) -> None:
    for words, reason in (
        (("shards", "texts.jsonk", str(tmp_path / "a")), "there is no file or folder"),
        (
            ("shards", str(file), str(tmp_path / "a"), "--deduplicate", "some"),
            "--deduplicate: Input should be",
        ),
        (
            ("shards", str(file), str(tmp_path / "a"), "--tokenizer", "no.model"),
            "cannot read the SentencePiece model",
        ),
        (("shards", str(file), str(tmp_path / "a"), "--language", "xx"), "--language: Input should be 'am',"),
        (("bits", str(tmp_path)), "cannot read the SentencePiece model"),
    ):
        ran = type_in(*words)
        assert ran.status == 2
        assert reason in ran.err
    assert not (tmp_path / "a").exists()


def test_shards_without_its_extra_says_so_before_anything_is_read(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_in: Type
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    ran = type_in("shards", str(file), str(tmp_path / "a"))
    assert ran.status == 2
    assert 'pip install "lang-jepa[gpt]"' in ran.err
    assert not list(tmp_path.glob("*a*"))
