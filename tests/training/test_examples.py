"""examples.txt over a resumption."""

from pathlib import Path

from lang_jepa.training.reporter import ExamplesFile


def test_resumption_drops_the_validations_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "examples.txt"
    file = ExamplesFile(path)
    for step in (0, 50, 100):
        file.write(step, [f"after:     the step {step}\nnext:      step 3\n\nstep", "after: more"])
    whole = path.read_text()
    ExamplesFile(path, resume_step=100)
    assert path.read_text() == whole
    ExamplesFile(path, resume_step=60).write(100, ["again"])
    assert path.read_text() == whole[: whole.index("step 100\n\n")] + "step 100\n\nagain\n\n"


def test_a_new_run_begins_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "examples.txt"
    path.write_text("step 3\n\nold\n\n")
    ExamplesFile(path)
    assert path.read_text() == ""
