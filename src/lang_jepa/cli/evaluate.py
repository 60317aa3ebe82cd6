"""The verbs that measure: `evaluate` one model, `compare` recipes over seeds, `sweep` settings."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import AsJson, Columns, DataDir, Override, TextLanguage, settings_of
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import counted
from lang_jepa.training.signals import exit_status

if TYPE_CHECKING:
    from lang_jepa.comparison.plan import Plan
    from lang_jepa.report.run import EvaluateOptions


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, a model directory or a checkpoint.")],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="What to measure (default: what the training data allow): retrieval (finds the next sentence), "
            "turns (finds the next turn of a conversation), replies (chooses an answer from earlier conversations), "
            "anomalies (finds faults in logs and conversations), "
            "passages (finds the turn that answers a question), "
            "search (finds what a query asks for), document (whether `document` is right), decode (reconstructs "
            "sentences), stories (built-in stories), sts, probe, au (public data). For a GPT: bits_per_byte, "
            "quantised, retrieval, sts, probe, au.",
        ),
    ] = "",
    documents: Annotated[
        str | None,
        typer.Option(help="Texts to search in (search, passages), or to score (document, turns, replies, anomalies)."),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="For search: lines with a query, a tab, and the sentence or document it should find."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="For replies: key of the messages, or column, with the label of each turn (a dialogue act)."),
    ] = None,
    *,
    columns: Columns,
    language: TextLanguage = None,
    corpus: Annotated[
        Path | None, typer.Option(help="The training's corpus, or a GPT's shards, if they have moved.")
    ] = None,
    data_dir: DataDir = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another encoder to score too: a pretrained one by name or folder, or `words`. Repeated."),
    ] = None,
    everything: Annotated[
        bool, typer.Option(help="All rows of each table, and those of similarities that were not chosen.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file (default: scores.json in the run directory).")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model beside its baselines, with intervals."""
    go_offline_if_unreachable()
    from lang_jepa.cli.console import aside, plain
    from lang_jepa.report.run import EvaluateOptions

    options = EvaluateOptions(
        tasks=tasks,
        data_dir=data_dir,
        output=output,
        prepared=corpus,
        beside=beside or (),
        documents=documents,
        queries=queries,
        labels=labels,
        columns=columns.named(),
        language=language,
        on_message=aside if as_json else plain,
    )
    _report_scores(run, options, everything=everything, as_json=as_json)


def _report_scores(run: Path, options: "EvaluateOptions", *, everything: bool, as_json: bool) -> None:
    """Evaluate and print; the scores are printed even if they cannot be saved."""
    from lang_jepa.cli.console import plain, show_json
    from lang_jepa.cli.scores import score_tables
    from lang_jepa.evaluation.scoreboard import choices_from
    from lang_jepa.evaluation.table import NotSaved
    from lang_jepa.report import evaluate_run

    unsaved = None
    try:
        report, path = evaluate_run(run, options)
    except NotSaved as error:
        report, path, unsaved = error.report, Path(), error
    if as_json:
        show_json(report.to_json())
        if unsaved is not None:
            raise unsaved
        return
    plain("what was measured, and on what:")
    for task, source in report.sources.items():
        plain(f"  {task}: {source}")
    paths = [str(Path(name).resolve()).removesuffix("/model") for name in options.beside]
    asked = {row.name for row in report.rows if any(path.endswith(row.name) for path in paths)}
    score_tables(report, title=f"scores of {run}", everything=everything, asked=asked)
    for tool, choice in choices_from(report.tools).items():
        plain(f"lang-jepa document, {tool}: uses {choice.describe()}")
    if unsaved is not None:
        raise unsaved
    chosen = " The similarity in brackets was chosen on development data." if report.similarity else ""
    plain(f"Written to {path}.{chosen}")


def compare(
    variant: Annotated[list[str], typer.Argument(help="Recipes or YAML files, the baseline first.")],
    budget: Annotated[
        str, typer.Option(help="What each run may use: steps=2000, minutes=10 (of training) or flops=1e15.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of this comparison; given again, it resumes.")],
    seeds: Annotated[int, typer.Option(help="Runs per variant; a verdict needs three.")] = 5,
    override: Override = None,
    vary: Annotated[
        str, typer.Option(metavar="KEY=V1,V2,...", help="Variants of the first recipe, the baseline first.")
    ] = "",
    tasks: Annotated[
        str,
        typer.Option(
            help="Any of sts, probe, au, retrieval, turns, replies, stories, document; for GPTs any of sts, probe, au, "
            "retrieval, bits_per_byte, quantised."
        ),
    ] = "",
    data_dir: DataDir = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Evaluate on fewer questions, for a first impression.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; OMP_NUM_THREADS sets the threads of each.")] = 1,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Compare even if precision, device or the like differ.")
    ] = False,
) -> None:
    """Train recipes over seeds at an equal budget, and say whether they differ.

    Only runs of one system are compared, such as encoders with encoders. Each run
    has its own process; runs with the same seed share data order and initial
    weights where they fit. The verdict on each metric is better, worse, or
    indistinguishable at this budget. After a stop, the same command resumes.
    """
    from lang_jepa.comparison.budget import parse_budget
    from lang_jepa.comparison.plan import make_plan
    from lang_jepa.evaluation.tasks import DEFAULT_BUDGET

    plan = make_plan(
        variant,
        seeds=seeds,
        budget=parse_budget(budget),
        overrides=override or (),
        tasks=tasks,
        data_dir=data_dir,
        questions=None if quick else DEFAULT_BUDGET,
        vary=vary,
    )
    _run_comparison(replace(plan, allow_different=allow_different), output, jobs)


def _run_comparison(plan: "Plan", output: Path, jobs: int) -> None:
    """Train, evaluate and print; mistakes in the plan were reported before torch is imported here."""
    from lang_jepa.cli.console import comparison_tables, plain, warn
    from lang_jepa.cli.progress import JobBar
    from lang_jepa.comparison.compare import PAGE, REPORT
    from lang_jepa.comparison.compare import compare as run
    from lang_jepa.comparison.jobs import Interrupted
    from lang_jepa.comparison.verdict import LEAST_SEEDS

    if len(plan.seeds) < LEAST_SEEDS:
        warn(f"too few seeds for a verdict ({len(plan.seeds)}): give --seeds {LEAST_SEEDS} or more")
    try:
        with JobBar() as bar:
            report = run(plan, output, bar, jobs=jobs)
    except Interrupted as stop:
        raise _stopped(stop.number, output) from None
    comparison_tables(report)
    plain(f"Written to {output / PAGE} (curves, all scores) and {output / REPORT}.")


def sweep(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe, or the path of a YAML file.")],
    output: Annotated[Path, typer.Option(help="Folder of this sweep; given again, it resumes.")],
    trials: Annotated[
        int, typer.Option(min=1, help="Number of trials; those stopped early count, failed ones do not.")
    ] = 20,
    metric: Annotated[
        str, typer.Option(help="Held-out metric to improve: low is better for losses and signs of collapse, else high.")
    ] = "val/retrieval/mrr",
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=RANGE",
            help="optimization.lr=1e-4:1e-2:log, model.num_layers=1:4, or model.head=none,whitened; repeated. "
            "Default: the learning rate, within a factor of ten of the recipe's.",
        ),
    ] = None,
    override: Override = None,
) -> None:
    """Search for good settings with Optuna (extra `sweep`); hopeless and collapsing trials are stopped early."""
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.progress import JobBar
    from lang_jepa.comparison.jobs import Interrupted
    from lang_jepa.comparison.space import check_free, make_space
    from lang_jepa.comparison.sweep import make_sweep
    from lang_jepa.comparison.sweep import sweep as run

    check_free(override or (), "-o")
    settings = settings_of(recipe, *(override or ()))
    plan = make_sweep(settings, make_space(space or (), settings), metric, trials)
    plain(f"searching for the best {plan.aim}")
    try:
        with JobBar() as bar:
            found = run(plan, output, bar)
    except Interrupted as stop:
        raise _stopped(stop.number, output) from None
    failed = sum(map(len, found.failed.values()))
    plain(f"{counted(found.finished, 'trial')} trained to their end, {found.stopped} stopped early, {failed} failed")
    for reason, numbers in found.failed.items():
        plain(f"failed, trial {', '.join(map(str, numbers))}: {reason}")
    plain(f"best, trial {found.trial}: {plan.aim} {found.value:.4f}")
    plain("  " + " ".join(f"-o {override}" for override in found.overrides), whole=True)
    plain(
        "The best of many owes some of its score to luck on the data it was chosen on. Put these settings into a YAML "
        "file and compare it with the recipe over seeds, on other held-out data: lang-jepa compare."
    )


def _stopped(number: int, output: Path) -> typer.Exit:
    """Say that the command was asked to stop, and how to resume it."""
    from lang_jepa.cli.console import aside

    aside(f"Stopped. What was done is kept in {output}; the same command resumes.")
    return typer.Exit(exit_status(number))
