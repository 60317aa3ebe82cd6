"""The verb `quickstart`, which shows every part of the package on the built-in stories."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.options import DecoderOverride, Override, leave_if_stopped
from lang_jepa.errors import LangJepaError, check_extra, counted, first_line

if TYPE_CHECKING:
    from lang_jepa.evaluation.table import Report
    from lang_jepa.files.run_lock import RunLock
    from lang_jepa.inference.document import Study
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.settings.decoder import DecoderSettings
    from lang_jepa.settings.encoder import Settings
    from lang_jepa.settings.run import RunSettings
    from lang_jepa.training.engine import Engine
    from lang_jepa.training.reporter import Reporter
    from lang_jepa.training.train import Result

PICTURE = "story.png"
"""File in the run directory: the story that is shown at the end, with the surprise of each sentence."""
STORY = "story.txt"
"""File in the run directory: that story, a sentence a line."""
STAGES = "quickstart.json"
"""File in both run directories: the text that the run was begun with, and the stages that are done."""
_BEGUN = "begun"
_BESIDE = ("untrained", "TF-IDF, both sides", "chance")
"""Baselines that are shown at the end."""
_STRANGER = 99
"""Which of the other stories lends its sentence."""
_NEXT = """
What to do next (in the environment: source .venv/bin/activate):
  your own text       lang-jepa try FOLDER_OR_FILE
  what surprises      lang-jepa document {run} {story}
  what comes next     lang-jepa infer {run} --context 'Nora lost her keys.' \\
                        --candidate 'The soup was too hot.' --candidate 'She looked under the mat.'"""


def quickstart(
    override: Override = None,
    dec_override: DecoderOverride = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 0,
) -> None:
    """Train, decode, evaluate and show results on the built-in stories: no download, no GPU, minutes.

    After a stop, the same command takes up where it stopped.
    """
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
    from lang_jepa.cli.progress import DecoderBar, EncoderBar
    from lang_jepa.cli.scores import score_tables
    from lang_jepa.data.sources.source import open_source
    from lang_jepa.evaluation.table import beside
    from lang_jepa.evaluation.tasks import QUICK
    from lang_jepa.files.atomic import sha256
    from lang_jepa.training.load import load_any

    text = open_source(settings.data).fingerprint()
    plain("An encoder learns to predict the meaning of the next sentence of generated stories.")
    result = _train(settings, EncoderBar(), text, lock)
    run, key = result.folder, [sha256(result.folder / "model" / "model.safetensors"), asdict(QUICK)]
    report = _score(run, "Evaluating on held-out stories", "stories", key)
    first = [row for row in report.rows if (row.task, row.split) == (report.rows[0].task, report.rows[0].split)]
    score_tables(replace(report, rows=first), title="\nWhich sentence of 256 comes next, in stories never trained on")
    plain("\nA decoder learns to turn concepts, encoded or predicted, into sentences.")
    _train(decoder.of(run), DecoderBar(), text)
    path = run / "scores.json"

    def save(tools: "Report") -> None:
        beside(tools, report).save(path)  # the decoder joined the model, whose encoder was scored before

    key = [*key, sha256(run / "model" / "decoder.safetensors")]
    what = "Evaluating the decoder, and the document tools, which take what is best"
    tools = _score(run, what, "decode,document", key, save)
    if not path.is_file():
        save(tools)
    _show_end(result, path, tools, load_any(run))


def _train(settings: "RunSettings", bar: "Reporter", text: str, lock: "RunLock | None" = None) -> "Result":
    """Train; if the run directory holds this very run, finish that, or leave it as it is if it is finished.

    Args:
        settings: of the run.
        bar: shows the training.
        text: fingerprint of the stories, with which the run must have been begun.
        lock: on the run directory, if it is held.
    """
    from lang_jepa.cli.console import plain
    from lang_jepa.comparison.trial.stages import Silent, Stages
    from lang_jepa.training.train import is_finished, train

    folder, begun = Path(settings.logging.log_dir), list[int]()
    here = _is_here(settings, text)
    if here:
        settings = settings.model_copy(update={"meta": settings.meta.model_copy(update={"load_checkpoint": True})})

    def on_start(engine: "Engine") -> None:
        Stages(folder, Silent(), STAGES).run(_BEGUN, text, dict)
        begun.append(engine.step)
        if 0 < engine.step < engine.method.total:
            plain(f"Kept: {counted(engine.step, 'step')} of {engine.method.total:,}, to the last checkpoint.")

    shown = None if here and is_finished(folder) else bar
    result = train(settings, shown, on_start, lock)
    leave_if_stopped(result, "the same command")
    if not begun or begun[0] == result.step:
        plain(f"Kept: {folder}, trained for {counted(result.step, 'step')} (to begin anew, remove that folder).")
    else:
        plain(f"Trained {counted(result.step - begun[0], 'step')} in {result.seconds:.0f} s.")
    return result


def _is_here(settings: "RunSettings", text: str) -> bool:
    """Whether the run directory holds the run that these settings and this text make; if another run, say why not.

    A run that has no checkpoint yet holds nothing that could be mixed up. What is no run is refused by `train`.
    """
    from lang_jepa.cli.console import plain
    from lang_jepa.comparison.trial.stages import Silent, Stages
    from lang_jepa.models.precision import as_it_was
    from lang_jepa.settings.load import is_saved, read_settings
    from lang_jepa.settings.recipes import system_of
    from lang_jepa.training.checkpoint import differing
    from lang_jepa.training.run_folder import SETTINGS
    from lang_jepa.training.train import method_of

    folder, method = Path(settings.logging.log_dir), method_of(settings)
    saved = folder / SETTINGS
    if not saved.is_file() or not is_saved(saved):
        return False
    if system_of(str(saved)) != settings.system:
        plain(f"{folder} holds the run of another system, so training starts anew.")
        return False
    try:
        before = as_it_was(read_settings(saved, type(settings)))
    except LangJepaError as error:
        plain(f"{folder} holds a run that cannot be continued ({first_line(error)}), so training starts anew.")
        return False
    different = differing(before, method.settings, method.all_free)
    if different:
        said = ", ".join(f"{name} was {then}, now {now}" for name, (then, now) in different.items())
        plain(f"{folder} holds a run with other settings, so training starts anew: {said}.")
        return False
    if (folder / method.layout.last).is_file() and not Stages(folder, Silent(), STAGES).has(_BEGUN, text):
        plain(f"{folder} holds a run of another command, version or text, so training starts anew.")
        return False
    return True


def _score(
    run: Path, what: str, tasks: str, key: list[Any], save: "Callable[[Report], None] | None" = None
) -> "Report":
    """Score a run, or return its scores of before if they have the same key.

    Args:
        run: the run directory.
        what: is measured, as shown.
        tasks: their names.
        key: what the scores depend on.
        save: called with new scores.
    """
    from lang_jepa.comparison.trial.stages import Stages
    from lang_jepa.evaluation.table import Report
    from lang_jepa.evaluation.tasks import QUICK
    from lang_jepa.report import evaluate_run
    from lang_jepa.report.run import EvaluateOptions

    def make() -> dict[str, Any]:
        report, _ = evaluate_run(run, EvaluateOptions(tasks=tasks, budget=QUICK))
        if save is not None:
            save(report)
        return report.to_json()

    return Report.from_json(Stages(run, _Shown(), STAGES).run(what, key, make))


class _Shown:
    """Shows the stages that score."""

    def begin(self, name: str) -> None:
        from lang_jepa.cli.console import plain

        plain(f"{name} ...")

    def done(self, name: str, said: str, seconds: float | None) -> None:
        from lang_jepa.cli.console import plain

        if seconds is None:
            plain(f"{name}: kept, as the model is the same.")


def _show_end(result: "Result", scores: Path, tools: "Report", model: "ConceptModel") -> None:
    """Show a story and what to do next, and save the story and its picture.

    Args:
        result: of the training of the encoder.
        scores: path of all scores.
        tools: scores of the document tools.
        model: with its decoder.
    """
    from lang_jepa.cli.console import plain
    from lang_jepa.files.atomic import write_text
    from lang_jepa.inference.document_picture import draw_study

    found, lines = _disturbed_story(model)
    for line in [*lines, *_found_in_others(tools), ""]:
        plain(line)
    draw_study(found, result.folder / PICTURE, title="a held-out story with a foreign sentence")
    write_text(result.folder / STORY, "\n".join(found.topics.sentences) + "\n")
    for name, said in (
        ("picture", f"{result.folder / PICTURE} (curves of the training: run.png)"),
        ("all scores", str(scores)),
        ("collapse warnings", "; ".join(result.alarms) if result.alarms else "none"),
    ):
        plain(f"  {name:<18}{said}")
    plain(_NEXT.format(run=result.folder, story=result.folder / STORY), whole=True)


def _disturbed_story(model: "ConceptModel") -> tuple["Study", list[str]]:
    """Study the first held-out story with one sentence replaced by that of another; also return its lines as shown.

    Below the foreign sentence stands what the story has there, what the model expected most among that sentence and
    those of 256 other stories, and what the decoder, if there is one, makes of the prediction.
    """
    from lang_jepa.inference.document import study
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.stories import generate

    stories = [[sentence.text for sentence in story.sentences] for story in generate(257, seed=1, split="heldout")]
    original, *others = stories
    position = len(original) // 2
    there = [story[min(position, len(story) - 1)] for story in others]
    before = original[:position]
    found = study(model, [*before, there[_STRANGER], *original[position + 1 :]], using="predictor")
    highest = found.surprise.ranked()[0].position
    expected = rank_continuations(model, before, [original[position], *there])[0][1]
    below = [
        f"      what the story has there:    {original[position]}",
        f"      expected of 257 sentences:   {expected}",
    ]
    if model.decoder is not None and (imagined := model.imagine(before, 1)[0].text):
        below.append(f"      imagined in its place:       {imagined}")
    lines = [
        "\nA held-out story with a sentence of another story in it. Surprise, in front: by how",
        "many standard deviations a sentence fits worse than shuffled ones do; below 0: better.",
        f"The foreign sentence is {'' if highest == position else 'not '}the most surprising.\n",
    ]
    for one in found.surprise.sentences:
        surprise = "" if one.surprise is None else f"{one.surprise:+.1f}"
        lines.append(f"  {surprise:>4}  {one.sentence}{'   <- from another story' if one.position == position else ''}")
        lines += below if one.position == position else []
    return found, lines


def _found_in_others(tools: "Report") -> list[str]:
    """How often foreign sentences are found in other documents, beside the baselines (empty: too few were scored)."""
    from lang_jepa.evaluation.tasks.document import INTRUDERS

    auc = {
        row.name: row
        for row in tools.rows
        if row.task == INTRUDERS["same group"] and row.metric == "AUC" and row.chosen
    }
    if "model" not in auc:
        return []
    beside = "; ".join(f"{name}: {row.value:.0%}" for name, row in auc.items() if name in _BESIDE)
    found = auc["model"]
    return [
        f"\nIn {found.n} held-out documents a foreign sentence is more out of place than an own one",
        f"in {found.value:.0%} of all pairs ({beside}).",
    ]
