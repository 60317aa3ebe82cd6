"""The verb `infer`: concepts, their neighbours, and what may follow; nothing heavy is imported before it is used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.options import (
    AnyModel,
    standard_input,
)
from lang_jepa.data.sources.text_files import chunks, filled_lines
from lang_jepa.errors import LangJepaError, one_line

if TYPE_CHECKING:
    from lang_jepa.inference.model import ConceptModel


def infer(
    model: AnyModel,
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
    decode: Annotated[
        bool, typer.Option("--decode", help="Also decode each concept into a sentence (needs a decoder).")
    ] = False,
    decoder: Annotated[
        Path | None, typer.Option(help="A decoder's run or checkpoint (default: the model's own).")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw words instead of taking the likeliest.")] = False,
    temperature: Annotated[float, typer.Option(help="Of --sample.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Of --sample: share of probability drawn from.")] = 1.0,
    sample_top_k: Annotated[int, typer.Option(help="Of --sample: words drawn from (0: all).")] = 0,
    beams: Annotated[int | None, typer.Option(help="Beam search with this many hypotheses.")] = None,
    seed: Annotated[int, typer.Option(help="Of --sample.")] = 0,
) -> None:
    """Concepts of texts, their neighbours in a corpus, what a decoder makes of them, and what fits a context."""
    from lang_jepa.cli.console import plain
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.training.load import load_any

    options: dict[str, Any] = {}
    if sample:
        drawing = {"temperature": temperature, "top_p": top_p, "top_k": sample_top_k, "seed": seed}
        options = {"method": "sample", **drawing}
    elif beams is not None:
        options = {"method": "beam", "beams": beams}
    loaded = load_any(model)
    if decoder is not None:
        from lang_jepa.training.load import load_decoder

        load_decoder(decoder, loaded)
        named = loaded.decoder and loaded.decoder.settings.decoder.tokenizer_path
        if named:
            plain(f"the decoder's tokenizer is that of {named}, which its checkpoint names")
    if go_on is not None:
        _show_continuations(loaded, context or [], go_on, beams=beams or 8)
    elif context or candidate:
        for score, sentence in rank_continuations(loaded, context or [], candidate or []):
            plain(f"{score:7.4f}  {one_line(sentence)}")
    else:
        decoding = options if decode or decoder is not None or options else None
        _show_concepts(loaded, _read_texts(text, file), corpus, top_k=top_k, decoding=decoding)


def _show_concepts(
    model: "ConceptModel", texts: list[str], corpus: Path | None, *, top_k: int, decoding: dict[str, Any] | None
) -> None:
    """Each text with the beginning of its vector, its sentence by the decoder, and its neighbours in a corpus.

    `decoding`: options of `ConceptModel.decode` (None: nothing is decoded).
    """
    from lang_jepa.cli.console import plain, warn

    vectors = model.encode(texts)
    decoded = model.decode(vectors, **decoding) if decoding is not None else None
    found = None
    if corpus:
        from lang_jepa.inference.index import search_in

        found = search_in(corpus, model, vectors, top_k=top_k)
    if found:
        plain(f"neighbours by {model.similarity} cosine")
    if decoded and model.decoder_is_foreign:
        warn(
            "the decoder was trained on the concepts of another encoder (or of other weights of it), so what it "
            "decodes may be off"
        )
    for number, (one, vector) in enumerate(zip(texts, vectors, strict=True)):
        plain(one_line(one), style="bold")
        shown = " ".join(f"{value:+.3f}" for value in vector[:8])
        plain(f"  concept [{len(vector)}]: {shown} ...")
        if decoded:
            plain(f"  decoded: {one_line(decoded[number])}")
        for score, sentence in found[number] if found else []:
            plain(f"  {score:7.4f}  {one_line(sentence)}")


def _show_continuations(model: "ConceptModel", context: list[str], steps: int, *, beams: int) -> None:
    """Imagined sentences, and under each the alternatives that fitted less."""
    from lang_jepa.cli.console import plain

    if not context:
        raise LangJepaError("--continue needs at least one --context to go on from")
    for one in model.imagine(context, steps, beams=beams):
        plain(f"{one.agreement:7.4f}  {one_line(one.text)}")
        for agreement, text in one.alternatives[1:3]:
            plain(f"           {agreement:7.4f}  {one_line(text)}", style="dim")


def _read_texts(given: list[str] | None, file: Path | None) -> list[str]:
    """Texts from the options, a file, or standard input."""
    if given:
        return given
    if file is not None:
        return filled_lines(chunks(file), str(file))
    return filled_lines(standard_input("nothing to encode", "--file"), "standard input")
