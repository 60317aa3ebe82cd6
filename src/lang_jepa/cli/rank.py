"""The verb `rank`: what may come next in a conversation, among candidates or in earlier conversations."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.conversation import messages_of_table, refuse_columns, say_without_text, table_kind
from lang_jepa.cli.options import (
    AnyModel,
    AsJson,
    Columns,
    messages_in,
    repeat_alarm,
    standard_input,
)
from lang_jepa.errors import LangJepaError, counted, one_line

if TYPE_CHECKING:
    from lang_jepa.inference.folders.reading import Placed
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.inference.replies import Ranked, Reply
    from lang_jepa.settings.data import DataSettings


_JSON = (".json", ".jsonl")
_SHOWN = 5


def rank(
    model: AnyModel,
    context: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The conversation so far: JSON messages, a table with a message a row, or a text with 'Anna: ...' or "
            "one turn a line; - reads standard input.",
        ),
    ],
    candidates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts that may come next, one a line, to be ranked.")
    ] = None,
    bank: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Earlier conversations, whose replies are taken; as data.train_file."),
    ] = None,
    role: Annotated[str | None, typer.Option(help="Whose turn it is: user, assistant or a name.")] = None,
    *,
    columns: Columns,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Candidates or replies shown (default: 5, or as many as vote).")
    ] = None,
    votes: Annotated[int, typer.Option(min=1, help="Contexts of the bank that vote.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Rank what may come next in a conversation, or find replies in earlier ones."""
    from lang_jepa.inference.replies import ReplyBank
    from lang_jepa.training.load import load_any

    if (candidates is None) == (bank is None):
        raise LangJepaError("give what may come next: --candidates FILE, or --bank DATA with earlier conversations")
    if bank is not None and top_k is not None and top_k > votes:
        raise LangJepaError(f"--top-k {top_k} replies cannot come from --votes {votes} contexts: let more of them vote")
    loaded = load_any(model)
    repeat_alarm(loaded)
    data = loaded.settings.data
    named = columns.named()
    turns, used = _turns(context, data, named, alone=bank is None)
    if candidates is not None:
        ranked = loaded.rank(turns, _candidates(candidates, data), role=role)[: top_k or _SHOWN]
        _print_json(ranked, []) if as_json else _show_ranked(ranked, loaded)
        return
    if "speaker_column" in used and not _has_groups(str(bank), data, named):
        del named["speaker_column"]  # only the context has it
    conversations = _conversations(str(bank), data, named, with_speakers=role is not None)
    replies = ReplyBank(loaded, [one.units for one in conversations], role=role)
    found = replies.reply(turns, k=votes, top=top_k or min(_SHOWN, votes))
    places = [conversations[one.conversation].where(one.position) for one in found]
    if as_json:
        _print_json(found, places)
    else:
        _show_replies(found, places, loaded, min(votes, len(replies.replies)))


def _turns(
    source: str, settings: "DataSettings", named: "dict[str, str]", *, alone: bool
) -> tuple[list[str], set[str]]:
    """Return the turns of a conversation, as the model reads them, and which of the named columns it has.

    `named`: columns of a table; `alone`: of this table only.
    """
    from lang_jepa.data.sources.conversations import context_of
    from lang_jepa.data.sources.formats import read_document
    from lang_jepa.data.sources.text_files import chunks, text_of

    if source != "-" and (kind := table_kind(Path(source))) is not None:
        found, used = messages_of_table(Path(source), kind, settings, named, alone=alone)
        say_without_text(found, source)
        return context_of(found, settings, source), used
    if alone:
        refuse_columns(named, source)
    if source == "-":
        text = text_of(standard_input("no conversation", "--context FILE"), "standard input")
    elif Path(source).suffix.lower() in _JSON:
        text = text_of(chunks(Path(source)), source)
    else:
        text = read_document(Path(source))  # for subtitles, what is said
    messages = messages_in(text, source)
    say_without_text(messages, source)
    turns = context_of(text if messages is None else messages, settings, source)
    if not turns:
        raise LangJepaError(f"{source} is empty: give the conversation so far")
    return turns, set()


def _candidates(path: Path, settings: "DataSettings") -> list[str]:
    """Read the texts that may come next from a file: lines, or a list in JSON.

    Raises:
        LangJepaError: there are none, or the file is a table or other JSON.
    """
    from lang_jepa.data.sources.conversations import given_candidates
    from lang_jepa.data.sources.formats import read_document
    from lang_jepa.data.sources.text_files import chunks, text_of

    found: object = None
    if table_kind(path) is None:
        is_json = path.suffix.lower() in _JSON
        found = messages_in(text_of(chunks(path), str(path)), str(path)) if is_json else read_document(path).split("\n")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise LangJepaError(f"{path} is a table or JSON: write one candidate a line, or a JSON list of strings")
    given = list(filter(None, map(str.strip, found)))
    if not given:
        raise LangJepaError(f"{path} holds no text")
    return given_candidates(given, settings)


def _has_groups(bank: str, settings: "DataSettings", named: "dict[str, str]") -> bool:
    """Whether rows of earlier conversations are grouped, so that there is a column of speakers."""
    from lang_jepa.data.sources.source import elsewhere

    others = {name: column for name, column in named.items() if name != "speaker_column"}
    return elsewhere(settings, bank, **others).group_column is not None


def _conversations(
    bank: str, settings: "DataSettings", named: "dict[str, str]", *, with_speakers: bool
) -> "list[Placed]":
    """Return earlier conversations, as the model reads them, with the place of each turn.

    `named`: columns of a table. `with_speakers`: put speakers in front, unless they are in the texts anyway.
    """
    from lang_jepa.cli.console import aside
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.folders.reading import read_collection

    more = {"speakers": "embedding"} if with_speakers and settings.speakers == "none" else {}
    found = read_collection(elsewhere(settings, bank, **named, **more))
    if line := found.losses.line():
        aside(f"{bank}: {line}")
    return found.documents


def _print_json(found: "Sequence[Ranked | Reply]", places: Sequence[str]) -> None:
    """Print what was found, replies with their places."""
    from lang_jepa.cli.console import show_json

    rows = [asdict(one) for one in found]
    show_json([{**row, "place": place} for row, place in zip(rows, places, strict=True)] if places else rows)


def _show_ranked(found: "list[Ranked]", model: "ConceptModel") -> None:
    from lang_jepa.cli.console import plain
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS
    from lang_jepa.inference.replies import USUAL

    unit = model.settings.data.unit
    if not any(one.fits for one in found):
        plain(f"nothing here fits: many {unit}s of the training text are closer to the prediction", style="bold")
    for one in found:
        plain(f"{one.score:7.4f}  {'' if one.fits else '(does not fit) '}{one_line(one.text)}")
    plain(
        f"numbers: {model.similarity_kind} cosine with the prediction; what fits is closer to it than {USUAL:.0%} of "
        f"the training {unit}s",
        style="dim",
    )
    plain(IN_WORDS[model.similarity_kind], style="dim")


def _show_replies(found: "list[Reply]", places: Sequence[str], model: "ConceptModel", votes: int) -> None:
    """Print whether anything fits, then the replies, each with its place, then what the numbers are."""
    from lang_jepa.cli.console import plain
    from lang_jepa.evaluation.metrics.similarity import IN_WORDS

    if found and (said := _how_well(found[0])):
        plain(said, style="bold")
    for one, place in zip(found, places, strict=True):
        plain(f"{one.score:7.4f}  {one_line(one.text)}  [{one_line(place)}]")
        plain(f"         after: {one_line(one.context[-1])}  [{one.likeness:.2f}]", style="dim")
    plain(
        f"numbers: votes, mean {model.similarity_kind} cosines with what followed the "
        f"{counted(votes, 'most similar context')} in the bank; after: the turn it answered there [similarity of the "
        "contexts, at most 1]",
        style="dim",
    )
    plain(IN_WORDS[model.similarity_kind], style="dim")


def _how_well(reply: "Reply") -> str:
    """Say that the bank may have no fitting reply; empty if it has one."""
    if reply.fits is None:
        return "whether anything here fits is unknown: the bank has the replies of one conversation"
    if reply.far:
        return "nothing here fits: no conversation in the bank resembles this one"
    return "" if reply.fits else "the bank holds no conversation much like this one: take these with care"
