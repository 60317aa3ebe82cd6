"""One trial: from a file or folder of text to a verdict and a page, stage by stage."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from lang_jepa.comparison.trial import findings, plan
from lang_jepa.comparison.trial.findings import Found
from lang_jepa.comparison.trial.page import PAGE, page
from lang_jepa.comparison.trial.plan import TrialOptions
from lang_jepa.comparison.trial.recognise import Kind, language_of, recognise
from lang_jepa.comparison.trial.runs import NotScored, Stopped, Trial, trained_and_scored
from lang_jepa.comparison.trial.spaces import WORDS, Openings, WordSpace, best_space
from lang_jepa.comparison.trial.stages import OnStage, Silent, Stages
from lang_jepa.comparison.trial.verdict import Verdict, short_name, verdict_of
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.errors import check_extra, counted, how_to_install, missing_modules
from lang_jepa.evaluation.conclusions import MODEL_NAME
from lang_jepa.evaluation.table import Report, Row
from lang_jepa.files.atomic import check_writable, locked, make_folder, write_text
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.document import Using
from lang_jepa.inference.document_reading import Progress, silent
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.folders.reading import Collection, read_collection
from lang_jepa.inference.folders.topics import Space
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.load import load_settings
from lang_jepa.training.metrics import read_metrics
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.train import Result

_SAMPLED = 200_000
"""Characters from which the language is guessed."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes:
        verdict: on the text; None if training was stopped.
        page: the path of the page; None if training was stopped.
        commands: what to do next.
        late: says that training took longer than it was given; empty if it did not.
        stopped: the training that was asked to stop.
    """

    verdict: Verdict | None = None
    page: Path | None = None
    commands: Sequence[tuple[str, str]] = ()
    late: str = ""
    stopped: Result | None = None


def run_trial(
    options: TrialOptions,
    *,
    on_stage: OnStage | None = None,
    reporter: Reporter | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Try a text; stages already finished on disk are reused, and the page is written last.

    Args:
        options: what to try.
        on_stage, reporter, progress: show the stages, the training, and other work.

    Raises:
        LangJepaError: the extra `evaluate` is not installed; or there is nothing to read, the encoder does not exist,
            or the output cannot be written.
    """
    check_extra("evaluate", "try")
    check_writable(options.output, folder=True)
    plan.check_encoder_named(options.beside)
    taken = recognise(options.path, options.wanted)
    make_folder(options.output)
    with locked(options.output / ".lock"):
        (options.output / PAGE).unlink(missing_ok=True)  # there is none until everything is done
        stages = Stages(options.output, on_stage or Silent())
        return _run(Trial(options, stages, reporter, progress, taken))


def _run(trial: Trial) -> Outcome:
    options, stages = trial.options, trial.stages
    collection, data = _read(trial)
    trial.info["copies"] = stages.run(
        "copies",
        [trial.info["source"], "copies"],
        lambda: findings.copies(collection),
        lambda made: f"{made['exact']} exact, {made['near']} near, {counted(made['repeated'], 'repeated sentence')}",
    )
    corpus = _prepared(trial, data)
    missing = plan.lacking(corpus, trial.unit) if corpus else f"There are too few {trial.unit}s to learn from."
    trial.info["lacking"] = missing
    models: dict[str, ConceptModel] = {}
    report, over = Report([]), None
    if corpus is not None and missing is None:
        trial.info["overlap"] = plan.repeats(corpus)
        try:
            report, over = trained_and_scored(trial, corpus, data)
        except Stopped as stopped:
            return Outcome(stopped=stopped.result)
        except NotScored as problem:
            trial.info["lacking"] = f"It was trained, and cannot be scored: {problem}"
        models[MODEL_NAME] = _load(options.output / "run")
    if options.beside is not None:
        models[options.beside] = _load(Path(options.beside))
    _find(trial, collection, models, report)
    return _written(trial, report, over)


def _read(trial: Trial) -> tuple[Collection, list[str]]:
    """Read all documents; return them and the data overrides for every recipe."""
    options, taken = trial.options, trial.taken
    recipe = plan.RECIPES[taken.kind]

    def read(language: str | None, texts: Sequence[str]) -> tuple[Collection, list[str]]:
        data = plan.data_overrides(taken, options.output, texts=texts, language=language)
        found = read_collection(load_settings(recipe, data).data, plan.MOST_DOCUMENTS + (not texts))
        return findings.relative(found), data

    def make() -> tuple[Collection, list[str]]:
        found, _ = read(None, ())
        text = " ".join(one.text[:2000] for one in found.documents)
        language = None if taken.kind == "logs" else language_of(text[:_SAMPLED])
        trial.info["language"] = language
        return read(language, [one.text for one in found.documents])

    def say(made: tuple[Collection, list[str]]) -> str:
        documents, units = counted(len(made[0].documents), "document"), counted(len(made[0].units), trial.unit)
        return f"{taken.kind}: {documents}, {units}"

    found, data = trial.stages.run("reading", None, make, say)
    trial.info |= {"about": findings.about(found), "unit": trial.unit, "kind": taken.kind, "taken": taken.why}
    settings = load_settings(recipe, data)
    trial.info |= {"others": taken.others, "kept": None, "seed": settings.meta.seed}
    trial.info["limit"] = {"limit": settings.data.limit}
    source = SplitDocuments.open(settings.data).source
    trial.info["source"] = [settings.data.model_dump(mode="json"), source.fingerprint()]
    return found, data


def _prepared(trial: Trial, data: Sequence[str]) -> Corpus | None:
    """Prepare the corpus for training from scratch; None if the text has too few units."""
    vocabulary = plan.vocabulary(trial.info["about"]["characters"])
    settings = load_settings(plan.RECIPES[trial.taken.kind], [*data, vocabulary, *trial.options.changes])
    if trial.info["about"]["units"] < 2 * plan.LEAST_STEPS:
        return None

    def say(made: Corpus) -> str:
        return f"{made.train.num_sentences:,} {trial.unit}s to learn from, {made.validation.num_sentences:,} held out"

    corpus: Corpus = trial.stages.run("preparing", None, lambda: prepare(settings.data), say)
    return corpus


def _load(path: Path) -> ConceptModel:
    model = ConceptModel.load(path)
    model.sentence_cache = SentenceCache(model.room)
    return model


def _find(trial: Trial, collection: Collection, models: dict[str, ConceptModel], report: Report) -> None:
    """Find topics, surprises, searches, and what searches best; add the rows of plain search to the report."""
    options, info, logs = trial.options, trial.info, trial.taken.kind == "logs"
    spaces: dict[str, Space] = {**models}
    if not logs:
        spaces[WORDS] = WordSpace(collection.units, info["language"] or "en")

    def search() -> list[Found]:
        asked = None if logs else Openings.of(collection)
        return [] if asked is None else Report(_short_names(asked.rows(spaces), options.beside)).to_json()["rows"]

    weights = {name: model.card["sha256"] for name, model in models.items()}
    key = [info["source"], weights]
    rows = [Row(**row) for row in trial.stages.run("searching", key, search)]
    report.rows.extend(rows)
    best = best_space(_long_names(rows, options.beside), spaces) if not logs else MODEL_NAME
    if best not in spaces:
        best = next(iter(spaces), "")
    info["space"] = best

    def topics() -> Found | None:
        return findings.kinds(collection) if logs else findings.topics(spaces[best], collection, trial.progress)

    info["topics"] = trial.stages.run(
        "kinds of lines" if logs else "topics",
        [*key, best],
        topics,
        lambda made: "too few" if made is None else str(made["count"]),
    )
    using = _using(report, trial.taken.kind)
    info["judge"] = name = MODEL_NAME if MODEL_NAME in models and using != "baseline" else best
    if name:
        judge = cast(EmbeddingModel, spaces[name])  # or a `WordSpace`, which offers what is asked of an encoder alone
        info["surprises"] = trial.stages.run(
            "surprises",
            [*key, using, name],
            lambda: findings.surprises(judge, collection, using, kind=trial.taken.kind, progress=trial.progress),
        )
    asked = findings.queries_of(info["topics"])
    if best:
        info["searches"] = trial.stages.run(
            "three searches", [*key, asked], lambda: findings.searches(spaces[best], collection, asked, logs=logs)
        )
    info["index"] = _index(trial, models, best)


def _short_names(rows: list[Row], beside: str | None) -> list[Row]:
    return [replace(row, name=short_name(row.name)) if row.name == beside else row for row in rows]


def _long_names(rows: list[Row], beside: str | None) -> list[Row]:
    short = short_name(beside) if beside else None
    return [replace(row, name=str(beside)) if row.name == short else row for row in rows]


def _using(report: Report, kind: Kind) -> Using:
    """How surprise is measured: for dialogues and logs as the evaluation chose, for documents as the rows say."""
    if kind != "documents" or not report.rows:
        return "best"
    lead = [
        row
        for row in report.rows
        if row.name == "recency mean (model)" and row.chosen and row.metric.startswith("recall@1: ")
    ]
    return "predictor" if lead and all(row.low is not None and row.low > 0 for row in lead) else "baseline"


def _index(trial: Trial, models: dict[str, ConceptModel], best: str) -> str:
    """Index the text for `lang-jepa search` with the model that searches best; return that model's name."""
    name = best if best in models else next(iter(reversed(models)), "")
    if not name:
        return ""
    model, taken = models[name], trial.taken
    data = load_settings(plan.RECIPES[taken.kind], taken.overrides).data
    language = {"language": trial.info["language"] or "en"} if taken.kind == "documents" else {}
    data = data.model_copy(update={**trial.info["limit"], **language})
    folder = trial.options.output / "index"
    trial.stages.run("index", None, lambda: Index.build(model, SplitDocuments.open(data), folder))
    return name


def _written(trial: Trial, report: Report, over: Report | None) -> Outcome:
    """Judge the text and write the page."""
    options, info = trial.options, trial.info
    run = options.output / "run"
    beside = short_name(options.beside) if options.beside else None
    scored = info["lacking"] is None
    verdict = Verdict(False, "Too little text to say", [f"Nothing was trained. {info['lacking']}"])
    if scored:
        verdict = verdict_of(report, trial.unit, over=over, encoder=beside)
    info["curve"] = read_metrics(run / "metrics.csv") if scored else []
    info["seconds"], info["late"] = trial.stages.seconds, trial.late
    commands = _commands(trial)
    path = options.output / PAGE
    write_text(path, page(options, info, verdict, report, trial.plans, commands))
    return Outcome(verdict=verdict, page=path, commands=commands, late=trial.late)


def _commands(trial: Trial) -> list[tuple[str, str]]:
    """What to do next with what there is: a name, and the command."""
    info, path = trial.info, shlex.quote(str(trial.options.path))
    run, index = (shlex.quote(str(trial.options.output / name)) for name in ("run", "index"))
    found: list[tuple[str, str]] = []
    searched = info["index"] and info.get("judge") != WORDS  # no command searches by words alone
    if searched:
        query = next(iter(findings.queries_of(info["topics"])), "...")
        found.append(("search it", f"lang-jepa search {index} {shlex.quote(query)}"))
    if info["lacking"] is None and trial.taken.kind == "dialogues":
        found.append(("rank answers", f"lang-jepa rank {run} --context CHAT.json --bank {path}"))
    if info["lacking"] is None and trial.taken.kind == "logs":
        found.append(("watch a log", f"lang-jepa monitor {run} {path} --follow"))
    judge = run if info.get("judge") == MODEL_NAME else info.get("judge")
    if judge and judge != WORDS and trial.taken.kind == "documents" and trial.options.path.is_dir():
        found.append(("what surprises", f"lang-jepa document {judge} {path}"))
    elif judge and judge != WORDS and trial.taken.kind != "logs":
        found.append(("its topics", f"lang-jepa topics {judge} {path}"))
    if searched:
        model = run if info["index"] == MODEL_NAME else shlex.quote(info["index"])
        lacking = missing_modules("serve")
        install = f"   # first: {how_to_install('serve')}" if lacking else ""
        found.append(("serve it", f"lang-jepa serve {model} --index {index}{install}"))
    if trial.taken.kind == "logs":
        return found
    turns = " --units turns" if trial.taken.kind == "dialogues" else ""
    named = {name: str(trial.taken.data[name]) for name in ("text_column", "group_column") if name in trial.taken.data}
    columns = "".join(f" --{name.replace('_', '-')} {shlex.quote(value)}" for name, value in named.items())
    return [*found, ("find copies", f"lang-jepa duplicates {path}{turns}{columns}")]
