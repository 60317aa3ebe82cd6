"""The verbs that read texts with a model: `infer` and `document`; nothing heavy is imported before it is used."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lang_jepa.cli.conversation import messages_of_table, refuse_columns, table_kind
from lang_jepa.cli.options import (
    AnyModel,
    GroupColumn,
    SpeakerColumn,
    TextColumn,
    TextLanguage,
    columns,
    in_language,
    messages_in,
    standard_input,
)
from lang_jepa.data.sources.text_files import chunks, filled_lines, text_of
from lang_jepa.errors import LangJepaError, one_line
from lang_jepa.files.atomic import atomic_file, check_writable

_METRICS = 40
"""Letters to the left of a unit in the table of `document`, about."""

if TYPE_CHECKING:
    from lang_jepa.inference.document import Against, SentenceFit, Study, Using
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
        plain(f"neighbours by {model.similarity_kind} cosine")
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


def document(
    model: AnyModel,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A text file, also Markdown, HTML, PDF; one conversation in JSON or in a table (default: --text, or "
            "standard input)."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(help="A sentence that might follow the text; repeated: ranked.")
    ] = None,
    text_column: TextColumn = "",
    group_column: GroupColumn = "",
    speaker_column: SpeakerColumn = "",
    language: TextLanguage = None,
    segments: Annotated[
        int | None, typer.Option(min=1, help="Topics wanted (default: as many as there seem to be).")
    ] = None,
    using: Annotated[
        str, typer.Option(help="best (as measured by evaluate --tasks document, or turns), predictor or baseline.")
    ] = "best",
    against: Annotated[
        str | None, typer.Option(help="Whose sentences are shuffled in to calibrate: document or training.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw surprise and topics into this PNG.")] = None,
) -> None:
    """Study a text: surprising sentences, topics, sentences out of place, repetitions, what may follow."""
    using = "baseline" if using == "counterpart" else using  # its earlier name
    if using not in ("best", "predictor", "baseline"):
        raise LangJepaError(f"--using is best, predictor or baseline, not {using!r}")
    if against not in (None, "document", "training"):
        raise LangJepaError(f"--against is document or training, not {against!r}")
    if plot is not None:
        check_writable(plot)
    named = columns(text_column=text_column, group_column=group_column, speaker_column=speaker_column)
    kind = None if file is None else table_kind(file)
    if kind is None:
        read = _read_document(file, text)
        refuse_columns(named, str(file))
    from lang_jepa.cli.progress import StageBar
    from lang_jepa.inference.document import study
    from lang_jepa.training.load import load_any

    loaded = in_language(load_any(model), language)
    if file is not None and kind is not None:
        read = _as_text(messages_of_table(file, kind, loaded.settings.data, named)[0], file)
    elif file is not None and file.suffix.lower() == ".json" and (units := loaded.settings.data.units) != "turns":
        raise LangJepaError(f"{file} is a conversation, and the model was trained on {units}: save its text as .txt")
    with StageBar() as bar:
        found = study(
            loaded,
            read,
            candidates=candidate,
            segments=segments,
            using=cast("Using", using),
            against=cast("Against | None", against),
            progress=bar.on_event,
        )
    if plot is not None:
        draw_study(found, plot)
    if as_json:
        from lang_jepa.cli.console import console

        console.out(json.dumps(asdict(found), indent=2, ensure_ascii=False), highlight=False)
    else:
        _show_study(found, plot, unit=loaded.settings.data.unit)


def _read_document(file: Path | None, text: str | None) -> str:
    """The text from a file, an option, or standard input."""
    if text is not None:
        return text
    if file is None:
        found = text_of(standard_input("nothing to read"), "standard input")
        if not found.strip():
            raise LangJepaError("nothing to read, standard input is empty: give a FILE or --text")
        return found
    if file.suffix.lower() in (".json", ".jsonl"):  # which is no table
        return _as_text(messages_in(text_of(chunks(file), str(file)), str(file)), file)
    from lang_jepa.data.sources.formats import read_document

    return read_document(file)


def _as_text(messages: object, file: Path) -> str:
    """One conversation of messages, each turn a line that begins with its speaker."""
    from lang_jepa.data.sources.conversations import NoConversation, conversation_text

    try:
        return conversation_text(messages)[0]
    except NoConversation as error:
        raise LangJepaError(f"{file} is no conversation: {error}") from error


def _show_study(found: "Study", plot: Path | None, *, unit: str) -> None:
    """One table, then what was used, and candidates; lines of logs are cut where the terminal ends."""
    from lang_jepa.cli.console import plain, sentence_table

    rows = []
    repeats = {one.position: one for one in found.repetitions if one.repeats}
    for one, fit in zip(found.surprise.sentences, found.outliers.sentences, strict=True):
        score = found.topics.scores[one.position - 1] if one.position else None
        note = f"  (repeats {repeats[one.position].earlier})" if one.position in repeats else ""
        cells = [_number(one.surprise), _number(fit.surprise), _number(score)]
        said = _said(found.speakers, one)
        if unit == "line":
            said = shorten(said, shutil.get_terminal_size().columns - _METRICS - len(note))
        rows.append([str(one.position), *cells, said + note])
    heads = ("", "surprise", "out of place", "boundary", unit)
    sentence_table(heads, rows, begins=found.topics.boundaries)
    whose = "this document" if found.surprise.against == "document" else "the training text"
    plain(
        f"surprise, out of place: by how many standard deviations a {unit} fits worse than shuffled ones of {whose} "
        "do at its position; below 0 it fits better. A line is drawn where a topic begins."
    )
    plain(f"surprise by        {found.surprise.used}")
    plain(f"out of place by    {found.outliers.used}")
    plain(f"topics by          {found.topics.used}")
    plain(f"repetitions by     {found.repeated}")
    if found.hint:
        plain(found.hint)
    for candidate in found.next:
        plain(f"  {candidate.fit:7.4f} ({candidate.lead:+.1f})  {one_line(candidate.sentence)}")
    if plot is not None:
        plain(f"drawn into {plot}")


def shorten(text: str, width: int) -> str:
    """A text of so many letters at most, 20 at least; the end of a longer one is left out."""
    width = max(width, 20)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _said(speakers: Sequence[str], one: "SentenceFit") -> str:
    """A sentence, or a turn with its speaker in front."""
    text, name = one_line(one.sentence).removeprefix("-: "), speakers[one.position] if speakers else ""
    return text if not name or text.startswith(f"{name}: ") else f"{name}: {text}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def draw_study(found: "Study", path: Path) -> None:
    """Write a PNG, atomically: surprise and misfit above, boundary scores below, over the sentences.

    Args:
        found: of `lang_jepa.inference.document.study`.
        path: of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(found.topics.sentences)
    figure = Figure(figsize=(max(6.0, min(24.0, 0.16 * count)), 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for label, fits in {"surprise": found.surprise, "out of position": found.outliers}.items():
        known = [one for one in fits.sentences if one.surprise is not None]
        above.plot([one.position for one in known], [one.surprise for one in known], marker=".", label=label)
    above.axhline(0.0, color="grey", linewidth=0.8)
    above.set_ylabel(f"deviations from a shuffled\nsentence of the {found.surprise.against}")
    above.legend(fontsize=8)
    # A boundary lies before its sentence.
    below.plot([position - 0.5 for position in range(1, count)], found.topics.scores, color="tab:green")
    below.set_ylabel("boundary score")
    below.set_xlabel("sentence")
    for axes in (above, below):
        for position in found.topics.boundaries:
            axes.axvline(position - 0.5, color="black", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
