"""The verb `document`: what a model finds in a text; nothing heavy is imported before it is used."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lang_jepa.cli.options import TextLanguage, in_language, standard_input
from lang_jepa.data.sources.text_files import text_of
from lang_jepa.errors import LangJepaError, one_line
from lang_jepa.files.atomic import check_writable

if TYPE_CHECKING:
    from lang_jepa.inference.document import Against, Study, Using


def document(
    model: Annotated[
        Path,
        typer.Argument(help="A run or model directory, a checkpoint, or a pretrained encoder by folder or hub name."),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="A text file, also Markdown, HTML, PDF (default: --text, or standard input)."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(help="A sentence that might follow the text; repeated: ranked.")
    ] = None,
    language: TextLanguage = None,
    segments: Annotated[
        int | None, typer.Option(min=1, help="Topics wanted (default: as many as there seem to be).")
    ] = None,
    using: Annotated[
        str, typer.Option(help="best (as measured by evaluate --tasks document), predictor or counterpart.")
    ] = "best",
    against: Annotated[
        str | None, typer.Option(help="Whose sentences are shuffled in to calibrate: document or training.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw surprise and topics into this PNG.")] = None,
) -> None:
    """Tell about a text: surprising sentences, topics, sentences out of place, repetitions, what may follow."""
    if using not in ("best", "predictor", "counterpart"):
        raise LangJepaError(f"--using is best, predictor or counterpart, not {using!r}")
    if against not in (None, "document", "training"):
        raise LangJepaError(f"--against is document or training, not {against!r}")
    if plot is not None:
        check_writable(plot)
    read = _read(file, text)
    from lang_jepa.cli.progress import StageBar
    from lang_jepa.inference.document import study
    from lang_jepa.training.load import load_any

    with StageBar() as bar:
        found = study(
            in_language(load_any(model), language),
            read,
            candidates=candidate,
            segments=segments,
            using=cast("Using", using),
            against=cast("Against | None", against),
            progress=bar.on_event,
        )
    if plot is not None:
        from lang_jepa.report.show import draw_document

        draw_document(found, plot)
    if as_json:
        from lang_jepa.cli.console import console

        console.out(json.dumps(asdict(found), indent=2, ensure_ascii=False), highlight=False)
    else:
        _show(found, plot)


def _read(file: Path | None, text: str | None) -> str:
    """The text from a file, an option, or standard input."""
    if text is not None:
        return text
    if file is None:
        found = text_of(standard_input("nothing to read"), "standard input")
        if not found.strip():
            raise LangJepaError("nothing to read, standard input is empty: give a FILE or --text")
        return found
    from lang_jepa.data.sources.formats import read_document

    return read_document(file)


def _show(found: "Study", plot: Path | None) -> None:
    """One table, then what was used, and candidates."""
    from lang_jepa.cli.console import plain, sentence_table

    rows = []
    repeats = {one.position: one for one in found.repetitions if one.repeats}
    for one, placed in zip(found.surprise.sentences, found.outliers.sentences, strict=True):
        score = found.topics.scores[one.position - 1] if one.position else None
        note = f"  (repeats {repeats[one.position].earlier})" if one.position in repeats else ""
        cells = [_number(one.surprise), _number(placed.surprise), _number(score)]
        rows.append([str(one.position), *cells, one_line(one.sentence) + note])
    heads = ("", "surprise", "out of place", "boundary", "sentence")
    sentence_table(heads, rows, begins=found.topics.boundaries)
    whose = "this document" if found.surprise.against == "document" else "the training text"
    plain(
        f"surprise, out of place: by how many standard deviations a sentence fits worse than shuffled ones of {whose} "
        "do at its place; below 0 it fits better. A line is drawn where a topic begins."
    )
    plain(f"surprise by        {found.surprise.used}")
    plain(f"out of place by    {found.outliers.used}")
    plain(f"topics by          {found.topics.used}")
    plain(f"repetitions by     {found.repeated}")
    for candidate in found.next:
        plain(f"  {candidate.fit:7.4f} ({candidate.lead:+.1f})  {one_line(candidate.sentence)}")
    if plot is not None:
        plain(f"drawn into {plot}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"
