"""Jobs that die, each in a process of its own."""

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from lang_jepa.comparison.jobs import TRAINED, Event, Workers
from lang_jepa.errors import LangJepaError
from tiny import tiny_settings

pytestmark = pytest.mark.slow


def _children(process: int, *, but: Collection[int] = ()) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [child for child in map(int, found) if child not in but]


def test_a_job_that_dies_leaves_its_last_words_in_the_error_and_the_next_alone(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "run", "model.num_layers=1", "optimization.max_steps=4")
    trial = {"job": "trial", "kind": "encoder", "settings": settings.model_dump(), "allow_different": True}
    others = _children(os.getpid())
    with (tmp_path / ".lock").open("w") as lock, Workers() as workers:

        def run(job: dict[str, Any], name: str, on_event: Callable[[Event], None]) -> str:
            log = tmp_path / "logs" / f"{name}.log"
            workers.run(job, log=log, lock=lock.fileno(), on_event=on_event, what=name, on_death="Mend it. ")
            return log.read_text(encoding="utf-8")

        def kill_job(event: Event) -> None:
            if event["event"] == "begin":
                (job,) = _children(*_children(os.getpid(), but=others))
                os.kill(job, signal.SIGKILL)

        for name in ("none", "no other"):  # nobody knows one of that name, and it fails as no job should
            with pytest.raises(LangJepaError) as failure:
                run({"job": name}, name, print)
            log = tmp_path / "logs" / f"{name}.log"
            first, *rest = str(failure.value).splitlines()
            assert first == f"{name} died with status 1. Mend it. The end of {log}:"
            text = log.read_text(encoding="utf-8")
            assert rest[-1].strip() == text.splitlines()[-1] == f"KeyError: '{name}'"
            assert text.count("KeyError") == 1
        with pytest.raises(LangJepaError, match="killed died with status -9"):
            run(trial, "killed", kill_job)
        assert not (tmp_path / "run" / TRAINED).exists()
        (worker,) = _children(os.getpid(), but=others)
        os.kill(worker, signal.SIGKILL)  # while it waits
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        run(trial, "again", print)
    assert (tmp_path / "run" / TRAINED).is_file()
