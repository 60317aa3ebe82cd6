"""The verb `infer`: concepts, their neighbours, and what may follow; heavy modules are imported only when used."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.options import AnyModel, AsJson, standard_input
from lang_jepa.data.sources.text_files import chunks, filled_lines
from lang_jepa.errors import LangJepaError, one_line

if TYPE_CHECKING:
    from lang_jepa.evaluation.metrics.similarity import Similarity
    from lang_jepa.inference.encoding import Vectors
    from lang_jepa.inference.model import ConceptModel, Imagined

_FOREIGN = (
    "the decoder was trained on the concepts of another encoder (or of other weights of it), so what it decodes may be "
    "off"
)


def infer(
    model: AnyModel,
    text: Annotated[list[str] | None, typer.Option(help="Text to encode; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="File with one text per line (default: standard input).")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus to search: a file, one sentence per line, or an index.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Neighbours shown.")] = 5,
    context: Annotated[list[str] | None, typer.Option(help="A sentence of a context; repeated, in order.")] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="A continuation to rank; may be repeated.")] = None,
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
    temperature: Annotated[float, typer.Option(help="With --sample: temperature of the draws.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="With --sample: total probability of the words to draw from.")] = 1.0,
    sample_top_k: Annotated[int, typer.Option(help="With --sample: number of words to draw from (0: all).")] = 0,
    beams: Annotated[int | None, typer.Option(help="Beam search with this many hypotheses.")] = None,
    seed: Annotated[int, typer.Option(help="With --sample: seed of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show concepts of texts, their neighbours in a corpus, what a decoder makes of them, and what fits a context."""
    from lang_jepa.cli.console import aside, plain, show_json
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.training.load import load_any

    say = aside if as_json else plain
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
            say(f"the decoder's tokenizer is that of {named}, which its checkpoint names")
    if go_on is not None:
        if not context:
            raise LangJepaError("--continue needs at least one --context to continue")
        imagined = loaded.imagine(context, go_on, beams=beams or 8)
        show_json([asdict(one) for one in imagined]) if as_json else _show_continuations(imagined)
    elif context or candidate:
        ranked = rank_continuations(loaded, context or [], candidate or [])
        if as_json:
            show_json([{"score": score, "text": sentence} for score, sentence in ranked])
            return
        for score, sentence in ranked:
            plain(f"{score:7.4f}  {one_line(sentence)}")
    else:
        decoding = options if decode or decoder is not None or options else None
        read = _read(loaded, _read_texts(text, file), corpus, top_k=top_k, decoding=decoding)
        kind = loaded.similarity_kind
        if decoding is not None and loaded.decoder_is_foreign:
            say(f"warning: {_FOREIGN}")
        show_json({"similarity": kind, "texts": read}) if as_json else _show_concepts(read, kind)


def _read(
    model: "ConceptModel", texts: list[str], corpus: Path | None, *, top_k: int, decoding: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return texts with their concepts, decoded and with neighbours as asked, as plain data.

    `decoding`: options of `ConceptModel.decode` (None: do not).
    """
    vectors = model.encode(texts)
    rows: list[dict[str, Any]] = [
        {"text": text, "concept": vector.tolist()} for text, vector in zip(texts, vectors, strict=True)
    ]
    if decoding is not None:
        for row, sentence in zip(rows, model.decode(vectors, **decoding), strict=True):
            row["decoded"] = sentence
    if corpus is not None:
        for row, found in zip(rows, _neighbours(model, vectors, corpus, top_k), strict=True):
            row["neighbours"] = found
    return rows


def _neighbours(model: "ConceptModel", vectors: "Vectors", corpus: Path, top_k: int) -> list[list[dict[str, Any]]]:
    """Return the nearest sentences of a file with one sentence per line, encoded now, or of an index."""
    if not corpus.is_dir():
        from lang_jepa.inference.search import neighbours

        pairs = neighbours(model, vectors, filled_lines(chunks(corpus), str(corpus)), top_k=top_k)
        return [[{"score": score, "text": one} for score, one in some] for some in pairs]
    from lang_jepa.cli.hits import ShownHits
    from lang_jepa.inference.index import Index

    index = Index.open(corpus, model)
    hits = ShownHits(index)
    return [[hits.plain(one) for one in some] for some in index.nearest(vectors, top_k=top_k)]


def _show_concepts(rows: list[dict[str, Any]], similarity: "Similarity") -> None:
    """Print each text with the beginning of its vector, its decoded sentence, and its neighbours in a corpus."""
    from lang_jepa.cli.console import plain
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS

    if "neighbours" in rows[0]:
        plain(f"neighbours by {IN_WORDS[similarity]}")
    for row in rows:
        plain(one_line(row["text"]), style="bold")
        shown = " ".join(f"{value:+.3f}" for value in row["concept"][:8])
        plain(f"  concept [{len(row['concept'])}]: {shown} ...")
        if "decoded" in row:
            plain(f"  decoded: {one_line(row['decoded'])}")
        for hit in row.get("neighbours", []):
            where = f"  [{hit['path']}:{hit['line']}]" if hit.get("line") else ""
            plain(f"  {hit['score']:7.4f}  {one_line(hit['text'])}{where}")


def _show_continuations(found: "list[Imagined]") -> None:
    """Print imagined sentences, and below each the alternatives that fitted less."""
    from lang_jepa.cli.console import plain

    for one in found:
        plain(f"{one.agreement:7.4f}  {one_line(one.text)}")
        for agreement, text in one.alternatives[1:3]:
            plain(f"           {agreement:7.4f}  {one_line(text)}", style="dim")


def _read_texts(given: list[str] | None, file: Path | None) -> list[str]:
    """Read texts from the options, a file, or standard input."""
    if given:
        return given
    if file is not None:
        return filled_lines(chunks(file), str(file))
    return filled_lines(standard_input("nothing to encode", "--file"), "standard input (no --text, no --file)")
