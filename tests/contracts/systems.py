"""The systems that the contract suite holds to the same lines: how each is set up, started, resumed and named.

A line of the contract is one test over `SYSTEMS`; what is special to a system stands here and nowhere else.
"""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lang_jepa.settings.load import save_settings
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from lang_jepa.training.methods import decoder
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.train import resume_settings, train
from tiny import MODES, tiny_decoder, tiny_encoder, tiny_gpt, tiny_settings, write_parquet


@dataclass(frozen=True, slots=True)
class System:
    """A system under the contract.

    Attributes:
        name: of the system and its data, for people.
        make: (run folder, overrides, shared inputs) to settings. Overrides are of this system's own names.
        begin: (settings, reporter, shared inputs) to the result of the run, in this process.
        resume: run folder to settings that go on from its last checkpoint.
        last, best: names of the checkpoints.
        steps: the setting that holds the optimizer steps in all.
        log_dir: the setting that holds the run folder.
        lr: the setting that holds the learning rate.
        log_every: the setting that says after how many steps a row is written.
        ended_by: how the contract ends a run of this system: some may save, others are killed.
    """

    name: str
    make: Callable[[Path, tuple[str, ...], "Inputs"], Any]
    begin: Callable[[Any, Reporter | None, "Inputs"], Any]
    resume: Callable[[Path], Any]
    last: str = LAST
    best: str = BEST
    steps: str = "optimization.max_steps"
    log_dir: str = "logging.log_dir"
    lr: str = "optimization.lr"
    log_every: str = "logging.log_freq"
    ended_by: signal.Signals = signal.SIGTERM

    def command(self, settings: Any, inputs: "Inputs", *options: str) -> list[str]:
        """The command line that trains with these settings; they are written beside the run folder."""
        section, key = self.log_dir.split(".")
        folder = Path(getattr(getattr(settings, section), key))
        file = folder.with_name(f"{folder.name}-settings.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        save_settings(settings, file)
        encoder = ("--encoder", str(inputs.encoder)) if self.name == "decoder" else ()
        return [sys.executable, "-m", "lang_jepa.cli", "train", str(file), *encoder, *options]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What several systems read, made once per test process.

    Attributes:
        encoder: run directory of a tiny encoder, for the decoder.
        texts: folder of parquet files, for the stream.
    """

    encoder: Path
    texts: Path

    @classmethod
    def make(cls, folder: Path) -> "Inputs":
        return cls(tiny_encoder(folder / "encoder"), write_parquet(folder / "texts", documents=40, files=2))


CACHED = ("model.freeze_encoder=true", "objective.target=frozen", "objective.regularizer=none")


def _corpus(run: Path, overrides: tuple[str, ...], inputs: Inputs) -> Any:
    return tiny_settings(run, *MODES["concepts"], *overrides)


def _stream(run: Path, overrides: tuple[str, ...], inputs: Inputs) -> Any:
    stream = (f"data.train_file={inputs.texts}", "data.streaming=true", "data.shuffle_buffer=6")
    return tiny_settings(run, *MODES["concepts"], "data.batch_size=2", *stream, *overrides)


def _cached(run: Path, overrides: tuple[str, ...], inputs: Inputs) -> Any:
    return tiny_settings(run, *MODES["concepts"], *CACHED, *overrides)


def _train(settings: Any, reporter: Reporter | None, inputs: Inputs) -> Any:
    return train(settings, reporter)


def resumed_by(system: System, folder: Path, inputs: Inputs, *options: str) -> tuple[object, ...]:
    """What is typed in to go on with a run."""
    encoder = ("--encoder", inputs.encoder) if system.name == "decoder" else ()
    return "train", folder, "--resume", *encoder, *options


SYSTEMS = (
    System("encoder", _corpus, _train, resume_settings),
    System("encoder on a stream", _stream, _train, resume_settings, ended_by=signal.SIGKILL),
    System("encoder on cached concepts", _cached, _train, resume_settings, ended_by=signal.SIGINT),
    System(
        "decoder",
        lambda run, overrides, inputs: tiny_decoder(run, *overrides).of(inputs.encoder),
        _train,
        resume_settings,
        last=decoder.LAYOUT.last,
        best=decoder.LAYOUT.best,
        ended_by=signal.SIGKILL,
    ),
    System("gpt", lambda run, overrides, inputs: tiny_gpt(run, *overrides), _train, resume_settings),
)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Put something else into a checkpoint, whose hash is right again."""
    state = load_checkpoint(path)
    del state["format"]
    change(state)
    save_checkpoint(path, state)
