"""One job of a comparison in a process of its own: `python -m lang_jepa.comparison.worker`.

The job comes as JSON on standard input; what happens goes as one JSON object per line to standard output; everything
else that anybody prints goes to standard error.
"""

import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from lang_jepa.comparison.equality import check_environment, facts_of
from lang_jepa.comparison.kind import Exam, RunKind
from lang_jepa.comparison.kinds import kind_named
from lang_jepa.data.sources.hub import go_offline_if_unreachable
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_only, read_json, write_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.settings.load import build

FACTS, TRAINED, EVALUATED = "facts.json", "trained.json", "evaluated.json"
SCORES, VALUES = "compared.json", "values.npz"
INTERRUPTED = 3
"""Exit status of a job that was asked to stop and can be taken up."""
_PAUSE = 0.2
_BEGUN = (
    ".lock",
    ".*.tmp",
    ".*.old",
    "README.txt",
    "settings.yaml",
    "metrics.csv",
    "examples.txt",
    "samples.txt",
    "stopped.json",
    "checkpoint-best.pth",
    "checkpoint-epoch*.pth",
    "best_decoder.pt",
    "tensorboard",
    "wandb",
    FACTS,
)
"""What a run has before its first checkpoint to go on from: nothing is lost with it."""


class Channel:
    """Sends events to the parent; a reporter of the run.

    A parent that is gone breaks the pipe, and that ends this process too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = 0.0

    def send(self, event: str, **values: Any) -> None:
        """One event."""
        self._stream.write(json.dumps({"event": event, **values}) + "\n")
        self._stream.flush()

    def begin(self, *, total: int, start: int, every: int, facts: list[tuple[str, str]]) -> None:
        """The bar starts."""
        self.send("begin", total=total, start=start)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """The bar moves, five times a second at most."""
        if time.monotonic() - self._told > _PAUSE:
            self._told = time.monotonic()
            self.send("step", step=step, loss=metrics["train/loss"])

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Held-out data was looked at."""
        self.send("validation", step=step, metrics=dict(metrics))

    def message(self, text: str) -> None:
        """Something to know."""
        self.send("message", text=text)

    def warning(self, text: str) -> None:
        """Something to act on."""
        self.send("warning", text=text)

    def end(self) -> None:
        """Nothing more to tell."""


def measure_job(job: Mapping[str, Any], channel: Channel) -> int:
    """Cost of a step of a variant."""
    from lang_jepa.comparison.budget import measure

    with tempfile.TemporaryDirectory(prefix="lang-jepa-measure-") as scratch:
        measured = measure(_kind(job), _settings(job), Path(scratch) / "run", timed=job["timed"])
    channel.send("measured", seconds=measured.seconds, flops=measured.flops)
    return 0


def run_job(job: Mapping[str, Any], channel: Channel) -> int:
    """Whatever is still to be done of one run: train it, count its FLOPs where asked, evaluate it."""
    settings = _settings(job)
    folder = Path(settings.logging.log_dir)
    if not (folder / TRAINED).is_file() and not _train(settings, job, channel):
        return INTERRUPTED
    if job["count_flops"]:
        measure_job({**job, "timed": False}, channel)
    if not (folder / EVALUATED).is_file():
        channel.send("evaluating")
        _evaluate(folder, job)
    return 0


def _train(settings: Any, job: Mapping[str, Any], channel: Channel) -> bool:
    """Train to the end, from the last checkpoint if there is one; False if it was asked to stop."""
    from lang_jepa.training.train import method_of, resume_settings, train

    folder, kind = Path(settings.logging.log_dir), _kind(job)
    if (folder / method_of(settings).layout.last).is_file():
        settings = resume_settings(folder)
    elif folder.is_dir():
        with RunLock(folder):
            check_only(folder, _BEGUN, what="a run that was stopped before its first checkpoint")
            shutil.rmtree(folder)

    def tell_facts(run: Any) -> None:
        facts = facts_of(kind, run)
        path = folder / FACTS
        if run.resumed:  # its weights are no longer the initial ones
            before = read_json(path, what="the facts of the run's start")
            check_environment(facts, before, what=f"the rest of {folder}", allow=job["allow_different"])
            facts = before
        else:
            write_json(path, facts)
        channel.send("facts", facts=facts)

    result = train(settings, channel, on_start=tell_facts)
    if not result.interrupted:
        write_json(folder / TRAINED, {"steps": result.step, "alarms": list(result.alarms)})
    return not result.interrupted


def _evaluate(folder: Path, job: Mapping[str, Any]) -> None:
    """The evaluation card of a finished run, and the values per question."""
    from lang_jepa.evaluation.tasks import Budget

    exam = Exam(
        tasks=tuple(job["tasks"]),
        data_dir=Path(job["data_dir"]) if job["data_dir"] else None,
        questions=Budget(**job["questions"]),
        shared=Path(job["shared"]),
        window=job["window"],
    )
    report, path = _kind(job).evaluate(folder, exam)
    report.save_details(folder / VALUES)
    # scores.json changes when somebody evaluates the run again; the verdicts need what belongs to their values.
    write_json(folder / SCORES, read_json(path, what="the scores of a run"))
    note = {"scores": SCORES, "values": VALUES, "tasks": job["tasks"], "window": job["window"]}
    write_json(folder / EVALUATED, note)


def trial_job(job: Mapping[str, Any], channel: Channel) -> int:
    """One trial of a sweep: trained, not evaluated."""
    return 0 if _train(_settings(job), job, channel) else INTERRUPTED


JOBS = {"measure": measure_job, "run": run_job, "trial": trial_job}


def _kind(job: Mapping[str, Any]) -> RunKind[Any]:
    return kind_named(job["kind"])


def _settings(job: Mapping[str, Any]) -> Any:
    return build(_kind(job).settings_type, job["settings"], where="the comparison's plan")


def main() -> int:
    """Do the job on standard input.

    Returns:
        The exit status: 0 done, 2 a mistake that the user can mend (told as an `error` event), 3 interrupted.
    """
    warnings.filterwarnings("ignore", message=".*(index_reduce|This DataLoader will create)")
    channel = Channel(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print too; the pipe carries events only
    job = json.load(sys.stdin)
    go_offline_if_unreachable()
    try:
        return JOBS[job["job"]](job, channel)
    except LangJepaError as error:
        channel.send("error", text=str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
