"""From documents to a folder of shards: what is in it, on which side, and what a killed or repeated conversion leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from texts import text_of, write_rows

from lang_jepa.data.corpus.deduplicate import hash_text, side
from lang_jepa.data.corpus.statistics import why_nothing_held_out
from lang_jepa.data.tokens.byte_table import documents
from lang_jepa.data.tokens.make_shards import ShardProgress, make_shards
from lang_jepa.data.tokens.pieces import Pieces
from lang_jepa.data.tokens.token_shards import TokenShards
from lang_jepa.errors import LangJepaError
from lang_jepa.settings.data import DataSettings
from tiny import environment

TEXTS = [f"{text_of(number)}\n\nÄnd  {number}:\tthe end of <s>an</s> <mask> <pad>. " for number in range(40)]


def settings_of(file: Path, **options: object) -> DataSettings:
    defaults = {
        "train_file": str(file),
        "tokenizer_path": "trained",
        "vocab_size": 400,
        "limit": None,
        "min_length": 1,
        "val_fraction": 0.3,
        "prepare_workers": 1,
    }
    return DataSettings(**{**defaults, **options})


def texts_of(folder: Path, name: str) -> list[str]:
    pieces = Pieces.load(folder / "tokenizer.model")
    shards = TokenShards.find(folder, name, vocab_size=pieces.vocab_size)  # type: ignore[arg-type]
    assert shards.read(0, 1).tolist() == [1]
    return [pieces.decode(ids) for ids in documents(shards)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards of TEXTS, some of them twice or nearly so, and two rows that are no documents."""
    root = tmp_path_factory.mktemp("made")
    near = [text.replace("number", "nr", 2) for text in TEXTS[:7]]
    file = write_rows(root / "texts.jsonl", [*TEXTS, *TEXTS[:5], *near, "", " \n"])
    make_shards(settings_of(file), root / "shards", shard_tokens=900)
    return root


def test_documents_come_back_whole_on_the_side_of_their_hash(made: Path) -> None:
    """The sides are those of a prepared corpus, white space inside a document stays as it was."""
    for name, long in (("train", "train"), ("val", "validation")):
        wanted = [text.strip() for text in TEXTS if side(hash_text(text), 0.3) == long]
        assert texts_of(made / "shards", name) == wanted
        assert wanted


def test_the_manifest_accounts_for_everything(made: Path) -> None:
    manifest = json.loads((made / "shards" / "shards.json").read_text())
    assert manifest["documents_read"] == 54
    assert manifest["rejected"] == {"empty text": 2}
    assert manifest["duplicates"] == {"exact duplicate": 5, "near duplicate": 7}
    assert manifest["changed_by_tokenizer"] == 0
    for name, sizes in manifest["sides"].items():
        texts = texts_of(made / "shards", name)
        shards = TokenShards.find(made / "shards", name)
        assert (sizes["documents"], sizes["tokens"]) == (len(texts), shards.num_tokens)
        assert sizes["bytes"] == sum(len(text.encode()) for text in texts)
        assert sum(file["tokens"] for file in sizes["files"]) == sizes["tokens"]
    assert len(manifest["sides"]["train"]["files"]) > 2
    names = {path.name for path in (made / "shards").iterdir()}
    files = {file["name"] for side in manifest["sides"].values() for file in side["files"]}
    assert names == {"shards.json", "tokenizer.model", *files}


def test_a_shard_that_is_gone_or_foreign_is_noticed(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in (made / "shards").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "train_000001.bin").unlink()
    with pytest.raises(LangJepaError, match=r"does not hold the shards .* \(look at train_000001.bin\)"):
        TokenShards.find(folder, "train")
    (folder / "train_000001.bin").write_bytes((folder / "val_000000.bin").read_bytes())
    with pytest.raises(LangJepaError, match=r"look at train_000001.bin"):
        TokenShards.find(folder, "train")


def test_a_flipped_bit_is_noticed_by_whoever_reads_it_and_by_the_same_command(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "shards", tmp_path / "copy")
    file = folder / "val_000000.bin"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(LangJepaError, match=r"val_000000.bin is damaged.* make it again"):
        TokenShards.find(folder, "val")
    with pytest.raises(LangJepaError, match=r"val_000000.bin is damaged.* make it again"):
        make_shards(settings_of(made / "texts.jsonl"), folder, shard_tokens=900)
    manifest = json.loads((folder / "shards.json").read_text())
    for side_ in manifest["sides"].values():
        for one in side_["files"]:
            del one["crc32"]
    (folder / "shards.json").write_text(json.dumps(manifest))
    assert TokenShards.find(folder, "val").num_tokens  # as an earlier version wrote it


def test_the_same_again_is_reused_and_anything_else_refused(made: Path, tmp_path: Path) -> None:
    events: list[ShardProgress] = []
    folder, file = made / "shards", made / "texts.jsonl"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    manifest = make_shards(settings_of(file), folder, shard_tokens=900, on_event=events.append)
    assert [progress.stage for progress in events] == ["reused", "warning"]
    assert events[1].message.startswith("of 54 documents: rejected 2")
    assert manifest["sides"]["train"]["files"][0]["tokens"] >= 900
    with pytest.raises(LangJepaError, match=r"made from other inputs \(changed: settings"):
        make_shards(settings_of(file, val_fraction=0.2), folder, shard_tokens=900)
    with pytest.raises(LangJepaError, match=r"made from other inputs \(changed: tokenizer"):
        make_shards(settings_of(file, vocab_size=410), folder, shard_tokens=900)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with pytest.raises(LangJepaError, match="not empty and holds no shards"):
        make_shards(settings_of(file), made)
    with pytest.raises(LangJepaError, match="is a file"):
        make_shards(settings_of(file), file)


def test_a_given_tokenizer_is_used_as_it_is(made: Path, tmp_path: Path) -> None:
    model = made / "shards" / "tokenizer.model"
    file = write_rows(tmp_path / "other.jsonl", [text_of(number) for number in range(50, 60)])
    make_shards(settings_of(file, tokenizer_path=str(model)), tmp_path / "shards")
    assert (tmp_path / "shards" / "tokenizer.model").read_bytes() == model.read_bytes()
    assert len(texts_of(tmp_path / "shards", "train") + texts_of(tmp_path / "shards", "val")) == 10


def test_the_tokenizer_learns_from_training_documents_only(tmp_path: Path) -> None:
    """A word that only held-out documents have is no piece."""
    held = [text for text in TEXTS if side(hash_text(text + "Zyzzyva "), 0.3) == "validation"]
    texts = [text + "Zyzzyva " if text in held else text for text in TEXTS]
    make_shards(settings_of(write_rows(tmp_path / "a.jsonl", texts)), tmp_path / "shards")
    pieces = Pieces.load(tmp_path / "shards" / "tokenizer.model")
    assert any("Zyzzyva" in text for text in texts_of(tmp_path / "shards", "val"))
    assert not any("zz" in pieces.piece(index) for index in range(pieces.vocab_size))


def test_a_source_that_changes_between_its_two_readings_is_an_error(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "texts.jsonl", TEXTS)

    def change(progress: ShardProgress) -> None:
        if progress.stage == "reading" and progress.characters:
            write_rows(file, TEXTS[1:])

    with pytest.raises(LangJepaError, match="changed while it was read"):
        make_shards(settings_of(file), tmp_path / "shards", on_event=change)
    assert not (tmp_path / "shards").exists()


def test_shared_clauses_are_boilerplate_and_many_duplicates_are_reported(tmp_path: Path) -> None:
    clauses = " ".join(f"This is clause number {k} of all contracts." for k in range(8))
    contracts = [f"{clauses} {text}" for text in TEXTS[:20]]
    events: list[ShardProgress] = []
    file = write_rows(tmp_path / "texts.jsonl", contracts)
    manifest = make_shards(settings_of(file), tmp_path / "contracts", on_event=events.append)
    assert (manifest["duplicates"], [one for one in events if one.stage == "warning"]) == ({}, [])
    file = write_rows(tmp_path / "twice.jsonl", [*contracts, *contracts[:6]])
    make_shards(settings_of(file), tmp_path / "twice", on_event=events.append)
    (warning,) = (one.message for one in events if one.stage == "warning")
    assert warning.startswith("of 26 documents: dropped 6 (23.1%) as exact duplicates. Check data.deduplicate")


def test_sides_that_stay_empty(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "one.jsonl", TEXTS[:1])
    events: list[ShardProgress] = []
    make_shards(settings_of(file, val_fraction=1e-9), tmp_path / "a", on_event=events.append)
    assert [p.message for p in events if p.stage == "warning"] == [
        "nothing is held out: " + why_nothing_held_out(1e-9, 1, f"file {file}")
    ]
    with pytest.raises(LangJepaError, match=r"no text to learn|left for training"):
        make_shards(settings_of(file, val_fraction=0.999999), tmp_path / "b")
    (tmp_path / "none.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(LangJepaError, match="holds no text"):
        make_shards(
            settings_of(tmp_path / "none.jsonl", tokenizer_path=str(tmp_path / "a/tokenizer.model")),
            tmp_path / "b",
        )
    assert not (tmp_path / "b").exists()


_KILLED = """
import sys
from pathlib import Path
from lang_jepa.data.tokens import make_shards as module
from lang_jepa.settings.data import DataSettings

module.BLOCK_CHARACTERS = 500
def note(progress):
    if progress.stage == "shards" and progress.characters > 3000:
        print("here", flush=True)
        sys.stdin.read()
settings = DataSettings.model_validate_json(sys.argv[1])
module.make_shards(settings, sys.argv[2], on_event=note)
"""


def test_a_killed_conversion_leaves_nothing_that_looks_finished(made: Path, tmp_path: Path) -> None:
    settings, folder = settings_of(made / "texts.jsonl"), tmp_path / "shards"
    command = [sys.executable, "-c", _KILLED, settings.model_dump_json(), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    (partial,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert not (partial / "shards.json").exists()
    with pytest.raises(LangJepaError, match="is not a token shard"):
        TokenShards.find(partial, "train")
    make_shards(settings, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".shards.lock", "shards"]
    assert texts_of(folder, "train") == texts_of(made / "shards", "train")
