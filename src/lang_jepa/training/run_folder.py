"""Run directories of any system: starting and resuming runs, checkpoints to keep, and leftovers of killed runs."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import (
    atomic_file,
    check_writable,
    make_folder,
    read_json,
    remove_temporaries,
    write_json,
    write_text,
)
from lang_jepa.files.run_lock import RunLock, live_below
from lang_jepa.settings.load import is_saved, save_settings
from lang_jepa.training import sharded_checkpoint
from lang_jepa.training.checkpoint import BEST, LAST, load_checkpoint
from lang_jepa.training.optim import non_finite
from lang_jepa.training.reporter import Reporter

SETTINGS, SUMMARY = "settings.yaml", "summary.json"
"""The summary is written last, so a run that has one is finished."""
_NON_FINITE = "stopped.json"


_NOTE = """Files of a training run; docs/own_parts.md says how it is resumed and read.

checkpoint-last.pth   to go on from: lang-jepa train FOLDER --resume
checkpoint-best.pth   the best validation
metrics.csv           a row for each logged step and each validation
settings.yaml         the resolved settings, which are a recipe too
summary.json          how the run ended
examples.txt          examples of the validations, where the system gives some
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """File names and the like that differ between systems.

    Attributes:
        last, best: names of the checkpoints.
        epoch: name of an epoch's checkpoint, with `{}` for its number.
        option: command-line option that changes a setting.
        rates: the settings that are learning rates.
        texts: file with the examples of validations; shows_texts: whether they are also shown.
        note: contents of the run directory's README.txt.
    """

    last: str = LAST
    best: str = BEST
    epoch: str = "checkpoint-epoch{}.pth"
    option: str = "-o"
    rates: tuple[str, ...] = ("optimization.lr",)
    texts: str = "examples.txt"
    shows_texts: bool = False
    note: str = _NOTE


class RunFolder:
    """A run directory of one system.

    Args:
        path: of the directory.
        layout: the system's file names.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout

    @contextmanager
    def held(self, lock: RunLock | None, *, is_rank_zero: bool) -> "Iterator[RunLock | None]":
        """Keep other runs out during the `with` block, on rank 0 only; `lock`: one that the caller already holds."""
        if lock is not None or not is_rank_zero:
            yield lock
            return
        check_writable(self.path, folder=True)
        with RunLock(self.path, setting="logging.log_dir") as taken:
            yield taken

    def check_place(self) -> None:
        """Refuse, before anything is prepared, a directory where a new run would overwrite files that are not a run's.

        Raises:
            LangJepaError: there is such a file, or the older run to be moved aside contains the working directory.
        """
        here, saved = self.path.resolve(), self.path / SETTINGS
        foreign = [name for name in self._written() if (self.path / name).exists()]
        if saved.is_file() and is_saved(saved):
            if Path.cwd().is_relative_to(here):
                raise LangJepaError(
                    f"{here} holds an older run, which would be moved aside, and it is your current folder: set "
                    "another logging.log_dir, or run the command from another folder"
                )
        elif saved.exists() or foreign:
            raise LangJepaError(
                f"{here} contains {SETTINGS if saved.exists() else foreign[0]}, which does not belong to a run and "
                "would be overwritten: set another logging.log_dir"
            )

    def _written(self) -> list[str]:
        """Return the names of a run's files, except for its settings and a README.txt that a killed run left."""
        note = self.path / "README.txt"
        ours = note.is_file() and note.read_text(encoding="utf-8", errors="replace") == self.layout.note
        fixed = (SUMMARY, "metrics.csv", "run.png", "model", self.layout.texts, self.layout.last, self.layout.best)
        return [*fixed, *([] if ours else [note.name])]

    def start(self, lock: RunLock | None, settings: BaseModel, *, resume: bool, reporter: Reporter) -> None:
        """Prepare the directory; an older run in its place is moved aside, never overwritten. Only rank 0 calls this.

        Args:
            lock: on the directory (None: it is a scratch folder).
            settings: of the run, written now unless the directory has some: those of a resumed run stay until its
                checkpoint is accepted.
            resume: resume the older run.
            reporter: its `message` is told what was moved.

        Raises:
            LangJepaError: a process is working inside the older run.
        """
        if lock is not None and not lock.works:
            reporter.warning(f"the file system of {self.path} has no locks: nothing keeps a second run out of it")
        remove_temporaries(self.path)
        if (self.path / SETTINGS).is_file() and not resume:
            if busy := live_below(self.path):
                raise LangJepaError(
                    f"{busy}, inside the older run {self.path}, which would be moved. Wait until it ends, or "
                    f"set another logging.log_dir."
                )
            taken = (self.path.with_name(f"{self.path.name}-{number}") for number in itertools.count(1))
            moved = next(path for path in taken if not path.exists())
            self.path.rename(moved)
            if lock is not None:
                lock.follow(self.path)
            reporter.message(f"an older run was moved to {moved}")
        make_folder(self.path)
        write_text(self.path / "README.txt", self.layout.note)
        if not (self.path / SETTINGS).is_file():
            save_settings(settings, self.path / SETTINGS)

    def accept(self, settings: BaseModel) -> None:
        """Save the settings of a run that has started; not earlier, so that a refused checkpoint leaves those of its
        run unchanged. Only rank 0 calls this.
        """
        (self.path / SUMMARY).unlink(missing_ok=True)
        save_settings(settings, self.path / SETTINGS)

    def to_resume(self, chosen: str | None, on_message: Callable[[str], None]) -> Path | None:
        """Return the checkpoint to resume from; None, with a message, if the run ended before its first one.

        Args:
            chosen: the checkpoint named in the settings.
            on_message: called with the message that training starts from the beginning.

        Raises:
            LangJepaError: the last checkpoint is gone, but there are others.
        """
        if chosen:
            return Path(chosen)
        if (self.path / self.layout.last).is_file():
            return self.path / self.layout.last
        if others := self._epochs():
            raise LangJepaError(f"no checkpoint at {self.path / self.layout.last}. {self._another(others)}")
        on_message(f"there is no checkpoint in {self.path} to resume from: training starts at step 0")
        return None

    def bring_over(self, origin: Path, *, texts: str) -> None:
        """Copy metrics, texts and best checkpoint of a run that is resumed in another folder."""
        if origin.resolve() != self.path.resolve():
            for name in ("metrics.csv", texts, self.layout.best):
                if (origin / name).is_file():
                    sharded_checkpoint.copy(origin / name, self.path / name)
                    with atomic_file(self.path / name) as temporary:
                        shutil.copyfile(origin / name, temporary)

    def read(self, path: Path, *, system: str, contents: Mapping[str, Any], fabric: Any = None) -> dict[str, Any]:
        """Read a checkpoint to resume from; `fabric`: of a run with sharded weights.

        Raises:
            LangJepaError: it cannot be used; the others available are named.
        """
        try:
            return load_checkpoint(path, system=system, contents=contents, fabric=fabric)
        except LangJepaError as error:
            best = [self.path / self.layout.best] if (self.path / self.layout.best).is_file() else []
            others = [one for one in [*self._epochs(), *best] if one != path]
            raise LangJepaError(f"{error}. {self._another(others)}" if others else str(error)) from error

    def _epochs(self) -> list[Path]:
        """Return epoch checkpoints by modification time, newest first: a run may be resumed from an earlier one."""
        before, after = self.layout.epoch.split("{}")
        numbers = {
            path: path.name.removeprefix(before).removesuffix(after)
            for path in self.path.glob(self.layout.epoch.format("*"))
        }
        found = [path for path, number in numbers.items() if number.isdecimal()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, int(numbers[path])), reverse=True)

    def _another(self, others: list[Path]) -> str:
        """Explain how to resume from a checkpoint other than the last."""
        names = " and ".join(path.name for path in others)
        option = f"{self.layout.option} meta.checkpoint_path={others[0]}"
        return f"Other checkpoints: {names}. Resume from one of them with --resume {option}"

    def check_finite(
        self, step: int, loss: float, norm: float, parts: Mapping[str, float], settings: Any, *, is_rank_zero: bool
    ) -> None:
        """Stop before an update that would spoil the weights, and note which settings may be changed on resuming.

        Args:
            step: number of the step that the update would have completed.
            loss, norm: of this step; the gradient's norm before clipping.
            parts: other values measured in it.
            settings: of the run.
            is_rank_zero: whether this is rank 0, which writes the note.

        Raises:
            LangJepaError: loss or norm is not finite; the message says what to change.
        """
        problem = non_finite(step, loss, norm, parts)
        if not problem:
            return
        if step == 1:
            raise LangJepaError(
                f"{problem} This was the first update, so the learning rate is not the cause: check the initial "
                "weights, the data, and your own classes"
            )
        cures = self._cures(settings)
        if is_rank_zero:
            write_json(self.path / _NON_FINITE, {"step": step, "settings": list(cures)})
        path = self.path / self.layout.last
        place = f"The last checkpoint is {path}" if path.is_file() else "There is no checkpoint yet"
        example = self.layout.rates[0]
        advice = ", or ".join(cures.values())
        raise LangJepaError(
            f"{problem} {place}. {advice[0].upper()}{advice[1:]}, and resume with --resume, as in "
            f"--resume {self.layout.option} {example}={attrgetter(example)(settings) / 10:g}"
        )

    def _cures(self, settings: Any) -> dict[str, str]:
        """Return the settings that may be changed after a loss that is not finite, with a description of how."""
        clip, precision = "optimization.clip_grad", "meta.precision"
        cures = {rate: f"lower {rate} (now {attrgetter(rate)(settings):g})" for rate in self.layout.rates}
        limit = settings.optimization.clip_grad
        cures[clip] = f"set {clip}" if limit is None else f"lower {clip} (now {limit:g})"
        if settings.meta.precision != "fp32":
            cures[precision] = f"set {precision}=fp32"
        return cures

    def may_change(self) -> tuple[str, ...]:
        """Return the settings that may have another value on resuming, because the run stopped and named them."""
        path = self.path / _NON_FINITE
        return tuple(read_json(path, what="the note on why a run stopped")["settings"]) if path.is_file() else ()

    def saved(self, name: str, *, keep: int | None, origin: str | None) -> None:
        """Clean up after a checkpoint was written: remove what it makes superfluous. Only rank 0 calls this.

        Args:
            name: of the checkpoint.
            keep: number of epoch checkpoints to keep (None: all).
            origin: the checkpoint from which the run was resumed, which is kept.
        """
        if name == self.layout.last:
            (self.path / _NON_FINITE).unlink(missing_ok=True)
        elif name != self.layout.best and keep is not None:
            stays = {(self.path / name).resolve(), *([Path(origin).resolve()] if origin else [])}
            for path in self._epochs()[keep:]:
                if path.resolve() not in stays:
                    path.unlink()
                    sharded_checkpoint.remove(path)


def first_alarm(folder: Path, *kinds: str) -> str:
    """Return a run's first warning without its advice; empty if there is none, or no run.

    Args:
        folder: the run directory.
        kinds: lists in the summary, the most severe first: `alarms` of collapse, `task_alarms` (nothing is learnt).
    """
    summary = folder / SUMMARY
    found = read_json(summary, what="summary of the run") if summary.is_file() else {}
    alarms = [text for kind in kinds or ("alarms",) for text in found.get(kind, [])]
    return str(alarms[0]).partition(". ")[0] if alarms else ""
