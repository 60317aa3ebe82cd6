"""A concept decoder: generates text from the concepts of a frozen encoder, and is saved in its model directory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from lang_jepa.data.corpus.prepare import report_losses
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.order import Indices
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable
from lang_jepa.inference.decoding import TextDecoder, build_decoder
from lang_jepa.inference.model_folder import CARD, DECODER_WEIGHTS, find_model, is_whole, join_model
from lang_jepa.inference.prediction import check_predicts
from lang_jepa.models.decoder import DecoderBatch, Generation
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import EncoderOptimizationSettings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.load import load_any
from lang_jepa.training.method import End, Loss, Method, MicroStep, Validation
from lang_jepa.training.methods.decoder_data import DecoderData, corpus_for
from lang_jepa.training.metrics import STEP
from lang_jepa.training.optim import adamw, set_rates
from lang_jepa.training.preflight import check_names, check_paths
from lang_jepa.training.reporter import events_to
from lang_jepa.training.run_folder import Layout
from lang_jepa.training.schedule import Schedule

LAYOUT = Layout(
    last="last_decoder.pt",
    best="best_decoder.pt",
    epoch="epoch{}_decoder.pt",
    option="-d",
    texts="samples.txt",
    shows_texts=True,
    note="""settings.yaml      the decoder's resolved settings
metrics.csv        what was measured, by optimizer step
samples.txt        held-out sentences and their reconstructions
summary.json       the best and the end
best_decoder.pt    the decoder with the lowest held-out loss
last_decoder.pt    to resume from
""",
)
_PASS = 64
"""Held-out sentences in one pass."""


class DecoderMethod(Method[DecoderSettings]):
    """The `Method` of decoders.

    Attributes:
        data: sentences and their concepts.
        network: the decoder.
    """

    settings_class = DecoderSettings
    layout = LAYOUT
    columns = (
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
        "epoch/loss",
        "epoch/time",
    )
    free = ("data.encoder",)
    contents: ClassVar[Mapping[str, Any]] = {**Method.contents, "encoder": str}

    @property
    def encoder(self) -> Path:
        """The encoder's run directory, model directory or checkpoint."""
        assert self.settings.data.encoder is not None  # ensured by `complaints`
        return Path(self.settings.data.encoder)

    def complaints(self) -> Iterator[str]:
        data = self.settings.data
        if data.encoder is None:
            yield "data.encoder: name the run directory, model directory or checkpoint of an encoder (--encoder RUN)"
        yield from check_paths({"the encoder": None if data.encoder is None else Path(data.encoder)})
        yield from check_names({"decoder.tokenizer_path": self.settings.decoder.tokenizer_path})

    def open_data(self) -> None:
        settings, fabric = self.settings, self.fabric
        if fabric.is_global_zero:
            self._check_writable()
        model = self.concepts = load_any(self.encoder)
        if not model.has_predictor:
            raise LangJepaError(
                f"a decoder is kept in the model directory of its encoder, and {self.encoder} is a pretrained encoder: "
                f"train a model on it first, with lang-jepa train pretrained -o data.tokenizer_path={self.encoder} "
                "(add -o model.freeze_encoder=true -o objective.target=frozen to leave the encoder as it is)"
            )
        other = settings.decoder.tokenizer_path
        tokenizer = model.tokenizer if other is None else TextTokenizer.load(other)
        if tokenizer.eos_id is None:
            raise LangJepaError(
                "the decoder's tokenizer has no end token (eos or sep), so no text could end: set "
                "decoder.tokenizer_path to one that has"
            )
        if settings.data.predicted_share:
            check_predicts(model)
        corpus = corpus_for(model, self.encoder, settings.data.encoder_data)
        model.jepa.to(fabric.device)
        # One process computes the concepts while the others wait for its lock.
        share = {"rank": fabric.global_rank, "world": fabric.world_size}
        self.data = DecoderData(settings, model, corpus, tokenizer, on_message=self.reporter.message, **share)
        self.identity = self.data.fingerprint
        self.total, self.epoch_ends = self.data.total_steps()
        self.micro_batches = settings.optimization.grad_accum_steps

    def _check_writable(self) -> None:
        """Raise before any work is done if the encoder's model directory cannot be written."""
        model = find_model(self.encoder)
        if model is not None:
            check_writable(model.parent / "model", folder=True)

    def build(self) -> None:
        settings, model = self.settings, self.concepts
        seed = settings.meta.seed
        optimization = _optimization(settings, self.total)
        per_epoch = self.epoch_ends[0] if self.epoch_ends else self.total
        self.schedule = Schedule.of(optimization, total=self.total, steps_per_epoch=per_epoch)
        torch.manual_seed(seed)
        statistics = model.statistics if settings.decoder.whiten else None
        self.decoder = build_decoder(
            settings,
            concept_dim=model.dim,
            tokenizer=self.data.tokenizer,
            mean=statistics.mean if statistics else None,
            whitening=statistics.whitening if statistics else None,
        ).train()
        self.network = self.decoder
        if settings.meta.compile != "none":
            self.decoder.compile(backend=settings.meta.compile)
        self.set_up(self.decoder, adamw(self.decoder, self.decoder, optimization))
        # From here on the generator is only used for dropout, which must differ between ranks.
        torch.manual_seed(seed * 1000 + 1 + self.fabric.global_rank)

    def warnings(self) -> Iterator[str]:
        report_losses(self.data.losses(), events_to(self.reporter))
        yield from ()

    def info(self) -> list[tuple[str, str]]:
        return self.data.info()

    def batches(self, state: Any | None) -> Any:
        return self.data.batches(state)

    def set_rates(self, step: int, seconds: float) -> dict[str, float]:
        return {"train/learning_rate": set_rates(self.optimizers[0], self.schedule, step)}

    def loss(self, batch: DecoderBatch, micro: MicroStep) -> Loss:
        with self.fabric.autocast():
            losses, _ = self.model(batch)
        nats = losses.sum()
        # DDP averages over ranks; with this factor the average is the gradient of the mean over all tokens.
        return Loss(nats * (self.fabric.world_size / micro.count), {"loss": nats.detach()})

    @torch.no_grad()
    def validate(self, step: int, seconds: float, *, last: bool) -> Validation | None:
        if not len(self.data.sample):
            return None
        self.decoder.eval()
        metrics = self._measure()
        examples = self._examples() if self.fabric.is_global_zero else []
        self.decoder.train()
        return Validation(metrics, examples)

    def _measure(self) -> dict[str, float]:
        """Compute held-out metrics from sums over the tokens of all ranks, divided once."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        sample, side = self.data.sample, self.data.held_out
        mine = np.arange(len(sample))[rank::world]
        sums = torch.zeros(7, dtype=torch.float64, device=self.fabric.device)
        for start in range(0, len(mine), _PASS):
            indices = mine[start : start + _PASS]
            examples = sample[indices]
            others = sample[(indices + max(1, len(sample) // 2)) % len(sample)]
            nats, right, tokens = self._score(side.own(examples))
            shuffled, _, _ = self._score(side.own(examples, concepts_of=others))
            predicted, _, of = self._score(side.predicted(examples)) if side.share else (0.0, 0.0, 0.0)
            size = sum(len(text.encode()) for text in side.texts(examples))
            found = [nats, right, tokens, shuffled, size, predicted, of]
            sums += torch.tensor(found, dtype=torch.float64).to(sums)
        nats, right, tokens, shuffled, size, predicted, of = sum_over_ranks(sums).tolist()
        own, share = nats / tokens, self.settings.data.predicted_share
        both = {"val/loss_own": own, "val/loss_predicted": predicted / of} if of else {}
        return {
            "val/loss": (1 - share) * own + share * predicted / of if of else own,
            **both,
            "val/loss_shuffled": shuffled / tokens,
            "val/perplexity": math.exp(own),
            "val/bits_per_byte": nats / math.log(2) / size,
            "val/token_accuracy": right / tokens,
            "val/count": float(len(sample)),
        }

    def _score(self, batch: DecoderBatch) -> tuple[float, float, float]:
        """Return the nats, correct tokens and tokens of a batch."""
        if not batch.predictions:
            return 0.0, 0.0, 0.0
        with self.fabric.autocast():
            nats, right = self.decoder(batch.to(self.fabric.device))
        return float(nats.double().sum()), float(right.sum()), float(batch.predictions)

    def _examples(self) -> list[str]:
        """Return held-out sentences, spread over the split, with their greedy reconstructions."""
        sample, held_out = self.data.sample, self.data.held_out
        count = min(self.settings.logging.num_examples, len(sample))
        if not count:
            return []
        examples: Indices = sample[np.linspace(0, len(sample) - 1, count).astype(int)]
        concepts = held_out.own(examples).concepts.to(self.fabric.device)
        decoded = [self.data.tokenizer.decode(ids) for ids in self.decoder.generate(concepts, Generation())]
        pairs = zip(held_out.texts(examples), decoded, strict=True)
        return [f"  original        {one}\n  reconstruction  {other}" for one, other in pairs]

    def state(self) -> dict[str, Any]:
        return {**super().state(), "encoder": self.data.encoder}

    def is_made(self, summary: Mapping[str, Any]) -> bool:
        if Path(str(summary.get("encoder"))).resolve() != self.encoder.resolve():
            return False
        model = find_model(self.encoder)
        return model is None or ((model / DECODER_WEIGHTS).is_file() and is_whole(model / CARD, what="model card"))

    def export(self, folder: Path, end: End) -> Path | None:
        """Save the best decoder in the encoder's model directory; None if the encoder is a checkpoint file."""
        state = checkpoints.load_checkpoint(end.checkpoint, system=self.settings.system, contents=self.contents)
        checkpoints.load_weights(self.decoder, state["model"], what=f"the decoder in {end.checkpoint}")
        if end.best_step is None:
            kept = {name: part for name, part in state.items() if name != "format"}
            checkpoints.save_checkpoint(folder / self.layout.best, kept)
        model = find_model(self.encoder)
        if model is not None:
            decoder = TextDecoder(self.decoder, self.data.tokenizer, self.settings, encoder=self.data.encoder)
            join_model(model, decoder, step=int(state["step"]), loss=end.value)
        return model

    def summary(self, folder: Path, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        return {"encoder": str(self.encoder)}


def _optimization(settings: DecoderSettings, total: int) -> EncoderOptimizationSettings:
    """Convert the decoder's settings to the full set that schedule and optimizer need."""
    own = settings.optimization
    return EncoderOptimizationSettings(
        lr=own.lr,
        final_lr=own.final_lr,
        warmup_steps=total // 20 if own.warmup_steps is None else own.warmup_steps,
        weight_decay=own.weight_decay,
        final_weight_decay=own.weight_decay,
    )
