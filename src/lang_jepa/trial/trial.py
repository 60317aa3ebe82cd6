"""One trial: from a file or folder of text to a verdict and a page, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import counted
from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import Report, Row, read_report
from lang_jepa.evaluation.tasks.request import QUICK
from lang_jepa.files.atomic import check_writable, locked, make_folder, sha256, write_text
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.document import Using
from lang_jepa.inference.document_reading import Progress, silent
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.folders.reading import Collection, read_collection
from lang_jepa.inference.folders.topics import Space
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.report import evaluate_run
from lang_jepa.report.run import EvaluateOptions
from lang_jepa.settings.load import load_settings
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.run_folder import SETTINGS
from lang_jepa.training.train import Result, train
from lang_jepa.trial import findings, plan
from lang_jepa.trial.findings import Found
from lang_jepa.trial.page import PAGE, page
from lang_jepa.trial.recognise import UNITS, Kind, Taken, language_of, recognise
from lang_jepa.trial.spaces import WORDS, Openings, WordSpace, best_space
from lang_jepa.trial.stages import OnStage, Silent, Stages
from lang_jepa.trial.verdict import Verdict, short_name, verdict_of

MINUTES = 4.0
"""Of the training, where nobody says how many."""
_SAMPLED = 200_000
"""Characters by which the language is guessed."""


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What to try.

    Attributes:
        path: a file or a folder.
        output: folder of the trial.
        wanted: what to take the text for (None: what it looks like).
        beside: a pretrained encoder by folder or hub name.
        minutes: that training steps may take, those over the pretrained encoder included.
        changes: overrides of the recipes, last.
    """

    path: Path
    output: Path
    wanted: Kind | None = None
    beside: str | None = None
    minutes: float = MINUTES
    changes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes:
        verdict: on the text; None where training was stopped.
        page: the path of the page; None where training was stopped.
        commands: what to do next.
        stopped: the training that was asked to stop.
    """

    verdict: Verdict | None = None
    page: Path | None = None
    commands: Sequence[tuple[str, str]] = ()
    stopped: Result | None = None


@dataclass
class _Trial:
    """A trial at work; what it finds is gathered in `facts` for the page."""

    options: TrialOptions
    stages: Stages
    reporter: Reporter | None
    progress: Progress
    taken: Taken
    facts: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, plan.Plan] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        return UNITS[self.taken.kind].removesuffix("s")


def run_trial(
    options: TrialOptions,
    *,
    on_stage: OnStage | None = None,
    reporter: Reporter | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Try a text; stages that are finished on disk are taken up, and the page is written last.

    Args:
        options: what to try.
        on_stage, reporter, progress: show the stages, the training, and other work.

    Raises:
        LangJepaError: nothing to read, an encoder that is not there, an output that cannot be written.
    """
    check_writable(options.output, folder=True)
    plan.check_encoder_named(options.beside)
    taken = recognise(options.path, options.wanted)
    make_folder(options.output)
    with locked(options.output / ".lock"):
        (options.output / PAGE).unlink(missing_ok=True)  # until all is done there is none
        stages = Stages(options.output, on_stage or Silent())
        return _run(_Trial(options, stages, reporter, progress, taken))


def _run(trial: _Trial) -> Outcome:
    options, stages = trial.options, trial.stages
    collection, data = _read(trial)
    trial.facts["copies"] = stages.run(
        "copies", [trial.facts["source"], "copies"], lambda: findings.copies(collection), _said_of_copies
    )
    corpus = _prepared(trial, data)
    missing = plan.lacking(corpus, trial.unit) if corpus is not None else "No document is long enough to learn from."
    trial.facts["lacking"] = missing
    models: dict[str, ConceptModel] = {}
    report, over = Report([]), None
    if corpus is not None and missing is None:
        trial.facts["overlap"] = corpus.manifest["statistics"]["overlap"]["all_sentences"]
        try:
            report, over = _trained_and_scored(trial, corpus, data)
        except _Stopped as stopped:
            return Outcome(stopped=stopped.result)
        models[MODEL_NAME] = _load(options.output / "run")
    if options.beside is not None:
        models[options.beside] = _load(Path(options.beside))
    _find(trial, collection, models, report)
    return _written(trial, report, over)


class _Stopped(Exception):
    """A training was asked to stop."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result


def _read(trial: _Trial) -> tuple[Collection, list[str]]:
    """All documents, and the overrides of the data for every recipe."""
    options, taken = trial.options, trial.taken
    recipe = plan.RECIPES[taken.kind]

    def read(language: str | None, texts: Sequence[str]) -> tuple[Collection, list[str]]:
        data = plan.data_overrides(taken, options.output, texts=texts, language=language)
        return findings.relative(read_collection(load_settings(recipe, data).data)), data

    def make() -> None:
        found, _ = read(None, ())
        language = None if taken.kind == "logs" else language_of(_some_text(found))
        trial.facts["language"] = language
        held["found"], held["data"] = read(language, [one.text for one in found.documents])

    held: dict[str, Any] = {}
    trial.stages.run("reading", [], make, lambda _: _said_of(trial, held["found"]), keep=False)
    found, data = held["found"], held["data"]
    trial.facts |= {"about": findings.about(found), "unit": trial.unit, "kind": taken.kind, "taken": taken.why}
    trial.facts |= {"others": taken.others, "kept": None, "seed": load_settings(recipe, data).meta.seed}
    settings = load_settings(recipe, data).data
    trial.facts["source"] = [settings.model_dump(mode="json"), SplitDocuments.open(settings).source.fingerprint()]
    return found, data


def _some_text(found: Collection) -> str:
    every = " ".join(one.text[:2000] for one in found.documents)
    return every[:_SAMPLED]


def _said_of(trial: _Trial, found: Collection) -> str:
    units = counted(len(found.units), trial.unit)
    return f"{trial.taken.kind}: {counted(len(found.documents), 'document')}, {units}"


def _said_of_copies(found: Found) -> str:
    return f"{found['exact']} exact, {found['near']} near, {counted(found['repeated'], 'repeated sentence')}"


def _prepared(trial: _Trial, data: Sequence[str]) -> Corpus | None:
    """The corpus of the training from scratch; None where no document is long enough."""
    vocabulary = plan.vocabulary(trial.facts["about"]["characters"])
    settings = load_settings(plan.RECIPES[trial.taken.kind], [*data, vocabulary, *trial.options.changes])
    if trial.facts["about"]["units"] < 2 * plan.LEAST_STEPS:
        return None

    def say(_: Any) -> str:
        corpus = held["corpus"]
        return (
            f"{corpus.train.num_sentences:,} {trial.unit}s to learn from, {corpus.validation.num_sentences:,} held out"
        )

    held: dict[str, Corpus] = {}
    trial.stages.run("preparing", [], lambda: held.update(corpus=prepare(settings.data)), say, keep=False)
    return held["corpus"]


def _trained_and_scored(trial: _Trial, corpus: Corpus, data: Sequence[str]) -> tuple[Report, Report | None]:
    """The scores of the run from scratch, and of the one over the pretrained encoder, if it fits into the time.

    Raises:
        _Stopped: a training was asked to.
    """
    options, seconds = trial.options, 60 * trial.options.minutes
    over = options.beside is not None and trial.taken.kind in plan.OVER
    own = [*data, plan.vocabulary(trial.facts["about"]["characters"])]
    result = _train(trial, "training", corpus, own, "run", seconds / 2 if over else seconds, None)
    assert result is not None  # from scratch there is always time for some steps
    trial.facts["kept"] = (result.best or {}).get("step")
    trial.facts["alarms"] = [*result.alarms, *result.warnings]
    report = _score(trial, "scoring", "run", options.beside)
    if not over:
        return report, None
    above = _train(trial, "training over it", corpus, data, "over", seconds / 2, options.beside)
    if above is None:
        trial.facts["not_over"] = f"Training over {options.beside} does not fit into this time: raise --minutes."
        return report, None
    scored = _score(trial, "scoring over it", "over", None)
    name = f"predictor over {short_name(options.beside or '')}"
    rows = [replace(row, name=name) for row in scored.rows if row.name == MODEL_NAME]
    return replace(report, rows=[*report.rows, *rows]), scored


def _train(
    trial: _Trial, name: str, corpus: Corpus, data: Sequence[str], folder: str, seconds: float, encoder: str | None
) -> Result | None:
    """A finished training in a folder of the trial, taken up where there is one; None where it does not fit."""
    options, run = trial.options, trial.options.output / folder
    key = [corpus.path.name, list(data), list(options.changes), seconds, encoder]

    def make() -> Found | None:
        own = [*data, *options.changes]
        found = plan.plan(trial.taken, corpus, own, run, seconds=seconds, encoder=encoder)
        return None if found is None else vars_of(found)

    planned = trial.stages.run(f"planning ({folder})", key, make, _said_of_plan)
    if planned is None:
        return None
    trial.plans[folder] = chosen = plan.Plan(**planned)
    settings = load_settings(chosen.recipe, [*chosen.overrides, *options.changes])
    done = (run / SETTINGS).is_file() and _same_run(run, planned)
    write = {"load_checkpoint": done}
    settings = settings.model_copy(update={"meta": settings.meta.model_copy(update=write)})
    held: dict[str, Result] = {}

    def go() -> Found:
        make_folder(run.parent)
        write_text(options.output / f"{folder}.plan", _plan_text(planned))
        held["result"] = result = train(settings, trial.reporter)
        return {"seconds": result.seconds, "step": result.step}

    trial.stages.run(name, key, go, lambda made: f"{made['step']:,} steps", keep=False)
    if held["result"].interrupted:
        raise _Stopped(held["result"])
    return held["result"]


def _plan_text(planned: Found) -> str:
    return "\n".join([planned["recipe"], *planned["overrides"]]) + "\n"


def _same_run(run: Path, planned: Found) -> bool:
    """Whether what lies in a run directory was begun with this plan."""
    path = run.with_suffix(".plan")
    return path.is_file() and path.read_text("utf-8") == _plan_text(planned)


def vars_of(found: plan.Plan) -> Found:
    """A plan as plain data."""
    return {
        "recipe": found.recipe,
        "overrides": found.overrides,
        "seconds_per_step": found.seconds_per_step,
        "steps": found.steps,
    }


def _said_of_plan(found: Found | None) -> str:
    if found is None:
        return "does not fit into this time"
    return f"recipe {found['recipe']}, {found['steps']:,} steps of {found['seconds_per_step']:.2f} s"


def _score(trial: _Trial, name: str, folder: str, beside: str | None) -> Report:
    """Scores of a run on its held-out text, taken up where they are of the same weights."""
    run = trial.options.output / folder
    tasks = {"documents": "retrieval"}.get(trial.taken.kind, "turns")

    def make() -> str:
        options = EvaluateOptions(tasks=tasks, budget=QUICK, beside=(beside,) if beside else ())
        return str(evaluate_run(run, options)[1])

    key = [sha256(run / "model" / "model.safetensors"), sha256(run / "model" / "lang_jepa.json"), beside]
    path = Path(trial.stages.run(name, key, make, lambda path: f"{_questions(Path(path)):,} questions"))
    return read_report(path)


def _questions(path: Path) -> int:
    return max(row.n for row in read_report(path).rows)


def _load(path: Path) -> ConceptModel:
    model = ConceptModel.load(path)
    model.sentence_cache = SentenceCache(model.room)
    return model


def _find(trial: _Trial, collection: Collection, models: dict[str, ConceptModel], report: Report) -> None:
    """Topics, surprises and searches, with who searches best; adds the rows of plain search to the report."""
    options, facts, logs = trial.options, trial.facts, trial.taken.kind == "logs"
    spaces: dict[str, Space] = {**models}
    if not logs:
        spaces[WORDS] = WordSpace(collection.units, facts["language"] or "en")

    def search() -> list[Found]:
        asked = None if logs else Openings.of(collection)
        return [] if asked is None else Report(_short_names(asked.rows(spaces), options.beside)).to_json()["rows"]

    weights = {name: model.card["sha256"] for name, model in models.items()}
    key = [facts["source"], weights]
    rows = [Row(**row) for row in trial.stages.run("searching", key, search)]
    report.rows.extend(rows)
    best = best_space(_long_names(rows, options.beside), spaces) if not logs else MODEL_NAME
    if best not in spaces:
        best = next(iter(spaces), "")
    facts["space"] = best

    def topics() -> Found | None:
        return findings.kinds(collection) if logs else findings.topics(spaces[best], collection, trial.progress)

    facts["topics"] = trial.stages.run("kinds of lines" if logs else "topics", [*key, best], topics, _said_of_topics)
    using = _using(report, trial.taken.kind)
    facts["judge"] = name = MODEL_NAME if MODEL_NAME in models and using != "baseline" else best
    if name:
        judge = cast(EmbeddingModel, spaces[name])  # of words too, which have what is asked of an encoder alone
        facts["surprises"] = trial.stages.run(
            "surprises",
            [*key, using, name],
            lambda: findings.surprises(judge, collection, using, logs=logs, progress=trial.progress),
        )
    asked = findings.queries_of(facts["topics"])
    if best:
        facts["searches"] = trial.stages.run(
            "three searches", [*key, asked], lambda: findings.searches(spaces[best], collection, asked, logs=logs)
        )
    facts["index"] = _index(trial, models, best)


def _said_of_topics(found: Found | None) -> str:
    return "too few" if found is None else str(found["count"])


def _short_names(rows: list[Row], beside: str | None) -> list[Row]:
    return [replace(row, name=short_name(row.name)) if row.name == beside else row for row in rows]


def _long_names(rows: list[Row], beside: str | None) -> list[Row]:
    short = short_name(beside) if beside else None
    return [replace(row, name=str(beside)) if row.name == short else row for row in rows]


def _using(report: Report, kind: Kind) -> Using:
    """How surprise is measured: of dialogues and logs as the evaluation chose, of documents as the rows say."""
    if kind != "documents" or not report.rows:
        return "best"
    lead = [
        row
        for row in report.rows
        if row.name == "recency mean (model)" and row.chosen and row.metric.startswith("recall@1: ")
    ]
    return "predictor" if lead and all(row.low is not None and row.low > 0 for row in lead) else "baseline"


def _index(trial: _Trial, models: dict[str, ConceptModel], best: str) -> str:
    """A search index of the text with the model that searches best, for `lang-jepa search`; its model's name."""
    name = best if best in models else next(iter(reversed(models)), "")
    if not name:
        return ""
    model, taken = models[name], trial.taken
    data = load_settings(plan.RECIPES[taken.kind], taken.overrides).data
    language = {"language": trial.facts["language"] or "en"} if taken.kind == "documents" else {}
    data = data.model_copy(update={"limit": plan.MOST_DOCUMENTS, **language})
    key = [trial.facts["source"], model.card["sha256"]]

    def make() -> str:
        Index.build(model, SplitDocuments.open(data), trial.options.output / "index")
        return name

    return str(trial.stages.run("index", key, make))


def _written(trial: _Trial, report: Report, over: Report | None) -> Outcome:
    """The verdict, and the page."""
    options, facts = trial.options, trial.facts
    run = options.output / "run"
    beside = short_name(options.beside) if options.beside else None
    scored = facts["lacking"] is None
    verdict = verdict_of(report, trial.unit, over=over, encoder=beside) if scored else _no_verdict(facts["lacking"])
    facts["curve"] = read_metrics(run / "metrics.csv") if scored else []
    facts["seconds"] = trial.stages.seconds
    commands = _commands(trial)
    path = options.output / PAGE
    write_text(path, page(options, facts, verdict, report, trial.plans, commands))
    return Outcome(verdict=verdict, page=path, commands=commands)


def _no_verdict(missing: str | None) -> Verdict:
    return Verdict(False, "Too little text to say", [f"Nothing was trained. {missing or ''}".strip()])


def _commands(trial: _Trial) -> list[tuple[str, str]]:
    """What to do next with what there is: name of it, and the command."""
    output, path = trial.options.output, trial.options.path
    found = []
    if trial.facts["index"]:
        query = next(iter(findings.queries_of(trial.facts["topics"])), "...")
        found.append(("search it", f"lang-jepa search {output / 'index'} '{query}'"))
    if trial.facts["lacking"] is None:
        run = output / "run"
        if trial.taken.kind == "dialogues":
            found.append(("rank answers", f"lang-jepa rank {run} --context CHAT.json --bank {path}"))
        if trial.taken.kind == "logs":
            found.append(("watch a log", f"lang-jepa monitor {run} {path} --follow"))
        if trial.taken.kind != "logs":
            found.append(("what surprises", f"lang-jepa document {run} {path}"))
        found.append(("serve it", f"lang-jepa export {run} exported"))
    found.append(("find copies", f"lang-jepa duplicates {path}"))
    return found[:4]
