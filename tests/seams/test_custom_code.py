"""No code from a model's folder is run: not by Python's loaders, not by a verb, not after a yes."""

import ast
import os
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from lang_jepa import ConceptModel
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from scripts import script

crafted = script("reliability/custom_code")


def test_no_crafted_folder_runs_code(tmp_path: Path) -> None:
    assert len(crafted.FOLDERS) >= 20
    assert crafted.ran_code(tmp_path, crafted.QUICK_VERBS) == []


def test_the_folders_would_run_code_if_they_were_let(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    crafted.base(folder)
    (folder / "evil.py").write_text(f"open({str(folder / crafted.MARKER)!r}, 'w').close()\nclass Config: pass\n")
    crafted.FOLDERS["config.json of an own type"](folder)
    before = dict(sys.modules)
    with pytest.raises(Exception):  # noqa: B017  (the class is none; that it was imported is the point)
        AutoConfig.from_pretrained(folder, trust_remote_code=True)
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    assert os.path.exists(folder / crafted.MARKER)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("config.json of an own type", "config.json"),
        ("config.json with a nested auto_map", "config.json at text_config"),
        ("tokenizer_config.json", "tokenizer_config.json"),
        ("modules.json with an own class", "modules.json"),
        ("modules.json, nested config.json", "config.json"),
    ],
)
def test_the_refusal_names_the_folder_and_the_file(name: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    crafted.base(folder)
    (folder / "evil.py").touch()
    crafted.FOLDERS[name](folder)
    with pytest.raises(LangJepaError, match=rf"{tmp_path}.*needs code of its own \({file}.*never run"):
        ConceptModel.load(folder)
    if file == "tokenizer_config.json":
        with pytest.raises(LangJepaError, match="needs code of its own"):
            TextTokenizer.load(str(folder))


def test_every_loader_says_that_no_code_is_trusted() -> None:
    """A call without the argument would ask on standard input."""
    loaders, found = {"from_pretrained", "SentenceTransformer"}, 0
    root = Path(__file__).parents[2]
    for file in [one for part in ("src", "scripts", "benchmarks") for one in (root / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            arguments = {one.arg: one.value for one in node.keywords}
            if name not in loaders or "modules" in arguments:  # one that is put together of modules loads nothing
                continue
            found += 1
            said = arguments.get("trust_remote_code")
            assert isinstance(said, ast.Constant), f"{file}:{node.lineno}"
            assert said.value is False, f"{file}:{node.lineno}"
    assert found >= 5
