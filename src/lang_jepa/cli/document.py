"""The verb `document`: what a model finds in a text, or in each text of a folder; heavy imports are deferred."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lang_jepa.cli.conversation import messages_of_table, refuse_columns, say_without_text, table_kind
from lang_jepa.cli.folders import in_deviations, show_folder
from lang_jepa.cli.options import (
    AnyModel,
    AsJson,
    Columns,
    Output,
    TextLanguage,
    in_language,
    messages_in,
    repeat_alarm,
    standard_input,
)
from lang_jepa.data.sources.text_files import chunks, text_of
from lang_jepa.errors import LangJepaError, check_extra, one_line, shorten
from lang_jepa.files.atomic import check_writable

_METRICS = 40
"""Characters to the left of a unit in the table of `document`, approximately."""

if TYPE_CHECKING:
    from lang_jepa.inference.document import Against, SentenceFit, Study, Using


def document(
    model: AnyModel,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A text file, also Markdown, HTML, PDF; one conversation in JSON or in a table (default: --text, or "
            "standard input); or a folder of texts."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(help="A sentence that might follow the text; repeat it to rank several.")
    ] = None,
    *,
    columns: Columns,
    language: TextLanguage = None,
    segments: Annotated[
        int | None, typer.Option(min=1, help="Number of topics (default: as many as there seem to be).")
    ] = None,
    using: Annotated[
        str, typer.Option(help="best (as measured by evaluate --tasks document, or turns), predictor or baseline.")
    ] = "best",
    against: Annotated[
        str | None,
        typer.Option(help="Source of the shuffled sentences that calibrate the scores: document or training."),
    ] = None,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw surprise and topics into this PNG.")] = None,
    top_k: Annotated[
        int, typer.Option(min=1, help="For a folder: show at most this many documents, and as many passages.")
    ] = 10,
    output: Output = None,
) -> None:
    """Study a text: surprising sentences, topics, sentences out of place, repetitions, what may follow."""
    using = "baseline" if using == "counterpart" else using  # its former name
    if using not in ("best", "predictor", "baseline"):
        raise LangJepaError(f"--using is best, predictor or baseline, not {using!r}")
    if against not in (None, "document", "training"):
        raise LangJepaError(f"--against is document or training, not {against!r}")
    if plot is not None:
        check_extra("evaluate", "--plot")
        check_writable(plot)
    from lang_jepa.inference.folders.tables import check_output

    check_output(output)
    named = columns.named()
    if file is not None and file.is_dir():
        from lang_jepa.training.load import load_any

        loaded = in_language(load_any(model), language)
        how: Any = {"using": using, "against": against}
        show_folder(loaded, file, named, **how, top_k=top_k, output=output, as_json=as_json)
        return
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
    repeat_alarm(loaded)
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
        from lang_jepa.inference.document_picture import draw_study

        draw_study(found, plot, title=str(file or ""), unit=loaded.settings.data.unit)
    if as_json:
        from lang_jepa.cli.console import show_json

        show_json(asdict(found))
    else:
        _show_study(found, plot, unit=loaded.settings.data.unit)


def _read_document(file: Path | None, text: str | None) -> str:
    """Read the text from a file, an option, or standard input."""
    if text is not None:
        return text
    if file is None:
        found = text_of(standard_input("nothing to read"), "standard input")
        if not found.strip():
            raise LangJepaError("nothing to read, standard input is empty: give a FILE or --text")
        return found
    if file.suffix.lower() in (".json", ".jsonl"):  # not a table
        return _as_text(messages_in(text_of(chunks(file), str(file)), str(file)), file)
    from lang_jepa.data.sources.formats import read_document

    return read_document(file)


def _as_text(messages: object, file: Path) -> str:
    """Return a conversation as text, each turn a line that begins with its speaker."""
    from lang_jepa.data.sources.conversations import NoConversation, conversation_text

    say_without_text(messages, str(file))
    try:
        return conversation_text(messages)[0]
    except NoConversation as error:
        raise LangJepaError(f"{file} is not a conversation: {error}") from error


def _show_study(found: "Study", plot: Path | None, *, unit: str) -> None:
    """Print one table, then what was used, and candidates; lines of logs are cut at the width of the terminal."""
    from lang_jepa.cli.console import plain, sentence_table
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS

    rows = []
    repeats = {one.position: one for one in found.repetitions if one.repeats}
    for one, fit in zip(found.surprise.sentences, found.outliers.sentences, strict=True):
        score = found.topics.scores[one.position - 1] if one.position else None
        note = f"  (repeats {repeats[one.position].earlier})" if one.position in repeats else ""
        cells = [in_deviations(one.surprise), in_deviations(fit.surprise), in_deviations(score)]
        said = _said(found.speakers, one)
        if unit == "line":
            said = shorten(said, shutil.get_terminal_size().columns - _METRICS - len(note))
        rows.append([str(one.position), *cells, said + note])
    heads = ("", "surprise", "out of place", "boundary", unit)
    plain(f"high is surprising; 0 fits as well as a shuffled {unit}, below 0 fits better", style="bold")
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
    used = " ".join((found.surprise.used, found.outliers.used, found.topics.used, found.repeated))
    for kind, words in IN_WORDS.items():
        if f"[{kind}]" in used or f"{kind} cosine" in used:
            plain(words, style="dim")
    if found.hint:
        plain(found.hint)
    for candidate in found.next:
        plain(f"  {candidate.fit:7.4f} ({candidate.lead:+.1f})  {one_line(candidate.sentence)}")
    if plot is not None:
        plain(f"drawn into {plot}")


def _said(speakers: Sequence[str], one: "SentenceFit") -> str:
    """A sentence, or a turn with its speaker in front."""
    text, name = one_line(one.sentence).removeprefix("-: "), speakers[one.position] if speakers else ""
    return text if not name or text.startswith(f"{name}: ") else f"{name}: {text}"
