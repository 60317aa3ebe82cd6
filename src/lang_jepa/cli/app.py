"""The command `lang-jepa`: one function a verb; nothing heavy is imported before it is used."""

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lang_jepa import __version__
from lang_jepa.cli import compare as cli_compare
from lang_jepa.cli import document as cli_document
from lang_jepa.cli import quickstart as cli_quickstart
from lang_jepa.cli import shards as cli_shards
from lang_jepa.cli import tools as cli_tools
from lang_jepa.cli.combinations import Checked, Verbs
from lang_jepa.cli.options import (
    DecoderOverride,
    Override,
    TextLanguage,
    settings_of,
)
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted, one_line, visible
from lang_jepa.files.atomic import check_writable, is_full
from lang_jepa.training.signals import Interrupted, ending_by_exception, exit_status

app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Joint-embedding predictive models of text: train encoders that predict meaning instead of tokens.",
)

_ENDED = {
    int(signal.SIGINT): "interrupted",
    int(signal.SIGTERM): "SIGTERM",
    int(signal.SIGHUP): "the terminal was closed",
    int(signal.SIGPIPE): "the output was closed, or is full",
}
_SHOWING = frozenset({"search", "infer", "document", "evaluate", "recipes", "bits", "generate"})
"""Verbs that only show something: `| head` has seen what it wanted, and there is nothing to say."""
_AGAIN = "What was finished is kept: give the command again (train: with --resume)."


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"lang-jepa {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """What stands before a verb."""


@app.command(cls=Checked)
def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A built-in recipe, the path of a YAML file, or with --resume a run directory."),
    ] = "next_sentence",
    override: Override = None,
    debug: Annotated[bool, typer.Option(help="A tiny run: 50 documents, one epoch, batch 4, logs every step.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run directory's last checkpoint.")] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="Of a decoder's recipe: the encoder's run, model or checkpoint.")
    ] = None,
    dec_override: DecoderOverride = None,
    untrained: Annotated[
        bool,
        typer.Option("--untrained", help="Of a decoder: for the encoder before its first step, as a control."),
    ] = False,
    environment: Annotated[
        bool,
        typer.Option("--environment", help="Of a GPT's recipe: environment variables change settings too."),
    ] = False,
) -> None:
    """Train an encoder, a decoder of one, or a GPT; prepares the corpus first if needed."""
    from lang_jepa.cli.train import Asked
    from lang_jepa.cli.train import train as run

    run(
        Asked(
            recipe=recipe,
            overrides=override or (),
            decoder_overrides=dec_override or (),
            encoder=encoder,
            debug=debug,
            resume=resume,
            untrained=untrained,
            environment=environment,
        )
    )


@app.command(cls=Checked)
def prepare(
    recipe: Annotated[str, typer.Argument(help="Recipe whose data settings are used.")] = "next_sentence",
    override: Override = None,
    duplicates: Annotated[
        Path | None,
        typer.Option(help="Write here which document repeats which: one JSON line for each that was dropped."),
    ] = None,
) -> None:
    """Turn documents into a corpus on disk, and tell what is in it."""
    if duplicates is not None:
        check_writable(duplicates)
    settings = settings_of(recipe, *(override or ()))
    if duplicates is not None:
        check_writable(duplicates.expanduser())
    from lang_jepa.cli.console import facts_table, plain, warn
    from lang_jepa.data.corpus.prepare import PrepareEvent, tell_losses
    from lang_jepa.data.corpus.prepare import prepare as run
    from lang_jepa.data.corpus.statistics import Losses
    from lang_jepa.data.views import make_view
    from lang_jepa.training.methods.encoder_data import make_order, padding_facts

    def tell(event: PrepareEvent) -> None:
        text = f"{counted(event.documents, 'document')} done" if event.stage == "block" else event.message
        (warn if event.stage in {"warning", "stale"} else plain)(text)

    corpus = run(settings.data, progress=tell)
    if duplicates is not None:
        corpus.write_duplicates(duplicates)
        plain(f"duplicates: {duplicates}")
    view = make_view(settings, corpus.train, corpus.tokenizer)
    sizes = {
        "sentences": corpus.train.num_sentences,
        "cut": view.cut_sentences,
        "max_length": settings.model.max_length,
    }
    tell_losses(Losses.of_manifest(corpus.manifest["statistics"], **sizes), tell)
    facts_table([*corpus.info(), *padding_facts(view, make_order(settings, view, world=1))], title=str(corpus.path))


@app.command(cls=Checked)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, a model directory or a checkpoint.")],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="What to measure (default: what the training data allow): retrieval (finds the next sentence), "
            "search (finds what a query asks for), document (what `document` tells is right), decode (tells sentences "
            "again), stories (built-in stories), sts, probe, au (public data). Of a GPT: bits_per_byte, quantised, "
            "retrieval, sts, probe, au.",
        ),
    ] = "",
    documents: Annotated[
        str | None, typer.Option(help="Texts to search in, for search, or to be scored, for document.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Of search: lines with a query, a tab, and the sentence or document it should find."),
    ] = None,
    language: TextLanguage = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Prepared corpus of the training, or a GPT's shards, if not where they were."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with stsb/ and sst2/ (default: the hub).")] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another encoder to score too: a pretrained one by name or folder, or `words`. Repeated."),
    ] = None,
    everything: Annotated[bool, typer.Option(help="Also rows of similarities that were not chosen.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file (default: scores.json in the run directory).")] = None,
) -> None:
    """Score a model beside its baselines, with intervals."""
    go_offline_if_unreachable()
    from lang_jepa.cli.console import plain, score_tables
    from lang_jepa.evaluation.scoreboard import choices_from
    from lang_jepa.evaluation.table import NotSaved
    from lang_jepa.report import evaluate_run
    from lang_jepa.report.run import Asked

    asked = Asked(
        tasks=tasks,
        data_dir=data_dir,
        output=output,
        prepared=corpus,
        beside=beside or (),
        documents=documents,
        queries=queries,
        language=language,
        tell=plain,
    )
    unsaved = None
    try:
        report, path = evaluate_run(run, asked)
    except NotSaved as error:
        report, path, unsaved = error.report, Path(), error
    plain("what was measured, and on what:")
    for task, source in report.sources.items():
        plain(f"  {task}: {source}")
    score_tables(report, title=f"scores of {run}", everything=everything)
    for tool, choice in choices_from(report.tools).items():
        plain(f"lang-jepa document, {tool}: uses {choice.said()}")
    if unsaved is not None:
        raise unsaved
    chosen = " The similarity in brackets was chosen on development data." if report.similarity else ""
    plain(f"Written to {path}.{chosen}")


@app.command(cls=Checked)
def infer(
    model: Annotated[
        Path,
        typer.Argument(help="A run or model directory, a checkpoint, or a pretrained encoder by folder or hub name."),
    ],
    text: Annotated[list[str] | None, typer.Option(help="Text to encode; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="File with one text per line (default: standard input).")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus to search: a file, one sentence per line, or an index.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Neighbours shown.")] = 5,
    context: Annotated[list[str] | None, typer.Option(help="A context's sentences in order; repeated.")] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="A continuation to rank; repeated.")] = None,
    go_on: Annotated[
        int | None, typer.Option("--continue", metavar="N", help="Imagine N sentences after the context.")
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Tell each concept in words (needs a decoder).")] = False,
    decoder: Annotated[
        Path | None, typer.Option(help="A decoder's run or checkpoint (default: the model's own).")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw words instead of taking the likeliest.")] = False,
    temperature: Annotated[float, typer.Option(help="Of --sample.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Of --sample: share of probability drawn from.")] = 1.0,
    sample_top_k: Annotated[int, typer.Option(help="Of --sample: words drawn from (0: all).")] = 0,
    beams: Annotated[int | None, typer.Option(help="Beam search with so many hypotheses.")] = None,
    seed: Annotated[int, typer.Option(help="Of --sample.")] = 0,
) -> None:
    """Concepts of texts, their neighbours in a corpus, what a decoder makes of them, and what fits a context."""
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.infer import Telling, read_texts, show_concepts, show_continuations
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.training.load import load_any

    telling = Telling(sample, temperature, top_p, sample_top_k, beams, seed)
    wanted = decode or decoder is not None or sample or beams is not None
    loaded = load_any(model)
    if decoder is not None:
        from lang_jepa.training.load import load_decoder

        load_decoder(decoder, loaded)
        named = loaded.decoder and loaded.decoder.settings.decoder.tokenizer_path
        if named:
            plain(f"the decoder's tokenizer is that of {named}, which its checkpoint names")
    if go_on is not None:
        show_continuations(loaded, context or [], go_on, beams=beams or 8)
    elif context or candidate:
        for score, sentence in rank_continuations(loaded, context or [], candidate or []):
            plain(f"{score:7.4f}  {one_line(sentence)}")
    else:
        show_concepts(loaded, read_texts(text, file), corpus, top_k=top_k, telling=telling if wanted else None)


for verb in (
    cli_quickstart.quickstart,
    cli_compare.compare,
    cli_compare.sweep,
    cli_tools.index,
    cli_tools.search,
    cli_tools.export,
    cli_document.document,
    cli_tools.generate,
    cli_shards.shards,
    cli_shards.bits,
    cli_tools.recipes,
):
    app.command(cls=Checked)(verb)


def main() -> None:
    """Entry point.

    Exits with 0 where the command did what it says, 2 after a mistake that the message explains, 130, 143, 129 or 141
    where Ctrl-C, SIGTERM, a closed terminal or a closed output ended it, and 1 with a traceback in any other case.
    """
    for message in ("index_reduce", "This DataLoader will create"):  # said to programmers, on every run
        warnings.filterwarnings("ignore", message=f".*{message}")
    try:
        with ending_by_exception():
            try:
                app()
            finally:
                print(end="", flush=True)
    except LangJepaError as error:
        _fail(str(error), error.exit_code)
    except Interrupted as stop:
        from lang_jepa.cli.console import aside, console

        read_enough = stop.number == signal.SIGPIPE and not console.full  # as `| head` does
        if not read_enough or _SHOWING.isdisjoint(sys.argv[1:2]):
            aside(f"{_ENDED[stop.number]}: ended before it was done. {_AGAIN}")
        raise SystemExit(exit_status(stop.number)) from None
    except Exception as error:
        if is_full(error) or isinstance(error, BrokenPipeError):
            _leave_if_output_fails()
        if not is_full(error):
            raise
        _fail(f"the disk is full: {error}. Free some space and give the command again.")


def _leave_if_output_fails() -> None:
    """End where it is standard output (of --help, say) that cannot be written; files of ours are named in their errors.

    There is no way to find out but to write.
    """
    try:
        print(flush=True)
    except OSError as error:
        from lang_jepa.cli.console import drop_output

        drop_output()
        _fail(f"the output could not be written: {error.strerror}", exit_status(signal.SIGPIPE))


def _fail(reason: str, status: int = LangJepaError.exit_code) -> NoReturn:
    rank, shown = os.environ.get("RANK", "0"), visible(reason)
    print(f"error: {shown}" if rank == "0" else f"error in process {rank}: {shown}", file=sys.stderr)
    raise SystemExit(status) from None


if __name__ == "__main__":
    main()
