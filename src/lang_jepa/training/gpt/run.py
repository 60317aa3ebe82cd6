"""A GPT's run: the training step, its looks at held-out tokens, and how it is saved and taken up again."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lang_jepa.concepts.gpt_directory import initial_gpt
from lang_jepa.config_gpt import GPTSettings
from lang_jepa.data.token_spans import draw_spans
from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.next_token import NextTokenLoss
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training import ranks
from lang_jepa.training.examples import ExamplesFile
from lang_jepa.training.gpt.look import GPTLook
from lang_jepa.training.gpt.material import GPTMaterial
from lang_jepa.training.gpt.optim import WeightAverage, make_optimizers, set_gpt_rates
from lang_jepa.training.gpt.schedule import GPTSchedule
from lang_jepa.training.metrics import STEP, MetricsFile
from lang_jepa.training.optim import check_finite, check_gradients, clip_gradients
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.signals import StopRequest
from lang_jepa.training.trackers import make_trackers

COLUMNS = (
    STEP,
    "train/epoch",
    "train/tokens",
    "train/loss",
    "train/span_loss",
    "train/span_weight",
    "train/learning_rate",
    "train/grad_norm",
    "train/targets_per_second",
    "train/seconds",
    "val/loss",
    "val/bits_per_byte",
    "val/tokens",
    "val/bytes",
    "val/span_loss",
    "val/span_loss_without_drift",
    "val/sliding_loss",
    "val/sliding_bits_per_byte",
)
"""Columns of metrics.csv. Losses are nats per token; the learning rate is that of the matrices."""
_FREE = (
    "logging.",
    "meta.load_checkpoint",
    "data.corpus_dir",
    "data.prepare_workers",
    "evaluation.num_samples",
    "evaluation.sample_tokens",
    "evaluation.temperature",
    "evaluation.top_k",
    "evaluation.sentence_layer",
    "recipe",
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
        interrupted: it was asked to stop before the end.
        figures: of the last look.
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
        self.figures: dict[str, float] = {}

    @property
    def looped(self) -> tuple[int, ...]:
        """Layers that are passed through twice now."""
        return self.schedule.looped(self.step, self.seconds)

    def begin(self) -> None:
        """Open the files and, where the settings say so, take up the last checkpoint."""
        self.resumed = self.settings.meta.load_checkpoint
        if self.resumed:
            self._restore()
        self.first_step = self.step
        if self.chief:
            kept = self.step if self.resumed else None
            self.metrics = MetricsFile(self.folder / "metrics.csv", resume_step=kept, columns=COLUMNS)
            self.samples = ExamplesFile(self.folder / "samples.txt", resume_step=kept)
            self.trackers = make_trackers(self.settings, self.folder)
            parameters = sum(one.numel() for one in self.gpt.parameters())
            facts = [*self.material.facts(), ("parameters", f"{parameters:,}")]
            self.reporter.begin(total=self.settings.optimization.max_steps, start=self.step, facts=facts)

    def fit(self) -> None:
        """Train until the last step, the end of the time, or until asked to stop; leaves a checkpoint either way.

        Raises:
            LangJepaError: the loss or its gradient is not finite; the update is not made.
        """
        with StopRequest() as stop:
            while not self.schedule.ended(self.step, self.seconds):
                _, stopping = ranks.agree(self.fabric, 0, stop.requested)
                if stopping:
                    self.interrupted = True
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
        check_finite(self.step + 1, loss + span, norm, advice=self._advice())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.gpt)
        self.step += 1
        return {
            STEP: float(self.step),
            "train/epoch": float(self.material.stream.epoch),
            "train/tokens": float(self.step * self.settings.data.batch_tokens),
            "train/loss": loss,
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

    def _advice(self) -> str:
        path = self.folder / checkpoints.LAST
        place = f"The last checkpoint is {path}." if path.is_file() else "There is no checkpoint yet."
        return (
            f"{place} Lower optimization.matrix_lr, optimization.embedding_lr and optimization.scalar_lr, set "
            "optimization.clip_grad, or switch off meta.use_bfloat16, and go on with --resume."
        )

    def _after_step(self, figures: dict[str, float], spent: float) -> None:
        """What is due after the step just made: a row of metrics, a look, a checkpoint."""
        logging = self.settings.logging
        last = self.schedule.ended(self.step, self.seconds)
        figures["train/targets_per_second"] = self.settings.data.batch_tokens / spent
        figures["train/seconds"] = self.seconds
        if self.chief:
            self.reporter.step(self.step, figures)
            if self.step % logging.log_every == 0 or last:
                self._write(figures)
        if self.step % self.settings.evaluation.val_every == 0 or last:
            self.look(last=last)
        if self.step % logging.checkpoint_every == 0 and not last:
            self.save()

    def look(self, *, last: bool) -> None:
        """Measure on held-out tokens, and write some text."""
        if self.held_out is None:
            return
        self.gpt.eval()
        with self.average.in_place(self.gpt) if self.average else nullcontext():
            self.figures = self.held_out.figures(self.gpt, self.looped, last=last)
            texts = self.held_out.samples(self.gpt, self.looped, seed=self.step) if self.chief else []
        self.gpt.train()
        if self.chief:
            figures = {STEP: float(self.step), "train/seconds": self.seconds, **self.figures}
            self._write(figures)
            self.reporter.look(self.step, figures)
            self.samples.write(self.step, texts)
            for text in texts:
                self.reporter.message(f"  sample  {text}")

    def _write(self, figures: Mapping[str, float]) -> None:
        self.metrics.write(figures)
        for tracker in self.trackers:
            tracker.write(self.step, figures)

    def finish(self) -> None:
        """Close what was opened."""
        if self.chief and hasattr(self, "trackers"):
            for tracker in self.trackers:
                tracker.close()

    def save(self) -> None:
        """Write the last checkpoint; every rank must call it, rank 0 writes."""
        if self.chief:
            checkpoints.save_checkpoint(self.folder / checkpoints.LAST, self._state())
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
        }

    def _restore(self) -> None:
        """Take up the last checkpoint exactly, or refuse."""
        path = self.folder / checkpoints.LAST
        state = checkpoints.load_checkpoint(path, system="gpt")
        checkpoints.check_matches(
            state,
            self.settings,
            corpus=self.material.tokens.identity,
            world=self.fabric.world_size,
            total=self.settings.optimization.max_steps,
            path=path,
            free=_FREE,
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
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.figures = dict(state["figures"])
