"""`prepare` and `train` as people type them: what they leave behind, how they stop and go on."""

import json
import signal
import sys
from pathlib import Path

from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.metrics import read_metrics
from stopping import signal_once
from typed import ROOT, Type, options_of, run_command


def test_a_run_directory_holds_what_is_promised(trained: Path) -> None:
    files = {path.name for path in trained.iterdir()}
    assert {"settings.yaml", "metrics.csv", "run.png", "summary.json", "examples.txt", LAST} <= files
    model = {path.name for path in (trained / "model").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "predictor.safetensors",
        "tokenizer.json",
        "settings.yaml",
    } <= model
    assert {path.stat().st_mode for path in (trained / "model").iterdir()} == {
        (trained / "settings.yaml").stat().st_mode
    }
    assert (trained / "run.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["steps"], summary["total"], summary["interrupted"]) == (12, 12, False)
    steps = [row["train/step"] for row in read_metrics(trained / "metrics.csv") if "train/loss" in row]
    assert steps == list(range(1, 13))  # --debug logs every step


def test_overrides_of_every_kind(place: Path, trained: Path, type_in: Type) -> None:
    """A recipe of one's own, a value with `=`, null, and a later option that wins."""
    recipe = place / "own recipe.yaml"
    recipe.write_text("data: {limit: 30, val_fraction: 0.2}\noptimization: {max_steps: 9}\n")
    more = options_of(
        place, "a=b", "optimization.max_steps=9", "optimization.clip_grad=null", "optimization.max_steps=2"
    )
    ran = type_in("train", recipe, *more)
    assert ran.status == 0, ran.err
    settings = (place / "a=b" / "settings.yaml").read_text()
    assert "clip_grad: null" in settings
    assert "limit: 30" in settings
    assert json.loads((place / "a=b" / "summary.json").read_text())["steps"] == 2


def test_prepare_tells_and_reuses(place: Path, trained: Path, type_in: Type) -> None:
    options = options_of(place, "run", "data.val_fraction=0.25")
    assert "prepared " in type_in("prepare", *options).out
    again = type_in("prepare", *options)
    assert "is up to date" in again.out
    assert "48" in again.out
    assert "next-sentence pairs" in again.out
    listed = type_in("prepare", *options, "--duplicates", str(place / "duplicates.jsonl"))
    assert f"duplicates: {place / 'duplicates.jsonl'}" in listed.out
    assert (place / "duplicates.jsonl").read_text() == ""  # no story repeats another


def test_prepare_warns_each_time_and_refuses_first(tmp_path: Path, type_in: Type) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"text": "The harbour is closed. Nobody is there."}))
    options = [
        f"data.{key}={value}"
        for key, value in {
            "train_file": file,
            "tokenizer_path": "trained",
            "vocab_size": 300,
            "min_length": 1,
            "val_fraction": 0.001,
            "corpus_dir": tmp_path / "corpora",
        }.items()
    ]
    command = ["prepare", "concepts", *(word for option in options for word in ("-o", option))]
    refused = type_in(*command, "--duplicates", "/proc/nowhere/list.jsonl")
    assert (refused.status, (tmp_path / "corpora").exists()) == (2, False)
    assert "cannot write /proc/nowhere/list.jsonl" in refused.err
    for said in ("prepared ", "is up to date"):
        ran = type_in(*command)
        assert said in ran.out
        assert "warning: nothing is held out: " in ran.out + ran.err


def test_ctrl_c_saves_and_resume_goes_on(place: Path, trained: Path, type_in: Type) -> None:
    """The interrupt of a terminal reaches loader processes too; the run alone decides when it ends."""
    options = options_of(
        place, "long", "optimization.max_steps=200", "data.val_fraction=0.2", "data.limit=50", "data.batch_size=4",
        "data.num_workers=2", "logging.eval_freq=200", "logging.checkpoint_steps=3",
    )  # fmt: skip
    command = [sys.executable, "main_encoder.py", *options]
    child = signal_once(command, place / "long" / LAST, signal.SIGINT, cwd=ROOT)
    stopped = load_checkpoint(place / "long" / LAST)["step"]
    said = f"Stopped at step {stopped} of 200; it is saved: resume with --resume\n"
    assert (child.status, child.err) == (130, said)
    assert 0 < stopped < 200
    ran = type_in("train", "--resume", *options)
    assert ran.status == 0, ran.err
    rows = read_metrics(place / "long" / "metrics.csv")
    assert json.loads((place / "long" / "summary.json").read_text())["steps"] == 200
    assert [row["train/step"] for row in rows if "train/loss" in row] == list(range(50, 201, 50))


def test_launching_two_processes(place: Path, trained: Path) -> None:
    """They train as one run, and one of them speaks."""
    options = options_of(place, "two", "optimization.max_steps=3")
    done = run_command("scripts/launch_encoder.sh", "2", "--debug", *options)
    assert done.status == 0, done.err
    assert done.out.count("lang-jepa evaluate") == 1
    assert done.out.count("held-out data;") == 1
    assert load_checkpoint(place / "two" / LAST)["world"] == 2
    assert run_command("scripts/launch_encoder.sh", "none").status == 2


def test_a_folder_for_a_decoder_that_is_given_as_the_encoders_is_explained(trained: Path, type_in: Type) -> None:
    new = str(trained.parent / "decoder")
    for more, why in (((), f"there is no {new}"), (("--encoder", trained), "so does --encoder")):
        ran = type_in("train", "concept_decoder", *more, "-o", f"logging.log_dir={new}")
        assert ran.status == 2
        assert why in ran.err
        assert f"own folder is set with -d logging.log_dir={new} (not given: outputs/decoder)" in ran.err
    assert not Path(new).exists()
