"""A job in a process of its own that dies."""

from pathlib import Path

import pytest

from lang_jepa.comparison.jobs import Stopper, run_job
from lang_jepa.errors import LangJepaError


def test_a_job_that_dies_leaves_its_last_words_in_the_error(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "job.log"
    with (tmp_path / ".lock").open("w") as lock, pytest.raises(LangJepaError) as failure:
        run_job(
            {"job": "none"},  # the worker knows none of that name, and fails as no job should
            log=log,
            lock=lock.fileno(),
            on_event=print,
            what="trial 7",
            on_death="Mend it. ",
            stopper=Stopper(),
        )
    first, *rest = str(failure.value).splitlines()
    assert first == f"trial 7 died with status 1. Mend it. The end of {log}:"
    assert rest[-1].strip() == log.read_text(encoding="utf-8").splitlines()[-1] == "KeyError: 'none'"
