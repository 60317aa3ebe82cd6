"""The verbs for data: `prepare` and `shards` make it, `bits` scores held-out tokens, with or without models."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import AsJson, Override, Texts, settings_of
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.files.atomic import check_writable

if TYPE_CHECKING:
    from lang_jepa.data.corpus.tasks import Executor


def prepare(
    recipe: Annotated[str, typer.Argument(help="Recipe whose data settings are used.")] = "next_sentence",
    override: Override = None,
    duplicates: Annotated[
        Path | None,
        typer.Option(help="File that says which document repeats which: one JSON line for each dropped one."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="What runs the tasks: local (processes of this machine), ray or slurm."),
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Shares of the source, each read by one task.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Tasks that run at the same time (default: all).")] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option for Slurm, at least time and partition; may be repeated."),
    ] = None,
) -> None:
    """Turn documents into a corpus on disk, and say what is in it."""
    if duplicates is not None:
        check_writable(duplicates.expanduser())
    settings = settings_of(recipe, *(override or ()))
    engine = None if executor is None else _executor(executor, tasks, workers, slurm or [])
    from lang_jepa.cli.console import info_table, plain, warn
    from lang_jepa.data.corpus.prepare import PrepareEvent, report_losses
    from lang_jepa.data.corpus.prepare import prepare as run
    from lang_jepa.data.corpus.tasks import Submitted
    from lang_jepa.data.views import make_view
    from lang_jepa.training.methods.encoder_data import losses_of, padding_info

    def on_event(event: PrepareEvent) -> None:
        text = f"{counted(event.documents, 'document')} done" if event.stage == "block" else event.message
        (warn if event.stage in {"warning", "stale"} else plain)(text)

    try:
        corpus = run(settings.data, progress=on_event, executor=engine)
    except Submitted as jobs:
        plain(f"submitted to Slurm; when the last job has ended, the corpus is in {jobs.target}")
        plain(f"scripts, logs and finished parts: {jobs.folder}")
        return
    if duplicates is not None:
        corpus.write_duplicates(duplicates)
        plain(f"duplicates: {duplicates}")
    view = make_view(settings, corpus.train, corpus.tokenizer)
    report_losses(losses_of(settings, corpus, view), on_event)
    info_table([*corpus.info(), *padding_info(view, settings.data)], title=str(corpus.path))


def _executor(kind: str, tasks: int, workers: int | None, slurm: list[str]) -> "Executor":
    """Build the executor from the options; mistakes are refused before anything is opened."""
    from lang_jepa.data.corpus.tasks import KINDS, Executor

    if kind not in KINDS:
        raise LangJepaError(f"--executor {kind}: it is one of {', '.join(KINDS)}")
    if mistaken := [one for one in slurm if "=" not in one]:
        raise LangJepaError(f"--slurm {mistaken[0]}: write KEY=VALUE")
    pairs = dict(one.split("=", 1) for one in slurm)
    engine = Executor(kind, tasks, workers, pairs)
    engine.check()
    return engine


def shards(
    source: Annotated[
        str, typer.Argument(help="What data.train_file may name: a file, a folder, a data set, stories.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder of the shards; one that is up to date is kept.")],
    vocab_size: Annotated[int, typer.Option(min=300, max=65_536, help="Ids of the tokenizer that is learnt.")] = 1024,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A SentencePiece model to use instead (BOS must be id 1).")
    ] = None,
    val_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Share of documents held out, by a hash of the text.")
    ] = 0.02,
    deduplicate: Annotated[str, typer.Option(help="Which repeated documents to drop: none, exact or near.")] = "near",
    min_length: Annotated[int, typer.Option(min=0, help="Reject documents with fewer characters.")] = 1,
    *,
    texts: Texts,
    units: Annotated[
        str, typer.Option(help="sentences, lines or turns; turns reads conversations, such as lines `Anna: ...`.")
    ] = "sentences",
    language: Annotated[
        str, typer.Option(help="Language of the texts, which decides where sentences end: en, de, ...")
    ] = "en",
) -> None:
    """Turn documents into token shards with SentencePiece: the files that small GPTs are trained from."""
    from pydantic import ValidationError

    from lang_jepa.settings.data import DataSettings

    go_offline_if_unreachable()
    chosen = {
        "train_file": source,
        "tokenizer_path": "trained" if tokenizer is None else str(tokenizer),
        "vocab_size": vocab_size,
        "val_fraction": val_fraction,
        "deduplicate": deduplicate,
        "min_length": min_length,
        "text_column": "messages" if units == "turns" and not texts.group_column else "text",
        "units": units,
        "language": language,
        **texts.chosen(),
    }
    try:
        settings = DataSettings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        raise LangJepaError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from error
    from lang_jepa.cli.console import info_table
    from lang_jepa.cli.progress import ShardBar
    from lang_jepa.data.tokens.make_shards import describe_shards, make_shards

    with ShardBar() as bar:
        manifest = make_shards(settings, folder, on_event=bar.on_event)
    info_table(describe_shards(manifest), title=str(folder))


def bits(
    folder: Annotated[Path, typer.Argument(help="Folder of token shards with train and val, or a prepared corpus.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Also score a GPT trained on these tokens: its run, or an exported file; may be repeated."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Score models in sliding windows that advance by this many tokens.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="SentencePiece model of the shards (default: tokenizer.model there).")
    ] = None,
    order: Annotated[int, typer.Option(min=1, help="Tokens in the longest n-gram.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out xz and zstd after the training text: minutes on 70 MB.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bits per byte of held-out text: compressors, an n-gram model, and language models side by side."""
    from lang_jepa.cli.console import aside, metrics_table, plain, show_json
    from lang_jepa.evaluation.baselines.language import compression_baselines
    from lang_jepa.export.gpt import open_sides, score_gpts

    say = aside if as_json else plain
    train, held_out, table = open_sides(folder, tokenizer)
    scored = score_gpts(model or (), held_out, table, stride=stride)
    rows = compression_baselines(train, held_out, table, order=order, quick=quick, on_message=say)
    rows = sorted([*rows, *scored], key=lambda row: -row.bits_per_byte)
    if as_json:
        show_json({"held_out_tokens": held_out.num_tokens, "rows": [asdict(row) for row in rows]})
        return
    nats = ("" if row.nats_per_token is None else f"{row.nats_per_token:.4f}" for row in rows)
    cells = [[r.name, f"{r.bits_per_byte:.4f}", nat, f"{r.seconds:.1f}"] for r, nat in zip(rows, nats, strict=True)]
    heads = ("", "bits per byte", "nats per token", "seconds")
    metrics_table(heads, cells, title=f"{held_out.num_tokens:,} held-out tokens of {folder}")
