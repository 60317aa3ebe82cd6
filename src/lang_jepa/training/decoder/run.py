"""A decoder's run: the training step, its looks at held-out sentences, and how it is saved and taken up again."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lang_jepa.data.views.order import Indices
from lang_jepa.inference.decoding import TextDecoder, build_decoder
from lang_jepa.inference.model import ConceptModel
from lang_jepa.models.decoder import DecoderBatch, Generation
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import OptimizationSettings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training import ranks
from lang_jepa.training.decoder.material import DecoderMaterial
from lang_jepa.training.metrics import STEP
from lang_jepa.training.optim import adamw, check_gradients, clip_gradients, set_rates
from lang_jepa.training.reporter import Reporter
from lang_jepa.training.run_files import Best, RunFiles
from lang_jepa.training.run_folder import Layout, RunFolder
from lang_jepa.training.schedule import Schedule
from lang_jepa.training.signals import StopRequest
from lang_jepa.training.trackers import make_trackers

LAST, BEST = "last_decoder.pt", "best_decoder.pt"
COLUMNS = (
    STEP,
    "train/epoch",
    "train/loss",
    "train/learning_rate",
    "train/grad_norm",
    "train/targets_per_second",
    "train/seconds",
    "val/loss",
    "val/loss_own",
    "val/loss_predicted",
    "val/loss_shuffled",
    "val/perplexity",
    "val/bits_per_byte",
    "val/token_accuracy",
    "val/count",
)
"""Columns of metrics.csv. Losses are nats per token; `loss` is what is minimised, in training of own and of predicted
concepts by their shares."""
FREE = ("logging.", "meta.load_checkpoint", "meta.checkpoint_path", "meta.timeout_minutes", "recipe")
_LOOK_BATCH = 128
LAYOUT = Layout(
    last=LAST,
    best=BEST,
    epoch="epoch{}_decoder.pt",
    option="-d",
    log_dir="logging.log_dir",
    checkpoint_path="meta.checkpoint_path",
    rates=("optimization.lr",),
    clip="optimization.clip_grad",
    bfloat16="meta.precision",
    note="""settings.yaml      the decoder's resolved settings
metrics.csv        what was measured, by optimizer step
samples.txt        held-out sentences and their reconstructions
summary.json       the best and the end
best_decoder.pt    the decoder with the lowest held-out loss
last_decoder.pt    to resume from
""",
)


class DecoderRun:
    """State of a decoder's training.

    Args:
        settings: the resolved settings.
        fabric: a launched lightning Fabric.
        material: sentences and concepts.
        model: the encoder, for the standardisation of its concepts.
        reporter: listens on rank 0.

    Attributes:
        step, total: optimizer steps done and planned.
        interrupted: it was asked to stop before the end, by the signal `stopped_by`.
        best: the look with the lowest held-out loss.
        changes: settings that were changed on the way, as a checkpoint keeps them.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        fabric: Any,
        material: DecoderMaterial,
        model: ConceptModel,
        reporter: Reporter,
    ) -> None:
        self.settings, self.fabric, self.material, self.reporter = settings, fabric, material, reporter
        self.folder, self.chief = Path(settings.logging.log_dir), bool(fabric.is_global_zero)
        self.place = RunFolder(self.folder, LAYOUT)
        self.step = self.first_step = 0
        self.total, self.epoch_ends = material.total_steps()
        per_epoch = self.epoch_ends[0] if self.epoch_ends else self.total
        optimization = _optimization(settings, self.total)
        self.schedule = Schedule.of(optimization, total=self.total, steps_per_epoch=per_epoch)
        seed = settings.meta.seed
        torch.manual_seed(seed)
        statistics = model.statistics if settings.decoder.whiten else None
        self.network = build_decoder(
            settings,
            concept_dim=model.dim,
            tokenizer=material.tokenizer,
            mean=statistics.mean if statistics else None,
            whitening=statistics.whitening if statistics else None,
        ).train()
        self.model = fabric.setup_module(self.network)
        self.optimizer = fabric.setup_optimizers(adamw(self.network, self.network, optimization))
        # From here on the generator only feeds dropout, and ranks must not drop alike.
        torch.manual_seed(seed * 1000 + 1 + fabric.global_rank)
        self.interrupted = self.resumed = False
        self.stopped_by: int | None = None
        self.seconds = 0.0
        self.best, self.changes = Best("val/loss", "min"), list[Any]()

    def begin(self) -> None:
        """Open the files and, where the settings say so, take up the last checkpoint."""
        meta = self.settings.meta
        path = (
            self.place.to_resume(meta.checkpoint_path, self.reporter.message)
            if meta.load_checkpoint
            else None
        )
        state = None if path is None else self._restore(path)
        self.first_step, self.resumed = self.step, state is not None
        self.material.start(state["loader"][self.fabric.global_rank] if state else None)
        if self.chief:
            first = self.step + 1 if self.resumed else 0
            self.files = RunFiles(
                self.folder,
                texts="samples.txt",
                trackers=make_trackers(self.settings.logging, self.settings, self.folder, first=first),
                resume_step=self.step if self.resumed else None,
                columns=COLUMNS,
            )
            every, facts = self.settings.logging.log_freq, self.material.facts()
            self.reporter.begin(total=self.total, start=self.step, every=every, facts=facts)

    def fit(self) -> None:
        """Train until the last step, or until asked to stop; leaves a checkpoint either way.

        Raises:
            LangJepaError: the loss or its gradient is not finite; the update is not made.
        """
        with StopRequest() as stop:
            if not self.resumed:
                self._look()
            while self.step < self.total:
                began = time.perf_counter()
                position, wanted = self.material.loader.state, self.settings.optimization.grad_accum_steps
                batches = [] if stop.requested else [self._next() for _ in range(wanted)]
                count, stopping = ranks.agree(
                    self.fabric, sum(batch.predictions for batch in batches), stop.requested
                )
                if stopping:
                    self.material.loader.state = position  # no step was made of the batches just read
                    self.interrupted, self.stopped_by = True, stop.number
                    break
                self._train_step(batches, count)
                self.seconds += time.perf_counter() - began
                self._after_step()
        self.save()

    def _next(self) -> DecoderBatch:
        return self.material.next_batch().to(self.fabric.device)

    def _train_step(self, batches: list[DecoderBatch], count: int) -> None:
        """One optimizer step over its micro-batches; `count`: tokens in all of them, on all ranks."""
        began = time.perf_counter()
        rate = set_rates(self.optimizer, self.schedule, self.step)
        nats = torch.zeros((), device=self.fabric.device)
        for number, batch in enumerate(batches, start=1):
            with self.fabric.no_backward_sync(self.model, enabled=number < len(batches)):
                with self.fabric.autocast():
                    losses, _ = self.model(batch)
                # DDP averages over ranks; this makes the average the gradient of the mean over all tokens.
                self.fabric.backward(losses.sum() * (self.fabric.world_size / count))
            nats += losses.detach().sum()
        if self.step == self.first_step:
            check_gradients(self.network)
        norm = clip_gradients(self.network, self.settings.optimization.clip_grad)
        loss = float(ranks.total(self.fabric, nats)) / count
        self.place.check_finite(self.step + 1, loss, norm, self.settings, chief=self.chief)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        figures = {
            STEP: float(self.step),
            "train/epoch": float(self.material.loader.state.get("epoch", 0)),
            "train/loss": loss,
            "train/learning_rate": rate,
            "train/grad_norm": norm,
            "train/targets_per_second": count / (time.perf_counter() - began),
        }
        if self.chief:
            self.reporter.step(self.step, figures)
            if self.step % self.settings.logging.log_freq == 0 or self.step == self.total:
                self.files.write(self.step, figures)

    def _after_step(self) -> None:
        logging, last = self.settings.logging, self.step == self.total
        if last or self.step % (logging.eval_freq or max(1, self.total // 10)) == 0:
            self._look()
        if self.step in self.epoch_ends and logging.checkpoint_freq:
            number = self.epoch_ends.index(self.step) + 1
            if number % logging.checkpoint_freq == 0:
                self.save(LAYOUT.epoch.format(number))
        if self.step % (logging.checkpoint_steps or max(1, self.total // 10)) == 0 and not last:
            self.save()

    @torch.no_grad()
    def _look(self) -> None:
        """Measure on held-out sentences, show some with their reconstructions, keep the best."""
        if not len(self.material.sample):
            return
        self.network.eval()
        figures = self._measure()
        self.network.train()
        if self.chief:
            self.files.write(self.step, {STEP: float(self.step), "train/seconds": self.seconds, **figures})
            self.reporter.look(self.step, {STEP: float(self.step), **figures})
            self._show()
        if self.best.improves(self.step, figures):
            self.save(BEST)

    def _measure(self) -> dict[str, float]:
        """Held-out figures: sums over tokens of all ranks, divided once."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        sample, side = self.material.sample, self.material.held_out
        own = np.arange(len(sample))[rank::world]
        sums = torch.zeros(7, dtype=torch.float64, device=self.fabric.device)
        for start in range(0, len(own), _LOOK_BATCH):
            places = own[start : start + _LOOK_BATCH]
            examples = sample[places]
            others = sample[(places + max(1, len(sample) // 2)) % len(sample)]
            nats, right, tokens = self._score(side.own(examples))
            shuffled, _, _ = self._score(side.own(examples, concepts_of=others))
            foretold, _, of = self._score(side.foretold(examples)) if side.share else (0.0, 0.0, 0.0)
            size = sum(len(text.encode()) for text in side.texts(examples))
            found = [nats, right, tokens, shuffled, size, foretold, of]
            sums += torch.tensor(found, dtype=torch.float64).to(sums)
        nats, right, tokens, shuffled, size, foretold, of = ranks.total(self.fabric, sums).tolist()
        own, share = nats / tokens, self.settings.data.predicted_share
        both = {"val/loss_own": own, "val/loss_predicted": foretold / of} if of else {}
        return {
            "val/loss": (1 - share) * own + share * foretold / of if of else own,
            **both,
            "val/loss_shuffled": shuffled / tokens,
            "val/perplexity": math.exp(own),
            "val/bits_per_byte": nats / math.log(2) / size,
            "val/token_accuracy": right / tokens,
            "val/count": float(len(sample)),
        }

    def _score(self, batch: DecoderBatch) -> tuple[float, float, float]:
        """Nats, right tokens, and tokens of a batch."""
        if not batch.predictions:
            return 0.0, 0.0, 0.0
        with self.fabric.autocast():
            nats, right = self.network(batch.to(self.fabric.device))
        return float(nats.double().sum()), float(right.sum()), float(batch.predictions)

    def _show(self) -> None:
        """Log held-out sentences, spread over the side, with their greedy reconstructions."""
        count = min(self.settings.logging.num_examples, len(self.material.sample))
        if count:
            examples: Indices = self.material.sample[
                np.linspace(0, len(self.material.sample) - 1, count).astype(int)
            ]
            concepts = self.material.held_out.own(examples).concepts.to(self.fabric.device)
            tokenizer = self.material.tokenizer
            told = [tokenizer.decode(ids) for ids in self.network.generate(concepts, Generation())]
            pairs = zip(self.material.held_out.texts(examples), told, strict=True)
            shown = [f"  original        {one}\n  reconstruction  {other}" for one, other in pairs]
            self.files.texts.write(self.step, shown)
            for text in shown:
                self.reporter.message(text)

    def save(self, name: str = LAST) -> None:
        """Write a checkpoint; every rank must call it, rank 0 writes."""
        checkpoints.save_run(self.fabric, self.folder / name, self.material.loader.state, self._state)
        if self.chief:
            keep, origin = self.settings.logging.keep_checkpoints, self.settings.meta.checkpoint_path
            self.place.saved(name, keep=keep, origin=origin)

    def _state(self, everyone: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "system": "decoder",
            "settings": self.settings.model_dump(),
            "corpus": self.material.fingerprint,
            "encoder": self.material.encoder,
            "world": self.fabric.world_size,
            "step": self.step,
            "total": self.total,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best.state(),
            "changes": self.changes,
            "seconds": self.seconds,
            "loader": [rank["loader"] for rank in everyone],
            "generators": [rank["generators"] for rank in everyone],
        }

    def _restore(self, path: Path) -> dict[str, Any]:
        """Take up a checkpoint exactly, or refuse."""
        state = self.place.read(path, system="decoder")
        self.changes = checkpoints.check_matches(
            state,
            self.settings,
            corpus=self.material.fingerprint,
            world=self.fabric.world_size,
            total=self.total,
            path=path,
            free=FREE,
            folder="logging.log_dir",
            allowed=self.place.may_change(),
        )
        if warning := checkpoints.rounds_otherwise(state, self.fabric.device):
            self.reporter.warning(warning)
        checkpoints.load_weights(self.network, state["model"], what=f"the decoder in {path}")
        checkpoints.load_optimizer(self.optimizer, state["optimizer"], what=f"the optimizer in {path}")
        if self.chief:
            self.place.bring_over(path.parent, texts="samples.txt")
        self.fabric.barrier()
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if (self.folder / BEST).is_file():
            self.best.restore(state["best"])
        ranks.set_generators(state["generators"][self.fabric.global_rank])
        return state

    def finish(self) -> None:
        """Close what was opened."""
        if self.chief and hasattr(self, "files"):
            self.files.close()

    def decoder(self) -> tuple[TextDecoder, int]:
        """The decoder of the best look (of the last step, where nothing was held out), and its step. Rank 0 only."""
        path = self.folder / (LAST if self.best.step is None else BEST)
        state = checkpoints.load_checkpoint(path, system="decoder")
        checkpoints.load_weights(self.network, state["model"], what=f"the decoder in {path}")
        if self.best.step is None:
            checkpoints.save_checkpoint(self.folder / BEST, {k: v for k, v in state.items() if k != "format"})
        decoder = TextDecoder(
            self.network, self.material.tokenizer, self.settings, encoder=self.material.encoder
        )
        return decoder, int(state["step"])


def _optimization(settings: DecoderSettings, total: int) -> OptimizationSettings:
    """The decoder's settings under the names that schedule and optimizer know."""
    optimization = settings.optimization
    return OptimizationSettings(
        lr=optimization.lr,
        final_lr=optimization.final_lr,
        warmup_steps=total // 20 if optimization.warmup_steps is None else optimization.warmup_steps,
        weight_decay=optimization.weight_decay,
        final_weight_decay=optimization.weight_decay,
    )
