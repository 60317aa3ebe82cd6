"""The notebooks of `examples/` run, and show what they ran; the sample texts are what their README says.

A notebook runs in a copy of the folder, in a kernel of its own, with a few steps; a last cell that is added here hands out
what it found.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.settings.load import load_settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PAGES = [
    "booking_a_repair",
    "childrens_bikes",
    "ebike_batteries",
    "first_aid",
    "gears",
    "keys",
    "kitchen",
    "lending_tools",
    "lending_tools_2023",
    "punctures",
    "wheel_truing",
    "winter_storage",
]
"""Of the handbook, those that the test of the notebook reads: half of them, with all that is hidden."""
PLANTED = "The soup is kept warm on the small hob until the last guest has eaten."


def executed(name: str, found: str, folder: Path) -> dict[str, Any]:
    """Run a notebook to its end, and evaluate an expression in it.

    Args:
        name: of the notebook.
        found: Python, a dictionary of what JSON can hold.
        folder: for the copy.
    """
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("runs", "corpora"))
    for page in (folder / "examples" / "handbook").iterdir():
        if page.stem not in PAGES:
            page.unlink()
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({found}))"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder / "examples")}}).execute()
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", [])}
    assert "error" not in kinds
    answer: dict[str, Any] = json.loads(notebook.cells[-1].outputs[-1].text)
    return answer


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which notebooks are short, and run this working tree."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return monkeypatch


def test_own_documents(few_steps: pytest.MonkeyPatch, minilm: Path, tmp_path: Path) -> None:
    few_steps.setenv("NOTEBOOK_STEPS", "2")
    few_steps.setenv("NOTEBOOK_ENCODER", str(minilm))
    found = executed(
        "own_documents.ipynb",
        "{'duplicates': duplicates, 'twice': twice, 'misfit': misfits[0], 'verdict': verdict(), 'held out': held_out,"
        " 'search': [one[1] for one in search('Somebody is unconscious.')], 'boundaries': topics.boundaries,"
        " 'scores': {name: row.value for name, row in scores.items()}}",
        tmp_path,
    )
    (pair,) = found["duplicates"]
    assert (pair["document"], pair["original"]) == ("lending_tools_2023.md:0", "lending_tools.md:0")
    assert {tuple(one[:2]) for one in found["twice"]} == {("ebike_batteries.md", "winter_storage.md")}
    assert len(found["twice"]) == 3
    assert found["misfit"][1:] == ["wheel_truing.md", PLANTED]
    assert found["search"][0] == "first_aid.md"
    assert len(found["boundaries"]) == 2
    assert "wheel_truing.md" in found["held out"]
    assert "lending_tools_2023.md" not in found["held out"]
    assert found["scores"]["chance"] < 0.02 < found["scores"]["recency mean (model)"]
    assert re.match(r".* this text.*: model minus recency mean \(model\) [+-]0\.\d+ \[[+-]0", found["verdict"])


def test_lejepa_for_text(few_steps: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few_steps.setenv("NOTEBOOK_STEPS", "20")
    few_steps.setenv("NOTEBOOK_STORIES", "200")
    found = executed(
        "lejepa_for_text.ipynb",
        "{name: {column: [value for _, value in points] for column, points in one.items()} "
        "for name, one in curves.items()}",
        tmp_path,
    )
    assert set(found) == {"notebook", "LeJEPA", "no SIGReg"}
    for name, curves in found.items():
        assert len(curves["train/loss"]) == 20
        assert len(curves["val/loss"]) == 11
        assert ("val/sigreg_loss" in curves) == (name != "no SIGReg")
    for name in ("notebook", "LeJEPA"):
        assert found[name]["val/loss"][-1] < found[name]["val/loss"][0]
        assert found[name]["val/embeddings/mean_pairwise_cosine"][-1] < 0.5
    assert found["no SIGReg"]["val/embeddings/mean_pairwise_cosine"][-1] > 0.9


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_of_one_clean_run(path: Path) -> None:
    """Every code cell ran, in order, without an error, a warning of a library or a path of somebody's machine."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    written = "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"/(home|root|work|tmp|Users)/", written)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


def test_prepare_reads_every_page_and_finds_the_older_version(tmp_path: Path) -> None:
    settings = load_settings(
        "documents",
        [f"data.train_file={EXAMPLES / 'handbook'}", f"data.corpus_dir={tmp_path}", "data.prepare_workers=1"],
    )
    corpus = prepare(settings.data)
    assert corpus.manifest["statistics"]["documents_read"] == 24
    (line,) = (corpus.path / "duplicates.jsonl").read_text(encoding="utf-8").splitlines()
    pair = json.loads(line)
    assert (pair["document"], pair["kind"]) == ("lending_tools_2023.md:0", "near duplicate")


def test_readme_of_the_sample_texts() -> None:
    """Each file has its row, and what is hidden stands where it says."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w./]+)`", readme, re.MULTILINE))
    there = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "runs", "corpora", ".ipynb_checkpoints"}
    assert there <= {name.rstrip("/") for name in named}
    pages = {page.name: " ".join(page.read_text(encoding="utf-8").split()) for page in EXAMPLES.glob("handbook/*.md")}
    assert len(pages) == 24
    assert PLANTED in readme
    assert [name for name, page in pages.items() if PLANTED in page] == ["wheel_truing.md"]
    battery = [name for name, page in pages.items() if "A battery that is not used for a while" in page]
    assert sorted(battery) == ["ebike_batteries.md", "winter_storage.md"]
