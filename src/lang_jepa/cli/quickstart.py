"""The verb `quickstart`, which shows every part of the package on the built-in stories."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import DecoderOverride, Override, leave_if_stopped
from lang_jepa.errors import check_extra, counted

if TYPE_CHECKING:
    from lang_jepa.files.run_lock import RunLock
    from lang_jepa.inference.document import Study
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.settings.decoder import DecoderSettings
    from lang_jepa.settings.encoder import Settings
    from lang_jepa.training.train import Result

PICTURE = "story.png"
"""File in the run directory: the story that is shown at the end, with the surprise of each sentence."""
_NEXT = """
What to do next (in the environment: source .venv/bin/activate):
  your own text       lang-jepa train documents -o data.train_file=FOLDER -o logging.log_dir=runs/mine
  what surprises      lang-jepa document {run} STORY.txt --plot story.png
  continue a text     lang-jepa infer {run} --context 'Nora lost her keys.' --continue 3"""


def quickstart(
    override: Override = None,
    dec_override: DecoderOverride = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 0,
) -> None:
    """Train, decode, evaluate and show results on the built-in stories: no download, no GPU, minutes."""
    from lang_jepa.files.run_lock import RunLock
    from lang_jepa.settings.load import load_decoder_settings, load_settings
    from lang_jepa.training.preflight import check_run
    from lang_jepa.training.train import method_of

    check_extra("evaluate", "quickstart")
    settings = load_settings("concepts", [f"meta.seed={seed}", *(override or ())])
    folder = Path(settings.logging.log_dir) / "decoder"
    own = [f"meta.seed={seed}", *(dec_override or ()), f"logging.log_dir={folder}"]
    decoder = load_decoder_settings("concept_decoder", own)
    for one in (settings, decoder.of(Path.cwd())):  # the encoder's folder will exist by then
        method = method_of(one)
        check_run(one, method.complaints(), shards=method.can_shard())
    with RunLock(Path(settings.logging.log_dir)) as lock:  # until the last line is shown
        _run_quickstart(settings, decoder, lock)


def _run_quickstart(settings: "Settings", decoder: "DecoderSettings", lock: "RunLock") -> None:
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.progress import EncoderBar
    from lang_jepa.cli.scores import score_tables
    from lang_jepa.evaluation.table import beside
    from lang_jepa.evaluation.tasks import QUICK
    from lang_jepa.report import evaluate_run
    from lang_jepa.report.run import EvaluateOptions
    from lang_jepa.training.load import load_any
    from lang_jepa.training.train import train

    plain("Training an encoder to predict the meaning of the next sentence of generated stories.")
    result = train(settings, EncoderBar(), lock=lock)
    again = f"lang-jepa train {result.folder} --resume (`lang-jepa quickstart` would begin anew)"
    leave_if_stopped(result, again)
    plain(f"Trained {counted(result.step, 'step')} in {result.seconds:.0f} s.")
    plain("Evaluating on held-out stories ...")
    report, _ = evaluate_run(result.folder, EvaluateOptions(tasks="stories", budget=QUICK))
    first = [row for row in report.rows if (row.task, row.split) == (report.rows[0].task, report.rows[0].split)]
    score_tables(replace(report, rows=first), title="\nWhich sentence of 256 comes next, in stories never trained on")
    plain("")
    _train_decoder(result.folder, decoder)
    plain("Evaluating the decoder, and the document tools, which take what is best ...")
    tools, path = evaluate_run(result.folder, EvaluateOptions(tasks="decode,document", budget=QUICK))
    beside(tools, report).save(path)  # the decoder joined the model, whose encoder was scored before
    _show_end(result, path, load_any(result.folder))


def _show_end(result: "Result", scores: Path, model: "ConceptModel") -> None:
    """Show a story and what to do next, and save its picture."""
    from lang_jepa.cli.console import plain
    from lang_jepa.inference.document_picture import draw_study

    found, lines = _surprising_story(model)
    for line in lines:
        plain(line)
    draw_study(found, result.folder / PICTURE, title="a held-out story")
    for name, said in (
        ("picture", f"{result.folder / PICTURE} (curves of the training: run.png)"),
        ("all scores", str(scores)),
        ("collapse warnings", "; ".join(result.alarms) if result.alarms else "none"),
    ):
        plain(f"  {name:<18}{said}")
    plain(_NEXT.format(run=result.folder), whole=True)


def _train_decoder(run: Path, settings: "DecoderSettings") -> None:
    """Train a decoder for the trained encoder."""
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.progress import DecoderBar
    from lang_jepa.training.train import train

    plain("Training a decoder that turns concepts, encoded or predicted, into sentences.")
    result = train(settings.of(run), DecoderBar())
    leave_if_stopped(result, f"lang-jepa train {settings.logging.log_dir} --resume")
    plain(f"Trained {counted(result.step, 'step')} in {result.seconds:.0f} s.")


def _surprising_story(model: "ConceptModel") -> tuple["Study", list[str]]:
    """Study the first held-out story; also return its lines as they are shown.

    Below the most surprising sentence stands what the model expected most there, among those of 256 other stories and
    the true one, and what the decoder, if there is one, makes of the prediction.
    """
    from lang_jepa.inference.document import study
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.stories import generate

    stories = list(generate(257, seed=1, split="heldout"))
    sentences = [sentence.text for sentence in stories[0].sentences]
    found = study(model, sentences, using="predictor")
    position = found.surprise.ranked()[0].position
    others = [story.sentences[min(position, len(story.sentences) - 1)].text for story in stories[1:]]
    expected = rank_continuations(model, sentences[:position], [sentences[position], *others])[0][1]
    below = [f"    expected of 257 sentences: {expected}"]
    if model.decoder is not None and (imagined := model.imagine(sentences[:position], 1)[0].text):
        below.append(f"    imagined in its place:     {imagined}")
    lines = [
        "\nA held-out story, and its most surprising sentence. Surprise: by how many standard",
        "deviations a sentence fits worse than shuffled ones do; below 0 it fits better.\n",
    ]
    for one in found.surprise.sentences:
        mark = "" if one.position != position else f"   <- surprise {one.surprise:+.1f}, the highest here"
        lines += [f"  {one.sentence}{mark}", *(below if mark else [])]
    return found, [*lines, ""]
