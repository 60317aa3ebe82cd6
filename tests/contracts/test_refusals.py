"""What cannot work is refused before anything is prepared, moved or trained, everything in one message."""

import sys
from pathlib import Path

import pytest
import torch
from systems import Inputs, System

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.load import load_settings
from lang_jepa.settings.recipes import SYSTEMS
from lang_jepa.training import checkpoint, preflight
from lang_jepa.training.methods.lit import TextDataModule
from lang_jepa.training.train import method_of, train
from tiny import VIEWS, tiny_decoder, tiny_settings

SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}
TORCHRUN = {
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def begin(system: System, inputs: Inputs, folder: Path, *overrides: str) -> str:
    """Start a run that must be refused, and leave nothing behind; returns the message."""
    corpora = folder.parent / "corpora"
    places = () if system.name == "decoder" else (f"data.corpus_dir={corpora}",)
    settings = system.make(folder, (*places, *overrides), inputs)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(LangJepaError) as refused:
        system.begin(settings, None, inputs)
    assert sorted(folder.parent.rglob("*")) == before
    return str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_everything_at_once(system: System, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "run").write_text("a file")
    overrides = ("logging.log_to_wandb=true", "logging.log_to_tensorboard=true", "meta.device=cuda")
    said = begin(system, inputs, tmp_path / "run", *overrides)
    for words in (
        'logging.log_to_wandb needs wandb: pip install "lang-jepa[wandb]"',
        "logging.log_to_tensorboard needs tensorboard",
        "meta.device=cuda, but torch finds no GPU here",
        f"{system.log_dir}: {tmp_path / 'run'} is a file",
    ):
        assert words in said
    assert (tmp_path / "run").read_text() == "a file"


def test_processes_that_do_not_know_each_other(
    system: System, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = begin(system, inputs, tmp_path / "run")
    assert said.startswith("WORLD_SIZE is 2, but RANK, LOCAL_WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT")
    assert "torchrun --nproc-per-node=N" in said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, None),
        (SLURM, None),  # the shell of an interactive allocation
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({**SLURM, **TORCHRUN, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, None),
        (TORCHRUN, None),
        ({"WORLD_SIZE": "1"}, None),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}, "WORLD_SIZE=4 is not a multiple of LOCAL_WORLD_SIZE=3"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "0"}, "WORLD_SIZE=4 is not a multiple of LOCAL_WORLD_SIZE=0"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE=0 is not a multiple"),
        ({**TORCHRUN, "RANK": "4"}, "RANK=4"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "LOCAL_RANK=2"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
        ({"RANK": "1"}, "RANK is 1, but WORLD_SIZE is not set"),
    ],
)
def test_what_the_launcher_says(environment: dict[str, str], words: str | None) -> None:
    found = list(preflight._processes(environment))
    assert (len(found) == 1 and words in found[0]) if words else not found


def test_unwritable(system: System, inputs: Inputs, tmp_path: Path) -> None:
    """Where nobody can make a folder, root neither."""
    said = begin(system, inputs, tmp_path / "run", f"{system.log_dir}=/proc/run")
    assert said.startswith(f"{system.log_dir}: cannot write /proc/run")


def test_what_is_named_and_not_there(system: System, inputs: Inputs, tmp_path: Path) -> None:
    """A path for a tokenizer; and what is each system's own."""
    setting = "decoder.tokenizer_path" if system.name == "decoder" else "data.tokenizer_path"
    overrides = [f"{setting}=./no/tokenizer"]
    words = [f"{setting}: there is no ./no/tokenizer"]
    if system.name == "gpt":
        overrides.append("data.data_path=no-shards")
        words.append("data.data_path: there is no no-shards")
    elif system.name == "decoder":
        inputs = Inputs(tmp_path / "no-encoder", inputs.texts)
        words.append(f"the encoder: there is no {tmp_path / 'no-encoder'}")
    else:
        overrides += [
            "logging.best_metric=val/lost",
            "meta.load_checkpoint=true",
            "meta.checkpoint_path=no.pth",
        ]
        words += [
            "meta.checkpoint_path: there is no no.pth",
            "logging.best_metric 'val/lost' is not measured",
        ]
    said = begin(system, inputs, tmp_path / "run", *overrides)
    for word in words:
        assert word in said


def test_a_decoder_of_predictions_that_the_encoder_does_not_make(tmp_path: Path) -> None:
    """Before its concepts are computed."""
    encoder = train(tiny_settings(tmp_path / "encoder", *VIEWS["spans"], "optimization.max_steps=1")).folder
    settings = tiny_decoder(tmp_path / "run", "data.predicted_share=0.5")
    elsewhere = (f"data.corpus_dir={tmp_path / 'corpora'}", "data.limit=20")
    with pytest.raises(LangJepaError, match=r"predicts no next sentence.*set data\.predicted_share=0"):
        train(settings.of(encoder, elsewhere))
    assert not (tmp_path / "corpora").exists()
    assert not list((tmp_path / "run").glob("*"))


LOGGING = """recipe logging.checkpoint_freq logging.checkpoint_steps logging.eval_freq logging.keep_checkpoints
    logging.log_dir logging.log_freq logging.log_to_tensorboard logging.log_to_wandb logging.num_examples
    meta.checkpoint_path meta.load_checkpoint meta.strategy meta.timeout_minutes"""
FREE = {
    "encoder": """data.corpus_dir data.num_workers data.prepare_workers logging.best_metric logging.best_mode
        logging.val_sentences meta.on_collapse""",
    "decoder": "data.encoder data.encoder_data logging.val_sentences",
    "gpt": """data.corpus_dir data.prepare_workers evaluation.sample_tokens evaluation.sentence_layer
        evaluation.temperature evaluation.top_k""",
}
"""Settings that touch no number of a run, so that it may go on with others."""


@pytest.mark.parametrize("name", ["encoder", "decoder", "gpt"])
def test_only_these_settings_may_be_others_when_a_run_goes_on(name: str) -> None:
    method = method_of(SYSTEMS[name]())
    every = checkpoint._flat(method.settings.model_dump())
    found = {key for key in every if key.startswith(method.all_free)}
    assert found == {*LOGGING.split(), *FREE[name].split()}


def test_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wtpsplit", None)
    settings = load_settings("concepts", ["data.splitter=sat", "data.tokenizer_path=/no/tokenizer"])
    with pytest.raises(LangJepaError, match=r"(?s)lang-jepa\[sat\].*there is no /no/tokenizer"):
        TextDataModule(settings)


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting of the decoder, which is trained second, before anything is done."""
    from typer.testing import CliRunner

    from lang_jepa.cli.app import app

    monkeypatch.chdir(tmp_path)
    for override, words in (("decoder.hiden_dim=8", "hidden_dim"), ("meta.device=cuda", "no GPU here")):
        if words == "no GPU here" and torch.cuda.is_available():
            continue
        found = CliRunner().invoke(app, ["quickstart", "-d", override])
        assert isinstance(found.exception, LangJepaError)
        assert words in str(found.exception)
    assert not list(tmp_path.iterdir())
