"""A run: everything the loop works on, what it logs, and how it is saved and taken up again."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import LangJepaError
from lang_jepa.models.jepa import Output
from lang_jepa.objectives.objective import Loss, Objective, spread_of
from lang_jepa.settings.encoder import Settings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training import ranks
from lang_jepa.training.heartbeat import meet
from lang_jepa.training.material import Material, epochs_ended, is_look_due
from lang_jepa.training.metrics import STEP, with_other_names
from lang_jepa.training.optim import make_optimizer
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.run_files import Best, RunFiles
from lang_jepa.training.run_folder import Layout, RunFolder
from lang_jepa.training.schedule import Schedule
from lang_jepa.training.start import start_model, start_target
from lang_jepa.training.trackers import make_trackers
from lang_jepa.training.watch import Alarm, task_alarm, watch_for


class Run:
    """State of a training run.

    Args:
        settings: the resolved settings.
        fabric: a launched lightning Fabric.
        material: data on both sides.
        reporter: listens on rank 0.

    Attributes:
        step: optimizer steps done.
        first_step: the step this process began at.
        resumed: it took up a checkpoint.
        total: optimizer steps in all.
        interrupted: it was asked to stop before the end, by the signal `stopped_by`.
        best: the best look by logging.best_metric.
        changes: settings that were changed on the way, as a checkpoint keeps them.
        alarms: what the collapse watch found.
        seconds: spent in training steps, waiting for data included, looks and checkpoints not.
    """

    def __init__(self, settings: Settings, fabric: Any, material: Material, reporter: Reporter) -> None:
        self.settings, self.fabric, self.material, self.reporter = settings, fabric, material, reporter
        self.folder = Path(settings.logging.log_dir)
        self.place = RunFolder(self.folder, LAYOUT)
        self.chief: bool = fabric.is_global_zero
        self.step = self.first_step = 0
        self.total, self.epoch_ends = material.total_steps()
        steps_per_epoch = self.epoch_ends[0] if self.epoch_ends else None
        self.schedule = Schedule.of(settings.optimization, total=self.total, steps_per_epoch=steps_per_epoch)
        self._build()
        self.interrupted = self.resumed = self._task_told = False
        self.stopped_by: int | None = None
        self.seconds = 0.0
        self.best = Best(settings.logging.best_metric, settings.logging.best_mode)
        self.changes: list[Any] = []
        self.alarms: list[Alarm] = []
        self.watch = watch_for(settings)
        self._epoch_loss = [0.0, 0.0]
        self._epoch_began = time.perf_counter()

    def _build(self) -> None:
        """Equal weights on every rank, whatever the ranks' own generators did before."""
        settings = self.settings
        self.jepa = start_model(settings, self.material.tokenizer, self.material.sample_view)
        if settings.meta.compile:
            self.jepa.encoder.backbone.compile()
        self.objective = Objective(settings)
        self.model = self.fabric.setup_module(self.jepa)
        self.optimizer = self.fabric.setup_optimizers(make_optimizer(self.jepa, settings.optimization))
        self.target = start_target(settings, self.jepa, self.material.tokenizer)
        # From here on the generator only feeds dropout, and ranks must not drop alike.
        torch.manual_seed(settings.meta.seed * 1000 + 1 + self.fabric.global_rank)

    def begin(self) -> None:
        """Open the files and, where the settings say so, take up a checkpoint."""
        state, meta = None, self.settings.meta
        path = (
            self.place.to_resume(meta.checkpoint_path, self.reporter.message)
            if meta.load_checkpoint
            else None
        )
        if path is not None:
            state = self.place.read(path, system="encoder")
            self._restore(state, path)
            if self.chief:
                self.place.bring_over(path.parent, texts="examples.txt")
            self.fabric.barrier()
            self.best.restore(self._best_of(state))
        self.first_step, self.resumed = self.step, state is not None
        self.material.read_cached(self.jepa.encoder, self.reporter.message)
        meet("concepts")  # which may be computed on some machine for hours
        self.material.start(state["loader"][self.fabric.global_rank] if state else None)
        if state:
            ranks.set_generators(
                state["generators"][self.fabric.global_rank]
            )  # last, because starting loader processes draws a number
        if self.chief:
            first = self.step + 1 if self.resumed else 0
            self.files = RunFiles(
                self.folder,
                texts="examples.txt",
                trackers=make_trackers(self.settings.logging, self.settings, self.folder, first=first),
                resume_step=self.step if self.resumed else None,
            )
            every, facts = self.settings.logging.log_freq, self.material.facts()
            self.reporter.begin(total=self.total, start=self.step, every=every, facts=facts)

    def next_batch(self) -> Batch:
        """The next batch of this rank, on its device."""
        return next(self.material.loader).to(self.fabric.device)

    def agree(self, predictions: int, stopping: bool) -> tuple[int, bool]:
        """(predictions of all ranks, whether any rank was asked to stop): one small sum, and none on one rank."""
        return ranks.agree(self.fabric, predictions, stopping)

    def log_step(
        self,
        losses: list[Loss],
        count: int,
        *,
        rate: float,
        weight: float,
        momentum: float,
        norm: float,
        padding: float,
        seconds: float,
    ) -> None:
        """Figures of a step, summed over micro-batches and ranks and divided once."""
        names = ("distance", "cosine", "targets_norm", "predictions_norm")
        sums = torch.stack([torch.stack([getattr(loss, name) for loss in losses]).sum() for name in names])
        sums = sums.double()
        moments = torch.stack([loss.moments for loss in losses]).sum(0)
        ranks.total(self.fabric, sums)
        ranks.total(self.fabric, moments)
        distance, cosine, targets_norm, predictions_norm = (sums / count).tolist()
        regularizer = float(sum(float(loss.regularizer) for loss in losses) / len(losses))
        loss = self.settings.objective.prediction_weight * distance + weight * regularizer
        self._epoch_loss[0] += loss * count
        self._epoch_loss[1] += count
        figures = {
            STEP: float(self.step),
            "train/epoch": float(self.material.epoch),
            "train/loss": loss,
            "train/distance": distance,
            "train/regularizer": regularizer,
            "train/learning_rate": rate,
            "train/weight_decay": self.schedule.weight_decay(self.step - 1),
            "train/repr_std": spread_of(moments),
            "train/grad_norm": norm,
            "train/padding_share": padding,
            "train/targets_per_second": count / seconds,
            "stats/cosine_similarity": cosine,
            "stats/target_features_norm": targets_norm,
            "stats/predicted_features_norm": predictions_norm,
            **({"train/momentum": momentum} if self.target.follows else {}),
        }
        if self.chief:
            self.reporter.step(self.step, figures)
            if self.step % self.settings.logging.log_freq == 0 or self.step == self.total:
                self._write(figures)

    def after_step(self) -> None:
        """What is due after the step just made: an epoch's end, a look, checkpoints."""
        logging = self.settings.logging
        ended = epochs_ended(self.epoch_ends, self.step)
        if ended:
            self._end_epoch()
        if is_look_due(self.step, total=self.total, ends=self.epoch_ends, every=logging.eval_freq):
            self.look()
        if ended:
            kept = [number for number in ended if number % logging.checkpoint_freq == 0]
            if kept:
                self.save(LAYOUT.epoch.format(kept[-1]))
            self.save()
        elif self.step % (logging.checkpoint_steps or max(1, self.total // 10)) == 0:
            self.save()

    def _end_epoch(self) -> None:
        now = time.perf_counter()
        row = {
            STEP: float(self.step),
            "epoch/loss": self._epoch_loss[0] / max(1.0, self._epoch_loss[1]),
            "epoch/time": now - self._epoch_began,
        }
        self._epoch_loss, self._epoch_began = [0.0, 0.0], now
        if self.chief:
            self._write(row)

    def look(self) -> None:
        """Look at held-out data: log it, ask the watch, keep the best. Does not disturb the dropout's generator."""
        if self.material.held_out is None:
            return
        self.jepa.eval()
        look = self.material.held_out.look(
            predict=self._predict,
            embed=self._embed,
            device=self.fabric.device,
            distances=self.objective.distances,
            regularizer=self.objective.regularizer,
            weights=self.schedule.weights(self.settings.objective, self.step),
        )
        self.jepa.train()
        figures = {STEP: float(self.step), "train/seconds": self.seconds, **look.figures}
        alarm = self.watch.look(self.step, look.figures)
        if self.chief:
            self._write(figures)
            self.reporter.look(self.step, figures)
            self.files.texts.write(self.step, look.examples)
            self._tell_task(look.figures)
        if self.best.improves(self.step, look.figures):
            self.save(checkpoints.BEST)
        if alarm:
            self._ring(alarm)

    def _tell_task(self, figures: Mapping[str, float]) -> None:
        """Warn, once, of a task that is trivial or that nothing was learnt of."""
        alarm = task_alarm(self.step, self.total, figures)
        if alarm and not self._task_told:
            self._task_told = True
            self.reporter.warning(str(alarm))

    def _predict(self, batch: Batch) -> Tensor:
        with self.fabric.autocast():  # for the model alone: the figures are computed in full precision
            output: Output = self.jepa(batch.contexts)
        return output.predictions

    def _embed(self, batch: Batch) -> Tensor:
        with self.fabric.autocast():
            return self.target.embed(batch.targets)

    def _ring(self, alarm: Alarm) -> None:
        """Tell of a collapse, and stop where the settings say so."""
        first = not self.alarms
        self.alarms.append(alarm)
        if self.chief and first:
            self.reporter.warning(str(alarm))
        if self.settings.meta.on_collapse == "stop":
            self.save()
            raise LangJepaError(f"stopped (meta.on_collapse=stop): {alarm}")

    def _write(self, figures: Mapping[str, float]) -> None:
        if self.material.sample_view.has_other_names:
            figures = with_other_names(figures)
        self.files.write(self.step, figures)

    def save(self, name: str = checkpoints.LAST) -> None:
        """Write a checkpoint; every rank must call it, rank 0 writes."""
        checkpoints.save_run(self.fabric, self.folder / name, self.material.loader.state, self._state)
        if self.chief:
            keep, origin = self.settings.logging.keep_checkpoints, self.settings.meta.checkpoint_path
            self.place.saved(name, keep=keep, origin=origin)

    def _state(self, everyone: list[Any]) -> dict[str, Any]:
        centre = self.objective.centre
        return {
            "system": "encoder",
            "settings": self.settings.model_dump(),
            "corpus": self.material.fingerprint,
            "world": self.fabric.world_size,
            "step": self.step,
            "total": self.total,
            "model": self.jepa.state_dict(),
            "target": self.target.encoder.state_dict() if self.target.own else {},
            "optimizer": self.optimizer.state_dict(),
            "centre": centre.state_dict() if centre else None,
            "watch": self.watch.state_dict(),
            "alarms": [[alarm.step, list(alarm.signs)] for alarm in self.alarms],
            "best": self.best.state(),
            "changes": self.changes,
            "epoch_loss": self._epoch_loss,
            "seconds": self.seconds,
            "loader": [rank["loader"] for rank in everyone],
            "generators": [rank["generators"] for rank in everyone],
        }

    def _restore(self, state: dict[str, Any], path: Path) -> None:
        """Take up a checkpoint exactly, or refuse."""
        self.changes = checkpoints.check_matches(
            state,
            self.settings,
            corpus=self.material.fingerprint,
            world=self.fabric.world_size,
            total=self.total,
            path=path,
            allowed=self.place.may_change(),
        )
        if warning := checkpoints.rounds_otherwise(state, self.fabric.device):
            self.reporter.warning(warning)
        checkpoints.load_weights(self.jepa, state["model"], what=f"the model in {path}")
        if self.target.own:
            checkpoints.load_weights(self.target.encoder, state["target"], what=f"the target in {path}")
        checkpoints.load_optimizer(self.optimizer, state["optimizer"], what=f"the optimizer in {path}")
        if self.objective.centre is not None:
            self.objective.centre.load_state_dict(state["centre"] or {})
        self.watch.load_state_dict(state["watch"])
        self.alarms = [Alarm(step, tuple(signs), self.watch.advice) for step, signs in state["alarms"]]
        self.step = int(state["step"])
        self._epoch_loss = list(state["epoch_loss"])
        self.seconds = float(state["seconds"])

    def _best_of(self, state: dict[str, Any]) -> list[Any] | None:
        """The best look so far, if its checkpoint is there and it was measured as it is measured now."""
        if not state["best"] or not (self.folder / checkpoints.BEST).is_file():
            return None
        then, now = state["settings"]["logging"], self.settings.logging.model_dump()
        if any(then[name] != now[name] for name in ("best_metric", "best_mode", "val_sentences")):
            return None
        return list(state["best"])

    def finish(self) -> None:
        """Close what was opened."""
        if self.chief and hasattr(self, "files"):
            self.files.close()


LAYOUT = Layout(
    last=checkpoints.LAST,
    best=checkpoints.BEST,
    epoch="checkpoint-epoch{}.pth",
    option="-o",
    log_dir="logging.log_dir",
    checkpoint_path="meta.checkpoint_path",
    rates=("optimization.lr",),
    clip="optimization.clip_grad",
    bfloat16="meta.use_bfloat16",
    note="""settings.yaml        the resolved settings
metrics.csv          what was measured, by optimizer step
examples.txt         held-out contexts, what came next, and what was predicted
run.png              the curves
summary.json         start, best and end
model/               the model to use: ConceptModel.load("model")
checkpoint-*.pth     to resume from
""",
)
