"""The documents are executed: what README.md and docs/ show is what the program does.

A fenced block with `<!-- test: run -->` on the line before is run, the blocks of one page in order and in one folder.
The folder holds `my_texts/` (40 short .txt files), `my_texts.jsonl` (the same, one JSON object a line),
`my_sentences.txt` (one sentence a line), and the project's `scripts/` and `main_encoder.py`. Commands begin a line;
`lang-jepa` runs in this process, anything else in bash, and `train` gets a few tiny settings on top so that a page takes
seconds. A Python block runs as a module of its own. A block marked `run with NAME` runs where that module is installed; one
marked `file NAME` is written to that file in the folder.
"""

import ast
import doctest
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from lang_jepa.cli import app as cli
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.settings.load import settings_class
from lang_jepa.settings.recipes import recipe_names, system_of
from tiny import environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = "<!-- test: run -->"
TINY = (
    "data.vocab_size=400",
    "data.prepare_workers=1",
    "data.num_workers=0",
    "data.val_fraction=0.2",
    "model.embed_dim=32",
    "model.pred_dim=32",
    "model.num_layers=1",
    "model.num_heads=2",
    "model.predictor_heads=2",
    "optimization.max_steps=3",
    "logging.val_sentences=64",
)
TINY_DECODER = (
    "decoder.hidden_dim=32",
    "decoder.num_layers=1",
    "optimization.max_steps=20",
    "data.batch_size=16",
    "logging.val_sentences=32",
)
TINY_GPT = (
    "data.limit=60",
    "data.vocab_size=400",
    "data.prepare_workers=1",
    "data.val_fraction=0.2",
    "data.seq_len=32",
    "data.batch_tokens=256",
    "model.num_layers=2",
    "model.model_dim=32",
    "optimization.max_steps=3",
    "evaluation.val_tokens=500",
    "evaluation.span_sequences=8",
)
_FILE = re.compile(r"<!-- test: file (\S+) -->")
_WITH = re.compile(r"<!-- test: run with (\w+) -->")
_BLOCK = re.compile(r"^([^\n]*)\n```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(
    r"(?<![\w./])(data|model|objective|optimization|logging|meta|decoder|training|evaluation|jepa)\.([a-z][a-z_]*)\b(?!\()"
)
_FILES = {"csv", "safetensors", "onnx", "json", "yaml", "md", "py", "txt"}


class Block(NamedTuple):
    page: Path
    language: str
    text: str
    run: bool
    file: str = ""


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, m[2], m[3], _is_run(m[1]), _file(m[1])) for m in _BLOCK.finditer("\n" + text)]


def _file(line: str) -> str:
    """The file that the block after a line is, if any."""
    found = _FILE.search(line)
    return found[1] if found else ""


def _is_run(line: str) -> bool:
    """Whether the line before a block wants it run, and what that needs is installed."""
    needed = _WITH.search(line)
    return MARK in line or (needed is not None and importlib.util.find_spec(needed[1]) is not None)


def commands(text: str) -> Iterator[str]:
    """Single commands of shell text: continued lines joined, comments, pipes and prompts taken apart."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|;&"):
                if words:
                    yield shlex.join(words)
                words = []
            else:
                words.append(word)


def shown_commands(page: Path) -> list[str]:
    """Every `lang-jepa` command line with a verb that a page shows, in blocks or between backticks."""
    shell = "\n".join(block.text for block in blocks(page) if block.language in {"bash", "sh", "console"})
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    inline = [span for span in re.findall(r"`([^`\n]+)`", prose) if span.startswith("lang-jepa ")]
    return [line for text in [shell, *inline] for line in commands(text) if line.startswith("lang-jepa ")]


def unknown_settings(text: str) -> list[str]:
    """Names of the form `section.key` that are no setting."""
    known: dict[str, set[str]] = {}
    for kind in (Settings, DecoderSettings, GPTSettings):
        for name, field in kind.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                known.setdefault(name, set()).update(field.annotation.model_fields)
        for old in kind.OLD_NAMES:
            known.setdefault(old.split(".")[0], set()).add(old.split(".")[1])
    return [f"{a}.{b}" for a, b in _SETTING.findall(text) if b not in known[a] and b not in _FILES]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_readme_is_one_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(re.findall(r"(?<![\w.])\.?\d+(?:\.\d+)*", text)) <= 40


def test_every_experiment_has_a_verdict_and_a_row() -> None:
    folder = ROOT / "docs" / "experiments"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(folder.glob("2*.md"))
    rows = [index.find(f"]({page.name}) | {page.read_text(encoding='utf-8').splitlines()[0][2:]} |") for page in pages]
    assert len(pages) > 20
    assert min(rows) > 0
    dates = re.findall(r"^\| (\d{4}-\d\d-\d\d) ", index, flags=re.MULTILINE)
    assert dates == sorted(dates, reverse=True)
    assert len(dates) == len(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_settings_links_and_names_exist(page: Path) -> None:
    group = typer.main.get_command(cli.app)
    for command in shown_commands(page):
        verb, *arguments = shlex.split(command)[1:]
        if verb in {"--help", "--version"}:
            continue
        assert verb in group.commands, command
        group.commands[verb].make_context(verb, arguments)  # raises for an unknown option or a missing argument
    text = page.read_text(encoding="utf-8")
    prose = "\n".join(part for part in re.split(r"^```python.*?^```", text, flags=re.MULTILINE | re.DOTALL))
    assert not unknown_settings(prose)
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", prose):
        target = page.parent / link if link else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}#{anchor}"
    for block in blocks(page):
        if block.language == "python":
            _assert_names_exist(block.text)


def _assert_names_exist(code: str) -> None:
    """Python shown to people parses, and what it imports from this package is there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lang_jepa"):
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == [], node.module


def test_the_check_would_see_a_mistake() -> None:
    assert unknown_settings("set data.limt=3, model.embed_dim, `logging.log_dri`") == [
        "data.limt",
        "logging.log_dri",
    ]
    assert unknown_settings("model.safetensors, lang_jepa.stories, data/model.x, model.encode([])") == []
    assert list(commands("echo a | lang-jepa infer run \\\n  --top-k 5  # five\n")) == [
        "echo a",
        "lang-jepa infer run --top-k 5",
    ]


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_name_known_settings(name: str) -> None:
    text = (ROOT / "src" / "lang_jepa" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    assert not unknown_settings(" ".join(re.findall(r"#.*", text)))
    known = settings_class(system_of(name)).model_fields
    assert set(yaml.safe_load(text)) <= {*known, "base"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the module's docstring describes, as the working directory."""
    texts = [
        f"The {animal} number {i} sat by the {place}. It looked at {i + 2} birds for a while. Then house {i} called it "
        f"home. The {place} was empty for {i + 1} hours."
        for i, (animal, place) in enumerate([("cat", "door"), ("dog", "river"), ("hen", "wall"), ("cow", "tree")] * 10)
    ]
    (tmp_path / "my_texts").mkdir()
    for i, text in enumerate(texts):
        (tmp_path / "my_texts" / f"{i}.txt").write_text(text)
    (tmp_path / "my_texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "my_sentences.txt").write_text("The cat sat on the mat.\nA dog barked.\nIt rained.\n")
    for name in ("scripts", "examples", "main_encoder.py", "main_decoder.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _type(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command; it must end well."""
    words = shlex.split(command)
    if words[0] != "lang-jepa":
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(["bash", "-ec", command], env=environment({"PATH": path}), capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return
    tiny = [part for setting in TINY for part in ("-o", setting)] if words[1] in {"train", "prepare"} else []
    if words[1:3] == ["train", "gpt_jepa"]:
        tiny = [part for setting in TINY_GPT for part in ("-o", setting)]
    if words[1] == "train" and ":" in system_of(words[2]):
        tiny = []
    if "--from" in words:  # whose tokenizer is taken
        tiny = [part for setting in TINY[1:] for part in ("-o", setting)]
    if words[1:3] == ["train", "concept_decoder"]:
        tiny = [part for setting in TINY_DECODER for part in ("-d", setting)]
    monkeypatch.setattr(sys, "argv", [*words, *tiny])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, command


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.run for block in blocks(page))], ids=lambda p: p.name
)
def test_marked_blocks_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)
        if not block.run:
            continue
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), {"__name__": "shown"})
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                piped = "|" in line
                _type(line if piped else shlex.join(shlex.split(line, comments=True)), monkeypatch)


def _modules_with_examples() -> list[str]:
    files = (ROOT / "src").rglob("*.py")
    shown = [file for file in files if ">>>" in file.read_text(encoding="utf-8")]
    return sorted(".".join(file.relative_to(ROOT / "src").with_suffix("").parts) for file in shown)


@pytest.mark.parametrize("name", _modules_with_examples())
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_settings_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/write_settings_page.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
