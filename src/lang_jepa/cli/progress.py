"""How the commands show work in progress: a bar on a terminal, lines in a log. Used by `cli` only."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from lang_jepa.cli.console import console, info_table, plain, warn
from lang_jepa.errors import counted

if TYPE_CHECKING:
    from lang_jepa.data.tokens.make_shards import ShardProgress
    from lang_jepa.inference.index.files import Progress as IndexProgress

Metrics = Mapping[str, float]
_WIDE = 60
"""Columns of a terminal that is wide enough for a bar beside the numbers."""
_SECONDS = 10.0
"""Between two lines in a log about work in progress, at least."""


class Work:
    """One line about work in progress: updated on a terminal, printed now and then in a log.

    Args:
        columns: of the line on a terminal, before the time that is left and its metrics.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        metrics = TextColumn("{task.fields[metrics]}", markup=False)
        self._shown = Progress(*columns, TimeRemainingColumn(), metrics, console=console, refresh_per_second=4)
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._shown.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._shown.live.is_started:  # else it would print an empty line
            self._shown.stop()

    def add(self, description: str, *, total: float | None, completed: int = 0, **fields: Any) -> TaskID:
        return self._shown.add_task(description, total=total, completed=completed, **{"metrics": "", **fields})

    def move(self, task: TaskID, log: str = "", **changes: Any) -> None:
        """Update a line; in a log print `log`, every ten seconds at most."""
        self._shown.update(task, **changes)
        if log and not console.is_terminal and time.monotonic() - self._printed > _SECONDS:
            self._printed = time.monotonic()
            plain(log)

    def remove(self, task: TaskID) -> None:
        self._shown.remove_task(task)


_FIRST = (("step", 8, "train/step", ".0f"), ("loss", 9, "val/loss", ".4f"))
"""Columns of the lines about held-out data: name, width, metric and its format."""


class Bar:
    """A reporter of training: a bar on a terminal, a line every so many steps in a log, and a line per validation."""

    columns: tuple[tuple[str, int, str, str], ...] = ()
    """Of the lines about validations; empty: all that was measured, by name."""
    part = "loss"
    """The part of the loss that is shown beside it, if it is not all of it."""

    def __init__(self) -> None:
        drawn = (TextColumn("training"), BarColumn(bar_width=16)) if console.width >= _WIDE else ()
        self._work = Work(*drawn, MofNCompleteColumn())
        self._task: TaskID | None = None
        self._columns: list[tuple[str, int, str, str]] = []  # those of the first validation

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        if info:
            info_table(info, title="data")
        self._total, self._start, self._every, self._began = total, start, every, time.monotonic()
        self._parted = False  # whether a part of the loss has differed from it, and is shown from then on
        self._work.__enter__()
        self._task = self._work.add("training", total=total, completed=start)

    def step(self, step: int, metrics: Metrics) -> None:
        if self._task is None:
            return
        loss, part = metrics["train/loss"], metrics.get(f"train/{self.part}", metrics["train/loss"])
        self._parted = self._parted or part != loss
        more = f"  {self.part.replace('_', ' ')} {part:.4f}" if self._parted else ""
        text = f"loss {loss:.4f}{more}  {metrics['train/targets_per_second']:,.0f} targets/s"
        if console.is_terminal:
            self._work.move(self._task, completed=step, metrics=text)
        elif step % self._every == 0 or step in (self._start + 1, self._total):
            rate = metrics.get("train/learning_rate")
            rate_text = "" if rate is None else f"rate {rate:.2e}  "
            plain(f"step {step}/{self._total}  {text}  {rate_text}{self._left(step)}")

    def _left(self, step: int) -> str:
        """Return the time that the remaining steps will take at the pace so far."""
        pace = (time.monotonic() - self._began) / (step - self._start)
        minutes, seconds = divmod(round(pace * (self._total - step)), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"

    def validation(self, step: int, metrics: Metrics) -> None:
        """Print a line of held-out metrics, the first below a heading."""
        if not self._columns:
            plain(self._heading(metrics))
            known = self.columns or [_FIRST[0], *map(_column, sorted(metrics))]
            self._columns = [column for column in known if column[2] in metrics]
            plain("".join(f"{name:>{width}}" for name, width, *_ in self._columns))
        plain("".join(self._cell(metrics, *column) for column in self._columns))

    def _cell(self, metrics: Metrics, _: str, width: int, name: str, form: str) -> str:
        """A metric, or blank space if this validation did not measure it."""
        return f"{metrics[name]:>{width}{form}}" if name in metrics else " " * width

    def _heading(self, metrics: Metrics) -> str:
        return "held-out data"

    def message(self, text: str) -> None:
        plain(text)

    def warning(self, text: str) -> None:
        warn(text)

    def end(self) -> None:
        self._work.__exit__()


def _column(metric: str) -> tuple[str, int, str, str]:
    """A column for a metric that has none of its own; training metrics are not shown."""
    name = metric.removeprefix("val/")
    return name, max(9, len(name) + 2), metric if metric.startswith("val/") else "", ".4g"


class EncoderBar(Bar):
    """The reporter for training an encoder."""

    columns = (
        *_FIRST,
        ("distance", 10, "val/distance", ".4f"),
        ("cosine", 8, "val/semantic/avg_similarity", ".3f"),
        ("recall@1", 10, "val/retrieval/recall@1", ".3f"),
        ("mrr", 7, "val/retrieval/mrr", ".3f"),
        ("rank", 7, "val/embeddings/target_eff_rank", ".0f"),
        ("spread", 8, "val/embeddings/target_std_relative", ".2f"),
    )
    part = "distance"

    def __init__(self, units: str = "sentences") -> None:
        super().__init__()
        self._units = units

    def _heading(self, metrics: Metrics) -> str:
        candidates = metrics["val/retrieval/candidates"]
        limit = metrics["val/embeddings/target_eff_rank_limit"]
        return f"held-out data; recall@1 and mrr among {candidates:.0f} {self._units}, rank at most {limit:.0f}"


class TrialBar(EncoderBar):
    """The reporter for training an encoder in a trial, which shows the outcome of validations elsewhere."""

    def begin(self, *, total: int, start: int, every: int, info: list[tuple[str, str]]) -> None:
        super().begin(total=total, start=start, every=max(1, total // 4), info=[])

    def validation(self, step: int, metrics: Metrics) -> None:
        return

    def message(self, text: str) -> None:
        return


class DecoderBar(Bar):
    """The reporter for training a decoder."""

    columns = (
        *_FIRST,
        ("own", 9, "val/loss_own", ".4f"),
        ("shuffled", 10, "val/loss_shuffled", ".4f"),
        ("predicted", 11, "val/loss_predicted", ".4f"),
        ("perplexity", 12, "val/perplexity", ".3f"),
        ("bits/byte", 11, "val/bits_per_byte", ".3f"),
        ("accuracy", 10, "val/token_accuracy", ".3f"),
    )

    def _heading(self, metrics: Metrics) -> str:
        return f"{metrics['val/count']:.0f} held-out sentences; loss in nats per token; shuffled: of another's concept"


class GPTBar(Bar):
    """The reporter for training a GPT."""

    columns = (
        *_FIRST,
        ("token loss", 12, "val/token_loss", ".4f"),
        ("bits/byte", 11, "val/bits_per_byte", ".4f"),
        ("span loss", 11, "val/span_loss", ".4f"),
        ("no drift", 10, "val/span_loss_without_drift", ".4f"),
        ("seconds", 9, "train/seconds", ".0f"),
    )
    part = "token_loss"

    def _heading(self, metrics: Metrics) -> str:
        return (
            f"{metrics['val/tokens']:,.0f} held-out tokens of {metrics['val/bytes']:,.0f} bytes; loss in nats per "
            "token; no drift: span loss of states less their mean at each position"
        )


class JobBar(Work):
    """A callback of a comparison: one line of progress for each run in progress."""

    def __init__(self) -> None:
        position = TextColumn("{task.fields[position]}", markup=False)
        super().__init__(position, TextColumn("{task.description}", markup=False), BarColumn(bar_width=16))
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def job(self, what: str, number: int, count: int) -> None:
        position = f"{number}/{count}"
        self._tasks[what] = self.add(what, total=None, position=position)
        if not console.is_terminal:
            plain(f"{position} {what}")

    def done(self, what: str) -> None:
        self.remove(self._tasks.pop(what))

    def message(self, text: str) -> None:
        plain(text)

    def event(self, what: str, event: Mapping[str, Any]) -> None:
        kind, task = event["event"], self._tasks[what]
        if kind == "begin":
            self._totals[what] = event["total"]
            self.move(task, total=event["total"], completed=event["start"])
        elif kind == "evaluating":
            self.move(task, log=f"{what}: evaluating", total=None, metrics="evaluating")
        elif kind == "step":
            loss = f"loss {event['loss']:.4f}"
            log = f"{what}: step {event['step']}/{self._totals[what]}  {loss}"
            self.move(task, log, completed=event["step"], metrics=loss)
        elif kind == "measured":
            seconds = f", {event['seconds']:.3f} s" if event["seconds"] else ""
            plain(f"{what}: {event['flops']:.3g} FLOPs{seconds} a step")
        elif kind == "warning":
            warn(f"{what}: {event['text']}")


class IndexBar(Work):
    """The progress of building an index, of sentences or of another `unit`."""

    def __init__(self, unit: str = "sentence") -> None:
        self._unit = unit
        super().__init__(TextColumn("indexing"), BarColumn(bar_width=16), TaskProgressColumn())
        self._task = self.add("", total=None)
        self._said = False

    def on_event(self, progress: "IndexProgress") -> None:
        if progress.rows and not self._said:
            plain(f"resuming after {counted(progress.rows, self._unit)}")
        self._said = True
        metrics = f"{counted(progress.rows, self._unit)} of {counted(progress.documents, 'document')}"
        done, total = progress.characters, progress.total_characters
        share = f"{done / total:.0%}, " if total else ""
        self.move(self._task, f"indexing: {share}{metrics}", total=total, completed=done, metrics=metrics)


_SHARD_STAGES = {"reading": "reading", "shards": "writing shards"}


class ShardBar(Work):
    """The progress of making token shards."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(bar_width=16))
        self._task = self.add("reading", total=None)

    def on_event(self, progress: "ShardProgress") -> None:
        if progress.message:
            (warn if progress.stage == "warning" else plain)(progress.message)
        if progress.stage in _SHARD_STAGES:
            stage, done = _SHARD_STAGES[progress.stage], progress.characters
            text = f"{done / 1e6:,.1f} million characters"
            log = f"{stage}: {text}"
            self.move(self._task, log, description=stage, total=progress.total, completed=done, metrics=text)


class StageBar(Work):
    """The progress of work in stages: the current stage and how far it is; cleared from a terminal at the end."""

    def __init__(self) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
        self._shown.live.transient = True
        self._task: TaskID | None = None
        self._stage = ""

    def on_event(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            if self._task is not None:
                self.remove(self._task)
            self._task, self._stage = self.add(stage, total=total), stage
        assert self._task is not None
        self.move(self._task, completed=done)
