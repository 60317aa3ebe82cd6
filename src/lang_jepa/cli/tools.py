"""The verbs `index`, `search`, `export`, `recipes` and `generate`; heavy modules are imported only when used."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lang_jepa.cli.options import AsJson, TextLanguage, Texts, in_language
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, counted, one_line

if TYPE_CHECKING:
    from lang_jepa.inference.index import Followed, Hit

Model = Annotated[Path, typer.Argument(help="A run directory or a model directory.")]


def index(
    model: Annotated[
        Path, typer.Argument(help="A run or model directory, or a pretrained encoder by folder or hub name.")
    ],
    corpus: Annotated[str, typer.Argument(help="What data.train_file may name: a file, a folder, a data set.")],
    output: Annotated[Path, typer.Option(help="Folder of the index; given again after a stop, it resumes.")],
    lines: Annotated[
        bool, typer.Option("--lines", help="The corpus is a text file with one sentence per line.")
    ] = False,
    *,
    texts: Texts,
    language: TextLanguage = None,
    float32: Annotated[
        bool, typer.Option("--float32", help="Store float32: twice the size, faster on one query.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="What the model computes in: fp32, bf16, or auto (bf16 where the processor has it).")
    ] = "fp32",
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate", help="Also build an approximate index (extra `faiss`), for a million sentences and more."
        ),
    ] = False,
    context: Annotated[
        str,
        typer.Option(
            help="none, neighbours or predictor: what is mixed into each vector, the units around it or what is "
            "expected at its position; for conversations."
        ),
    ] = "none",
    weight: Annotated[float, typer.Option("--context-weight", help="Share of what is mixed in.")] = 0.6,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also store what is expected at each position, for --by context-vote.")
    ] = False,
) -> None:
    """Encode the sentences of a corpus, to search among them."""
    if lines and (texts.include or texts.exclude):
        raise LangJepaError("--include and --exclude choose files of a folder, and --lines reads one file")
    go_offline_if_unreachable()
    from lang_jepa.cli.console import info_table, plain
    from lang_jepa.cli.progress import IndexBar
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.index import Index
    from lang_jepa.inference.index.source import Lines, SentenceSource, SplitDocuments
    from lang_jepa.inference.index.surroundings import Context, Surroundings
    from lang_jepa.inference.model import ConceptModel

    loaded = in_language(ConceptModel.load(model, precision=precision), language)
    if lines:
        source: SentenceSource = Lines(Path(corpus))
    else:
        source = SplitDocuments.open(elsewhere(loaded.settings.data, corpus, **texts.chosen()))
    with IndexBar(loaded.settings.data.unit) as bar:
        built = Index.build(
            loaded,
            source,
            output,
            dtype="float32" if float32 else "float16",
            approximate=approximate,
            surroundings=Surroundings(cast("Context", context), weight, predictions),
            on_event=bar.on_event,
        )
    info_table(built.summary(), title=str(output))
    if source.losses and (lost := source.losses.line()):
        plain(lost)
    plain(f'Search it: lang-jepa search {shlex.quote(str(output))} "..."', whole=True)


def search(
    folder: Annotated[Path, typer.Argument(help="Folder of an index.")],
    query: Annotated[list[str] | None, typer.Argument(help="Sentences to find neighbours of.")] = None,
    after: Annotated[
        list[str] | None, typer.Option(help="A sentence of a context; repeated, in order. Finds what may come next.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="With --after: prediction (units closest to it) or context-vote (what followed the most similar "
            "contexts; needs an index with --predictions)."
        ),
    ] = "prediction",
    top_k: Annotated[int, typer.Option(min=1, help="Sentences shown.")] = 10,
    model: Annotated[
        Path | None, typer.Option(help="The model, if it is no longer where it was when the index was built.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Search all rows, even if there is an approximate index.")
    ] = False,
    paragraph: Annotated[bool, typer.Option("--paragraph", help="Show the paragraph around each hit too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the sentences of an index that mean what a query means, or that may follow a context."""
    _check_asked(query, after, by, exact=exact)
    from lang_jepa.cli.console import plain, show_json
    from lang_jepa.cli.hits import ShownHits
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS
    from lang_jepa.inference.index import Index

    opened = Index.open(folder, Path(model) if model else None)
    if exact and not opened.approximate:
        raise LangJepaError("--exact: this index has no approximate part, so every search is exact; leave it out")
    how = "approximate" if opened.approximate and not exact else "exact"
    found: list[tuple[str, Sequence[Hit | Followed]]] = list(
        zip(query or [], opened.search(query or [], top_k=top_k, exact=exact), strict=True)
    )
    said = list(after or ())
    if after:
        from lang_jepa.data.sources.conversations import context_of

        after = context_of(after, opened.model.settings.data, "--after")
    voted = opened.voted_after(after, top_k=top_k) if after and by == "context-vote" else None
    if after and voted is None:
        found.append(("after: " + " ".join(said), opened.search_after([after], top_k=top_k, exact=exact)[0]))
    if voted is not None:
        found.append(("after: " + " ".join(said), voted))
    shown = ShownHits(opened, paragraph=paragraph)
    if as_json:
        asked = [{"query": text, "hits": [shown.plain(one) for one in hits]} for text, hits in found]
        show_json({"similarity": opened.model.similarity_kind, "search": how, "queries": asked})
        return
    mixed = f"; {opened.surroundings}" if opened.surroundings.about() else ""
    unit = opened.model.settings.data.unit
    plain(f"{opened.model.similarity_kind} cosine, {how} search among {counted(len(opened), unit)}{mixed}")
    plain(IN_WORDS[opened.model.similarity_kind], style="dim")
    for text, hits in found:
        plain(one_line(text), style="bold")
        for one in hits:
            shown.show(one)
        if not hits:
            plain("  no position of the index is like this one", style="dim")


def _check_asked(query: list[str] | None, after: list[str] | None, by: str, *, exact: bool) -> None:
    """Refuse a search for nothing, and options without effect."""
    if not query and not after:
        raise LangJepaError('nothing to search for: give a query, or a context with --after "..."')
    if options := [text for text in after or () if re.fullmatch("--[a-z-]+", text)]:
        raise LangJepaError(f'--after wants a sentence of the context, and {options[0]} follows it: --after "..."')
    if by not in ("prediction", "context-vote"):
        raise LangJepaError(f"--by is prediction or context-vote, not {by!r}")
    if exact and not query and by == "context-vote":
        raise LangJepaError("--exact has no effect with --by context-vote, which always compares all predictions")


def export(
    run: Model,
    folder: Annotated[
        Path, typer.Argument(help="Folder of the export (for a GPT: its file); an earlier one is replaced.")
    ],
    to: Annotated[
        str, typer.Option(help="sentence-transformers or onnx; for a GPT int8 or int6.")
    ] = "sentence-transformers",
    license: Annotated[
        str | None, typer.Option(help="Licence of the weights for the model card, such as apache-2.0.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="OWNER/MODEL", help="Upload the export to this name.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the upload creates the repository, make it private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what --push-to-hub would upload; needs no network.")
    ] = False,
    gptq: Annotated[
        bool, typer.Option("--gptq", help="For a GPT: round by GPTQ, calibrated on training tokens.")
    ] = False,
    clip: Annotated[
        str | None,
        typer.Option(metavar="HOW[=AT]", help="For a GPT: where outliers are cut (std=5, percentile=99.98, ...)."),
    ] = None,
    codec: Annotated[str, typer.Option(help="For a GPT: zstd or brotli.")] = "zstd",
    cap: Annotated[int, typer.Option(min=1, help="For a GPT: most bytes that its file may have.")] = 16_000_000,
) -> None:
    """Write a model in the format of another tool, and check it; or a GPT in a few bits per weight."""
    if to in ("int8", "int6"):
        _export_quantised(run, folder, to, gptq=gptq, clip=clip, codec=codec, cap=cap)
        return
    from lang_jepa.cli.console import plain
    from lang_jepa.export.export import check_name, export_run, push

    if push_to_hub:
        check_name(push_to_hub)
    done = export_run(run, folder, to, name=push_to_hub, license=license)
    plain(f"{done.folder}: vectors differ from the model's by {done.difference:.1e} at most")
    for line in done.beforehand:
        plain(f"before encoding: {line.splitlines()[0].rstrip(':')}{' (README.md there)' * ('```' in line)}")
    total = sum(size for _, size in done.files)
    if dry_run:
        plain(
            f"would be uploaded to {push_to_hub}{' (private)' * private}: {counted(len(done.files), 'file')}, "
            f"{total / 1e6:.1f} MB; nothing was sent"
        )
        for name, size in done.files:
            plain(f"  {size:12,}  {name}")
    elif push_to_hub:
        plain(f"uploaded {total / 1e6:.1f} MB to {push(done.folder, push_to_hub, private=private)}")


def _export_quantised(run: Path, file: Path, to: str, *, gptq: bool, clip: str | None, codec: str, cap: int) -> None:
    """Write a GPT in a few bits per weight, and say what that costs."""
    from lang_jepa.cli.console import plain
    from lang_jepa.export.gpt import export_gpt
    from lang_jepa.export.quantise import parse_rounding

    done = export_gpt(run, file, parse_rounding(8 if to == "int8" else 6, clip), gptq=gptq, codec=codec, cap=cap)
    share = done.written.bytes / done.written.cap
    plain(f"{file}: {done.written.bytes:,} bytes, {share:.1%} of the cap of {done.written.cap:,}")
    plain(f"  {done.parameters:,} parameters, {8 * done.written.bytes / done.parameters:.2f} bits each")
    plain(f"  bits per byte  {done.before.val_bpb:.5f} before, {done.after.val_bpb:.5f} after: {done.gap:+.5f}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to show, by name or path (default: list all).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the built-in recipes by what you have, and say what each is for; or show one."""
    from lang_jepa.cli.console import named_table, plain, show_json
    from lang_jepa.settings.recipes import SITUATIONS, recipe_purposes, system_of

    if name is not None:
        _show_recipe(name, as_json=as_json)
        return
    purposes = recipe_purposes()
    if as_json:
        every = [(situation, name) for situation, names in SITUATIONS.items() for name in names]
        show_json([{"name": n, "for": s, "system": system_of(n), "purpose": purposes[n]} for s, n in every])
        return
    for situation, names in SITUATIONS.items():
        plain(f"{situation}:", style="bold")
        named_table({name: purposes[name] for name in names})


def _show_recipe(name: str, *, as_json: bool) -> None:
    """Print what a recipe is for, its file, and those that it builds on; as JSON the same."""
    from lang_jepa.cli.console import plain, show_json
    from lang_jepa.settings.recipes import purpose_in, recipe_files, system_of

    files = recipe_files(name)
    purpose = purpose_in(files[name])
    if as_json:
        show_json({"name": name, "system": system_of(name), "purpose": purpose, "files": files})
        return
    plain(f"{name}: {purpose}" if purpose else name, style="bold")
    for one, text in files.items():
        plain(f"\n{'' if one == name else 'builds on '}{one}:", style="bold")
        plain(text.rstrip("\n"), whole=True)
    plain("\nWhat none of these files sets has its default, see docs/settings.md.", style="dim")


def generate(
    run: Annotated[Path, typer.Argument(help="A GPT's run directory or model directory.")],
    prompt: Annotated[
        str | None, typer.Option(help="Beginning of the text (default: standard input; '' for a new document).")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Write at most this many tokens.")] = 100,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Temperature of the draws; 0 always takes the likeliest token.")
    ] = 0.8,
    sample_top_k: Annotated[int, typer.Option(min=0, help="Number of likeliest tokens to draw from (0: all).")] = 0,
    top_p: Annotated[float, typer.Option(help="Total probability of the tokens to draw from (1: all).")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Number of texts to write.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Continue a text with a GPT, until it ends its document or --tokens are written."""
    from lang_jepa.cli.console import plain, show_json
    from lang_jepa.inference.gpt import TextGPT
    from lang_jepa.inference.model_folder import find_gpt, nearest_run, why_no_model

    if find_gpt(run) is None:
        raise LangJepaError(
            why_no_model(run)
            or f"{run} is not a run of a GPT: `lang-jepa train gpt_jepa` makes one. What an encoder imagines, "
            f"`lang-jepa infer RUN --context ... --continue 3` shows{nearest_run(run)}"
        )
    if prompt is None:
        if sys.stdin.isatty():
            raise LangJepaError("there is nothing to continue: give --prompt TEXT, or text on standard input")
        prompt = sys.stdin.read().removeprefix("\ufeff").rstrip("\n")
    texts = TextGPT.load(run).write(
        prompt, tokens=tokens, samples=samples, temperature=temperature, top_k=sample_top_k, top_p=top_p, seed=seed
    )
    if as_json:
        show_json({"prompt": prompt, "texts": texts})
        return
    for number, text in enumerate(texts, start=1):
        if samples > 1:
            plain(f"--- {number}")
        plain(text)
