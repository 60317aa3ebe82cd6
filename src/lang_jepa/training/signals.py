"""Being asked to stop, by a signal or a closed output: a run in training saves first, all else ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_at_work: "list[StopRequest]" = []
"""Requests that are listening now, the innermost last."""
_raised: list[int] = []
"""Signals for which `Interrupted` was raised. What is raised while a destructor runs is swallowed by Python."""


class Interrupted(BaseException):
    """The process was asked to stop outside of a training loop; no `except Exception` may hold it up.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(number: int | None) -> int:
    """What a process exits with after a signal, as shells count.

    130 is SIGINT, 143 SIGTERM, 129 SIGHUP (the terminal was closed), 141 a closed pipe.

    None, where another process of the run was asked, counts as SIGTERM.
    """
    return 128 + (signal.SIGTERM if number is None else number)


def _heard() -> list[signal.Signals]:
    """The signals that ask; under nohup the end of the terminal does not."""
    return [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


class StopRequest:
    """While active, the first SIGTERM, SIGINT or SIGHUP sets `requested`; a second one acts as it would without us.

    Outside of the main thread, where handlers cannot be set, it stays quiet.

    Attributes:
        requested: whether it was asked.
        number: the signal that asked.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._signalled) for number in _heard()}
            if _raised:  # and yet we go on: it was swallowed
                self._signalled(_raised[-1], None)
        _at_work.append(self)
        return self

    def __exit__(self, *failure: object) -> None:
        _at_work.remove(self)
        self._restore()

    def ask(self, number: int) -> None:
        """Ask as a signal would."""
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
    """What is done inside is finished before the process stops, where it is asked to meanwhile.

    Raises:
        Interrupted: it was asked.
    """
    with StopRequest() as stop:
        yield
    if stop.number is not None:
        raise Interrupted(stop.number)


def answered() -> None:
    """Whoever caught an `Interrupted` ends the process by itself: it is not one that was swallowed."""
    _raised.clear()


def output_closed() -> None:
    """Whoever read our output is gone: a run in its loop saves and stops, everything else ends here.

    Raises:
        Interrupted: nothing listens for a request to stop.
    """
    if not _at_work:
        raise Interrupted(signal.SIGPIPE)
    _at_work[-1].ask(signal.SIGPIPE)


@contextmanager
def ending_by_exception() -> Iterator[None]:
    """While active, SIGTERM and SIGINT raise `Interrupted` in the main thread, so that what is open is closed.

    For the command line: a library leaves the handlers of its process alone. Child processes that are forked keep the
    default.
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
