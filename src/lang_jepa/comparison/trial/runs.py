"""The runs of a trial: trained once, reused when asked for again, scored on held-out text."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from lang_jepa.comparison.estimate import in_time
from lang_jepa.comparison.trial import plan
from lang_jepa.comparison.trial.findings import Found
from lang_jepa.comparison.trial.pace import LATE, Pace, TooSlow
from lang_jepa.comparison.trial.plan import TrialOptions
from lang_jepa.comparison.trial.recognise import UNITS, Taken
from lang_jepa.comparison.trial.stages import Stages
from lang_jepa.comparison.trial.verdict import short_name
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks.request import QUICK
from lang_jepa.files.atomic import make_folder, read_json, sha256, write_text
from lang_jepa.inference.document_reading import Progress
from lang_jepa.report import evaluate_run
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.settings.load import load_settings
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.run_folder import SETTINGS, SUMMARY
from lang_jepa.training.train import Result, train


@dataclass
class Trial:
    """A trial in progress; what it finds is collected in `info` for the page."""

    options: TrialOptions
    stages: Stages
    reporter: Reporter | None
    progress: Progress
    taken: Taken
    info: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, plan.Plan] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        return UNITS[self.taken.kind].removesuffix("s")

    @property
    def late(self) -> str:
        """Says that training took longer than the time given, and by how much; empty if it did not."""
        given, took = 60 * self.options.minutes, self.info.get("trained", 0.0)
        if took <= LATE * given:
            return ""
        fewest = any(one.steps == plan.LEAST_STEPS for one in self.plans.values())
        why = f" ({plan.LEAST_STEPS} steps are the fewest)" if fewest else ""
        return f"Training took longer than it was given: {in_time(took)} instead of {in_time(given)}{why}."


class NotScored(LangJepaError):
    """The held-out text yields no questions."""


class Stopped(Exception):
    """A training was asked to stop."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result


def trained_and_scored(trial: Trial, corpus: Corpus, data: Sequence[str]) -> tuple[Report, Report | None]:
    """Return the scores of the run from scratch, and of the one over the pretrained encoder if there is time for it.

    Raises:
        Stopped: a training was asked to stop.
    """
    options, seconds = trial.options, 60 * trial.options.minutes
    over = options.beside is not None and trial.taken.kind in plan.OVER
    own = [*data, plan.vocabulary(trial.info["about"]["characters"])]
    result = _train(trial, "training", corpus, own, "run", seconds / 2 if over else seconds, None)
    assert result is not None  # from scratch there is always time for some steps
    trial.info["kept"] = (result.best or {}).get("step")
    trial.info["alarms"] = [*result.alarms, *result.warnings]
    report = _score(trial, "scoring", "run", options.beside)
    if not over:
        return report, None
    above = _train(trial, "training over it", corpus, data, "over", seconds / 2, options.beside)
    if above is None:
        trial.info["not_over"] = f"Training over {options.beside} does not fit into this time: raise --minutes."
        return report, None
    scored = _score(trial, "scoring over it", "over", None)
    name = f"predictor over {short_name(options.beside or '')}"
    rows = [replace(row, name=name) for row in scored.rows if row.name == MODEL_NAME]
    return replace(report, rows=[*report.rows, *rows]), scored


def _train(
    trial: Trial, name: str, corpus: Corpus, data: Sequence[str], folder: str, seconds: float, encoder: str | None
) -> Result | None:
    """Train in a folder of the trial, resuming a run that is there; None if it does not fit into the time.

    A training that will be late is begun anew with fewer steps; its plan is replaced first.
    """
    options, run = trial.options, trial.options.output / folder
    key = [corpus.path.name, list(data), list(options.changes), seconds, encoder]
    planning = f"planning ({folder})"

    def make() -> Found | None:
        own = [*data, *options.changes]
        found = plan.plan(trial.taken, corpus, own, run, seconds=seconds, encoder=encoder)
        return None if found is None else asdict(found)

    planned = trial.stages.run(planning, key, make, _said_of_plan)
    if planned is None:
        return None
    spent, result = 0.0, cast("Result | None", None)
    while result is None:
        trial.plans[folder] = chosen = plan.Plan(**planned)
        go = partial(_run, trial, run, chosen, seconds - spent)
        outcome = trial.stages.run(name, None, go, _said_of_run)
        if isinstance(outcome, TooSlow):
            spent += trial.stages.seconds[name]  # with starting, which has to be done again
            planned = asdict(chosen.shorter(seconds - spent, outcome.per_step, outcome.per_validation))
            trial.stages.replace(planning, key, planned)
            _remove(run)
        else:
            result = outcome
    whole = read_json(run / SUMMARY, what="the summary of the run").get("training_seconds", 0.0)
    trial.stages.seconds[name] = spent + max(result.seconds, whole)  # also of a training that was resumed
    trial.info["trained"] = trial.info.get("trained", 0.0) + trial.stages.seconds[name]
    if result.interrupted:
        raise Stopped(result)
    return result


def _run(trial: Trial, run: Path, chosen: plan.Plan, seconds: float) -> Result | TooSlow:
    """Train with a plan, or go on with a run of this plan; return what it was too slow by, if so."""
    settings = load_settings(chosen.recipe, [*chosen.overrides, *trial.options.changes])
    text, path = "\n".join([chosen.recipe, *chosen.overrides]) + "\n", run.with_suffix(".plan")
    begun = (run / SETTINGS).is_file() and path.is_file() and path.read_text("utf-8") == text  # with this plan
    settings = settings.model_copy(update={"meta": settings.meta.model_copy(update={"load_checkpoint": begun})})
    make_folder(run.parent)
    write_text(path, text)
    total = settings.optimization.max_steps or 0
    least = plan.LEAST_STEPS if total == chosen.steps else total  # if the options fix the steps, no plan changes them
    try:
        return train(settings, Pace(trial.reporter or Silent(), seconds, least=least, validations=plan.VALIDATIONS))
    except TooSlow as slow:
        return slow


def _remove(run: Path) -> None:
    """Remove a run at once, so that nothing takes for a run what a kill has left of it."""
    aside = run.with_name(f".{run.name}.old")
    if aside.exists():
        shutil.rmtree(aside)
    run.rename(aside)
    shutil.rmtree(aside)


def _said_of_run(made: Result | TooSlow) -> str:
    if isinstance(made, TooSlow):
        return f"slower than measured, {made.per_step:.2f} s a step: it is begun anew with fewer steps"
    return f"{made.step:,} steps in {in_time(made.seconds)} with validations, beside starting and saving"


def _said_of_plan(found: Found | None) -> str:
    if found is None:
        return "does not fit into this time"
    return f"recipe {found['recipe']}, {found['steps']:,} steps of {found['seconds_per_step']:.2f} s"


def _score(trial: Trial, name: str, folder: str, beside: str | None) -> Report:
    """Score a run on its held-out text; earlier scores of the same weights are reused."""
    run = trial.options.output / folder
    tasks = {"documents": "retrieval"}.get(trial.taken.kind, "turns")

    def make() -> Found:
        options = EvaluateOptions(tasks=tasks, budget=QUICK, beside=(beside,) if beside else ())
        try:
            return evaluate_run(run, options)[0].to_json()
        except LangJepaError as error:
            raise NotScored(str(error)) from error

    key = [sha256(run / "model" / "model.safetensors"), sha256(run / "model" / "lang_jepa.json"), beside]
    made = trial.stages.run(name, key, make, lambda made: f"{max(row['n'] for row in made['rows']):,} questions")
    return Report.from_json(made)
