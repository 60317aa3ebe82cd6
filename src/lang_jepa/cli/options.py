"""Options that several commands share."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, get_type_hints

import typer

from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from lang_jepa.inference.embedding import EmbeddingModel
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.settings.encoder import Settings
    from lang_jepa.training.train import Result

Override = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated."),
]
TextLanguage = Annotated[
    str | None,
    typer.Option(metavar="CODE", help="Language of the texts: de, fr, ... (default: the model's, or en without one)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone, for other programs.")]
Output = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also write everything to a file: .csv, .json or .html, by its suffix."),
]
DataDir = Annotated[Path | None, typer.Option(help="Folder with stsb/ and sst2/ (default: the hub).")]
AnyModel = Annotated[
    Path, typer.Argument(help="A run or model directory, a checkpoint, or a pretrained encoder by folder or hub name.")
]
DecoderOverride = Annotated[
    list[str] | None,
    typer.Option(
        "--dec-override",
        "-d",
        metavar="SECTION.KEY=VALUE",
        help="Change one of a decoder's settings, such as logging.log_dir, its folder.",
    ),
]


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read."""

    text_column: Annotated[str, typer.Option(help="Column of the text in parquet, JSON, CSV and hub data.")] = ""
    group_column: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="For a table with one message a row: the column that the rows of a conversation share.",
        ),
    ] = ""
    speaker_column: Annotated[
        str,
        typer.Option(metavar="COLUMN", help="With --group-column: who speaks (default: role, from, speaker, ...)."),
    ] = ""

    def named(self) -> dict[str, str]:
        """Return the column settings that the user has named."""
        return {one.name: name for one in fields(Columns) if (name := getattr(self, one.name))}


@dataclass(frozen=True)
class Texts(Columns):
    """Which texts of a source are read."""

    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many documents (default: all).")] = None
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="For a folder: read only these files, such as '**/*.md'; repeated."),
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="For a folder: leave these files out; repeated.")
    ] = None

    def chosen(self) -> dict[str, Any]:
        """Return the data settings that the user has chosen."""
        patterns = {"include": tuple(self.include or ()), "exclude": tuple(self.exclude or ())}
        return {"limit": self.limit, **self.named(), **patterns}


def expanded(verb: Callable[..., None]) -> Callable[..., None]:
    """Return a verb with an option for each field of the dataclasses that it takes, such as `Columns`."""
    groups = {
        name: kind for name, kind in get_type_hints(verb).items() if isinstance(kind, type) and is_dataclass(kind)
    }
    options: list[Parameter] = []
    for one in signature(verb).parameters.values():
        options += signature(groups[one.name]).parameters.values() if one.name in groups else [one]

    def run(**given: Any) -> None:
        made = {name: kind(**{one.name: given.pop(one.name) for one in fields(kind)}) for name, kind in groups.items()}
        verb(**given, **made)

    run.__doc__ = verb.__doc__
    run.__signature__ = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in options])  # type: ignore[attr-defined]
    return run


def settings_of(recipe: str, *overrides: str, usual: Sequence[str] = ()) -> "Settings":
    """Load settings for a command that may need the hub; fail at once if they need it and it is unreachable."""
    from lang_jepa.settings.load import load_settings

    settings = load_settings(recipe, overrides, usual)
    if go_offline_if_unreachable():
        from lang_jepa.data.sources.source import open_source

        open_source(settings.data)  # a hub source says here what to set, seconds before torch is even imported
    return settings


def run_to_resume(recipe: str, *, resume: bool) -> tuple[str, Path | None]:
    """Return the settings, as a recipe, and the directory of a run (or its settings.yaml) to resume training in.

    Args:
        recipe: what `train` was given; anything but a run directory is returned as it is, with None.
        resume: whether --resume was given.

    Raises:
        LangJepaError: the folder holds no run, or it holds one and --resume was not given.
    """
    path = Path(recipe)
    if path.is_dir():
        if not (path / _SETTINGS).is_file():
            raise LangJepaError(f"{path} is not a run directory: it has no {_SETTINGS}")
        if not resume:
            raise LangJepaError(
                f"{path} is a run: resume it with --resume, or train anew with its settings by naming "
                f"{path / _SETTINGS}"
            )
        return str(path / _SETTINGS), path
    if resume and path.name == _SETTINGS and (path.parent / "metrics.csv").is_file():
        return recipe, path.parent
    return recipe, None


def in_language(model: "ConceptModel", language: str | None) -> "ConceptModel":
    """Return the model, set to split texts into sentences by a language's rules (None: its own data.language)."""
    if language is not None:
        from lang_jepa.data.text.sentences import make_splitter

        if (units := model.settings.data.units) != "sentences":
            raise LangJepaError(f"--language has no effect: this model was trained on {units}, which are never cut")
        data = model.settings.data.model_copy(update={"language": language})
        make_splitter(data)  # raises if there is no such language, before anything is read
        model.settings = model.settings.model_copy(update={"data": data})
    return model


def repeat_alarm(model: "EmbeddingModel") -> None:
    """Repeat on standard error what a model's training warned of, since its answers must be read with that in mind."""
    from lang_jepa.cli.console import aside, console
    from lang_jepa.training.run_folder import first_alarm

    alarm = "" if model.run_dir is None else first_alarm(model.run_dir, "alarms", "task_alarms")
    if alarm:
        text = f"its training warned: {alarm.partition(': ')[0]} (more in its summary.json)"
        for line in wrap(text, console.width) if sys.stderr.isatty() else [text]:
            aside(line)


def standard_input(lacking: str, file: str = "a FILE") -> BinaryIO:
    """Return the stream of bytes that are piped in.

    Args:
        lacking: what to say if nothing is piped in.
        file: how a file is given instead.

    Raises:
        LangJepaError: standard input is a terminal, or closed.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise LangJepaError(f"{lacking}: give {file} or --text, or pipe text in")
    return sys.stdin.buffer


def messages_in(text: str, source: str) -> object | None:
    """Return the messages of one conversation in JSON, or None for any other text.

    Args:
        text: a list of messages, an object with `messages` or `conversations`, or something else.
        source: names it in errors.

    Raises:
        LangJepaError: it begins like JSON or is named so and is not, or it holds several JSON values, or no messages.
    """
    from lang_jepa.data.sources.conversations import CONVERSATIONS

    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        more = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and text[error.pos]
        if more and more in "{[":
            raise LangJepaError(
                f"{source} holds several JSON values, but one conversation is expected: write one into a file of its "
                "own"
            ) from error
        if re.match(r'\s*(\{|\[\s*[\[{"\]])', text) or Path(source).suffix.lower() in (".json", ".jsonl"):
            raise LangJepaError(
                f"{source} looks like JSON but is not valid ({error}): give one list of messages, or an object with "
                "`messages`"
            ) from error
        return None
    if isinstance(value, dict):
        value = next((value[key] for key in CONVERSATIONS if key in value), None)
        if value is None:
            raise LangJepaError(f"{source} is JSON without a list `messages`")
    elif value is None:
        raise LangJepaError(f"{source} is not a conversation: null")
    return value  # type: ignore[no-any-return]


def leave_if_stopped(result: "Result", again: str = "--resume") -> None:
    """Exit if training was asked to stop, and say on standard error how to resume it.

    Args:
        result: of the training.
        again: option or command that resumes it.
    """
    if not result.interrupted:
        return
    from lang_jepa.cli.console import aside

    aside(f"Stopped at step {result.step} of {result.total}; it is saved: resume with {again}")
    raise typer.Exit(result.exit_status)


_SETTINGS = "settings.yaml"
