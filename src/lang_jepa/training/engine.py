"""The training engine of every system: loop, accumulation, clipping, intervals, checkpoints, exact resumption, end."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import write_json
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.load import build_saved
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training import contract, ranks, sharded_checkpoint
from lang_jepa.training.method import Batch, Batches, End, Loss, Method, MicroStep, Validation
from lang_jepa.training.metrics import STEP, read_metrics
from lang_jepa.training.optim import check_gradients, clip_gradients
from lang_jepa.training.ranks import meet
from lang_jepa.training.reporter import Best, RunFiles
from lang_jepa.training.run_folder import SUMMARY, RunFolder
from lang_jepa.training.schedule import is_validation_due
from lang_jepa.training.signals import StopRequest


class Engine:
    """A training run of one system.

    Args:
        method: the system, already built.
        folder: the run directory.

    Attributes:
        step: optimizer steps done.
        first_step: the step at which this process began.
        seconds: time spent in training steps, including waiting for data but not validation or checkpoints.
        resumed: whether the run resumed from a checkpoint.
        interrupted: whether it was asked to stop before the end, by the signal `stopped_by`.
        best: the best validation.
        changes: settings that were changed during the run, in the form stored in checkpoints.
    """

    def __init__(self, method: Method[Any], folder: RunFolder) -> None:
        contract.check_built(method)
        self.method, self.folder = method, folder
        self.fabric, self.reporter, self.settings = method.fabric, method.reporter, method.settings
        self.is_rank_zero: bool = self.fabric.is_global_zero
        self.step = self.first_step = 0
        self.seconds = 0.0
        self.resumed = self.interrupted = False
        self.stopped_by: int | None = None
        self.best, self.changes = Best(*method.best()), list[Any]()
        self.metrics: dict[str, float] = {}
        self.batches: Batches
        self._files: RunFiles | None = None
        self._epoch_loss, self._epoch_began = [0.0, 0.0], time.perf_counter()

    def begin(self) -> None:
        """Resume from a checkpoint if the settings ask for it, start the data loader, and open the run's files."""
        meta, state = self.settings.meta, None
        if meta.load_checkpoint:
            path = self.folder.to_resume(meta.checkpoint_path, self.reporter.message)
            state = None if path is None else self._restore(path)
        self.first_step, self.resumed = self.step, state is not None
        self.method.before_batches()
        meet("concepts")  # computing them may take one machine hours
        own = self._own(state) if state else None
        self.batches = self.method.batches(own["batches"] if own else None)
        if own and own["generators"]:  # last, because starting loader processes draws a number
            ranks.set_generators(own["generators"])
        contract.check_batches(self.method, self.batches)
        own = {"batches": self.batches.state, "generators": ranks.generators(self.fabric)}
        contract.check_state(self.method, self._state([own] * self.fabric.world_size))
        if self.is_rank_zero:
            self._open_files()

    def _open_files(self) -> None:
        method, settings = self.method, self.settings
        at = self.step if self.resumed else None
        self._files = RunFiles(
            self.folder.path, settings, texts=method.layout.texts, resume_step=at, columns=method.columns
        )
        info = contract.checked_info(method)
        self.reporter.begin(total=method.total, start=self.step, every=settings.logging.log_freq, info=info)

    def fit(self) -> None:
        """Train to the end, or until asked to stop; either way, save a checkpoint.

        Raises:
            LangJepaError: the loss or its gradient is not finite (the update is not made), or a validation ends the
                run.
        """
        with StopRequest() as stop:
            if not self.resumed:
                self.validate()
            while not self.method.ended(self.step, self.seconds):
                contract.check_going_on(self.method, self.step)
                began = time.perf_counter()
                position = self.batches.state
                batches = [] if stop.requested else self._next_batches()
                count, stopping = ranks.agree(self.fabric, sum(batch.predictions for batch in batches), stop.requested)
                if stopping:
                    self.batches.state = position  # the batches just read were not used
                    self.interrupted, self.stopped_by = True, stop.number
                    break
                metrics = self.train_step(batches, count)
                seconds = self.seconds + time.perf_counter() - began
                self.seconds = ranks.of_rank_zero(self.fabric, seconds) if self.method.clocked else seconds
                self._after_step(metrics, count)
        self.save()

    def _next_batches(self) -> list[Batch]:
        """Return this rank's micro-batches for one step, on its device."""
        batches = [next(self.batches) for _ in range(self.method.micro_batches)]
        for batch in batches:
            contract.check_batch(self.method, batch)
        return [batch.to(self.fabric.device) for batch in batches]

    def next_step(self) -> None:
        """Make one step, including reading its data, without writing anything."""
        batches = self._next_batches()
        count, _ = ranks.agree(self.fabric, sum(batch.predictions for batch in batches), False)
        self.train_step(batches, count)

    def train_step(self, batches: list[Batch], count: int) -> dict[str, float]:
        """Make one optimizer step and return its metrics.

        Args:
            batches: this rank's micro-batches.
            count: number of predictions in all micro-batches of all ranks.

        Raises:
            LangJepaError: the loss or its gradient is not finite; the update is not made.
        """
        began, method, parts = time.perf_counter(), self.method, len(batches)
        rates = contract.numbers(method, method.set_rates(self.step, self.seconds), of="set_rates")
        losses = []
        for number, batch in enumerate(batches):
            micro = MicroStep(self.step, self.seconds, count, number, parts)
            # Sharded gradients are reduced after each micro-batch; waiting for the last would keep them unsharded.
            waits = number + 1 < parts and not method.sharded
            with self.fabric.no_backward_sync(method.model, enabled=waits):
                loss = method.loss(batch, micro)
                contract.check_loss(method, loss)
                self.fabric.backward(loss.total)
            losses.append(loss)
        if self.step == self.first_step:
            check_gradients(method.network)
        norm = clip_gradients(method.network, self.settings.optimization.clip_grad)
        metrics = contract.numbers(method, method.metrics(self._summed(losses), micro), of="metrics")
        value = metrics["train/loss"]
        others = {name: one for name, one in metrics.items() if name != "train/loss"}
        self.folder.check_finite(self.step + 1, value, norm, others, self.settings, is_rank_zero=self.is_rank_zero)
        for optimizer in method.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        method.after_update(self.step)
        self.step += 1
        speed = count / (time.perf_counter() - began)
        return {**metrics, **rates, "train/grad_norm": norm, "train/targets_per_second": speed}

    def _summed(self, losses: list[Loss]) -> dict[str, torch.Tensor]:
        """Add up the sums of all micro-batches and ranks, in float64."""
        contract.check_alike(self.method, losses)
        own = {name: torch.stack([loss.sums[name] for loss in losses]).sum(0) for name in losses[0].sums}
        flat = torch.cat([one.double().flatten() for one in own.values()])
        parts = torch.split(sum_over_ranks(flat), [one.numel() for one in own.values()])
        return {name: part.view(one.shape) for (name, one), part in zip(own.items(), parts, strict=True)}

    def _after_step(self, metrics: dict[str, float], count: int) -> None:
        """Do what is due after a step: write metrics, end the epoch, validate, save checkpoints."""
        logging, total = self.settings.logging, self.method.total
        last = self.method.ended(self.step, self.seconds)
        self._epoch_loss = [self._epoch_loss[0] + metrics["train/loss"] * count, self._epoch_loss[1] + count]
        metrics |= {"train/epoch": float(self.epoch), "train/seconds": self.seconds}
        if self.is_rank_zero:
            self.reporter.step(self.step, {STEP: float(self.step), **metrics})
            if last or self.step % logging.log_freq == 0:
                self._write(metrics)
        ended = self.method.epochs_ended(self.step)
        if ended:
            self._end_epoch()
        if last or is_validation_due(self.step, total=total, ends=self.method.epoch_ends, every=logging.eval_freq):
            self.validate(last=last)
        self._save_what_is_due(ended, last=last)

    def _save_what_is_due(self, ended: Any, *, last: bool) -> None:
        """Save an epoch's checkpoint and the last one, or else the last one at intervals. `fit` saves at the end."""
        logging = self.settings.logging
        if logging.checkpoint_freq and ended:
            if kept := [number for number in ended if number % logging.checkpoint_freq == 0]:
                self.save(self.method.layout.epoch.format(kept[-1]))
            self.save()
        elif not last and self.step % (logging.checkpoint_steps or max(1, self.method.total // 10)) == 0:
            self.save()

    @property
    def epoch(self) -> int:
        """The epoch of the last batch read."""
        return int(self.batches.state.get("epoch", 0))

    def _end_epoch(self) -> None:
        now, (loss, count) = time.perf_counter(), self._epoch_loss
        row = {"epoch/loss": loss / max(1.0, count), "epoch/time": now - self._epoch_began}
        self._epoch_loss, self._epoch_began = [0.0, 0.0], now
        if self.is_rank_zero:
            self._write(row)

    def validate(self, *, last: bool = False) -> None:
        """Validate on held-out data: write the metrics, keep the best checkpoint, pass on warnings.

        Raises:
            LangJepaError: the validation ends the run; a last checkpoint has been saved.
        """
        found = self.method.validate(self.step, self.seconds, last=last)
        if found is None:
            return
        found = contract.checked_validation(self.method, found)
        self.metrics = dict(found.metrics)
        if self.is_rank_zero:
            self._show(found)
        if self.best.improves(self.step, found.metrics):
            self.save(self.method.layout.best)
        for text in found.warnings:
            self.reporter.warning(text)
        if found.stop:
            self.save()
            raise LangJepaError(found.stop)

    def _show(self, found: Validation) -> None:
        assert self._files is not None
        self._write({"train/seconds": self.seconds, **found.metrics})
        self.reporter.validation(self.step, {STEP: float(self.step), "train/seconds": self.seconds, **found.metrics})
        self._files.texts.write(self.step, found.examples)
        for text in found.examples if self.method.layout.shows_texts else ():
            self.reporter.message(text)

    def _write(self, metrics: Mapping[str, float]) -> None:
        assert self._files is not None
        self._files.write(self.step, {STEP: float(self.step), **metrics})

    def save(self, name: str | None = None) -> None:
        """Save a checkpoint (None: the last one). Every rank must call this: rank 0 writes the file, and each rank
        its part of sharded weights.
        """
        name, own = name or self.method.layout.last, self.batches.state
        everyone = ranks.gather({"batches": own, "generators": ranks.generators(self.fabric)})
        state, path = dict[str, Any](), self.folder.path / name
        if self.is_rank_zero or self.method.sharded:
            state = self._state(everyone)
            contract.check_state(self.method, state)
        if self.method.sharded:
            state = sharded_checkpoint.write(self.fabric, path, state, checkpoints.LEARNT)
        if self.is_rank_zero:
            checkpoints.save_checkpoint(path, state)
            sharded_checkpoint.remove(path, but=state.get(sharded_checkpoint.ENTRY, {}).get("folder"))
            logging, meta = self.settings.logging, self.settings.meta
            self.folder.saved(name, keep=logging.keep_checkpoints, origin=meta.checkpoint_path)
        self.fabric.barrier()

    def _state(self, everyone: list[Mapping[str, Any]]) -> dict[str, Any]:
        engine = {
            "system": self.settings.system,
            "settings": self.settings.model_dump(mode="json"),
            "data": self.method.identity,
            "world": self.fabric.world_size,
            "step": self.step,
            "total": self.method.total,
            "seconds": self.seconds,
            "epoch_loss": self._epoch_loss,
            "metrics": self.metrics,
            "best": self.best.state(),
            "changes": self.changes,
            "batches": [rank["batches"] for rank in everyone],
            "generators": [rank["generators"] for rank in everyone],
        }
        return contract.checked_state(self.method, engine)

    def _restore(self, path: Path) -> checkpoints.Checkpoint:
        """Restore the exact state of a checkpoint, or raise."""
        fabric = self.fabric if self.method.sharded else None
        state = self.folder.read(path, system=self.settings.system, contents=self.method.contents, fabric=fabric)
        elsewhere = self._on_other_ranks(state, path)
        self.changes = checkpoints.check_matches(
            state,
            self.settings,
            data=self.method.identity,
            world=None if elsewhere else self.fabric.world_size,
            total=self.method.total,
            path=path,
            free=self.method.all_free + (self.method.of_ranks if elsewhere else ()),
            allowed=self.folder.may_change(),
        )
        world, sharded = self.fabric.world_size, self.method.sharded
        others = checkpoints.other_processes(state, world=world, sharded=sharded)
        for warning in filter(None, (checkpoints.rounds_otherwise(state, self.fabric.device), others)):
            self.reporter.warning(warning)
        self.method.restore(state, path)
        if self.is_rank_zero:
            self.folder.bring_over(path.parent, texts=self.method.layout.texts)
        self.fabric.barrier()
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._epoch_loss, self.metrics = list(state["epoch_loss"]), dict(state["metrics"])
        if self._same_best(state["settings"]["logging"]):
            self.best.restore(state["best"])
        return state

    def _on_other_ranks(self, state: checkpoints.Checkpoint, path: Path) -> bool:
        """Whether sharded weights are resumed with a different number of processes than wrote them."""
        then, now = int(state["world"]), self.fabric.world_size
        if then == now or sharded_checkpoint.ENTRY not in state:
            return False
        before = build_saved(type(self.settings), state["settings"], where=str(path))
        return self.method.same_steps(before, then=then, now=now)

    def _own(self, state: checkpoints.Checkpoint) -> dict[str, Any]:
        """This rank's data position and generators; with another number of processes, only the common position."""
        if int(state["world"]) == self.fabric.world_size:
            return {name: state[name][self.fabric.global_rank] for name in ("batches", "generators")}
        return {"batches": state["batches"][0], "generators": None}

    def _same_best(self, then: Mapping[str, Any]) -> bool:
        """Whether the best checkpoint is there and was chosen by the criteria that apply now."""
        now = self.settings.logging.model_dump()
        names = ("best_metric", "best_mode", "val_sentences")
        there = (self.folder.path / self.method.layout.best).is_file()
        return there and all(then.get(name) == now.get(name) for name in names)

    def progress(self) -> dict[str, Any]:
        """The run's progress, as written to summary.json."""
        return {"steps": self.step, "total": self.method.total, "interrupted": self.interrupted}

    def finish(self, seconds: float) -> dict[str, Any]:
        """Export the model unless the run was interrupted; write and return its summary. Only rank 0 calls this."""
        path, layout = self.folder.path, self.method.layout
        end, best = End(self.step, self.seconds, self.metrics, path / layout.last), None
        if self.best.step is not None:
            best = {"metric": self.best.metric, "step": self.best.step, "value": self.best.value}
            chosen = (self.best.metric, self.best.step, self.best.value)
            end = End(self.step, self.seconds, self.metrics, path / layout.best, *chosen)
        model = None if self.interrupted else self.method.export(path, end)
        contract.check_export(self.method, model)
        rows = read_metrics(path / "metrics.csv")
        validations = [row for row in rows if any(name.startswith("val/") for name in row)]
        summary = {
            **self.progress(),
            "seconds": seconds,
            "training_seconds": round(self.seconds, 1),
            "best": best,
            "first_validation": validations[0] if validations else None,
            "last_validation": validations[-1] if validations else None,
            "model": None if model is None else _from(path, model),
        }
        own = self.method.summary(path, rows)
        contract.check_summary(self.method, own, summary)
        summary |= own
        write_json(path / SUMMARY, summary)  # last, because a run with a summary counts as finished
        return summary

    def close(self) -> None:
        if self._files is not None:
            self._files.close()


def _from(folder: Path, model: Path) -> str:
    """The path of a model directory relative to the run directory, since both may be moved together."""
    return os.path.relpath(model.resolve(), folder.resolve())
