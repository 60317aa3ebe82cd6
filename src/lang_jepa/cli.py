"""The command `lang-jepa`: one function a verb; nothing heavy is imported before it is used."""

import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa import cli_tools
from lang_jepa.errors import LangJepaError
from lang_jepa.hub import go_offline_if_unreachable

if TYPE_CHECKING:
    from lang_jepa.config import Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Joint-embedding predictive models of text: train encoders that predict meaning instead of tokens.",
)

Override = Annotated[
    list[str] | None,
    typer.Option(
        "--override", "-o", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated."
    ),
]
DEBUG = (
    "data.limit=50",
    "data.batch_size=4",
    "data.num_workers=0",
    "data.val_fraction=0.2",
    "optimization.epochs=1",
    "optimization.max_steps=null",
    "logging.log_freq=1",
    "logging.val_sentences=64",
)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A built-in recipe, or the path of a YAML file.")
    ] = "next_sentence",
    override: Override = None,
    debug: Annotated[
        bool, typer.Option(help="A tiny run: 50 documents, one epoch, batch 4, logs every step.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run directory's last checkpoint.")] = False,
) -> None:
    """Train an encoder; prepares the corpus first if needed."""
    settings = _settings(
        recipe,
        *(DEBUG if debug else ()),
        *(override or ()),
        *(("meta.load_checkpoint=true",) if resume else ()),
    )
    from lang_jepa.console import Bar, console
    from lang_jepa.training.train import train as run

    result = run(settings, Bar())
    if result.interrupted:
        console.print(f"Stopped at step {result.step} of {result.total}; go on with --resume.")
        return
    console.print(f"[bold]{result.folder}[/]: {result.step} steps in {result.seconds:.0f} s")
    console.print(f"  curves       {result.folder / 'run.png'}")
    console.print(f"  model        {result.folder / 'model'}")
    console.print(f"  next         lang-jepa evaluate {result.folder}")


@app.command()
def prepare(
    recipe: Annotated[str, typer.Argument(help="Recipe whose data settings are used.")] = "next_sentence",
    override: Override = None,
) -> None:
    """Turn documents into a corpus on disk, and tell what is in it."""
    settings = _settings(recipe, *(override or ()))
    from lang_jepa.console import console, facts_table
    from lang_jepa.data.prepare import PrepareEvent
    from lang_jepa.data.prepare import prepare as run
    from lang_jepa.data.statistics import describe
    from lang_jepa.data.views import make_view
    from lang_jepa.training.material import make_order
    from lang_jepa.training.padding import padding_facts

    def tell(event: PrepareEvent) -> None:
        style = "bold yellow" if event.stage in {"warning", "stale"} else ""
        text = f"{event.documents:,} documents done" if event.stage == "block" else event.message
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    corpus = run(settings.data, progress=tell)
    view = make_view(settings, corpus.train, corpus.tokenizer)
    facts_table(
        [*describe(corpus), *padding_facts(view, make_order(settings, view, world=1))], title=str(corpus.path)
    )


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, a model directory or a checkpoint.")],
    tasks: Annotated[
        str, typer.Option(help="Of sts, probe, au, retrieval, stories; separated by commas.")
    ] = "",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with stsb/ and sst2/ (default: the hub).")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Another encoder to score too: a pretrained one by name or folder, or `words`. Repeated."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option(help="Also rows of similarities that were not chosen.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="JSON file (default: scores.json in the run directory).")
    ] = None,
) -> None:
    """Score a model beside its baselines, with intervals."""
    go_offline_if_unreachable()
    from lang_jepa.console import console, score_tables
    from lang_jepa.report.card import evaluate_run

    report, path = evaluate_run(run, tasks=tasks, data_dir=data_dir, output=output, beside=beside or ())
    for task, source in report.sources.items():
        console.print(f"data of {task}: {source}", highlight=False, markup=False, soft_wrap=True)
    score_tables(report, title=f"scores of {run}", everything=everything)
    console.print(f"Written to {path}. The similarity in brackets was chosen on development data.")


@app.command()
def infer(
    model: Annotated[Path, typer.Argument(help="A run directory, a model directory or a checkpoint.")],
    text: Annotated[list[str] | None, typer.Option(help="Text to encode; may be repeated.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="File with one text per line (default: standard input).")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus to search: a file, one sentence per line, or an index.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Neighbours shown.")] = 5,
    context: Annotated[
        list[str] | None, typer.Option(help="A context's sentences in order; repeated.")
    ] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="A continuation to rank; repeated.")] = None,
) -> None:
    """Concepts of texts, their neighbours in a corpus, and how well continuations fit a context."""
    from lang_jepa.concepts.index import search_in
    from lang_jepa.concepts.search import rank_continuations
    from lang_jepa.console import console
    from lang_jepa.report.card import load_any

    loaded = load_any(model)
    if context or candidate:
        for score, sentence in rank_continuations(loaded, context or [], candidate or []):
            _plain(f"{score:7.4f}  {sentence}")
        return
    texts = _texts(text, file)
    vectors = loaded.encode(texts)
    found = search_in(corpus, loaded, vectors, top_k=top_k) if corpus else None
    if found:
        _plain(f"neighbours by {loaded.similarity} cosine")
    for number, (one, vector) in enumerate(zip(texts, vectors, strict=True)):
        console.print(one, style="bold", highlight=False, markup=False, soft_wrap=True)
        shown = " ".join(f"{value:+.3f}" for value in vector[:8])
        _plain(f"  concept [{len(vector)}]: {shown} ...")
        for score, sentence in found[number] if found else []:
            _plain(f"  {score:7.4f}  {sentence}")


@app.command()
def quickstart(
    override: Override = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.")] = 0,
) -> None:
    """Train, evaluate and show on the built-in stories: no download, no GPU, about four minutes."""
    from lang_jepa.console import Bar, console, score_tables
    from lang_jepa.report.card import QUICK, evaluate_run, tell_story
    from lang_jepa.settings import load_settings
    from lang_jepa.training.train import train as run

    console.print("Training an encoder to predict the meaning of the next sentence of generated stories.")
    result = run(load_settings("concepts", [f"meta.seed={seed}", *(override or ())]), Bar())
    if result.interrupted:
        console.print(f"Stopped at step {result.step} of {result.total}.")
        return
    console.print(
        f"Trained {result.step} steps in {result.seconds:.0f} s. Evaluating on held-out stories ..."
    )
    report, path = evaluate_run(result.folder, tasks="stories", data_dir=None, output=None, budget=QUICK)
    score_tables(report, title="Held-out stories, and stories told in wordings never seen in training")
    for line in tell_story(result.folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    alarms = "; ".join(result.alarms) if result.alarms else "none"
    console.print(f"\ncollapse alarms: {alarms}", highlight=False)
    console.print(
        f"\nThe run is in {result.folder}: curves in run.png, all scores in {path.name}, the model in model/.\n"
        "What to do next (in the environment: source .venv/bin/activate):\n"
        "  see it collapse     lang-jepa train concepts -o model.head=none -o objective.regularizer=none \\\n"
        "                        -o objective.center_targets=false -o logging.eval_freq=20 \\\n"
        "                        -o logging.log_dir=runs/collapse\n"
        "  your own text       lang-jepa train documents -o data.train_file=FOLDER -o logging.log_dir=runs/mine\n"
        f"  use the model       lang-jepa infer {result.folder} --text 'Nora lost her keys.'\n"
        f'  in Python           from lang_jepa import ConceptModel; ConceptModel.load("{result.folder}")',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def compare(
    variant: Annotated[list[str], typer.Argument(help="Recipes or YAML files, the baseline first.")],
    budget: Annotated[
        str, typer.Option(help="Of each run: steps=2000, minutes=10 (of training) or flops=1e15.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of this comparison; given again, it goes on.")],
    seeds: Annotated[int, typer.Option(help="Runs per variant; a verdict needs three.")] = 5,
    override: Override = None,
    tasks: Annotated[
        str, typer.Option(help="Of sts, probe, au, retrieval, stories; separated by commas.")
    ] = "",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with stsb/ and sst2/ (default: the hub).")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Evaluate on fewer questions, for a first look.")
    ] = False,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Compare although precision, device or the like differ."),
    ] = False,
) -> None:
    """Train recipes over seeds at an equal budget, and say whether they differ.

    Example: lang-jepa compare concepts mine.yaml --budget steps=2000 --output runs/c

    Each run is a process of its own; runs of one seed share data order and
    initial weights where they fit. The verdict of each metric is better, worse,
    or indistinguishable at this budget. Stopped, the same command goes on.
    """
    from lang_jepa.comparison.budget import parse_budget
    from lang_jepa.comparison.plan import make_plan

    plan = make_plan(
        variant,
        seeds=seeds,
        budget=parse_budget(budget),
        overrides=override or (),
        tasks=tasks,
        data_dir=data_dir,
        allow_different=allow_different,
    )
    from lang_jepa.comparison.compare import PAGE, REPORT  # mistakes are told before torch is imported
    from lang_jepa.comparison.compare import compare as run
    from lang_jepa.comparison.process import Interrupted
    from lang_jepa.console import JobBar, comparison_tables, console
    from lang_jepa.report.card import QUICK

    plan = replace(plan, questions=QUICK) if quick else plan

    try:
        with JobBar() as bar:
            report = run(plan, output, bar)
    except Interrupted:
        console.print(f"Stopped. What was done is kept in {output}; the same command goes on.")
        raise typer.Exit(130) from None
    comparison_tables(report)
    console.print(f"Written to {output / PAGE} (curves, all scores) and {output / REPORT}.")


@app.command()
def sweep(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe, or the path of a YAML file.")],
    output: Annotated[Path, typer.Option(help="Folder of this sweep; given again, it goes on.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those stopped early included.")] = 20,
    metric: Annotated[str, typer.Option(help="Held-out figure to be best in.")] = "val/retrieval/mrr",
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=RANGE",
            help="optimization.lr=1e-4:1e-2:log, model.num_layers=1:4, or model.head=none,whitened; repeated. "
            "Default: the learning rate, within ten times of the recipe's.",
        ),
    ] = None,
    override: Override = None,
) -> None:
    """Search for good settings with Optuna (extra `sweep`); hopeless and collapsing trials are stopped early."""
    from lang_jepa.comparison.process import Interrupted
    from lang_jepa.comparison.space import make_space
    from lang_jepa.comparison.sweep import Sweep
    from lang_jepa.comparison.sweep import sweep as run
    from lang_jepa.console import JobBar, console

    settings = _settings(recipe, *(override or ()))
    plan = Sweep(recipe, tuple(override or ()), make_space(space or (), settings), metric, trials)
    try:
        with JobBar() as bar:
            found = run(plan, output, bar)
    except Interrupted:
        console.print(f"Stopped. What was done is kept in {output}; the same command goes on.")
        raise typer.Exit(130) from None
    _plain(f"{found.finished} trials trained to their end, {found.stopped} stopped early")
    _plain(f"best, trial {found.trial}: {metric} {found.value:.4f}")
    _plain("  " + " ".join(f"-o {override}" for override in found.overrides))
    _plain(
        "The best of many is flattered by luck, on the data it was chosen on. Put these settings into a YAML file and "
        "compare it with the recipe over seeds, on other held-out data: lang-jepa compare."
    )


app.command()(cli_tools.index)
app.command()(cli_tools.search)
app.command()(cli_tools.export)


@app.command()
def recipes() -> None:
    """Name the built-in recipes."""
    from lang_jepa.console import console
    from lang_jepa.settings import recipe_names

    for name in recipe_names():
        console.print(name)


def _settings(recipe: str, *overrides: str) -> "Settings":
    """Settings of a command that may need the hub; fails at once where they need it and it is not there."""
    from lang_jepa.settings import load_settings

    settings = load_settings(recipe, overrides)
    if go_offline_if_unreachable():
        from lang_jepa.data.documents import open_source

        open_source(
            settings.data
        )  # a hub source says here what to set, seconds before torch is even imported
    return settings


def _plain(text: str) -> None:
    """A line as it is: no colours, no markup, never wrapped."""
    from lang_jepa.console import console

    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _texts(given: list[str] | None, file: Path | None) -> list[str]:
    """Texts from the options, a file, or standard input."""
    if given:
        return given
    if file is not None:
        from lang_jepa.files import read_lines

        return read_lines(file)
    if sys.stdin.isatty():
        raise LangJepaError("nothing to encode: give --text, --file, or pipe text in")
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise LangJepaError("standard input held no text")
    return lines


def main() -> None:
    """Entry point: prints a user's mistake as one message, and exits with 2."""
    for message in ("index_reduce", "This DataLoader will create"):  # said to programmers, on every run
        warnings.filterwarnings("ignore", message=f".*{message}")
    try:
        app()
    except LangJepaError as error:
        rank = os.environ.get("RANK", "0")
        print(f"error: {error}" if rank == "0" else f"error in process {rank}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
