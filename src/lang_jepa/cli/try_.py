"""The verb `try`: one command to find out whether this project is useful for a given text."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lang_jepa.cli.options import leave_if_stopped
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError

if TYPE_CHECKING:
    from lang_jepa.comparison.trial.recognise import Kind
    from lang_jepa.comparison.trial.trial import Outcome

_AS = ("documents", "dialogues", "logs")


def try_(
    path: Annotated[Path, typer.Argument(help="A file or a folder of documents, dialogues or logs.")],
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="ENCODER", help="Also score a pretrained encoder (folder or hub name), and train over it."
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.001, help="About how many minutes to train; scoring takes time of its own.")
    ] = 4.0,
    kind: Annotated[
        str, typer.Option("--as", metavar="KIND", help="documents, dialogues or logs (default: what it looks like).")
    ] = "",
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the page and the runs.")] = Path("try"),
) -> None:
    """See what prediction gives on your text: train, score and write one page, in minutes."""
    if kind and kind not in _AS:
        raise LangJepaError(f"--as is {', '.join(_AS[:-1])} or {_AS[-1]}, not {kind!r}")
    go_offline_if_unreachable()
    from lang_jepa.cli.console import plain
    from lang_jepa.cli.progress import StageBar, TrialBar
    from lang_jepa.comparison.trial.plan import TrialOptions
    from lang_jepa.comparison.trial.trial import run_trial

    options = TrialOptions(
        path=path, output=output, wanted=cast("Kind", kind) if kind else None, beside=beside, minutes=minutes
    )
    began = time.perf_counter()
    with StageBar() as bar:
        outcome = run_trial(options, on_stage=_Stages(), reporter=TrialBar(), progress=bar.on_event)
    if outcome.stopped is not None:
        leave_if_stopped(outcome.stopped, "the same command")
    plain(f"done in {time.perf_counter() - began:.0f} s\n", style="dim")
    _show_end(outcome)


def _show_end(outcome: "Outcome") -> None:
    """Print the verdict, the path of the page, and three commands."""
    from lang_jepa.cli.console import plain

    assert outcome.verdict is not None
    if outcome.late:
        plain(outcome.late)
    plain(outcome.verdict.headline, style="bold")
    for sentence in outcome.verdict.sentences:
        plain(sentence)
    plain(f"\nThe page: {outcome.page}", style="bold", whole=True)
    for what, command in outcome.commands[:3]:
        plain(f"  {what:<16}{command}", whole=True)


class _Stages:
    """Prints a line for each stage, with how long it took."""

    def begin(self, name: str) -> None:
        from lang_jepa.cli.console import plain

        plain(f"{name} ...", style="dim")

    def done(self, name: str, said: str, seconds: float | None) -> None:
        from lang_jepa.cli.console import plain

        took = "as before" if seconds is None else f"{seconds:.1f} s"
        plain(f"{name:<26}{took:>10}   {said}")
