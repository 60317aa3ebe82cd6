"""The verb `rank`: what may come next in a conversation, among candidates or in earlier conversations."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang_jepa.cli.options import AnyModel, TextColumn, messages_in, standard_input
from lang_jepa.errors import LangJepaError, one_line

if TYPE_CHECKING:
    from lang_jepa.inference.replies import Ranked, Reply
    from lang_jepa.settings.data import DataSettings


_SHOWN = 5


def rank(
    model: AnyModel,
    context: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The conversation so far: JSON messages, or a text with 'Anna: ...' or one turn a line; - reads "
            "standard input.",
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
    turns = _turns(context, loaded.settings.data)
    if candidates is not None:
        given = list(filled_lines(chunks(candidates), str(candidates)))
        _show_ranked(loaded.rank(turns, given, role=role)[: top or _SHOWN], as_json=as_json)
        return
    conversations = _conversations(str(bank), text_column, loaded.settings.data, named=role is not None)
    found = ReplyBank(loaded, conversations, role=role).reply(turns, k=votes, top=top or min(_SHOWN, votes))
    _show_replies(found, as_json=as_json)


def _turns(source: str, settings: "DataSettings") -> list[str]:
    """The turns of a conversation, as the model reads them."""
    from lang_jepa.data.sources.conversations import NoConversation, as_read, conversation_text, text_in_units
    from lang_jepa.data.sources.text_files import chunks, text_of

    pieces = standard_input("no conversation", "--context FILE") if source == "-" else chunks(Path(source))
    text = text_of(pieces, source)
    messages = messages_in(text, source)
    if messages is None and settings.units != "turns":
        return [line for line in map(str.strip, text_in_units(text, settings).split("\n")) if line]
    try:
        lines = conversation_text(text if messages is None else messages)[0].split("\n")
    except NoConversation as error:
        if messages is not None:
            raise LangJepaError(f"{source} is no conversation: {error}") from error
        if settings.speakers != "none":
            raise LangJepaError(f'the model was trained on turns like "Anna: ...", and {source} is {error}') from error
        return [line for line in map(str.strip, text.split("\n")) if line]
    return as_read(lines, settings)


def _conversations(bank: str, text_column: str, settings: "DataSettings", *, named: bool) -> list[list[str]]:
    """Earlier conversations, as the model reads them; `named`: with speakers, unless they are in the texts anyway."""
    from lang_jepa.data.sources.source import elsewhere
    from lang_jepa.inference.index.source import SplitDocuments

    column = {"text_column": text_column} if text_column else {}
    if named and settings.speakers == "none":
        column["speakers"] = "embedding"
    source = SplitDocuments.open(elsewhere(settings, bank, **column))
    source.characters()  # raises where there is none, and says why
    return [row.sentences for row in source.rows() if row.id is not None]


def _print_json(found: "Sequence[Ranked | Reply]") -> None:
    from lang_jepa.cli.console import console

    console.out(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False), highlight=False)


def _show_ranked(found: "list[Ranked]", *, as_json: bool) -> None:
    from lang_jepa.cli.console import plain

    if as_json:
        _print_json(found)
        return
    for one in found:
        plain(f"{one.score:7.4f}  {'' if one.fits else '(does not fit) '}{one_line(one.text)}")
    if not any(one.fits for one in found):
        plain("nothing here fits: many turns of the training text are nearer to what is expected", style="dim")


def _show_replies(found: "list[Reply]", *, as_json: bool) -> None:
    from lang_jepa.cli.console import plain

    if as_json:
        _print_json(found)
        return
    for one in found:
        plain(f"{one.score:7.4f}  {one_line(one.text)}")
        plain(f"         after: {one_line(one.context[-1])}  [{one.likeness:.2f}]", style="dim")
    if found and not found[0].fits:
        plain("nothing here fits: no conversation of the bank has gone like this one", style="dim")
