"""The verb `infer`: concepts, their neighbours, and what may follow; heavy modules are imported only when used."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang_jepa.cli.options import AnyModel, AsJson, standard_input
from lang_jepa.data.sources.text_files import chunks, filled_lines
from lang_jepa.errors import LangJepaError, one_line

if TYPE_CHECKING:
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
        if read.decoded is not None and loaded.decoder_is_foreign:
            say(f"warning: {_FOREIGN}")
        show_json(_plain(read, loaded.similarity_kind)) if as_json else _show_concepts(read, loaded.similarity_kind)


@dataclass(frozen=True)
class _Read:
    """Texts with their vectors [n, D], decoded sentences, and neighbours as plain data (None: not asked for)."""

    texts: list[str]
    vectors: "Vectors"
    decoded: list[str] | None
    neighbours: list[list[dict[str, Any]]] | None


def _read(
    model: "ConceptModel", texts: list[str], corpus: Path | None, *, top_k: int, decoding: dict[str, Any] | None
) -> _Read:
    """Encode texts, then decode and search as asked; `decoding`: options of `ConceptModel.decode` (None: do not)."""
    vectors = model.encode(texts)
    decoded = model.decode(vectors, **decoding) if decoding is not None else None
    if corpus is None:
        return _Read(texts, vectors, decoded, None)
    from lang_jepa.inference.index import Index, search_in

    if not corpus.is_dir():
        pairs = search_in(corpus, model, vectors, top_k=top_k)
        plain = [[{"score": score, "text": one} for score, one in some] for some in pairs]
        return _Read(texts, vectors, decoded, plain)
    from lang_jepa.cli.hits import ShownHits

    index = Index.open(corpus, model)
    hits = ShownHits(index)
    found = index.nearest(vectors, top_k=top_k)
    return _Read(texts, vectors, decoded, [[hits.plain(one) for one in some] for some in found])


def _plain(read: _Read, similarity: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, (text, vector) in enumerate(zip(read.texts, read.vectors, strict=True)):
        rows.append({"text": text, "concept": vector.tolist()})
        if read.decoded is not None:
            rows[-1]["decoded"] = read.decoded[number]
        if read.neighbours is not None:
            rows[-1]["neighbours"] = read.neighbours[number]
    return {"similarity": similarity, "texts": rows}


def _show_concepts(read: _Read, similarity: str) -> None:
    """Print each text with the beginning of its vector, its decoded sentence, and its neighbours in a corpus."""
    from lang_jepa.cli.console import plain

    if read.neighbours is not None:
        plain(f"neighbours by {similarity} cosine")
    for number, (one, vector) in enumerate(zip(read.texts, read.vectors, strict=True)):
        plain(one_line(one), style="bold")
        shown = " ".join(f"{value:+.3f}" for value in vector[:8])
        plain(f"  concept [{len(vector)}]: {shown} ...")
        if read.decoded is not None:
            plain(f"  decoded: {one_line(read.decoded[number])}")
        for hit in read.neighbours[number] if read.neighbours is not None else []:
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
    return filled_lines(standard_input("nothing to encode", "--file"), "standard input")
