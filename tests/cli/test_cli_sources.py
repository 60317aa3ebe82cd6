"""What commands say about the texts that they are given: lines, columns, losses, one document."""

import json
import re
from pathlib import Path

from typed import Type, options_of


def test_one_sentence_a_line_means_the_same_to_every_verb(
    place: Path, trained: Path, type_in: Type, tmp_path: Path
) -> None:
    """A mark at the start is no text, and U+2028, a form feed and U+0085 end no line."""
    lines = tmp_path / "lines.txt"
    sentences = ["The ship sailed.", "The lamp\u2028is here.", "A kite\x0c\x85was sold."]
    lines.write_bytes("\ufeff".encode() + "\r\n".join(sentences).encode())
    shown = type_in("infer", trained, "--text", sentences[0], "--corpus", lines, "--top-k", "9").out
    assert len(re.findall(r"^ +-?\d\.\d{4}  ", shown, re.MULTILINE)) == 3
    assert "1.0000  The ship sailed." in shown
    vectors = [
        type_in("infer", trained, "--file", lines).out,
        type_in("infer", trained, text=lines.read_text(encoding="utf-8")).out,
        type_in("infer", trained, *(word for one in sentences for word in ("--text", one))).out,
    ]
    assert len(set(vectors)) == 1
    ran = type_in("index", trained, lines, "--lines", "--output", tmp_path / "index")
    assert "3 of 3 documents" in ran.out
    assert "1.0000  The ship sailed." in type_in("search", tmp_path / "index", sentences[0]).out
    study = json.loads(type_in("document", trained, lines, "--json").out)
    assert study["surprise"]["sentences"][0]["sentence"] == sentences[0]


def test_a_wrong_column_names_those_there_are(place: Path, trained: Path, type_in: Type, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.jsonl"
    reviews.write_text("".join(json.dumps({"stars": 3, "Text": f"Fine {i}."}) + "\n" for i in range(40)))
    table = tmp_path / "reviews.csv"
    table.write_text("stars,Text\n3,Fine.\n")
    own = (
        "-o",
        "data.tokenizer_path=trained",
        "-o",
        "model.pretrained=false",
        "-o",
        f"data.corpus_dir={tmp_path}",
    )
    for file in (reviews, table):
        named = ("-o", f"data.train_file={file}")
        for words in (
            ("prepare", "documents", *own, *named),
            ("train", "documents", *own, *named),
            (
                "train",
                "documents",
                *own,
                *named,
                "-o",
                "data.streaming=true",
                "-o",
                "optimization.max_steps=2",
            ),
            ("train", "gpt_jepa", "-o", f"data.corpus_dir={tmp_path}", *named),
            ("index", trained, file, "--output", tmp_path / "index"),
            ("shards", file, tmp_path / "shards"),
            ("evaluate", trained, "--tasks", "document", "--documents", file),
        ):
            ran = type_in(*words)
            assert ran.status == 2, words
            said = " ".join(ran.err.split())
            assert re.search("no (column )?'text'", said), said
            assert "stars, Text" in said
            assert "--text-column" in said
    assert "is a table of many values" in type_in("document", trained, reviews).err


def test_losses_are_reported_where_training_starts(place: Path, type_in: Type, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    texts = [
        f"In year {i} a ship left the harbour. Nobody knew of {i * 7} sailors on it. Then it came back."
        for i in range(30)
    ]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, *["short"] * 20, *texts[:5]]))
    own = [
        f"data.train_file={file}",
        "data.min_length=20",
        "optimization.max_steps=1",
        f"data.corpus_dir={tmp_path}",
    ]
    encoder = [*options_of(place, str(tmp_path / "run"), *own), "-o", "data.val_fraction=0"]
    lost = "of 55 documents: rejected 20 (36.4%): 20 too short; dropped 5 (9.1%) as exact duplicates"
    for _ in range(2):  # the corpus is prepared by the first, and found by the second
        ran = type_in("train", "next_sentence", *encoder)
        assert ran.status == 0, ran.err
        said = " ".join(ran.out.split())
        assert f"warning: {lost}" in said
        assert said.count("of 55 documents") == 1
        assert "data.val_fraction is 0" in said
    ran = type_in("train", "next_sentence", *encoder, "-o", "data.streaming=true")
    assert "warning: of the first 55 documents: rejected 20 (36.4%): 20 too short" in " ".join(ran.out.split())
    gpt = [word for one in own for word in ("-o", one)]
    for change in ("num_layers=1", "model_dim=32", "num_heads=2", "num_kv_heads=2"):
        gpt += ["-o", f"model.{change}"]
    for change in (
        "data.vocab_size=300",
        "data.seq_len=16",
        "data.batch_tokens=64",
        f"logging.log_dir={tmp_path / 'gpt'}",
    ):
        gpt += ["-o", change]
    assert f"warning: {lost}" in " ".join(type_in("train", "gpt_jepa", *gpt).out.split())


def test_one_document_gets_advice_how_to_be_cut(place: Path, type_in: Type, tmp_path: Path) -> None:
    file = tmp_path / "one.txt"
    file.write_text(" ".join(f"In year {i} a ship left the harbour with {i * 7} sailors." for i in range(60)))
    own = [f"data.train_file={file}", "optimization.max_steps=1", "data.val_fraction=0.0001"]
    ran = type_in("train", "next_sentence", *options_of(place, str(tmp_path / "run"), *own))
    said = " ".join(ran.out.split())
    assert f"file {file} is one document" in said
    assert "several files in a folder, or a .jsonl file" in said
