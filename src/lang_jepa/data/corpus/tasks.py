"""Preparation as tasks of an engine: datatrove runs them on this machine, on a Ray cluster or under Slurm.

The parts of the source (`sources.parts`) are dealt out to the tasks. Each task reads its own parts once and writes a
file for each block, and one for each part once all its blocks are written, so after a crash only unfinished work is
repeated. Then one process decides (`decisions`), and tasks write the shards (`shard_tasks`).
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, Literal, Protocol

from lang_jepa.data.corpus.blocks import block_file, block_seen, cut_in_blocks
from lang_jepa.data.corpus.store import CACHE, CorpusStore
from lang_jepa.data.corpus.workers import BlockSize, Step, Tally
from lang_jepa.data.sources.base import Source, whole_rows
from lang_jepa.data.sources.parts import SIZE, Part
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError, how_to_install
from lang_jepa.files.atomic import make_folder, read_json, write_json
from lang_jepa.settings.data import DataSettings

NUMBERS = ("mem_per_cpu_gb", "cpus_per_task", "max_array_size")
"""Slurm options that datatrove takes as integers."""
Kind = Literal["local", "ray", "slurm"]
KINDS: tuple[Kind, ...] = ("local", "ray", "slurm")


@dataclass(frozen=True, slots=True)
class Executor:
    """How to run the tasks of a preparation.

    Attributes:
        kind: processes on this machine; a Ray cluster (RAY_ADDRESS, or a temporary one on this machine); or Slurm, for
            which a job array script is written and submitted.
        tasks: number of shares of the source.
        workers: number of tasks that run at a time (None: all).
        slurm: options of Slurm; `time` and `partition` are required.
    """

    kind: Kind = "local"
    tasks: int = 1
    workers: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """The Slurm options, with numbers as integers."""
        return {name: int(value) if name in NUMBERS else value for name, value in self.slurm.items()}

    def check(self) -> None:
        """Reject an executor that cannot run, before anything is read.

        Raises:
            LangJepaError: datatrove, Ray or sbatch is not installed, or Slurm options are missing, invalid or useless.
        """
        for name in ("datatrove", *(["ray"] if self.kind == "ray" else [])):
            if find_spec(name) is None:
                raise LangJepaError(
                    f"--executor {self.kind} needs {name}, which is not installed: {how_to_install('cluster')}"
                )
        if self.kind == "slurm" and (missing := sorted({"time", "partition"} - set(self.slurm))):
            raise LangJepaError(
                f"--executor slurm: set {' and '.join(missing)}, for example --slurm time=04:00:00 --slurm "
                "partition=cpu"
            )
        if self.kind == "slurm" and which("sbatch") is None:
            raise LangJepaError("--executor slurm: there is no sbatch here: run this where jobs are submitted")
        if bad := [name for name in NUMBERS if not self.slurm.get(name, "0").lstrip("-").isdecimal()]:
            raise LangJepaError(f"--slurm {bad[0]}={self.slurm[bad[0]]} must be an integer")
        if self.kind != "slurm" and self.slurm:
            raise LangJepaError(f"--slurm has no effect with --executor {self.kind}: leave it out")

    def check_work_folder(self, corpus_dir: str) -> None:
        """Reject a work folder that the machines of a cluster do not share, as far as the settings tell.

        Raises:
            LangJepaError: the corpus goes to an object store, and no shared work folder is set.
        """
        if self.kind != "local" and CorpusStore.of(corpus_dir) is not None and not os.environ.get(CACHE):
            raise LangJepaError(
                f"--executor {self.kind}: tasks leave their blocks in a folder that all machines share, and with "
                f"data.corpus_dir={corpus_dir} that lies in the cache of each machine: name a shared one, as in "
                f"export {CACHE}=/shared/lang-jepa"
            )


class Submitted(Exception):
    """Raised when jobs that will make a corpus have been submitted.

    Attributes:
        target: where the corpus will be.
        folder: the work folder of the jobs.
    """

    def __init__(self, target: Path, folder: Path) -> None:
        super().__init__(str(target))
        self.target, self.folder = target, folder


class ReadParts:
    """The datatrove step that turns a task's parts into blocks. The whole object is sent to the workers.

    Args:
        settings, tokenizer: of the corpus.
        source: as opened when the tasks were planned.
        parts: of the source, in order.
        folder: receives the blocks.
        block_size: of the blocks.
    """

    name, type, job = "blocks of documents", "lang-jepa", "blocks"

    def __init__(
        self,
        settings: DataSettings,
        tokenizer: TextTokenizer,
        source: Source,
        parts: Sequence[Part],
        folder: Path,
        block_size: BlockSize,
    ) -> None:
        self.settings, self.tokenizer, self.source = settings, tokenizer, source
        self.parts, self.folder, self.block_size = parts, folder.absolute(), block_size
        self.logs = self.folder.parent / "tasks"

    def units(self) -> int:
        """Number of parts."""
        return len(self.parts)

    def unfinished(self) -> list[int]:
        """Numbers of the parts that are not done."""
        return [number for number in range(len(self.parts)) if not part_file(self.folder, number).exists()]

    def blocks(self) -> list[Path]:
        """Files of the blocks in the order of the source; all must be done."""
        return gathered(self.folder, len(self.parts))[1]

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Do the unfinished parts of task `rank` of `world_size`; `data` is passed by datatrove and not used."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        step = None
        for number in range(rank, len(self.parts), world_size):
            if not part_file(self.folder, number).exists():
                step = step or Step(self.settings, self.tokenizer)
                self._do(number, step)

    def _do(self, number: int, step: Step) -> None:
        tally, size = Tally(), self.block_size
        rows = whole_rows(self.source.read_part(self.parts[number]))
        documents = self.source.documents(tally.rejected, rows)
        for block in cut_in_blocks(documents, characters=size.characters, most=size.documents):
            seen, path = tally.count(block), block_file(self.folder, tally.done, number)
            if block_seen(path) == seen:
                tally.reused += 1
            else:
                step(path, block)
            tally.done += 1
        write_json(part_file(self.folder, number), vars(tally))


class OneCall:
    """The datatrove step of a job of one process.

    Args:
        name: of the step, for datatrove's logs.
        job: of the Slurm job.
        call: what it does; sent to the job.
    """

    type = "lang-jepa"

    def __init__(self, name: str, job: str, call: Callable[[], object]) -> None:
        self.name, self.job, self.call = name, job, call

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Do it; the arguments are those of a datatrove step."""
        self.call()


def part_file(folder: Path, number: int) -> Path:
    """The file that marks the blocks of a part as complete and records what went into them."""
    return folder / f"part-{number:06d}.json"


def check_parts(source: Source, settings: DataSettings) -> None:
    """Reject a source that cannot be divided among tasks.

    Raises:
        LangJepaError: it can only be read from its beginning, by one process.
    """
    if settings.limit is not None and settings.train_file != "stories":
        raise LangJepaError(
            "--executor: data.limit counts documents from the first one on, which tasks that read independently "
            "cannot know: set data.limit=null, or leave --executor out"
        )
    parts = source.parts(SIZE)
    if parts and not parts[0]:
        raise LangJepaError(
            f"--executor: {source.description} can only be read from its beginning (data.session, data.join_rows), so "
            "that tasks would have nothing to share: leave --executor out"
        )


def planned_parts(source: Source, folder: Path) -> Sequence[Part]:
    """The parts of a source, with the size recorded in `folder` if tasks have begun there."""
    plan = folder / "plan.json"
    size = read_json(plan, what="plan of tasks")["size"] if plan.exists() else SIZE
    parts = source.parts(size)
    make_folder(folder)
    write_json(plan, {"size": size})
    return parts


class Tasks(Protocol):
    """Work divided among tasks, in units that are not repeated once finished.

    Attributes:
        logs: prefix of the name of the log folder.
    """

    logs: Path

    def units(self) -> int:
        """Number of units."""

    def unfinished(self) -> list[int]:
        """Numbers of the units that are not done; unit n belongs to task n modulo the number of tasks."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Do the unfinished units of a task."""


def run_tasks(step: Tasks, executor: Executor) -> None:
    """Run all unfinished tasks on this machine or on Ray.

    Raises:
        LangJepaError: tasks failed; the message says which, and where their logs are.
    """
    stage = _stage(step, executor, step.units())
    try:
        from lang_jepa.data.corpus.engines import RUN

        RUN[executor.kind](stage)
    except Exception as error:  # whatever a task, a worker or the engine raised
        raise _failed(step, stage, error) from error
    if step.unfinished():
        raise _failed(step, stage, None)


def submit(read: ReadParts, decide: OneCall, write: Tasks, finish: OneCall, executor: Executor) -> None:
    """Submit Slurm jobs that wait for each other: the tasks of both stages, and a single-process job after each.

    Raises:
        LangJepaError: the jobs could not be submitted.
    """
    reading = _stage(read, executor, read.units())
    stages = [reading, _single(decide, reading), _stage(write, executor, executor.tasks), _single(finish, reading)]
    try:
        from lang_jepa.data.corpus.engines import submit_to_slurm

        submit_to_slurm(stages, executor.options())
    except Exception as error:  # whatever the engine raised
        raise _failed(read, reading, error) from error


def _stage(step: Tasks, executor: Executor, units: int) -> dict[str, Any]:
    """Arguments of datatrove's executors. The units determine what is complete, not datatrove's records."""
    tasks = max(1, min(executor.tasks, units))
    workers = min(executor.workers or tasks, tasks)
    logs = f"{step.logs}-{tasks}"
    return {"pipeline": [step], "tasks": tasks, "workers": workers, "logging_dir": logs, "skip_completed": False}


def _single(step: OneCall, beside: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a stage of a single task."""
    return {
        **beside,
        "pipeline": [step],
        "tasks": 1,
        "workers": 1,
        "logging_dir": f"{beside['logging_dir']}/{step.job}",
    }


def gathered(folder: Path, parts: int) -> tuple[Tally, list[Path]]:
    """The summed tallies of all parts, and their block files in the order of the source."""
    total, blocks = Tally(), list[Path]()
    for number in range(parts):
        about = read_json(part_file(folder, number), what="record of a part")
        blocks += [block_file(folder, block, number) for block in range(about["done"])]
        for name, value in about.items():
            counter = isinstance(value, dict)
            setattr(total, name, getattr(total, name) + (Counter(value) if counter else value))
    return total, blocks


def _failed(step: Tasks, stage: dict[str, Any], error: Exception | None) -> LangJepaError:
    tasks = stage["tasks"]
    ranks = sorted({number % tasks for number in step.unfinished()})
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    why = "" if error is None else f" ({type(error).__name__}: {str(error).strip().splitlines()[-1][:300]})"
    return LangJepaError(
        f"{len(ranks)} of {tasks} tasks did not finish{why}: {shown}. Their logs are in {stage['logging_dir']}/logs. "
        "The same command resumes what is unfinished"
    )
