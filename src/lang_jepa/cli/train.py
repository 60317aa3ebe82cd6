"""The verb `train`: train a recipe of any system."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lang_jepa.cli.options import DecoderOverride, Override, leave_if_stopped, run_to_resume, settings_of
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted

if TYPE_CHECKING:
    from lang_jepa.settings.decoder import DecoderSettings
    from lang_jepa.settings.encoder import Settings
    from lang_jepa.settings.run import RunSettings
    from lang_jepa.training.train import Result

_ENCODER_DEBUG = (
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
_DEBUG = ("optimization.max_steps=20", "logging.log_freq=1")
_DECODER_DEBUG = (*_DEBUG, "data.batch_size=4", "logging.eval_freq=10", "logging.val_sentences=32")
_GPT_DEBUG = (
    *_DATA_DEBUG,
    *_DEBUG,
    "data.seq_len=64",
    "data.batch_tokens=256",
    "data.micro_batch_tokens=null",
    "logging.eval_freq=10",
    "evaluation.val_tokens=1024",
    "evaluation.sample_tokens=16",
)
_FOLDER = "logging.log_dir="
_OF_THE_START = ("view", "context", "window_size", "horizons", "units", "speakers", "records", "mask", "mask_patterns")
"""Data settings that determine the form of a predictor, or what it was trained to read."""
_FITTING = ("view", "units")
"""Those of them in which a named recipe has to agree."""


@dataclass(frozen=True)
class TrainOptions:
    """What was typed."""

    recipe: Annotated[
        str,
        typer.Argument(
            help="A built-in recipe, the path of a YAML file, or with --resume a run directory (default: "
            "next_sentence; with --from what that run was trained with).",
            show_default=False,
        ),
    ] = ""
    override: Override = None
    debug: Annotated[bool, typer.Option(help="A tiny run: 50 documents, one epoch, batch 4, logs every step.")] = False
    resume: Annotated[bool, typer.Option(help="Resume from the run directory's last checkpoint.")] = False
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Begin with the weights and the tokenizer of a run, on other text.",
        ),
    ] = None
    encoder: Annotated[
        Path | None, typer.Option(help="For a decoder's recipe: the encoder's run, model or checkpoint.")
    ] = None
    dec_override: DecoderOverride = None
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained", help="For a decoder: train it on the encoder as it was before its first step, as a control."
        ),
    ] = False
    environment: Annotated[
        bool, typer.Option("--environment", help="For a GPT's recipe: environment variables change settings too.")
    ] = False

    @property
    def overrides(self) -> Sequence[str]:
        """What `-o` changes."""
        return self.override or ()


def train(asked: TrainOptions) -> None:
    """Train an encoder, a decoder for one, or a GPT; prepare the corpus first if needed."""
    from lang_jepa.cli.console import plain, warn
    from lang_jepa.cli.progress import Bar, DecoderBar, EncoderBar, GPTBar

    settings = _settings(asked)
    go_offline_if_unreachable()
    from lang_jepa.training.train import train as run

    bars = {"decoder": DecoderBar, "gpt": GPTBar}
    of_encoder = settings.system == "encoder"
    bar = EncoderBar(cast("Settings", settings).data.units) if of_encoder else bars.get(settings.system, Bar)()
    result = run(settings, bar)
    leave_if_stopped(result)
    plain(f"{result.folder}: {counted(result.step, 'step')} in {result.seconds:.0f} s", style="bold")
    for warning in result.warnings:
        warn(warning)
    for name, value in _next_steps(settings, result):
        plain(f"  {name:<16} {value}", whole=True)


def _settings(asked: TrainOptions) -> "RunSettings":
    """Load the settings of the recipe's system, with what was typed."""
    from lang_jepa.settings.load import load_gpt_settings, load_run_settings
    from lang_jepa.settings.recipes import system_of

    recipe, folder = run_to_resume(_recipe_of(asked.recipe, asked.start), resume=asked.resume)
    first = () if folder is None else (f"{_FOLDER}{folder}",)
    last = ("meta.load_checkpoint=true",) if asked.resume else ()
    system = system_of(recipe)
    if asked.start is not None and (system != "encoder" or asked.resume):
        what = "--resume, which continues with its own weights" if asked.resume else f"a recipe of system {system}"
        raise LangJepaError(f"--from begins an encoder's training with another run's weights: not with {what}")
    if system == "decoder":
        return _decoder_settings(recipe, asked, first, last)
    if system == "encoder":
        usual = (*_settings_from(asked.recipe, asked.start), *(_ENCODER_DEBUG if asked.debug else ()))
        if asked.start is not None and any(one.startswith("data.vocab_size=") for one in asked.overrides):
            raise LangJepaError("data.vocab_size has no effect beside --from, whose tokenizer is taken: leave it out")
        settings = settings_of(recipe, *first, *asked.overrides, *last, usual=usual)
        return settings if asked.resume else _with_start_of(recipe, settings)
    if system == "gpt":
        from lang_jepa.training.environment import overrides_of

        variables = overrides_of(os.environ) if asked.environment else ()
        overrides = [*first, *variables, *asked.overrides, *last]
        return load_gpt_settings(recipe, overrides, _GPT_DEBUG if asked.debug else ())
    return load_run_settings(recipe, [*first, *asked.overrides, *last], _DEBUG if asked.debug else ())


def _recipe_of(named: str, start: Path | None) -> str:
    """Return the recipe to train: the one that is named, or else the settings of the run to start from.

    Raises:
        LangJepaError: there is no model to start from.
    """
    if named or start is None:
        return named or "next_sentence"
    from lang_jepa.inference.model_folder import SETTINGS

    return str(_start_folder(start) / SETTINGS)


def _start_folder(start: Path) -> Path:
    from lang_jepa.inference.model_folder import find_model, nearest_run, why_no_model

    folder = find_model(start)
    if folder is None:
        raise LangJepaError(
            why_no_model(start) or f"--from {start}: there is no model of an encoder{nearest_run(start)}"
        )
    return folder


def _settings_from(recipe: str, start: Path | None) -> Iterator[str]:
    """Yield the overrides with which a model starts from another's weights: its sizes, tokenizer, and what it reads.

    Raises:
        LangJepaError: there is no model, or its view or units differ from those of the named recipe.
    """
    if start is None:
        return
    from lang_jepa.inference.model_folder import SETTINGS
    from lang_jepa.settings.load import load_settings, read_settings

    folder = _start_folder(start)
    settings = read_settings(folder / SETTINGS)
    if recipe:
        own = load_settings(recipe).data
        for name in _FITTING:
            ours, theirs = getattr(own, name), getattr(settings.data, name)
            if ours != theirs:
                raise LangJepaError(
                    f"--from {start}: it was trained with data.{name}={theirs}, and the recipe {recipe} "
                    f"has data.{name}={ours}. Leave the recipe out, so that the settings of that run are taken, or "
                    "name one that fits"
                )
    else:
        run = start.parent if start.name == "model" else start
        run = run if run.name not in ("", "..") else run.resolve()  # beside it, not inside
        yield f"logging.log_dir={run}-more"
        yield from ("meta.load_checkpoint=false", "meta.checkpoint_path=null", "model.weights_path=null")
    yield f"meta.start_from={folder}"
    yield f"data.tokenizer_path={folder}"
    data = settings.data.model_dump(mode="json", include=set(_OF_THE_START))
    for section, values in (("model", settings.model.model_dump(mode="json")), ("data", data)):
        for name, value in values.items():
            if name != "weights_path":
                yield f"{section}.{name}={json.dumps(value)}"


def _with_start_of(recipe: str, settings: "Settings") -> "Settings":
    """Settings of a run that is trained again; if the model that it started from is gone, with the run's own copy."""
    from lang_jepa.settings.load import SAVED, read_settings

    path, start = Path(recipe), settings.meta.start_from
    if start is None or path.name != SAVED or not path.is_file() or Path(start).exists():
        return settings
    if read_settings(path).meta.start_from != start:
        return settings
    from lang_jepa.cli.console import plain
    from lang_jepa.training.start import with_own_start

    copied = with_own_start(settings, path.parent)
    if copied is not settings:
        plain(f"{start} is gone: this run begins with {copied.meta.start_from}, the copy that was made of it")
    return copied


def _decoder_settings(recipe: str, asked: TrainOptions, first: Sequence[str], last: Sequence[str]) -> "RunSettings":
    """Settings of a decoder and its encoder: the named one, the one that the run had, or else the latest run here."""
    from lang_jepa.cli.console import plain
    from lang_jepa.settings.decoder import DecoderLoggingSettings
    from lang_jepa.settings.load import load_decoder_settings

    usual: tuple[str, ...] = _DECODER_DEBUG if asked.debug else ()
    if asked.untrained:
        from lang_jepa.report.encoder_run import START

        usual = (f"{_FOLDER}{DecoderLoggingSettings().log_dir}-{START}", *usual)
    settings = load_decoder_settings(recipe, [*first, *(asked.dec_override or ()), *last], usual)
    folders = [one.removeprefix(_FOLDER) for one in asked.overrides if one.startswith(_FOLDER)]
    if folders and (asked.encoder is not None or not Path(folders[-1]).exists()):
        why = "and so does --encoder" if asked.encoder is not None else f"and there is no {folders[-1]}"
        raise LangJepaError(
            f"-o {_FOLDER}{folders[-1]} names the encoder's run, {why}. The decoder's own folder is set with "
            f"-d {_FOLDER}{folders[-1]} (not given: {DecoderLoggingSettings().log_dir}), its encoder with --encoder RUN"
        )
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


def _next_steps(settings: "RunSettings", result: "Result") -> list[tuple[str, str]]:
    """What was written, and the commands that use it."""
    folder, quoted = result.folder, shlex.quote(str(result.folder))
    if settings.system == "encoder":
        return [
            *([("curves", str(folder / "run.png"))] if (folder / "run.png").is_file() else []),
            ("model", str(folder / "model")),
            *_weights(result),
            ("next", f"lang-jepa evaluate {quoted}"),
        ]
    if settings.system == "gpt":
        bits = result.metrics.get("val/bits_per_byte")
        return [
            *([("bits per byte", f"{bits:.4f}")] if bits is not None else []),
            ("samples", str(folder / "samples.txt")),
            ("model", str(folder / "model")),
        ]
    if settings.system == "decoder":
        encoder = str(cast("DecoderSettings", settings).data.encoder)
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


def _weights(result: "Result") -> list[tuple[str, str]]:
    """Which weights an encoder's model has, if they are not the last ones."""
    best = result.best
    if not best or best["step"] == result.step or best["metric"] not in result.metrics:
        return []
    name, last = best["metric"].rpartition("/")[2], result.metrics[best["metric"]]
    return [
        ("weights", f"those of step {best['step']}: {name} {best['value']:.4g}, and {last:.4g} at step {result.step}")
    ]
