"""The verb `rank`: what may come next in a conversation, among candidates or in earlier conversations."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import (
    AnyModel,
    GroupColumn,
    SpeakerColumn,
    TextColumn,
    columns,
    messages_in,
    standard_input,
)
from lang_jepa.errors import LangJepaError, counted, one_line

if TYPE_CHECKING:
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.inference.replies import Ranked, Reply
    from lang_jepa.settings.data import DataSettings


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
    text_column: TextColumn = "",
    group_column: GroupColumn = "",
    speaker_column: SpeakerColumn = "",
    top: Annotated[
        int | None, typer.Option(min=1, help="Candidates or replies shown (default: 5, or as many as vote).")
    ] = None,
    votes: Annotated[int, typer.Option(min=1, help="Contexts of the bank that vote.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Rank what may come next in a conversation, or find replies in earlier ones."""
    from lang_jepa.data.sources.text_files import chunks, filled_lines
    from lang_jepa.inference.replies import ReplyBank
    from lang_jepa.training.load import load_any

    if (candidates is None) == (bank is None):
        raise LangJepaError("give what may come next: --candidates FILE, or --bank DATA with earlier conversations")
    if bank is not None and top is not None and top > votes:
        raise LangJepaError(f"--top {top} replies cannot come from --votes {votes} contexts: let more of them vote")
    loaded = load_any(model)
    data, named = loaded.settings.data, columns(text_column=text_column)
    if candidates is not None:
        turns = _turns(context, data, named)
        given = list(filled_lines(chunks(candidates), str(candidates)))
        ranked = loaded.rank(turns, given, role=role)[: top or _SHOWN]
        _print_json(ranked) if as_json else _show_ranked(ranked, loaded)
        return
    turns = _turns(context, data, named, alone=False)
    named |= columns(group_column=group_column, speaker_column=speaker_column)
    conversations = _conversations(str(bank), data, named, with_speakers=role is not None)
    replies = ReplyBank(loaded, conversations, role=role)
    found = replies.reply(turns, k=votes, top=top or min(_SHOWN, votes))
    _print_json(found) if as_json else _show_replies(found, loaded, min(votes, len(replies.replies)))


def _turns(source: str, settings: "DataSettings", named: "dict[str, str]", *, alone: bool = True) -> list[str]:
    """The turns of a conversation, as the model reads them; `named`: columns of a table, `alone`: of this one."""
    from lang_jepa.data.sources.conversations import context_of
    from lang_jepa.data.sources.text_files import chunks, text_of

    if source != "-" and (found := _of_table(Path(source), settings, named)) is not None:
        return context_of(found, settings, source)
    if named and alone:
        raise LangJepaError(f"--text-column has no effect: {source} has no columns")
    pieces = standard_input("no conversation", "--context FILE") if source == "-" else chunks(Path(source))
    text = text_of(pieces, source)
    messages = messages_in(text, source)
    return context_of(text if messages is None else messages, settings, source)


def _of_table(path: Path, settings: "DataSettings", named: "dict[str, str]") -> "list[object] | str | None":
    """The messages of a conversation that is a table; None where the file is none."""
    from lang_jepa.data.sources import formats, forms
    from lang_jepa.data.sources.read_json import first_values

    kind = formats.kind_of_named(path) if path.is_file() else None
    if kind is None or kind.prose is not None:
        return None
    if kind is formats.JSON:
        shape, values = first_values(path)
        if shape != "lines" or len(values) < 2:
            return None
    if settings.units != "turns":
        raise LangJepaError(
            f"{path} is a table of many values, and the model was trained on {settings.units}: write them into a text "
            "file, one a line"
        )
    return forms.messages_of(path, kind, settings.model_copy(update=named), named)


def _conversations(
    bank: str, settings: "DataSettings", named: "dict[str, str]", *, with_speakers: bool
) -> list[list[str]]:
    """Earlier conversations, as the model reads them.

    `named`: columns of a table. `with_speakers`: speakers stand in front, unless they are in the texts anyway.
    """
    from lang_jepa.cli.console import aside
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.index.source import SplitDocuments

    more = {"speakers": "embedding"} if with_speakers and settings.speakers == "none" else {}
    source = SplitDocuments.open(elsewhere(settings, bank, **named, **more))
    source.characters()  # raises where there is none, and says why
    if source.losses and (line := source.losses.line()):
        aside(f"{bank}: {line}")
    return [row.sentences for row in source.rows() if row.id is not None]


def _print_json(found: "Sequence[Ranked | Reply]") -> None:
    from lang_jepa.cli.console import console

    console.out(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False), highlight=False)


def _show_ranked(found: "list[Ranked]", model: "ConceptModel") -> None:
    from lang_jepa.cli.console import plain
    from lang_jepa.inference.replies import USUAL

    unit = model.settings.data.unit
    for one in found:
        plain(f"{one.score:7.4f}  {'' if one.fits else '(does not fit) '}{one_line(one.text)}")
    plain(
        f"numbers: {model.similarity} cosine with the {unit} that is expected; what fits is nearer to it than "
        f"{USUAL:.0%} of the training's {unit}s",
        style="dim",
    )
    if not any(one.fits for one in found):
        plain(f"nothing here fits: many {unit}s of the training text are nearer to what is expected", style="dim")


def _show_replies(found: "list[Reply]", model: "ConceptModel", votes: int) -> None:
    from lang_jepa.cli.console import plain

    for one in found:
        plain(f"{one.score:7.4f}  {one_line(one.text)}")
        plain(f"         after: {one_line(one.context[-1])}  [{one.likeness:.2f}]", style="dim")
    plain(
        f"numbers: votes, mean {model.similarity} cosines with what followed the {counted(votes, 'place')} of the bank "
        "that are most like this one; after: what was answered there [likeness of the places, at most 1]",
        style="dim",
    )
    if found and not found[0].fits:
        plain("nothing here fits: no conversation of the bank has gone like this one", style="dim")
