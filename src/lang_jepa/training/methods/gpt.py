"""A GPT trained on tokens, with or without a JEPA loss in addition to the cross-entropy."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lang_jepa.data.tokens.token_stream import draw_spans
from lang_jepa.inference.gpt import initial_gpt, save_gpt
from lang_jepa.inference.model_folder import GPT_CARD, find_gpt, is_whole
from lang_jepa.objectives.gpt_losses import NextTokenLoss
from lang_jepa.settings.gpt import GPTSettings
from lang_jepa.training.checkpoint import load_checkpoint, load_weights
from lang_jepa.training.method import End, Loss, Method, MicroStep, Validation
from lang_jepa.training.methods.gpt_data import GPTBatch, GPTBatches, open_tokens
from lang_jepa.training.methods.gpt_validation import GPTValidation
from lang_jepa.training.metrics import STEP
from lang_jepa.training.optim import WeightAverage, make_gpt_optimizers, set_gpt_rates
from lang_jepa.training.preflight import check_module, check_names, check_paths
from lang_jepa.training.reporter import events_to
from lang_jepa.training.run_folder import Layout
from lang_jepa.training.schedule import GPTSchedule
from lang_jepa.training.sharding import shard

LAYOUT = Layout(
    texts="samples.txt",
    rates=tuple(f"optimization.{group}lr" for group in ("", "embedding_", "scalar_", "head_")),
    shows_texts=True,
    note="""settings.yaml        the resolved settings
metrics.csv          what was measured, by optimizer step
samples.txt          what the model wrote at each validation
summary.json         the end
model/               the model to use: lang_jepa.inference.gpt.load_gpt("model")
checkpoint-last.pth  to resume from
checkpoint-best.pth  the validation with the fewest bits per byte
""",
)


class GPTMethod(Method[GPTSettings]):
    """The `Method` of GPTs. The exported model is the last, for which the learning rates have decayed, not the best.

    Attributes:
        tokens: training and held-out tokens.
        gpt: the model.
        average: average of its weights, if the settings ask for one; this is what is validated and exported.
    """

    settings_class = GPTSettings
    layout = LAYOUT
    columns = (
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
        "epoch/loss",
        "epoch/time",
    )
    """`token_loss` is in nats per token; `loss` is what is minimised, including the weighted span loss; the learning
    rate is that of the matrices."""
    free = (
        "data.corpus_dir",
        "data.prepare_workers",
        "evaluation.sample_tokens",
        "evaluation.temperature",
        "evaluation.top_k",
        "evaluation.sentence_layer",
    )
    of_ranks = ("data.micro_batch_tokens",)
    shards = True
    contents: ClassVar[Mapping[str, Any]] = {
        **Method.contents,
        "average": (dict, type(None)),
    }

    def __init__(self, settings: GPTSettings) -> None:
        super().__init__(settings)
        self.clocked = settings.optimization.max_seconds is not None
        self.schedule = GPTSchedule(settings)
        self.total = settings.optimization.max_steps
        self._span_weight = self.schedule.span_weight(0, 0.0)  # of the last step made

    def complaints(self) -> Iterator[str]:
        path = self.settings.data.data_path
        folder = None if path is None else Path(path)
        if folder is not None and folder.is_dir() and any(folder.glob("*train_*.bin")):
            yield from check_module("sentencepiece", "token shards (data.data_path)")
        yield from check_paths({"data.data_path": folder})
        yield from check_names({"data.tokenizer_path": self.settings.data.tokenizer_path})

    def open_data(self) -> None:
        data, fabric = self.settings.data, self.fabric
        self.tokens = open_tokens(data, events_to(self.reporter))
        self.identity = self.tokens.identity
        share = {"rank": fabric.global_rank, "world": fabric.world_size}
        self._batches = GPTBatches(data, self.tokens, seed=self.settings.meta.seed, **share)
        self.micro_batches = self._batches.micro_batches
        held_out = self.tokens.held_out
        self.validation = None if held_out is None else GPTValidation(self.settings, self.tokens, fabric)

    def build(self) -> None:
        settings = self.settings
        self.network = self.gpt = initial_gpt(settings)
        loss = NextTokenLoss(self.gpt, settings.jepa)
        if settings.meta.compile != "none":
            loss.compile(backend=settings.meta.compile, dynamic=False, fullgraph=True)
        if self.sharded:
            self._shard()
        self.set_up(loss.train(), *make_gpt_optimizers(self.gpt, settings.optimization))
        decay = settings.optimization.ema_decay
        self.average = None if decay is None else WeightAverage(self.gpt, decay)

    def _shard(self) -> None:
        """Shard block by block. Methods that use embedding or head gather both, which may be the same weights."""
        from torch.distributed.fsdp import register_fsdp_forward_method

        shard(self.fabric, *self.gpt.blocks, self.gpt)
        for name in ("states", "logits", "cross_entropy"):
            register_fsdp_forward_method(self.gpt, name)

    def same_steps(self, before: GPTSettings, *, then: int, now: int) -> bool:
        """Always true: `data.batch_tokens` counts the tokens of all processes."""
        return True

    def warnings(self) -> Iterator[str]:
        if self.validation is None:
            yield f"nothing is held out, so nothing can be measured: {self.tokens.why_nothing_held_out}"

    def info(self) -> list[tuple[str, str]]:
        parameters = sum(one.numel() for one in self.gpt.parameters())
        return [*self._batches.info(), ("parameters", f"{parameters:,}")]

    def batches(self, state: Any | None) -> GPTBatches:
        if state is not None:
            self._batches.state = state
        return self._batches

    def ended(self, step: int, seconds: float) -> bool:
        return self.schedule.ended(step, seconds)

    def epochs_ended(self, step: int) -> Sequence[int]:
        return [self._batches.stream.epoch + 1] if self._batches.stream.at_end else []

    def work(self, step: int, seconds: float) -> Hashable:
        """Return the looped layers, and whether spans are drawn."""
        return self.schedule.looped(step, seconds), self.schedule.span_weight(step, seconds) > 0

    def set_rates(self, step: int, seconds: float) -> dict[str, float]:
        rate = set_gpt_rates(self.optimizers, self.schedule, step, seconds)
        return {"train/learning_rate": rate * self.settings.optimization.lr}

    def loss(self, batch: GPTBatch, micro: MicroStep) -> Loss:
        weight = self.schedule.span_weight(micro.step, micro.seconds)
        looped = self.schedule.looped(micro.step, micro.seconds)
        factor = torch.tensor(weight, device=self.fabric.device) if weight else None
        positions = self._positions(batch, micro).to(self.fabric.device, non_blocking=True) if weight else None
        losses = self.model(batch.tokens, looped=looped, positions=positions, weight=factor)
        span = losses.cross_entropy.new_zeros(()) if losses.span is None else losses.span.detach()
        # All micro-batches and ranks have the same number of tokens, so the mean of their means is the overall mean.
        return Loss(losses.total / micro.micro_batches, {"token": losses.cross_entropy.detach(), "span": span})

    def _positions(self, batch: GPTBatch, micro: MicroStep) -> Tensor:
        """Draw the spans of this rank's sequences, int64 [rows, S, 3 or 4]."""
        jepa, count = self.settings.jepa, len(batch.tokens)
        before = micro.step * self.fabric.world_size + self.fabric.global_rank
        first = (before * micro.micro_batches + micro.number) * count
        drawn = draw_spans(
            batch.read[:, :-1].numpy(),
            np.arange(first, first + count),
            form=jepa.form,
            spans=jepa.spans,
            max_frac=jepa.max_span_frac,
            bos_id=self.tokens.train.bos_id,
            seed=self.settings.meta.seed,
        )
        return torch.from_numpy(drawn)

    def metrics(self, sums: Mapping[str, Tensor], micro: MicroStep) -> dict[str, float]:
        share = micro.micro_batches * self.fabric.world_size
        loss, span = float(sums["token"]) / share, float(sums["span"]) / share
        self._span_weight = weight = self.schedule.span_weight(micro.step, micro.seconds)
        return {
            "train/tokens": float((micro.step + 1) * self.settings.data.batch_tokens),
            "train/loss": loss + weight * span,
            "train/token_loss": loss,
            "train/span_weight": weight,
            **({"train/span_loss": span} if weight else {}),
        }

    def after_update(self, step: int) -> None:
        if self.average is not None:
            self.average.update(self.gpt)

    def validate(self, step: int, seconds: float, *, last: bool) -> Validation | None:
        if self.validation is None:
            return None
        looped = self.schedule.looped(step, seconds)
        self.gpt.eval()
        with self._averaged():
            metrics = self.validation.metrics(self.gpt, looped, last=last)
            writes = self.fabric.is_global_zero or self.sharded  # every process must take part in gathering weights
            texts = self.validation.samples(self.gpt, looped, seed=step) if writes else []
        self.gpt.train()
        # The minimised loss, with the span loss weighted as in the last step.
        loss = metrics["val/token_loss"] + self._span_weight * metrics.get("val/span_loss", 0.0)
        return Validation({"val/loss": loss, **metrics}, texts)

    def _averaged(self) -> Any:
        return self.average.in_place(self.gpt) if self.average else nullcontext()

    def best(self) -> tuple[str | None, str]:
        return "val/bits_per_byte", "min"

    def state(self) -> dict[str, Any]:
        return {**super().state(), "average": self.average.state_dict() if self.average else None}

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        super().restore(state, path)
        if self.average is not None:
            self.average.load_state_dict(state["average"] or {})

    def is_made(self, summary: Mapping[str, Any]) -> bool:
        model = find_gpt(Path(self.settings.logging.log_dir))
        return model is not None and is_whole(model / GPT_CARD, what="card of the GPT")

    def export(self, folder: Path, end: End) -> Path:
        if self.sharded:  # only rank 0 needs whole weights, and reads them from the checkpoint
            last, parts = folder / self.layout.last, ("model", "average")
            state = load_checkpoint(last, system=self.settings.system, contents=self.contents, parts=parts)
            self.gpt = initial_gpt(self.settings)
            load_weights(self.gpt, {**state["model"], **(state["average"] or {})}, what=f"the model in {last}")
        with self._averaged() if not self.sharded else nullcontext():
            save_gpt(
                folder / "model",
                self.gpt,
                self.settings,
                save_tokenizer=self.tokens.save_tokenizer,
                looped=self.schedule.looped(end.step, end.seconds),
                bos_id=self.tokens.train.bos_id,
                step=end.step,
                corpus=self.identity,
                scores=dict(end.metrics),
            )
        return folder / "model"
