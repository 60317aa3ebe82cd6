"""What works with the core installation alone, without the libraries of any extra, and what names its extra."""

import json
import re
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import lang_jepa
from tiny import TINY, environment, write_parquet
from typed import Ran, Type

_SESSION = """
import contextlib, io, json, sys
from lang_jepa.cli import app
ran = []
for command in json.load(sys.stdin):
    sys.argv, status, out, err = ["lang-jepa", *command], 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main()
        except SystemExit as end:
            status = int(end.code or 0)
    ran.append([status, out.getvalue(), err.getvalue()])
json.dump(ran, sys.stdout)
"""
_TRAIN = ("train", "dialogue", "-o", "meta.device=cpu", "-o", "logging.log_dir=run", "-o", "optimization.max_steps=2")


def _name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _core() -> set[str]:
    """The distributions that the package requires without extras, and those that these require."""
    found: set[str] = set()
    todo = [("lang-jepa", "")]
    while todo:
        name, extra = todo.pop()
        found.add(name)
        for text in distribution(name).requires or []:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                todo += [(_name(one.name), of) for of in ("", *one.extras) if of or _name(one.name) not in found]
    return found


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with links to everything that comes with the core, and to nothing else."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "lang_jepa").symlink_to(Path(lang_jepa.__file__).parent)
    for name in _core() - {"lang-jepa"}:
        one = distribution(name)
        for top in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(one.locate_file(top))))
    return folder


def _run(folder: Path, core: Path, *commands: tuple[str, ...]) -> list[Ran]:
    """Run command lines one after another in a process that sees the core alone."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _SESSION],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment({"PYTHONPATH": str(core), "COLUMNS": "200"}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Ran(*one) for one in json.loads(done.stdout)]


def test_the_core_trains_searches_ranks_and_watches(tmp_path: Path, core: Path, type_in: Type) -> None:
    """Training draws no curves, and says so; once the extra is there, resuming the finished run draws them."""
    assert not {"sklearn", "scipy", "matplotlib", "pyarrow", "datasets"} & {one.name for one in core.iterdir()}
    examples = Path(__file__).parents[2] / "examples"
    chats = examples / "chats.jsonl"
    settings = (*TINY, f"data.train_file={chats}", "data.val_fraction=0.5", "data.limit=null")
    overrides = [part for one in settings for part in ("-o", one)]
    ran = _run(
        tmp_path,
        core,
        (*_TRAIN, *overrides),
        ("infer", "run", "--text", "Good morning.", "--json"),
        ("index", "run", str(chats), "--output", "index"),
        ("search", "index", "my bicycle is broken", "--json"),
        ("document", "run", str(examples / "new_chat.json"), "--json"),
        ("monitor", "run", str(chats), "--json"),
        (
            "rank",
            "run",
            "--context",
            str(examples / "new_chat.json"),
            "--candidates",
            str(examples / "answers.txt"),
            "--json",
        ),
    )
    for one in ran:
        assert one.status == 0, one.err
    assert "run.png needs what is not installed" in ran[0].out + ran[0].err
    assert (tmp_path / "run" / "metrics.csv").is_file()
    assert not (tmp_path / "run" / "run.png").exists()
    assert "then `lang-jepa train run --resume` draws it" in ran[0].out + ran[0].err
    ended = (tmp_path / "run" / "summary.json").read_bytes()
    assert "run.png needs what is not installed" in _run(tmp_path, core, ("train", "run", "--resume"))[0].out
    for said in ("run.png was missing: it is drawn now", "nothing was trained"):
        drawn = type_in("train", tmp_path / "run", "--resume")
        assert drawn.status == 0
        assert said in drawn.out
        assert (tmp_path / "run" / "run.png").read_bytes().startswith(b"\x89PNG")
    assert "it is drawn now" not in drawn.out
    assert (tmp_path / "run" / "summary.json").read_bytes() == ended
    for one in (ran[1], ran[3], ran[4], ran[6]):
        json.loads(one.out)


REFUSED: dict[str, tuple[Any, ...]] = {
    "evaluate": (
        ("evaluate", "anything"),
        ("compare", "concepts", "next_sentence", "--budget", "steps=2", "--output", "made"),
        ("topics", "anything", "anywhere"),
        ("try", ".", "--output", "made"),
        ("quickstart", "-o", "logging.log_dir=made"),
        ("document", "anything", "--plot", "made.png"),
    ),
    "export": (("export", "anything", "made/export"),),
    "onnx": (("export", "anything", "made/export", "--to", "onnx"),),
    "sat": (("prepare", "documents", "-o", "data.train_file=notes.txt", "-o", "data.splitter=sat"),),
    "hub": (
        ("train", "documents", "-o", "data.train_file=texts/part-0.parquet", "-o", "logging.log_dir=made"),
        ("train", "documents", "-o", "data.train_file=someone/something", "-o", "logging.log_dir=made"),
        ("train", "documents", "-o", "data.train_file=hf://datasets/a/b/x.parquet", "-o", "logging.log_dir=made"),
        ("duplicates", "hf://datasets/a/b/part-*.parquet"),
    ),
    "serve": (("serve", "anything"),),
    "wandb": (("train", "concepts", "-o", "logging.log_to_wandb=true", "-o", "logging.log_dir=made"),),
    "sweep": (("sweep", "concepts", "--output", "made"),),
    "gpt": (("shards", "notes.txt", "made"),),
    "s3": (("duplicates", "s3://bucket/texts.jsonl"),),
    "documents": (("duplicates", "minutes.pdf"),),
    "cluster": (("prepare", "documents", "-o", "data.train_file=notes.txt", "--executor", "local"),),
}


def test_what_needs_an_extra_names_it_and_makes_nothing(tmp_path: Path, core: Path) -> None:
    write_parquet(tmp_path / "texts", documents=4, files=1)
    (tmp_path / "notes.txt").write_text("One sentence of a note that is long enough. Another one of it.")
    (tmp_path / "minutes.pdf").write_bytes(b"%PDF")
    extras = [extra for extra, commands in REFUSED.items() for _ in commands]
    for extra, one in zip(extras, _run(tmp_path, core, *sum(REFUSED.values(), ())), strict=True):
        assert one.status == 2, one.out
        assert f'pip install "lang-jepa[{extra}]" (in a clone: pip install -e ".[{extra}]")' in one.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["minutes.pdf", "notes.txt", "texts"]


def test_the_missing_reader_of_a_remote_file_is_named_before_its_server_is_asked(tmp_path: Path, core: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/texts.parquet"
        (ran,) = _run(tmp_path, core, ("duplicates", address))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "needs what is not installed (datasets, PyArrow)" in ran.err


def test_every_extra_has_a_row_in_the_documents() -> None:
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    section = (root / "docs" / "README.md").read_text().split("## Installation")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == sorted(extras)
