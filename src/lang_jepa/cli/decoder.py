"""What `lang-jepa train` does with the recipe of a decoder."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lang_jepa.cli.console import plain
from lang_jepa.cli.options import leave_if_stopped
from lang_jepa.cli.progress import DecoderBar
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.report.encoder_run import START, save_start
from lang_jepa.settings.decoder import DecoderTrainingSettings
from lang_jepa.settings.load import load_decoder_settings
from lang_jepa.training.decoder.train import latest_encoder
from lang_jepa.training.decoder.train import train_decoder as run

DEBUG = ("data.limit=50", "data.val_fraction=0.2")
DECODER_DEBUG = (
    "training.max_steps=20",
    "training.batch_size=4",
    "evaluation.eval_steps=10",
    "evaluation.eval_sentences=32",
    "evaluation.log_steps=1",
)
_FOLDER = "logging.log_dir="
_CONTROL = f"{DecoderTrainingSettings().output_dir}-{START}"
"""Where the decoder of an untrained encoder goes by default."""


def train_decoder(
    recipe: str,
    encoder: Path | None,
    overrides: Sequence[str],
    decoder_overrides: Sequence[str],
    *,
    debug: bool,
    resume: bool,
    untrained: bool,
) -> None:
    """Find the encoder, train, and say where things are.

    Args:
        recipe: of the decoder.
        encoder: its encoder; None: `logging.log_dir` among the overrides, or else the latest run.
        overrides: of the encoder's data settings.
        decoder_overrides: of the decoder's settings.
        debug: a tiny run.
        resume: go on from the last checkpoint.
        untrained: of the encoder as it was before its first step, as a control.
    """
    settings = load_decoder_settings(
        recipe,
        [
            *decoder_overrides,
            *(("training.resume=true",) if resume else ()),
        ],
        [
            *((f"training.output_dir={_CONTROL}",) if untrained else ()),
            *(DECODER_DEBUG if debug else ()),
        ],
    )
    folders = [one.removeprefix(_FOLDER) for one in overrides if one.startswith(_FOLDER)]
    if encoder is None:
        encoder = Path(folders[-1]) if folders else latest_encoder(Path.cwd())
        plain(f"encoder: {encoder}" + ("" if folders else ", the latest run here; --encoder names another"))
    elif folders:
        raise LangJepaError("--encoder and -o logging.log_dir both name an encoder: give one of them")
    go_offline_if_unreachable()
    encoder = save_start(encoder) if untrained else encoder
    data = [*(DEBUG if debug else ()), *(one for one in overrides if not one.startswith(_FOLDER))]
    result = run(encoder, settings, overrides=data, reporter=DecoderBar())
    leave_if_stopped(result)
    plain(f"{result.folder}: {counted(result.step, 'step')} in {result.seconds:.0f} s")
    plain(f"  reconstructions  {result.folder / 'samples.txt'}")
    if result.model is None:
        plain(
            f"  use              lang-jepa infer {encoder} --decoder {result.folder} --text '...'", whole=True
        )
        return
    plain(f"  joined           {result.model}")
    plain(f"  next             lang-jepa evaluate {shlex.quote(str(encoder))} --tasks decode", whole=True)
    plain(f"  use              lang-jepa infer {encoder} --decode --text '...'", whole=True)
