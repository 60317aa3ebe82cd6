"""Scores on disk: the file grows with each task, and keeps what an earlier evaluation of the same model found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.table import Report, Row
from lang_jepa.files.atomic import read_json

MODEL = "model"
"""Key of a report's settings: the digest of the scored weights."""
EARLIER = "earlier"
"""Key of a report's settings: those of the evaluations whose rows are kept beside this one's."""


class NotSaved(LangJepaError):
    """Scores that could not be saved.

    Attributes:
        report: the scores.
    """

    def __init__(self, report: Report, problem: LangJepaError) -> None:
        super().__init__(f"the scores were not saved: {problem} Or say where with --output FILE.")
        self.report = report


class Saver:
    """Saves a report after each of its tasks, for `lang_jepa.evaluation.tasks.evaluate.evaluate(on_task=...)`.

    Rows of tasks that this evaluation does not have stay in the file if they are of the same weights; each
    evaluation has its own budget, which the file names. Those of other weights are dropped: together they would look
    like one card.

    Args:
        path: of the JSON.
        model: digest of the weights that are scored.

    Raises:
        LangJepaError: the file is there and is not one of scores.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = path, model
        self.problem: LangJepaError | None = None
        found = read_report(path) if path.is_file() else None
        self.earlier = found if found is not None and found.settings.get(MODEL) == model else None

    def __call__(self, report: Report) -> None:
        """Write the report so far; where that fails the evaluation goes on, and `end` says so."""
        report.settings[MODEL] = self.model
        try:
            (report if self.earlier is None else beside(report, self.earlier)).save(self.path)
            self.problem = None
        except LangJepaError as error:
            self.problem = error

    def end(self, report: Report) -> None:
        """Raise NotSaved if the last write failed."""
        if self.problem is not None:
            raise NotSaved(report, self.problem) from self.problem


def beside(report: Report, earlier: Report) -> Report:
    """A report, and those rows of an earlier one whose task and split it does not have."""
    own = {(row.task, row.split) for row in report.rows}
    kept = [row for row in earlier.rows if (row.task, row.split) not in own]
    if not kept:
        return report
    before = [*earlier.settings.get(EARLIER, []), _without(earlier.settings, EARLIER)]
    return replace(
        report,
        rows=[*report.rows, *kept],
        similarity=earlier.similarity | report.similarity,
        sources=earlier.sources | report.sources,
        settings=report.settings | {EARLIER: before},
        tools=earlier.tools | report.tools,
    )


def read_report(path: Path) -> Report:
    """A report as `Report.save` wrote it; values per question are not in it.

    Raises:
        LangJepaError: another file.
    """
    tree = read_json(path, what="scores")
    try:
        return Report(**(tree | {"rows": [Row(**row) for row in tree["rows"]]}))
    except (TypeError, KeyError) as error:
        raise LangJepaError(
            f"{path} does not hold scores ({error}): move it away, or write to another file with --output"
        ) from error


def _without(tree: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name != key}
