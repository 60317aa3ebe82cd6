"""The command `lang-jepa train`: a recipe of any system, and where things are in the end."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lang_jepa.cli.console import plain
from lang_jepa.cli.options import leave_if_stopped, run_to_resume, settings_of
from lang_jepa.cli.progress import Bar, DecoderBar, EncoderBar, GPTBar
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.settings.decoder import DecoderLoggingSettings, DecoderSettings
from lang_jepa.settings.load import load_decoder_settings, load_gpt_settings, load_run_settings
from lang_jepa.settings.recipes import system_of
from lang_jepa.settings.run import RunSettings

if TYPE_CHECKING:
    from lang_jepa.training.train import Result

ENCODER_DEBUG = (
    "data.limit=50",
    "data.batch_size=4",
    "data.num_workers=0",
    "data.val_fraction=0.2",
    "optimization.epochs=1",
    "optimization.max_steps=null",
    "logging.log_freq=1",
    "logging.val_sentences=64",
)
_DATA_DEBUG = ("data.limit=50", "data.val_fraction=0.2")
_DECODER_DEBUG = (
    "optimization.max_steps=20",
    "data.batch_size=4",
    "logging.eval_freq=10",
    "logging.val_sentences=32",
    "logging.log_freq=1",
)
_GPT_DEBUG = (
    *_DATA_DEBUG,
    "data.seq_len=64",
    "data.batch_tokens=256",
    "data.micro_batch_tokens=null",
    "optimization.max_steps=20",
    "logging.eval_freq=10",
    "evaluation.val_tokens=1024",
    "evaluation.sample_tokens=16",
    "logging.log_freq=1",
)
_OWN_DEBUG = ("optimization.max_steps=20", "logging.log_freq=1")
_FOLDER = "logging.log_dir="
_BARS = {"encoder": EncoderBar, "decoder": DecoderBar, "gpt": GPTBar}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed.

    Attributes:
        recipe: name, path or (to resume) run directory.
        overrides: `-o`.
        decoder_overrides: `-d`.
        encoder: of a decoder; None: the latest run.
        debug: a tiny run.
        resume: go on from the last checkpoint.
        untrained: a decoder of the encoder as it was before its first step, as a control.
        environment: environment variables change a GPT's settings too; `overrides` come after them.
    """

    recipe: str
    overrides: Sequence[str] = ()
    decoder_overrides: Sequence[str] = ()
    encoder: Path | None = None
    debug: bool = False
    resume: bool = False
    untrained: bool = False
    environment: bool = False


def train(asked: Asked) -> None:
    """Train, and say where things are."""
    recipe, folder = run_to_resume(asked.recipe, resume=asked.resume)
    first = () if folder is None else (f"{_FOLDER}{folder}",)
    last = ("meta.load_checkpoint=true",) if asked.resume else ()
    system = system_of(recipe)
    if system == "decoder":
        settings: RunSettings = _decoder_settings(recipe, asked, first, last)
    elif system == "gpt":
        from lang_jepa.training.environment import overrides_of

        variables = overrides_of(os.environ) if asked.environment else ()
        overrides = [*first, *variables, *asked.overrides, *last]
        settings = load_gpt_settings(recipe, overrides, _GPT_DEBUG if asked.debug else ())
    elif system == "encoder":
        usual = ENCODER_DEBUG if asked.debug else ()
        settings = settings_of(recipe, *first, *asked.overrides, *last, usual=usual)
    else:
        settings = load_run_settings(recipe, [*first, *asked.overrides, *last], _OWN_DEBUG if asked.debug else ())
    go_offline_if_unreachable()
    from lang_jepa.training.train import train as run

    result = run(settings, _BARS.get(system, Bar)())
    leave_if_stopped(result)
    plain(f"{result.folder}: {counted(result.step, 'step')} in {result.seconds:.0f} s", style="bold")
    for name, value in _found(settings, result):
        plain(f"  {name:<16} {value}", whole=True)


def _decoder_settings(recipe: str, asked: Asked, first: Sequence[str], last: Sequence[str]) -> RunSettings:
    """Of a decoder and its encoder: the one that is named, or that the run had, or else the latest run here."""
    usual: tuple[str, ...] = _DECODER_DEBUG if asked.debug else ()
    if asked.untrained:
        from lang_jepa.report.encoder_run import START

        usual = (f"{_FOLDER}{DecoderLoggingSettings().log_dir}-{START}", *usual)
    settings = load_decoder_settings(recipe, [*first, *asked.decoder_overrides, *last], usual)
    folders = [one.removeprefix(_FOLDER) for one in asked.overrides if one.startswith(_FOLDER)]
    if asked.encoder is not None and folders:
        raise LangJepaError("--encoder and -o logging.log_dir both name an encoder: give one of them")
    named = asked.encoder or (Path(folders[-1]) if folders else None)
    encoder = named or (None if settings.data.encoder is None else Path(settings.data.encoder))
    if encoder is None:
        from lang_jepa.training.load import latest_encoder

        encoder = latest_encoder(Path.cwd())
        plain(f"encoder: {encoder}, the latest run here; --encoder names another")
    go_offline_if_unreachable()
    if asked.untrained:
        from lang_jepa.report.encoder_run import save_start

        encoder = save_start(encoder)
    changes = [one for one in asked.overrides if not one.startswith(_FOLDER)]
    data = [*(_DATA_DEBUG if asked.debug else ()), *changes]
    return settings.of(encoder, data or settings.data.encoder_data)


def _found(settings: RunSettings, result: "Result") -> list[tuple[str, str]]:
    """Where to look next."""
    folder, place = result.folder, shlex.quote(str(result.folder))
    if settings.system == "encoder":
        return [
            ("curves", str(folder / "run.png")),
            ("model", str(folder / "model")),
            ("next", f"lang-jepa evaluate {place}"),
        ]
    if settings.system == "gpt":
        bits = result.metrics.get("val/bits_per_byte")
        return [
            *([("bits per byte", f"{bits:.4f}")] if bits is not None else []),
            ("samples", str(folder / "samples.txt")),
            ("model", str(folder / "model")),
        ]
    if settings.system == "decoder":
        encoder = str(cast(DecoderSettings, settings).data.encoder)
        found = [("reconstructions", str(folder / "samples.txt"))]
        if result.model is None:
            return [*found, ("use", f"lang-jepa infer {encoder} --decoder {folder} --text '...'")]
        return [
            *found,
            ("joined", str(result.model)),
            ("next", f"lang-jepa evaluate {shlex.quote(encoder)} --tasks decode"),
            ("use", f"lang-jepa infer {encoder} --decode --text '...'"),
        ]
    return [] if result.model is None else [("model", str(result.model))]
