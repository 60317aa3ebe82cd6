"""Requests to stop, by a signal or a closed output: a training run saves first, everything else ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_at_work: "list[StopRequest]" = []
"""The `StopRequest`s that are active, innermost last."""
_raised: list[int] = []
"""Signals for which `Interrupted` was raised: Python swallows an exception raised while a destructor runs."""


class Interrupted(BaseException):
    """The process was asked to stop outside a training loop. A BaseException, so that `except Exception` lets it pass.

    Attributes:
        number: the signal number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(number: int | None) -> int:
    """Return a process's exit status after a signal, by the convention of shells.

    130 is SIGINT, 143 SIGTERM, 129 SIGHUP (the terminal was closed), 141 a closed pipe.

    None (another process of the run was asked to stop) counts as SIGTERM.
    """
    return 128 + (signal.SIGTERM if number is None else number)


def _heard() -> list[signal.Signals]:
    """Return the signals that request a stop; under nohup, closing the terminal does not."""
    return [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


class StopRequest:
    """While active, the first SIGTERM, SIGINT or SIGHUP sets `requested`; a second one has its usual effect.

    Outside the main thread, where handlers cannot be set, signals are not handled.

    Attributes:
        requested: whether a stop was requested.
        number: the signal that requested it.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._signalled) for number in _heard()}
            if _raised:  # still running, so the exception was swallowed
                self._signalled(_raised[-1], None)
        _at_work.append(self)
        return self

    def __exit__(self, *failure: object) -> None:
        _at_work.remove(self)
        self._restore()

    def ask(self, number: int) -> None:
        """Request a stop, as a signal would."""
        self.requested, self.number = True, number

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.ask(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}


@contextmanager
def finished_first() -> Iterator[None]:
    """Finish the `with` block before a stop that is requested meanwhile takes effect.

    Raises:
        Interrupted: after the block, if a stop was requested.
    """
    with StopRequest() as stop:
        yield
    if stop.number is not None:
        raise Interrupted(stop.number)


def answered() -> None:
    """To be called by whoever catches an `Interrupted` and ends the process: it was not swallowed."""
    _raised.clear()


def output_closed() -> None:
    """Stop because the reader of our output is gone: a run in its loop saves first, everything else ends here.

    Raises:
        Interrupted: no `StopRequest` is active.
    """
    if not _at_work:
        raise Interrupted(signal.SIGPIPE)
    _at_work[-1].ask(signal.SIGPIPE)


@contextmanager
def ending_by_exception() -> Iterator[None]:
    """While active, signals that request a stop raise `Interrupted` in the main thread, so that resources are closed.

    For the command line only: a library leaves the signal handlers of its process alone. Forked child processes keep
    the default behaviour.
    """
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            _raised.append(number)
            raise Interrupted(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in _heard()}
    try:
        yield
    finally:
        _raised.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
