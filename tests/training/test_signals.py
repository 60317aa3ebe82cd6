"""A first signal is a request, a second one an order."""

import signal
import threading

import pytest

from lang_jepa.training.signals import (
    Interrupted,
    StopRequest,
    ending_by_exception,
    exit_status,
    finished_first,
    output_closed,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_only_asks(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # as if not under nohup
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_acts_as_it_did_before(number: signal.Signals) -> None:
    came: list[int] = []
    before = signal.signal(number, lambda number, frame: came.append(number))
    try:
        with StopRequest():
            signal.raise_signal(number)
            assert came == []
            signal.raise_signal(number)
            assert came == [number]
    finally:
        signal.signal(number, before)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with pytest.raises(KeyError), StopRequest():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] != before
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_outside_of_the_main_thread_it_stays_quiet() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_closed_output_is_a_signal_to_a_run_and_ends_all_else() -> None:
    with pytest.raises(Interrupted) as ended:
        output_closed()
    assert ended.value.number == signal.SIGPIPE
    with StopRequest() as stop:
        output_closed()
    assert (stop.requested, stop.number) == (True, signal.SIGPIPE)


def test_exit_statuses() -> None:
    """Of a process that another one of its run told to stop, too."""
    assert [exit_status(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, None)] == [
        130,
        143,
        141,
        143,
    ]


def test_under_nohup_the_end_of_the_terminal_is_not_heard() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_was_begun_is_finished_before_the_process_stops() -> None:
    done: list[int] = []
    with pytest.raises(Interrupted) as ended, finished_first():
        signal.raise_signal(signal.SIGTERM)
        done.append(1)
    assert (done, ended.value.number) == ([1], signal.SIGTERM)
    with finished_first():
        done.append(2)
    with pytest.raises(KeyError), finished_first():
        raise KeyError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_destructor_swallowed_is_not_lost() -> None:
    """Python ignores what a signal's handler raises while `__del__` runs: the next one who listens is asked."""

    class Held:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with ending_by_exception():
        Held()
        with StopRequest() as stop:
            assert (stop.requested, stop.number) == (True, signal.SIGTERM)
    with ending_by_exception(), StopRequest() as stop:
        assert not stop.requested
