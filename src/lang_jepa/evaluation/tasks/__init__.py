"""The evaluation tasks, and `evaluate`, which runs them on a model: each score beside baselines, with a 95 % interval.

A task that fails raises, so a report never silently lacks a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks.anomalies import ANOMALIES
from lang_jepa.evaluation.tasks.decode import DECODE
from lang_jepa.evaluation.tasks.document import DOCUMENT
from lang_jepa.evaluation.tasks.language import BITS_PER_BYTE, QUANTISED
from lang_jepa.evaluation.tasks.passages import PASSAGES
from lang_jepa.evaluation.tasks.public import AU, PROBE, STS
from lang_jepa.evaluation.tasks.replies import REPLIES
from lang_jepa.evaluation.tasks.request import DEFAULT_BUDGET, GPT_QUICK, QUICK, Budget, Request, Task
from lang_jepa.evaluation.tasks.retrieval import RETRIEVAL
from lang_jepa.evaluation.tasks.search import SEARCH
from lang_jepa.evaluation.tasks.stories import STORIES
from lang_jepa.evaluation.tasks.turns import TURNS

__all__ = ["DEFAULT_BUDGET", "GPT_QUICK", "QUICK", "TASKS", "Budget", "Request", "evaluate"]

OF_ENCODERS: tuple[Task, ...] = (
    STS,
    PROBE,
    AU,
    RETRIEVAL,
    TURNS,
    REPLIES,
    ANOMALIES,
    STORIES,
    DECODE,
    DOCUMENT,
    SEARCH,
    PASSAGES,
)
OF_GPTS: tuple[Task, ...] = (BITS_PER_BYTE, QUANTISED, RETRIEVAL, STS, PROBE, AU)
TASKS = {task.name: task for task in (*OF_ENCODERS, *OF_GPTS)}
ENCODER_TASKS, GPT_TASKS = (tuple(task.name for task in some) for some in (OF_ENCODERS, OF_GPTS))


def evaluate(request: Request) -> Report:
    """Score a model.

    Args:
        request: the model, the tasks, and the data they need.

    Raises:
        LangJepaError: unknown task, missing data or documents, duplicate name, NaN embeddings.
    """
    tasks = tasks_named(request.tasks)
    for task in tasks:
        task.check(request)
    if "model" in request.baselines:
        raise LangJepaError("a baseline cannot be called 'model': that is the evaluated one.")
    settings = {
        "seed": request.seed,
        "window_size": request.window_size,
        "budget": asdict(request.budget),
        "tasks": list(request.tasks),
    }
    report = Report([], {}, {}, settings)
    for number, task in enumerate(tasks, start=1):
        result = task.score(request)
        report.rows.extend(result.rows)
        report.similarity.update(result.similarity)
        report.sources.update(result.sources)
        report.tools.update(result.tools)
        if task.name in request.notes:
            report.sources[task.name] += f"; {request.notes[task.name]}"
        report.settings["unfinished"] = [other.name for other in tasks[number:]]
        if request.on_task is not None:
            request.on_task(report)
    return report


def tasks_named(names: Sequence[str], among: Iterable[str] = TASKS) -> list[Task]:
    """Return the tasks with the given names, each once.

    Raises:
        LangJepaError: no names, or a name that is not in `among`.
    """
    among = list(among)
    unknown = [name for name in names if name not in among]
    if unknown or not names:
        raise LangJepaError(f"unknown task {', '.join(unknown) or '(none)'}: choose from {', '.join(among)}")
    return [TASKS[name] for name in dict.fromkeys(names)]


def check_data_dir(names: Sequence[str], data_dir: Path | None, of_stories: bool) -> None:
    """Raise an error if a data folder was given that no task reads.

    Args:
        names: names of the tasks.
        data_dir: folder with stsb/ and sst2/, if one was given.
        of_stories: whether the model was trained on generated stories, whose sentence pairs are generated too.

    Raises:
        LangJepaError: none of the tasks reads the folder.
    """
    fits = ("always",) if of_stories else ("always", "unless of stories")
    reading = sorted(task.name for task in TASKS.values() if task.data_dir in fits)
    if data_dir is not None and not {*reading} & {*names}:
        raise LangJepaError(f"--data-dir has no effect on the tasks {', '.join(names)}: it is for {', '.join(reading)}")
