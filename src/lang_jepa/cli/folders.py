"""The verbs for whole folders: `duplicates`, `topics`, and what `document` prints about a folder."""

from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lang_jepa.cli.options import AnyModel, AsJson, Output, TextLanguage, Texts, in_language
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError, check_extra, counted, one_line, shorten

if TYPE_CHECKING:
    from lang_jepa.inference.document import Against, Using
    from lang_jepa.inference.folders.duplicates import Duplicates
    from lang_jepa.inference.folders.reading import Collection
    from lang_jepa.inference.folders.study import FolderStudy
    from lang_jepa.inference.folders.tables import Table
    from lang_jepa.inference.folders.topics import Method, Of, TopicMap
    from lang_jepa.inference.model import ConceptModel

_PLACES = 3
"""Places of a repeated sentence that are shown."""
_PASSAGE = 160
"""Characters of a passage or typical sentence that are shown."""


def duplicates(
    source: Annotated[str, typer.Argument(help="A folder of texts, or a file of many.")],
    share: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="Smallest share of repeated sentences that makes a document a near copy."),
    ] = 0.5,
    top_k: Annotated[int, typer.Option(min=1, help="Show at most this many documents, and as many sentences.")] = 10,
    *,
    texts: Texts,
    units: Annotated[str, typer.Option(help="What documents are split into: sentences, lines or turns.")] = "sentences",
    language: TextLanguage = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Find copies: equal and nearly equal documents, and repeated sentences; needs no model."""
    from lang_jepa.inference.folders.tables import about_duplicates, check_output, duplicate_tables

    check_output(output)
    if units not in ("sentences", "lines", "turns"):
        raise LangJepaError(f"--units is sentences, lines or turns, not {units!r}")
    go_offline_if_unreachable()
    from lang_jepa.cli.console import show_json
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.folders.duplicates import find_duplicates
    from lang_jepa.inference.folders.reading import read_collection
    from lang_jepa.settings.data import DataSettings

    usual = {"units": units, **({"text_column": "messages"} if units == "turns" and not texts.group_column else {})}
    chosen = {**texts.chosen(), **({"language": language} if language else {})}
    settings = elsewhere(DataSettings.model_validate(usual), source, **chosen)
    found = find_duplicates(read_collection(settings), share=share)
    about = about_duplicates(found)
    _write(found, output, duplicate_tables(found), title=f"Duplicates in {source}", about=about)
    if as_json:
        show_json(asdict(found))
    else:
        _show_duplicates(found, about, top_k, output)


def _show_duplicates(found: "Duplicates", about: str, top_k: int, output: Path | None) -> None:
    from lang_jepa.cli.console import plain

    plain(about, style="bold")
    for one in found.duplicates[:top_k]:
        plain(f"  {one.kind}: {one_line(one.document)}")
        plain(f"    repeats {one_line(one.original)}, {one.share:.0%} of its sentences", style="dim")
    _more(len(found.duplicates) - top_k, "copy", "copies")
    if found.sentences:
        plain("repeated sentences in the documents that are not copies:", style="bold")
    for sentence in found.sentences[:top_k]:
        plain(f"  {sentence.times} x  {shorten(one_line(sentence.sentence), _PASSAGE)}")
        others = len(sentence.places) - _PLACES
        more = f" and {others} more" if others > 0 else ""
        plain(f"    {', '.join(map(one_line, sentence.places[:_PLACES]))}{more}", style="dim")
    _more(len(found.sentences) - top_k, "sentence", "sentences")
    _where(output, "all of it, in a file: --output copies.csv")


def topics(
    model: AnyModel,
    source: Annotated[str, typer.Argument(help="A folder of texts, or a file of many.")],
    count: Annotated[
        int | None, typer.Option("--topics", min=1, help="How many (default: those with the best silhouette).")
    ] = None,
    of: Annotated[
        str, typer.Option(help="sentences or documents: what is put into topics (default: documents, if 20 or more).")
    ] = "",
    method: Annotated[
        str, typer.Option(help="kmeans, or hdbscan, which finds the number itself and leaves some out.")
    ] = "kmeans",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the clustering.")] = 0,
    *,
    texts: Texts,
    language: TextLanguage = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Find what a folder of texts is about: its topics, their words and typical sentences."""
    from lang_jepa.inference.folders.tables import about_topics, check_output, topic_tables

    check_extra("evaluate", "topics")
    check_output(output)
    for name, value, known in (("--of", of, ("sentences", "documents")), ("--method", method, ("kmeans", "hdbscan"))):
        if value and value not in known:
            raise LangJepaError(f"{name} is {known[0]} or {known[1]}, not {value!r}")
    go_offline_if_unreachable()
    from lang_jepa.cli.console import show_json
    from lang_jepa.cli.progress import StageBar
    from lang_jepa.inference.folders.topics import find_topics
    from lang_jepa.training.load import load_any

    loaded = in_language(load_any(model), language)
    collection = _collect(loaded, source, texts.chosen())
    with StageBar() as bar:
        found = find_topics(
            loaded,
            collection,
            of=cast("Of", of) if of else None,
            method=cast("Method", method),
            count=count,
            seed=seed,
            progress=bar.on_event,
        )
    unit = "document" if found.of == "documents" else loaded.settings.data.unit
    about = about_topics(found, unit)
    _write(found, output, topic_tables(found, unit), title=f"Topics of {source}", about=about)
    if as_json:
        show_json(asdict(found))
    else:
        _show_topics(found, about, unit, output)


def _collect(model: "ConceptModel", source: str, chosen: dict[str, Any]) -> "Collection":
    """Read the documents of a folder in the way the model's training data were read."""
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.folders.reading import read_collection

    return read_collection(elsewhere(model.settings.data, source, **chosen))


def _show_topics(found: "TopicMap", about: str, unit: str, output: Path | None) -> None:
    from lang_jepa.cli.console import plain
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS

    plain(about)
    plain(IN_WORDS[found.similarity], style="dim")
    for one in found.topics:
        plain(f"{one.number}. {', '.join(one.words)}", style="bold")
        plain(f"   {one.share:.1%}, {counted(one.units, unit)}")
        for near in one.typical:
            plain(f"   {shorten(one_line(near.text), _PASSAGE)}")
            plain(f"     {one_line(near.place)}", style="dim")
    _where(output, f"every {unit} with its topic, in a file: --output topics.csv")


def show_folder(
    model: "ConceptModel",
    folder: Path,
    named: dict[str, str],
    *,
    using: "Using",
    against: "Against | None",
    top_k: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Show what `document` finds in a folder: a line for each document, then the most surprising passages of all."""
    from lang_jepa.cli.console import show_json
    from lang_jepa.cli.progress import StageBar
    from lang_jepa.inference.folders.study import study_folder
    from lang_jepa.inference.folders.tables import about_study, study_tables

    collection = _collect(model, str(folder), named)
    with StageBar() as bar:
        found = study_folder(model, collection, using=using, against=against, progress=bar.on_event)
    unit = model.settings.data.unit
    about = about_study(found, unit)
    _write(found, output, study_tables(found, unit), title=f"Surprises in {folder}", about=about)
    if as_json:
        show_json(asdict(found))
    else:
        _show_study(found, about, unit, top_k, output)


def _show_study(found: "FolderStudy", about: str, unit: str, top_k: int, output: Path | None) -> None:
    from lang_jepa.cli.console import plain, sentence_table, warn

    plain(about)
    rows = []
    documents = sorted(found.documents, key=lambda one: -inf if one.highest is None else one.highest, reverse=True)
    for one in documents[:top_k]:
        numbers = (str(one.units), str(one.topics), str(one.repeats))
        rows.append([in_deviations(one.highest), in_deviations(one.mean), *numbers, one_line(one.document)])
    sentence_table(("highest", "mean", f"{unit}s", "topics", "repeats", "document"), rows, begins=())
    _more(len(documents) - top_k, "document", "documents")
    passages = found.ranked()[:top_k]
    usual = f" (even these fit better than a shuffled {unit})" if passages and (passages[0].surprise or 0.0) < 0 else ""
    plain(f"the most surprising {unit}s of all{usual}:", style="bold")
    for passage in passages:
        plain(f"  {in_deviations(passage.surprise)}  {one_line(passage.place)}", style="dim")
        plain(f"    {shorten(one_line(passage.text), _PASSAGE)}")
    if found.left_out:
        warn(f"{counted(len(found.left_out), 'document')} without text for this model left out: {found.left_out[0]}")
    _where(output, f"every {unit} with its surprise, in a file: --output surprises.csv")


def _write(found: Any, output: Path | None, tables: "list[Table]", *, title: str, about: str) -> None:
    """Write the file if one was asked for: the first table is the CSV, the others are the page."""
    if output is not None:
        from lang_jepa.inference.folders.tables import write_found

        write_found(output, asdict(found), tables[0], tables[1:], title=title, about=about)


def _where(output: Path | None, otherwise: str) -> None:
    from lang_jepa.cli.console import plain

    plain(otherwise if output is None else f"Written to {output}.", style="dim")


def _more(count: int, one: str, several: str) -> None:
    from lang_jepa.cli.console import plain

    if count > 0:
        plain(f"  and {counted(count, f'more {one}', f'more {several}')}: --top-k shows more", style="dim")


def in_deviations(value: float | None) -> str:
    """Return a number of standard deviations as tables show it, empty if it is not known."""
    return "" if value is None else f"{value:+.1f}"
