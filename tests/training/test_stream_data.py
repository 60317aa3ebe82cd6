"""The data of a run that reads a stream."""

import json
from pathlib import Path

from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.training.methods.encoder_data import StreamData
from tiny import tiny_settings


def test_a_tokenizer_learns_from_training_documents_of_the_first_block_only(tmp_path: Path) -> None:
    """A word that only held-out documents have, or later blocks, is no piece."""
    texts = [f"The ship number {k} left. It rained in the harbour for {k} days. Nobody knew why." for k in range(60)]
    for k, text in enumerate(texts):
        marked = f"{text} Zyzzyva zyzzyva zyzzyva!"
        if k >= 40 or side(hash_text(marked), 0.3) == "validation":
            texts[k] = marked
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert sum("Zyz" in text for text in texts[:40]) > 5
    settings = tiny_settings(
        tmp_path / "run",
        f"data.train_file={tmp_path / 'texts.jsonl'}",
        "data.streaming=true",
        "data.shuffle_buffer=40",
        "data.val_fraction=0.3",
        "data.min_length=1",
    )
    pieces = StreamData(settings, rank=0, world=1).tokenizer.backend.get_vocab()
    assert not any("zz" in piece for piece in pieces)
    assert any("harbour" in piece for piece in pieces)


def test_a_tokenizer_learns_nothing_from_the_tail_of_rotated_logs(tmp_path: Path) -> None:
    """The newest file comes first and is held out whole, so that the first block would hold nothing to learn from."""
    (tmp_path / "logs").mkdir()
    for name, word in (("app.log.1", "harbour"), ("app.log", "zyzzyva")):
        lines = "".join(f"the {word} number {k} was opened\n" for k in range(60))
        (tmp_path / "logs" / name).write_text(lines)
    settings = tiny_settings(
        tmp_path / "run",
        f"data.train_file={tmp_path / 'logs'}",
        "data.units=lines",
        "data.streaming=true",
        "data.shuffle_buffer=1",
        "data.val_fraction=0.5",
        "data.val_split=tail",
        "data.min_length=1",
    )
    pieces = StreamData(settings, rank=0, world=1).tokenizer.backend.get_vocab()
    assert not any("zz" in piece for piece in pieces)
    assert any("harbour" in piece for piece in pieces)
