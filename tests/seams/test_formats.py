"""Format numbers are pinned to bytes: who changes what a step writes must give it a new number.

A test here fails when a step gives other bytes than those that its number stands for. Then either the change was not
meant, or FORMAT in the file that the message names is raised and the message's pair put into the table. (A new release
of tokenizers or sentencepiece may change what is learnt, too; that of tokenizers is part of a corpus' fingerprint.)
"""

import gzip
import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zstandard
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lang_jepa import stories
from lang_jepa.data.corpus.blocks import Block, process_documents, write_block
from lang_jepa.data.corpus.deduplicate import Deduplicator, find_common, hash_sentence, hash_text, side
from lang_jepa.data.corpus.hashes import DocumentHashes
from lang_jepa.data.corpus.identity import changes
from lang_jepa.data.corpus.prepare import PrepareEvent, prepare
from lang_jepa.data.corpus.shard_tasks import WriteShards, assemble
from lang_jepa.data.sources import text_files
from lang_jepa.data.sources.base import Document
from lang_jepa.data.sources.conversations import conversation_text, said_in
from lang_jepa.data.sources.read_subtitles import subtitles_prose
from lang_jepa.data.sources.records import Habits, records, records_text
from lang_jepa.data.sources.rotated import logs_of, shares_learnt
from lang_jepa.data.sources.source import open_source
from lang_jepa.data.text.masks import mask
from lang_jepa.data.text.sentences import make_splitter
from lang_jepa.data.text.tokenizer import TextTokenizer, train_tokenizer
from lang_jepa.data.tokens.make_shards import make_shards
from lang_jepa.data.tokens.pieces import train_pieces
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.inference.cache import ConceptCache
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import Lines
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.inference.prediction import PredictionCache
from lang_jepa.settings.data import DataSettings
from office_files import write_office_files
from tiny import tiny_settings

PINNED = {
    "stories.generate": (1, "b5d4a0c027b3e3b0"),
    "data.sources.base": (1, "6c15c2f2a5ef4778"),
    "data.text.masks": (2, "7e672b0d6043a8dd"),
    "data.sources.groups": (3, "e0d257376bd0df14"),
    "data.sources.records": (1, "0d644cd5b9bbaf49"),
    "data.sources.sessions": (1, "be6b7e5a62cd966c"),
    "data.sources.rotated": (2, "99fd9be38e7fde4d"),
    "data.sources.read_subtitles": (3, "f9a7bd456a91392a"),
    "data.sources.conversations": (5, "7b6c4098f3715614"),
    "data.sources.read_json": (1, "a6e52a87a894b994"),
    "data.sources.read_parquet": (1, "59f84cc982ea59f5"),
    "data.sources.read_tables": (1, "bff3ebf6ecd1a954"),
    "data.sources.read_markdown": (3, "23b97f5d9e716a7a"),
    "data.sources.read_html": (3, "1abb3966c4599459"),
    "data.sources.read_rst": (3, "6bc7eb93504fad58"),
    "data.sources.formats:OFFICE_FORMAT": (1, "12a103071d51216b"),
    "data.sources.source": (1, "50afcf3b4aa8ab67"),
    "data.sources.text_files": (1, "3807cfb4268c77ce"),
    "data.text.sentences": (4, "96a668894ae3a162"),
    "data.corpus.deduplicate:HASHES_FORMAT": (1, "627e1e2c0b0ecc0e"),
    "data.text.tokenizer": (2, "2c7afd9c02a7b632"),
    "data.corpus.blocks": (1, "8f47d4fe7a225aee"),
    "data.corpus.deduplicate": (2, "8830acb1e9d22446"),
    "data.corpus.corpus": (3, "1ebc9a0df1f14fa4"),
    "data.tokens.pieces": (1, "4f6281fd8ddac5ad"),
    "data.tokens.make_shards": (2, "b022242eef735691"),
    "inference.cache": (1, "eb9dbe8b6e378c28"),
    "inference.cache:CONCEPTS_FORMAT": (1, "66f2a41054adbd7d"),
    "inference.prediction": (1, "3d734786eaba3eb6"),
    "inference.index.files": (3, "902bf629ea401525"),
}
"""Number and digest of each step, by its module, and by the constant where that is not FORMAT."""

TEXTS = [
    "The ship came in at 4.30 p.m. on Monday. Dr. Brown was there! Was she? “Yes,” she said, “I was.” Then it rained...",
    "Two  spaces,\ta tab.\nA line\nbroken twice.\n\nA paragraph (with brackets. Inside.) and a list:\n- one\n- two\n",
    "Käse für Zoë: 海は静かだった。「なぜ？」 Έφυγε; نعم. 🙂 The <mask> and </s> tags of <s>HTML</s> are words.",
    "A word without an end: " + "ab" * 300 + ". No. Nothing. It was 3.14, e.g. in the U.S. in 1999. So it goes.",
    "The harbour is closed in winter. Nobody knows when the captain will be back. Who cares? The island is quiet.",
]
SENTENCES = [
    f"{name} saw the {what} in the {where}."
    for name in ("anna", "bob")
    for what in ("ship", "sea", "rain")
    for where in ("north", "south", "west")
]


class AtDots:
    """A splitter that never changes."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        ends = [place + 1 for place, letter in enumerate(text) if letter == "."]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def _words() -> TextTokenizer:
    """A tokenizer that is not learnt."""
    words = sorted({word for text in SENTENCES for word in text.replace(".", " .").split()})
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<mask>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<pad>", "<s>", "</s>", "<mask>", "<unk>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    roles = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "mask": "<mask>", "unk": "<unk>"}
    return TextTokenizer(backend, roles)


def _documents() -> list[Document]:
    return [Document(f"row-{k}", " ".join(SENTENCES[k : k + 3])) for k in range(0, 18, 3)]


def _block() -> Block:
    settings = DataSettings(min_sentences=2)
    return process_documents([*_documents(), Document("short", "bob saw.")], AtDots(), _words(), settings)


def _of_stories(folder: Path) -> Iterator[Any]:
    yield from (one.text for one in stories.generate(20, seed=0, start=0))


_FILES = {
    "a.jsonl": "".join(
        json.dumps(row) + "\n"
        for row in (
            {"id": "a", "text": TEXTS[0]},
            {"text": TEXTS[1]},
            {"text": ""},
            {"other": 1},
            {"text": 5},
        )
    )
    + "{no json\n",
    "a.csv": 'id,text\na,"One, two.\nThree."\nb,\n',
    "a.txt": TEXTS[4] + " \ufeff\x00",
    "a.md": "---\ntitle: x\n---\n# Heading\n\nSome *prose* [here](x.md).\n\n```\ncode()\n```\n\n- a list\n\n|a|b|\n|-|-|\n|1|2|\n",
    "a.html": "<html><head><title>T</title></head><body><h1>Heading</h1><p>Some <b>prose</b>.<pre>code()</pre><nav>menu</nav>",
    "a.rst": "Heading\n=======\n\nSome *prose* here.\n\n.. code::\n\n   code()\n\n- a list\n",
}


def _of_documents(folder: Path, *, name: str) -> Iterator[Any]:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"text": [*TEXTS[2:4], None, ""], "id": ["a", "b", "c", "d"]}), path)
    else:
        path.write_text(_FILES[name])
    yield from _rows(path)


def _rows(path: Path, **settings: Any) -> Iterator[Any]:
    for row in open_source(DataSettings(train_file=str(path), min_length=1, limit=None, **settings)).rows():
        yield (row.id, row.text) if isinstance(row, Document) else row.reason


def _of_masks(folder: Path) -> Iterator[Any]:
    lines = (
        "2024-01-02 03:04:05,6 [a] 10.0.0.1:80 /var/log/x 0x1f -3.5 6bb5a1f3-9a1c-4b0e-8d3d-0123456789ab",
        "blk_12 é",
        "[Sun Dec 04 04:47:44 2005] 081109 203615 03-17 16:13:38.811 10:20:30:40:50:60 1/2/2024 1:02 PM",
    )
    for line in lines:
        yield [mask(line), mask(line, [r"\[a\]"])]


def _of_groups(folder: Path) -> Iterator[Any]:
    rows = [
        ("a", "u", "One."),
        ("b", "", "Two\nlines. "),
        ("a", "v", ""),
        ("", "u", "lost"),
        ("b", "u", None),
        ("a", "u", " x"),
        ("nan", "u", "a name"),
    ]
    values = [dict(zip(("chat", "author", "text"), row, strict=True)) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, values)))
    for units in ("sentences", "lines", "turns"):
        yield list(_rows(folder / "a.jsonl", group_column="chat", units=units))
    (folder / "b.jsonl").write_text((folder / "a.jsonl").read_text().replace('"author"', '"Author"'))
    yield list(_rows(folder / "b.jsonl", group_column="chat", units="turns"))


_LOG = """10:00:01 a
Traceback (most recent call last):
  File "x", line 1
ValueError: x
10:00:02 [1] b
java.io.IOException: c
\tat d.e(f:1)
10:00:03 [2] g
\n  10:00:04 [1] h
i"""


def _of_records(folder: Path) -> Iterator[Any]:
    for log in (_LOG, _LOG.replace("10:00:0", "n"), "  a\n  b\nCaused by: c"):
        lines = log.split("\n")
        yield records_text(log), [list(records(lines, Habits(*habits))) for habits in product((False, True), repeat=2)]


def _of_sessions(folder: Path) -> Iterator[Any]:
    (folder / "a.log").write_text(_LOG)
    for split in ("hash", "tail"):
        settings = {"units": "lines", "session": r"\[(\d)\]", "val_split": split, "val_fraction": 0.4}
        source = open_source(DataSettings(train_file=str(folder), min_length=1, limit=None, **settings))
        yield [(row.id, row.text, row.learnt) for row in source.rows() if isinstance(row, Document)]


def _of_rotated(folder: Path) -> Iterator[Any]:
    names = (
        "a.log",
        "a.log.1",
        "a.log.10.gz",
        "a.log.2",
        "b.log-20260102",
        "B.LOG-20251231",
        "b.log",
        "c.log",
        "a.txt",
    )
    yield logs_of(names)
    for number, name in enumerate(("a.log.1", "a.log.2", "a.log")):
        (folder / name).write_text("line\n\n" * (3 + number))
    yield sorted(
        shares_learnt({name: folder / name for name in ("a.log.1", "a.log.2", "a.log")}, 0.5, in_records=False).items()
    )


def _of_subtitles(folder: Path) -> Iterator[Any]:
    cue = "00:00:01,000 --> 00:00:02,500\n"
    two = f"{cue}a <v A: B>b</v> <v C>c"
    spoken = f"{cue}A: b\nC: d\n\n{cue}<v 2>e"
    for text in (
        two,
        spoken,
        f"1\n{cue}<i>One</i>\ntwo\n\n2\n{cue}<v Ann>3 &lt; 4",
        f"WEBVTT\n\nNOTE x\n\n{cue}a\n\n{cue}a",
    ):
        yield subtitles_prose(text)


def _of_conversations(folder: Path) -> Iterator[Any]:
    messages = [
        {"role": "user", "content": "Is it\nopen? "},
        {"role": "a", "content": [{"text": "Yes."}, {"url": "x"}]},
    ]
    shared, spoken = [{"from": "b", "value": "Hi."}], "Anna: Hi.\n\nAgain.\nBo: x: y\n@bo: z\n@bo: z"
    stamped = "[12:31] Bo: x\n1/2/24, 9:05 - y\nCy:\nz\nCy:\nz\nBo\uff1aw"
    for form in (messages, json.dumps({"messages": messages}), shared, ["One.", " "], spoken, stamped):
        lines = conversation_text(form)[0]
        yield [lines, said_in(lines.split("\n"), "none"), said_in(lines.split("\n"), "prefix")]


def _of_office(folder: Path) -> Iterator[Any]:
    write_office_files(folder)
    (folder / "c.pdf").write_bytes(b"%PDF")
    (folder / "d.docx").write_bytes(b"PK")
    yield from _rows(folder)


def _of_joined(folder: Path) -> Iterator[Any]:
    lines = [
        " = A title = \n",
        "",
        " One line . \n",
        " = = A section = = \n",
        "Two.\r\n",
        "   ",
        "Three.",
        "Four.",
        5,
    ]
    rows = [*lines, " = Another = \n", " Five . \n", None, " = = = \n"]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    yield from _rows(folder / "a.jsonl", join_rows=6)


def _of_text_files(folder: Path) -> Iterator[Any]:
    content = b"\xef\xbb\xbfA line\r\nwith\xe2\x80\xa8 others\x0c and \xc2\x85 signs.\n\n \xef\xbb\xbf\rLast"
    paths = [folder / name for name in ("a.txt", "a.txt.gz", "a.txt.zst")]
    paths[0].write_bytes(content)
    paths[1].write_bytes(gzip.compress(content[:20]) + gzip.compress(content[20:]))
    paths[2].write_bytes(zstandard.compress(content[:20]) + zstandard.compress(content[20:]))
    for path in paths:
        yield text_files.decode(b"".join(text_files.chunks(path)))
        yield [line.hex() for line in text_files.lines(text_files.chunks(path))]
        yield list(text_files.text_lines(text_files.chunks(path), "here"))
    for damaged in (b"\xff\xfea\0", b"a\0b", b"caf\xe9"):
        with pytest.raises(text_files.NotText) as caught:
            text_files.decode(damaged)
        yield caught.value.reason, caught.value.place


def _of_sentences(folder: Path) -> Iterator[Any]:
    yield from (make_splitter(DataSettings()).spans(text) for text in TEXTS)


def _of_hashes(folder: Path) -> Iterator[Any]:
    for text in TEXTS:
        yield hash_text(text), hash_sentence(text), side(hash_text(text), 0.5)


def _of_tokenizer(folder: Path) -> Iterator[Any]:
    learnt = train_tokenizer(TEXTS * 2, 320)
    yield sorted(learnt.backend.get_vocab(with_added_tokens=True).items())
    for text in TEXTS:
        tokens, starts = learnt.encode_document(text.split(". "))
        yield tokens.tolist(), starts.tolist()


def _of_blocks(folder: Path) -> Iterator[Any]:
    block = _block()
    for name in Block.__dataclass_fields__:
        value = getattr(block, name)
        if name in ("speakers", "held", "places"):  # of turns, of lines, of documents with ids alone
            continue
        yield name, (value.dtype.str, value.tobytes().hex()) if isinstance(value, np.ndarray) else value


def _of_deduplicate(folder: Path) -> Iterator[Any]:
    rows = [[*range(6), *range(100 * n, 100 * n + 4)] for n in range(1, 9)]
    rows += [
        rows[2],
        [*rows[3][:9], 7],
        [*rows[4][5:], *rows[5][7:]],
        [1, 2, 3],
        [1, 2],
        [901, 902, *rows[1][7:]],
    ]
    flat = [value for row in rows for value in row]
    arrays = {
        "text_hashes": np.array([sum(row) for row in rows], dtype=np.uint64),
        "documents": np.cumsum([0, *map(len, rows)]),
        "sentence_hashes": np.array(flat, dtype=np.uint64),
        "countable": np.array([value != 5 for value in flat]),
    }
    documents = DocumentHashes.of(arrays)
    for verdict in Deduplicator("near", 0.5, find_common([documents])).judge(documents):
        yield verdict.kind, verdict.original, round(verdict.share, 6)


def _of_corpus(folder: Path) -> Iterator[Any]:
    write_block(folder / "block.npz", _block())
    step = WriteShards(DataSettings(val_fraction=0.4), folder, folder / "shards", 30, 10)
    step.decide([folder / "block.npz"] * 2)
    step(None, 0, 1)
    assemble(step, folder / "out")
    yield from _files(folder / "out")


def _of_pieces(folder: Path) -> Iterator[Any]:
    learnt = train_pieces(TEXTS * 2, 420)
    yield [learnt.piece(index) for index in range(learnt.vocab_size)]
    yield from (ids.tolist() for ids in learnt.encode(TEXTS))


def _of_shards(folder: Path) -> Iterator[Any]:
    rows = [json.dumps({"text": document.text}) for document in _documents()]
    (folder / "in.jsonl").write_text("\n".join(rows))
    settings = DataSettings(
        train_file=str(folder / "in.jsonl"),
        tokenizer_path="trained",
        vocab_size=300,
        min_length=1,
        limit=None,
        val_fraction=0.4,
    )
    manifest = make_shards(settings, folder / "out", shard_tokens=60)
    yield sorted(path.name for path in (folder / "out").iterdir())
    yield sorted(manifest)
    yield np.fromfile(folder / "out" / "train_000000.bin", dtype="<i4", count=2).tolist()


def _files(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.rglob("*")):
        yield path.name, path.read_bytes().hex()


def _model(folder: Path) -> tuple[ConceptModel, Any]:
    """A model whose weights are a formula, and a prepared corpus for it."""
    _words().save(folder / "words")
    (folder / "in.jsonl").write_text("\n".join(json.dumps({"text": one.text}) for one in _documents()))
    data = {
        "train_file": folder / "in.jsonl",
        "tokenizer_path": folder / "words",
        "corpus_dir": folder / "corpora",
        "min_length": 1,
    }
    settings = tiny_settings(
        folder / "run", *(f"data.{name}={value}" for name, value in data.items()), "data.val_fraction=0"
    )
    corpus = prepare(settings.data)
    jepa = build_jepa(settings, corpus.tokenizer).eval()
    with torch.no_grad():
        for number, one in enumerate(jepa.parameters()):
            one.copy_(0.3 * torch.sin(torch.arange(one.numel()) * 0.7 + number).reshape(one.shape))
    model = ConceptModel(jepa, corpus.tokenizer, Statistics.identity(32), settings)
    return model, corpus.train


def _of_vectors(folder: Path, *, what: str) -> Iterator[Any]:
    """Rounded, as two machines agree in so many digits; and the names of the files."""
    model, split = _model(folder)
    view = make_plain_view(model.settings, split, model.tokenizer)
    made: Any = ConceptCache.open_or_make(model.jepa.encoder, view)
    if what == "predictions":
        made = PredictionCache.open_or_make(model, split, pooled=made.vectors)
    if what == "files":
        yield from sorted(path.name for path in made.folder.iterdir())
        yield sorted(read_json(made.folder / "about.json", what="description"))
        yield (made.folder / "vectors.f32").stat().st_size
    else:
        yield from np.round(made.vectors[::3, ::8] + 0.0, 2).tolist()


def _of_index(folder: Path) -> Iterator[Any]:
    model, _ = _model(folder)
    model.save(folder / "model")
    (folder / "lines.txt").write_text("\n".join(SENTENCES))
    Index.build(ConceptModel.load(folder / "model"), Lines(folder / "lines.txt"), folder / "index")
    for path in sorted(folder.joinpath("index").rglob("*")):
        if path.is_file() and not path.name.startswith("vectors"):
            name = path.relative_to(folder / "index").parts[-1]
            yield (
                name,
                sorted(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes().hex(),
            )


STEPS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "stories.generate": _of_stories,
    "data.sources.base": partial(_of_documents, name="a.txt"),
    "data.text.masks": _of_masks,
    "data.sources.groups": _of_groups,
    "data.sources.records": _of_records,
    "data.sources.sessions": _of_sessions,
    "data.sources.rotated": _of_rotated,
    "data.sources.read_subtitles": _of_subtitles,
    "data.sources.conversations": _of_conversations,
    "data.sources.read_json": partial(_of_documents, name="a.jsonl"),
    "data.sources.read_parquet": partial(_of_documents, name="a.parquet"),
    "data.sources.read_tables": partial(_of_documents, name="a.csv"),
    "data.sources.read_markdown": partial(_of_documents, name="a.md"),
    "data.sources.read_html": partial(_of_documents, name="a.html"),
    "data.sources.read_rst": partial(_of_documents, name="a.rst"),
    "data.sources.formats:OFFICE_FORMAT": _of_office,
    "data.sources.source": _of_joined,
    "data.sources.text_files": _of_text_files,
    "data.text.sentences": _of_sentences,
    "data.corpus.deduplicate:HASHES_FORMAT": _of_hashes,
    "data.text.tokenizer": _of_tokenizer,
    "data.corpus.blocks": _of_blocks,
    "data.corpus.deduplicate": _of_deduplicate,
    "data.corpus.corpus": _of_corpus,
    "data.tokens.pieces": _of_pieces,
    "data.tokens.make_shards": _of_shards,
    "inference.cache": partial(_of_vectors, what="files"),
    "inference.cache:CONCEPTS_FORMAT": partial(_of_vectors, what="concepts"),
    "inference.prediction": partial(_of_vectors, what="predictions"),
    "inference.index.files": _of_index,
}


@pytest.mark.parametrize("step", PINNED)
def test_a_number_stands_for_these_bytes(step: str, tmp_path: Path) -> None:
    content = json.dumps(list(STEPS[step](tmp_path)), ensure_ascii=True)
    name, _, constant = step.partition(":")
    number_there = getattr(import_module(f"lang_jepa.{name}"), constant or "FORMAT")
    found = (number_there, blake2b(content.encode(), digest_size=8).hexdigest())
    number, expected = PINNED[step]
    file = f"src/lang_jepa/{name.replace('.', '/')}.py"
    message = (
        f"{step} gives other bytes: raise FORMAT in {file} to {number + 1} and pin ({number + 1}, {found[1]!r}) here"
    )
    assert found[0] != number or found[1] == expected, message
    assert found == PINNED[step], f"FORMAT in {file} was changed: pin {found} here"


def test_every_number_of_the_data_room_is_pinned() -> None:
    room = Path(import_module("lang_jepa.data").__path__[0])
    steps = {".".join(path.relative_to(room.parent).with_suffix("").parts): path for path in room.rglob("*.py")}
    numbered = {step for step, path in steps.items() if "\nFORMAT = " in path.read_text(encoding="utf-8")}
    assert numbered <= PINNED.keys()


def test_what_was_made_by_hashes_of_the_source_is_out_of_date_and_said_to_be(tmp_path: Path) -> None:
    """An earlier version kept a hash of its own code instead of numbers."""
    settings, places = _small(tmp_path)
    corpus = prepare(settings)
    old = corpus.path.rename(corpus.path.with_name("in-0123456789abcdef"))
    _as_of_old(old / "manifest.json")
    events: list[PrepareEvent] = []
    again = prepare(settings, progress=events.append)
    assert again.path == corpus.path
    assert not again.reused
    assert (events[0].stage, str(old) in events[0].message) == ("stale", True)
    assert "the version of this program" in events[0].message

    of_shards = DataSettings(tokenizer_path="trained", vocab_size=300, **places)
    make_shards(of_shards, tmp_path / "shards")
    _as_of_old(tmp_path / "shards" / "shards.json")
    with pytest.raises(LangJepaError, match=r"changed: the version of this program.* delete this one"):
        make_shards(of_shards, tmp_path / "shards")


def _small(folder: Path) -> tuple[DataSettings, dict[str, Any]]:
    """Settings of a corpus of our documents, and those of them that say where these are."""
    rows = [json.dumps({"text": one.text}) for one in _documents()]
    (folder / "in.jsonl").write_text("\n".join(rows))
    _words().save(folder / "words")
    places = {"train_file": str(folder / "in.jsonl"), "min_length": 1, "limit": None, "prepare_workers": 1}
    words, corpora = str(folder / "words"), str(folder / "corpora")
    return DataSettings(tokenizer_path=words, corpus_dir=corpora, **places), places


@pytest.mark.parametrize(
    "step",
    [
        "data.sources.base",
        "data.text.sentences",
        "data.corpus.deduplicate:HASHES_FORMAT",
        "data.corpus.deduplicate",
        "data.text.tokenizer",
        "data.corpus.blocks",
    ],
)
def test_a_raised_number_makes_a_corpus_of_its_own(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = _small(tmp_path)
    before = prepare(settings).path
    name, _, constant = step.partition(":")
    module, constant = import_module(f"lang_jepa.{name}"), constant or "FORMAT"
    monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    assert prepare(settings).path != before


def _as_of_old(manifest: Path) -> None:
    content = read_json(manifest, what="manifest")
    del content["made_from"]["formats"]
    content["made_from"]["code"] = "0123456789abcdef"
    write_json(manifest, content)


def test_changes_are_named_to_the_key() -> None:
    before = {"formats": {"a": 1, "b": 1}, "settings": {"x": 1}, "source": "s", "tokenizer": {"trained": 5}}
    now = {"formats": {"a": 1, "b": 2, "c": 1}, "settings": {"x": 2}, "source": "s", "tokenizer": "abc"}
    assert changes(before, now) == ["formats.b", "formats.c", "settings.x", "tokenizer"]
    assert changes(before, before) == []
