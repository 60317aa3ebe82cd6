"""The command `lang-jepa`: its verbs, and how it exits."""

import atexit
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, NoReturn

import typer

from lang_jepa.cli import data, document, evaluate, folders, infer, monitor, quickstart, rank, serve, tools, train, try_
from lang_jepa.cli.combinations import Checked, Verbs
from lang_jepa.cli.examples import EXAMPLES
from lang_jepa.cli.options import expanded
from lang_jepa.errors import LangJepaError, visible
from lang_jepa.files.atomic import is_full
from lang_jepa.files.version import __version__
from lang_jepa.training.signals import Interrupted, ending_by_exception, exit_status

app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Joint-embedding predictive models of text: train encoders that predict meaning instead of tokens.",
)

_ENDED = {
    int(signal.SIGINT): "interrupted",
    int(signal.SIGTERM): "SIGTERM",
    int(signal.SIGHUP): "the terminal was closed",
    int(signal.SIGPIPE): "the output was closed, or is full",
}
_SHOWN_BY = "search infer document topics duplicates rank monitor evaluate recipes bits generate"
_SHOWING = frozenset(_SHOWN_BY.split())
"""Verbs that only show something: once `| head` has read enough, there is nothing to say."""
_COLLECTED = (50_000, 20, 20)
"""Thresholds of the garbage collector: with the usual 700 it repeatedly scans what imports leave for good, which is a
tenth of the time that `infer` takes.
"""
_BUSY = 0.5
"""Load average over the last minute, per core, from which on the cores count as shared."""
_AGAIN = "What was finished is kept: run the command again (train: with --resume)."


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lang-jepa {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before a verb."""


VERBS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Begin": (try_.try_, quickstart.quickstart),
    "Train": (train.train, tools.recipes, data.prepare, data.shards),
    "Use": (
        infer.infer,
        document.document,
        folders.topics,
        folders.duplicates,
        tools.index,
        tools.search,
        rank.rank,
        monitor.monitor,
        tools.generate,
    ),
    "Judge": (evaluate.evaluate, evaluate.compare, evaluate.sweep, data.bits),
    "Ship": (serve.serve, tools.export),
}
"""The verbs in the order and under the headings of `lang-jepa --help`."""

for group, verbs in VERBS.items():
    for verb in verbs:
        name = verb.__name__.rstrip("_")  # `try_`, since `try` is a keyword
        app.command(name, cls=Checked, rich_help_panel=group, epilog="\n".join(EXAMPLES[name]))(expanded(verb))


def main() -> None:
    """Run the command.

    Exits with 0 if the command did what it says, 2 after an error that the message explains, 130, 143, 129 or 141 if
    Ctrl-C, SIGTERM, a closed terminal or a closed output ended it, and 1 with a traceback in any other case.
    """
    gc.set_threshold(*_COLLECTED)
    atexit.register(gc.freeze)  # or Python scans all that is left, only to end: a fifth of the time that `infer` takes
    sleep_where_busy()
    for message in ("index_reduce", "This DataLoader will create"):  # meant for programmers, on every run
        warnings.filterwarnings("ignore", message=f".*{message}")
    try:
        with ending_by_exception():
            try:
                app(prog_name="lang-jepa")
            finally:
                print(end="", flush=True)
    except LangJepaError as error:
        _fail(str(error), error.exit_code)
    except Interrupted as stop:
        from lang_jepa.cli.console import aside, console

        read_enough = stop.number == signal.SIGPIPE and not console.full  # as `| head` does
        if not read_enough or _SHOWING.isdisjoint(sys.argv[1:2]):
            aside(f"{_ENDED[stop.number]}: ended before it was done. {_AGAIN}")
        raise SystemExit(exit_status(stop.number)) from None
    except Exception as error:
        if is_full(error) or isinstance(error, BrokenPipeError):
            _leave_if_output_fails()
        if not is_full(error):
            raise
        _fail(f"the disk is full: {error}. Free some space and run the command again.")


def sleep_where_busy() -> None:
    """Let threads that wait for each other sleep if other programs want the cores; call it before torch is imported.

    By default OpenMP's threads spin, and hold back those they wait for. Measured for 60 steps of `concepts` with two
    threads: with another program on one of two cores 49 s, sleeping 22 s; with both free 13 to 17 s, sleeping 17 to 20.
    """
    if os.getloadavg()[0] >= _BUSY * (os.cpu_count() or 1):
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _leave_if_output_fails() -> None:
    """Exit if it is standard output (of --help, say) that cannot be written; errors about our files name the file.

    The only way to find out is to write.
    """
    try:
        print(flush=True)
    except OSError as error:
        from lang_jepa.cli.console import drop_output

        drop_output()
        _fail(f"the output could not be written: {error.strerror}", exit_status(signal.SIGPIPE))


def _fail(reason: str, status: int = LangJepaError.exit_code) -> NoReturn:
    rank, shown = os.environ.get("RANK", "0"), visible(reason)
    print(f"error: {shown}" if rank == "0" else f"error in process {rank}: {shown}", file=sys.stderr)
    raise SystemExit(status) from None


if __name__ == "__main__":
    main()
