"""The command `lang-jepa quickstart`: every part of the package on the built-in stories, with what to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import DecoderOverride, Override, leave_if_stopped
from lang_jepa.errors import counted

if TYPE_CHECKING:
    from lang_jepa.files.run_lock import RunLock
    from lang_jepa.settings.decoder import DecoderSettings
    from lang_jepa.settings.encoder import Settings

NEXT = """
The run is in {run}: curves in run.png, all scores in {scores}, the model and its decoder in model/.
What to do next (in the environment: source .venv/bin/activate):
  see it collapse     lang-jepa train concepts -o model.head=none -o objective.regularizer=none \\
                        -o objective.center_targets=false -o logging.eval_freq=20 \\
                        -o logging.log_dir=runs/collapse
  your own text       lang-jepa train documents -o data.train_file=FOLDER -o logging.log_dir=runs/mine
  use the model       lang-jepa infer {run} --text 'Nora lost her keys.'
  go on with a text   lang-jepa infer {run} --context 'Nora lost her keys.' --continue 3
  out of place?       lang-jepa evaluate {run} --tasks document, then lang-jepa document {run} STORY.txt
  in Python           from lang_jepa import ConceptModel; ConceptModel.load("{run}")"""


def quickstart(
    override: Override = None,
    dec_override: DecoderOverride = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 0,
) -> None:
    """Train, decode, evaluate and show on the built-in stories: no download, no GPU, minutes."""
    from lang_jepa.files.run_lock import RunLock
    from lang_jepa.settings.load import load_decoder_settings, load_settings
    from lang_jepa.training.preflight import check_run
    from lang_jepa.training.train import method_of

    settings = load_settings("concepts", [f"meta.seed={seed}", *(override or ())])
    folder = Path(settings.logging.log_dir) / "decoder"
    own = [f"meta.seed={seed}", *(dec_override or ()), f"logging.log_dir={folder}"]
    decoder = load_decoder_settings("concept_decoder", own)
    for one in (settings, decoder.of(Path.cwd())):  # the encoder's folder will be there
        check_run(one, method_of(one).complaints())
    with RunLock(Path(settings.logging.log_dir)) as lock:  # until the last line is shown
        _show(settings, decoder, lock)


def _show(settings: "Settings", decoder: "DecoderSettings", lock: "RunLock") -> None:
    from lang_jepa.cli.console import plain, score_tables
    from lang_jepa.cli.progress import EncoderBar
    from lang_jepa.evaluation.tasks.evaluate import QUICK
    from lang_jepa.report import evaluate_run
    from lang_jepa.report.run import Asked
    from lang_jepa.report.show import imagine_story, tell_story
    from lang_jepa.training.train import train

    plain("Training an encoder to predict the meaning of the next sentence of generated stories.")
    result = train(settings, EncoderBar(), lock=lock)
    leave_if_stopped(result, f"lang-jepa train {result.folder} --resume")
    plain(f"Trained {counted(result.step, 'step')} in {result.seconds:.0f} s.")
    _train_decoder(result.folder, decoder)
    plain("Evaluating on held-out stories ...")
    report, path = evaluate_run(result.folder, Asked(tasks="stories,decode", budget=QUICK))
    score_tables(report, title="Held-out stories, and stories told in wordings never seen in training")
    for line in [*tell_story(result.folder), "", *imagine_story(result.folder)]:
        plain(line)
    alarms = "; ".join(result.alarms) if result.alarms else "none"
    plain(f"\ncollapse alarms: {alarms}")
    plain(NEXT.format(run=result.folder, scores=path.name), whole=True)


def _train_decoder(run: Path, settings: "DecoderSettings") -> None:
    """A decoder of the trained encoder."""
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.progress import DecoderBar
    from lang_jepa.training.train import train

    plain("Training a decoder that tells concepts, and what is predicted, in words.")
    result = train(settings.of(run), DecoderBar())
    leave_if_stopped(result, f"lang-jepa train {settings.logging.log_dir} --resume")
    plain(f"Trained {counted(result.step, 'step')} in {result.seconds:.0f} s.")
