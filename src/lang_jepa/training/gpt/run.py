"""A GPT's run: the training step, its looks at held-out tokens, and how it is saved and taken up again."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.errors import LangJepaError
from lang_jepa.inference.model_folder import initial_gpt
from lang_jepa.objectives.next_token import NextTokenLoss
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training import ranks
from lang_jepa.training.gpt.look import GPTLook
from lang_jepa.training.gpt.material import GPTMaterial
from lang_jepa.training.gpt.optim import WeightAverage, make_optimizers, set_gpt_rates
from lang_jepa.training.gpt.schedule import GPTSchedule
from lang_jepa.training.metrics import STEP
from lang_jepa.training.optim import check_gradients, clip_gradients
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.run_files import Best, RunFiles
from lang_jepa.training.run_folder import Layout, RunFolder
from lang_jepa.training.signals import StopRequest
from lang_jepa.training.trackers import make_trackers

COLUMNS = (
    STEP,
    "train/epoch",
    "train/tokens",
    "train/loss",
    "train/token_loss",
    "train/span_loss",
    "train/span_weight",
    "train/learning_rate",
    "train/grad_norm",
    "train/targets_per_second",
    "train/seconds",
    "val/loss",
    "val/token_loss",
    "val/bits_per_byte",
    "val/tokens",
    "val/bytes",
    "val/span_loss",
    "val/span_loss_without_drift",
    "val/sliding_loss",
    "val/sliding_bits_per_byte",
)
"""Columns of metrics.csv. `token_loss` is nats per token, and `loss` what is minimised, the weighted span loss
included; the learning rate is that of the matrices."""
FREE = (
    "logging.",
    "meta.load_checkpoint",
    "meta.checkpoint_path",
    "meta.timeout_minutes",
    "data.corpus_dir",
    "data.prepare_workers",
    "evaluation.num_samples",
    "evaluation.sample_tokens",
    "evaluation.temperature",
    "evaluation.top_k",
    "evaluation.sentence_layer",
    "recipe",
)
LAYOUT = Layout(
    last=checkpoints.LAST,
    best=checkpoints.BEST,
    epoch="checkpoint-epoch{}.pth",
    option="-o",
    log_dir="logging.log_dir",
    checkpoint_path="meta.checkpoint_path",
    rates=tuple(f"optimization.{group}_lr" for group in ("matrix", "embedding", "scalar", "head")),
    clip="optimization.clip_grad",
    bfloat16="meta.use_bfloat16",
    note="""settings.yaml        the resolved settings
metrics.csv          what was measured, by optimizer step
samples.txt          what the model wrote at each look
summary.json         the end
model/               the model to use: lang_jepa.inference.model_folder.load_gpt("model")
checkpoint-last.pth  to resume from
checkpoint-best.pth  the look with the fewest bits per byte
""",
)


class GPTRun:
    """State of a GPT's training.

    Args:
        settings: the resolved settings.
        fabric: a launched lightning Fabric.
        material: training batches.
        look: at held-out tokens, where there are any.
        reporter: listens on rank 0.

    Attributes:
        step: optimizer steps done.
        seconds: spent in training steps.
        resumed: it took up a checkpoint.
        interrupted: it was asked to stop before the end, by the signal `stopped_by`.
        figures: of the last look.
        best: the look with the fewest bits per byte. The model is that of the end, to which the rates come down.
        changes: settings that were changed on the way, as a checkpoint keeps them.
    """

    def __init__(
        self,
        settings: GPTSettings,
        fabric: Any,
        material: GPTMaterial,
        look: GPTLook | None,
        reporter: Reporter,
    ) -> None:
        self.settings, self.fabric, self.material = settings, fabric, material
        self.held_out, self.reporter = look, reporter
        self.folder, self.chief = Path(settings.logging.log_dir), bool(fabric.is_global_zero)
        self.place = RunFolder(self.folder, LAYOUT)
        self.schedule = GPTSchedule(settings)
        self.gpt = initial_gpt(settings)
        loss = NextTokenLoss(self.gpt, settings.jepa)
        if settings.meta.compile != "none":
            loss.compile(backend=settings.meta.compile, dynamic=False, fullgraph=True)
        self.model = fabric.setup_module(loss.train())
        optimizers = make_optimizers(self.gpt, settings.optimization)
        self.optimizers = [fabric.setup_optimizers(one) for one in optimizers]
        decay = settings.optimization.ema_decay
        self.average = None if decay is None else WeightAverage(self.gpt, decay)
        self.step = self.first_step = 0
        self.seconds = 0.0
        self.interrupted = self.resumed = False
        self.stopped_by: int | None = None
        self.span_weight = self.schedule.span_weight(0, 0.0)
        self.best, self.changes = Best("val/bits_per_byte", "min"), list[Any]()
        self.figures: dict[str, float] = {}

    @property
    def looped(self) -> tuple[int, ...]:
        """Layers that are passed through twice now."""
        return self.schedule.looped(self.step, self.seconds)

    def begin(self) -> None:
        """Open the files and, where the settings say so, take up the last checkpoint."""
        meta, logging = self.settings.meta, self.settings.logging
        path = (
            self.place.to_resume(meta.checkpoint_path, self.reporter.message)
            if meta.load_checkpoint
            else None
        )
        self.resumed = path is not None
        if path is not None:
            self._restore(path)
        self.first_step = self.step
        if self.chief:
            first = self.step + 1 if self.resumed else 0
            self.files = RunFiles(
                self.folder,
                texts="samples.txt",
                trackers=make_trackers(logging, self.settings, self.folder, first=first),
                resume_step=self.step if self.resumed else None,
                columns=COLUMNS,
            )
            parameters = sum(one.numel() for one in self.gpt.parameters())
            facts = [*self.material.facts(), ("parameters", f"{parameters:,}")]
            total = self.settings.optimization.max_steps
            self.reporter.begin(total=total, start=self.step, every=logging.log_every, facts=facts)

    def fit(self) -> None:
        """Train until the last step, the end of the time, or until asked to stop; leaves a checkpoint either way.

        Raises:
            LangJepaError: the loss or its gradient is not finite; the update is not made.
        """
        with StopRequest() as stop:
            if not self.resumed:
                self.look(last=False)
            while not self.schedule.ended(self.step, self.seconds):
                _, stopping = ranks.agree(self.fabric, 0, stop.requested)
                if stopping:
                    self.interrupted, self.stopped_by = True, stop.number
                    break
                began = time.perf_counter()
                figures = self.train_step(self.material.next_batch())
                spent = time.perf_counter() - began
                self.seconds = self._agreed(self.seconds + spent)
                self._after_step(figures, spent)
        self.save()

    def _agreed(self, seconds: float) -> float:
        """The first rank's clock decides, where the schedule depends on it."""
        timed = self.settings.optimization.max_seconds is not None
        return ranks.of_chief(self.fabric, seconds) if timed else seconds

    def train_step(self, rows: Tensor) -> dict[str, float]:
        """One optimizer step over this rank's sequences, int64 [rows, seq_len + 1]; returns its figures."""
        rate = set_gpt_rates(self.optimizers, self.schedule, self.step, self.seconds)
        weight, looped = self.schedule.span_weight(self.step, self.seconds), self.looped
        parts = self.material.parts
        places = self._places(rows).chunk(parts) if weight else [None] * parts
        factor = torch.tensor(weight, device=self.fabric.device) if weight else None
        sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        for number, (tokens, spans) in enumerate(zip(rows.chunk(parts), places, strict=True), start=1):
            with self.fabric.no_backward_sync(self.model, enabled=number < parts):
                losses = self.model(
                    self._moved(tokens), looped=looped, places=self._moved(spans), weight=factor
                )
                # Micro-batches and ranks have equally many tokens, so the mean of their means is that of all.
                self.fabric.backward(losses.total / parts)
            sums[0] += losses.cross_entropy.detach()
            if losses.span is not None:
                sums[1] += losses.span
        if self.step == self.first_step:
            check_gradients(self.gpt)
        norm = clip_gradients(self.gpt, self.settings.optimization.clip_grad)
        loss, span = (ranks.total(self.fabric, sums) / (parts * self.fabric.world_size)).tolist()
        total = loss + weight * span
        self.place.check_finite(self.step + 1, total, norm, self.settings, chief=self.chief)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.gpt)
        self.step += 1
        self.span_weight = weight
        return {
            STEP: float(self.step),
            "train/epoch": float(self.material.stream.epoch),
            "train/tokens": float(self.step * self.settings.data.batch_tokens),
            "train/loss": total,
            "train/token_loss": loss,
            "train/span_weight": weight,
            "train/learning_rate": rate * self.settings.optimization.matrix_lr,
            "train/grad_norm": norm,
            **({"train/span_loss": span} if weight else {}),
        }

    def _places(self, rows: Tensor) -> Tensor:
        """Spans of this rank's sequences, int64 [rows, S, 3 or 4]."""
        jepa, count = self.settings.jepa, len(rows)
        first = (self.step * self.fabric.world_size + self.fabric.global_rank) * count
        drawn = draw_spans(
            rows[:, :-1].numpy(),
            np.arange(first, first + count),
            form=jepa.form,
            spans=jepa.spans,
            max_frac=jepa.max_span_frac,
            bos_id=self.material.tokens.train.bos_id,
            seed=self.settings.meta.seed,
        )
        return torch.from_numpy(drawn)

    def _moved(self, tensor: Any) -> Any:
        return None if tensor is None else tensor.to(self.fabric.device, non_blocking=True)

    def _after_step(self, figures: dict[str, float], spent: float) -> None:
        """What is due after the step just made: a row of metrics, a look, a checkpoint."""
        logging = self.settings.logging
        last = self.schedule.ended(self.step, self.seconds)
        figures["train/targets_per_second"] = self.settings.data.batch_tokens / spent
        figures["train/seconds"] = self.seconds
        if self.chief:
            self.reporter.step(self.step, figures)
            if self.step % logging.log_every == 0 or last:
                self.files.write(self.step, figures)
        if self.step % self.settings.evaluation.val_every == 0 or last:
            self.look(last=last)
        if logging.checkpoint_freq and self.material.stream.at_end:
            number = self.material.stream.epoch + 1
            if number % logging.checkpoint_freq == 0:
                self.save(LAYOUT.epoch.format(number))
        if self.step % logging.checkpoint_every == 0 and not last:
            self.save()

    def look(self, *, last: bool) -> None:
        """Measure on held-out tokens, and write some text."""
        if self.held_out is None:
            return
        self.gpt.eval()
        with self.average.in_place(self.gpt) if self.average else nullcontext():
            self.figures = self._with_loss(self.held_out.figures(self.gpt, self.looped, last=last))
            texts = self.held_out.samples(self.gpt, self.looped, seed=self.step) if self.chief else []
        self.gpt.train()
        if self.chief:
            figures = {STEP: float(self.step), "train/seconds": self.seconds, **self.figures}
            self.files.write(self.step, figures)
            self.reporter.look(self.step, figures)
            self.files.texts.write(self.step, texts)
            for text in texts:
                self.reporter.message(f"  sample  {text}")
        if self.best.improves(self.step, self.figures):
            self.save(checkpoints.BEST)

    def _with_loss(self, figures: Mapping[str, float]) -> dict[str, float]:
        """With what is minimised, the span loss weighted as in the last step made."""
        return {
            "val/loss": figures["val/token_loss"] + self.span_weight * figures.get("val/span_loss", 0.0),
            **figures,
        }

    def finish(self) -> None:
        """Close what was opened."""
        if self.chief and hasattr(self, "files"):
            self.files.close()

    def save(self, name: str = checkpoints.LAST) -> None:
        """Write a checkpoint; every rank must call it, rank 0 writes."""
        if self.chief:
            checkpoints.save_checkpoint(self.folder / name, self._state())
            keep, origin = self.settings.logging.keep_checkpoints, self.settings.meta.checkpoint_path
            self.place.saved(name, keep=keep, origin=origin)
        self.fabric.barrier()

    def _state(self) -> dict[str, Any]:
        return {
            "system": "gpt",
            "settings": self.settings.model_dump(),
            "corpus": self.material.tokens.identity,
            "world": self.fabric.world_size,
            "step": self.step,
            "total": self.settings.optimization.max_steps,
            "seconds": self.seconds,
            "model": self.gpt.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "average": self.average.state_dict() if self.average else None,
            "stream": self.material.stream.state,
            "figures": self.figures,
            "best": self.best.state(),
            "changes": self.changes,
        }

    def _restore(self, path: Path) -> None:
        """Take up a checkpoint exactly, or refuse."""
        state = self.place.read(path, system="gpt")
        self.changes = checkpoints.check_matches(
            state,
            self.settings,
            corpus=self.material.tokens.identity,
            world=self.fabric.world_size,
            total=self.settings.optimization.max_steps,
            path=path,
            free=FREE,
            allowed=self.place.may_change(),
        )
        if warning := checkpoints.rounds_otherwise(state, self.fabric.device):
            self.reporter.warning(warning)
        checkpoints.load_weights(self.gpt, state["model"], what=f"the model in {path}")
        if len(state["optimizers"]) != len(self.optimizers):
            raise LangJepaError(
                f"{path} has {len(state['optimizers'])} optimizers, not {len(self.optimizers)}"
            )
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            checkpoints.load_optimizer(optimizer, saved, what=f"an optimizer in {path}")
        if self.average is not None:
            self.average.load_state_dict(state["average"] or {})
        self.material.stream.restart(state["stream"])
        if self.chief:
            self.place.bring_over(path.parent, texts="samples.txt")
        self.fabric.barrier()
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.figures = dict(state["figures"])
        if (self.folder / checkpoints.BEST).is_file():
            self.best.restore(state.get("best"))
