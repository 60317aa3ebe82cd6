"""LANG-JEPA and related systems: an encoder and a predictor of embeddings."""

import copy
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import AdamW

from lang_jepa.data.corpus.prepare import report_losses
from lang_jepa.data.views.batch import Batch
from lang_jepa.errors import missing_extra
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import CARD, build_jepa, find_model, is_whole
from lang_jepa.models.jepa import Jepa, Output
from lang_jepa.objectives.objective import Objective, spread_of
from lang_jepa.settings.encoder import Settings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.collapse import Alarm, monitor_for, task_alarm, task_alarms
from lang_jepa.training.load import best_similarity, estimated, training_statistics
from lang_jepa.training.method import End, Loss, Method, MicroStep, Validation
from lang_jepa.training.methods.encoder_data import open_data
from lang_jepa.training.metrics import COLUMNS, draw_run, read_metrics, with_other_names
from lang_jepa.training.optim import adamw, set_rates
from lang_jepa.training.outcome import since_start, worse_than_at_start
from lang_jepa.training.preflight import (
    check_best_metric,
    check_encoder_start,
    check_objective,
    check_sharded,
    check_splitter,
)
from lang_jepa.training.reporter import events_to
from lang_jepa.training.run_folder import Layout
from lang_jepa.training.schedule import Schedule
from lang_jepa.training.sharding import layers_of, shard
from lang_jepa.training.start import as_resumed, keep_start, start_model, start_target
from lang_jepa.training.text_size import check_sample, more_text, text_for_width

PICTURE = "run.png"
"""File in the run directory: the curves."""
LAYOUT = Layout(
    note="""settings.yaml        the resolved settings
metrics.csv          what was measured, by optimizer step
examples.txt         held-out contexts, what came next, and what was predicted
run.png              the curves
summary.json         start, best and end
model/               the model to use: ConceptModel.load("model")
start/               the model that training began with (train --from)
untrained-*          statistics of the model before its first step, for evaluations
checkpoint-*.pth     to resume from
""",
)


class EncoderMethod(Method[Settings]):
    """The `Method` of encoders.

    Attributes:
        data: batches and the held-out sample.
        jepa: encoder and predictor.
        target: makes the embeddings to be predicted.
        alarms: warnings of the collapse monitor.
    """

    settings_class = Settings
    layout = LAYOUT
    columns = COLUMNS
    free = ("data.corpus_dir", "data.prepare_workers", "data.num_workers")
    of_ranks = ("data.batch_size",)
    shards = True
    contents: ClassVar[Mapping[str, Any]] = {
        **Method.contents,
        "target": dict,
        "centre": (dict, type(None)),
        "watch": dict,
        "alarms": list,
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.objective = Objective(settings)
        self.monitor = monitor_for(settings)
        self.alarms: list[Alarm] = []
        self._warnings: list[str] = []  # about the outcome
        self._task_warned = False
        self._slots = self._tokens = 0  # of this rank, in the current step

    def complaints(self) -> Iterator[str]:
        yield from check_splitter(self.settings)
        yield from check_encoder_start(as_resumed(self.settings))
        yield from check_objective(self.settings)
        yield from check_best_metric(self.settings)
        if self.sharded:
            yield from check_sharded(as_resumed(self.settings))

    def open_data(self) -> None:
        settings, rank, world = as_resumed(self.settings), self.fabric.global_rank, self.fabric.world_size
        self.data = open_data(settings, rank=rank, world=world, on_event=events_to(self.reporter))
        self.identity = self.data.fingerprint
        self.total, self.epoch_ends = self.data.total_steps()
        self.micro_batches = settings.optimization.grad_accum_steps

    def build_model(self) -> None:
        """Build the initial model, its target and the schedule."""
        settings = self.settings
        per_epoch = self.epoch_ends[0] if self.epoch_ends else None
        self.schedule = Schedule.of(settings.optimization, total=self.total, steps_per_epoch=per_epoch)
        self.network = self.jepa = start_model(as_resumed(settings), self.data.tokenizer, self.data.sample_view)
        self.target = start_target(settings, self.jepa, self.data.tokenizer)

    def optimizer(self) -> AdamW:
        """Return AdamW with the parameter groups given by the settings."""
        return adamw(self.jepa, self.jepa.encoder, self.settings.optimization)

    def build(self) -> None:
        settings = self.settings
        if self.fabric.is_global_zero:
            keep_start(as_resumed(settings))
        self.build_model()
        if settings.meta.compile != "none":
            self.jepa.encoder.backbone.compile(backend=settings.meta.compile)
        if self.sharded:
            self._shard()
        self.set_up(self.jepa, self.optimizer())
        self.target.encoder.to(self.fabric.device)
        # From here on the generator is only used for dropout, which must differ between ranks.
        torch.manual_seed(settings.meta.seed * 1000 + 1 + self.fabric.global_rank)

    def _shard(self) -> None:
        """Shard layer by layer; the embeddings with the rest of the backbone, head and predictor separately."""
        for encoder in (self.jepa.encoder, *([self.target.encoder] if self.target.own else ())):
            heads = [] if encoder.head is None else [encoder.head]
            shard(self.fabric, *layers_of(encoder.backbone), encoder.backbone, *heads)
        shard(self.fabric, self.jepa.predictor)
        self.jepa.even = True

    def same_steps(self, before: Settings, *, then: int, now: int) -> bool:
        data = self.settings.data
        same = data.batch_size * now == before.data.batch_size * then
        return same and data.batch_tokens is None and not data.streaming

    def warnings(self) -> Iterator[str]:
        report_losses(self.data.losses(), events_to(self.reporter))
        yield from filter(None, (self.data.complaint, check_sample(self.settings, self.data.sample_view)))
        if self.data.held_out is None:
            yield (
                "nothing is held out, so nothing can be validated and the collapse monitor is blind: "
                + self.data.why_nothing_held_out()
            )

    def info(self) -> list[tuple[str, str]]:
        return self.data.info()

    def before_batches(self) -> None:
        self.data.read_cached(self.jepa.encoder, self.reporter.message)

    def batches(self, state: Any | None) -> Any:
        return self.data.batches(state)

    def set_rates(self, step: int, seconds: float) -> dict[str, float]:
        rate = set_rates(self.optimizers[0], self.schedule, step)
        rates = {"train/learning_rate": rate, "train/weight_decay": self.schedule.weight_decay(step)}
        if self.target.follows:
            rates["train/momentum"] = self.schedule.momentum(step)
        return rates

    def loss(self, batch: Batch, micro: MicroStep) -> Loss:
        with self.fabric.autocast():
            output, targets = self.target.both_sides(self.model, batch)
        found = self.objective(
            output,
            targets,
            count=micro.count,
            micro_batches=micro.micro_batches,
            regularizer_weight=self.schedule.regularizer_weight(self.settings.objective, micro.step),
            step=micro.step,
            positions=batch.sentence_ids,
            texts=batch.targets.texts()[: batch.predictions] if self.objective.by_text else None,
        )
        for sequences in (batch.contexts.sequences, batch.targets.sequences):
            self._slots += self.jepa.encoder.slots(sequences)
            self._tokens += int(sequences.lengths.sum())
        sums = found._asdict()
        return Loss(sums.pop("total"), sums)

    def metrics(self, sums: Mapping[str, Tensor], micro: MicroStep) -> dict[str, float]:
        of_distance, of_regularizer = self.schedule.weights(self.settings.objective, micro.step)
        names = ("distance", "cosine", "targets_norm", "predictions_norm")
        distance, cosine, targets, predictions = (float(sums[name]) / micro.count for name in names)
        regularizer = float(sums["regularizer"]) / (micro.micro_batches * self.fabric.world_size)
        padding, self._slots, self._tokens = 1.0 - self._tokens / self._slots, 0, 0
        return self._named(
            {
                "train/loss": of_distance * distance + of_regularizer * regularizer,
                "train/distance": distance,
                "train/regularizer": regularizer,
                "train/repr_std": spread_of(sums["moments"]),
                "train/padding_share": padding,
                "stats/cosine_similarity": cosine,
                "stats/target_features_norm": targets,
                "stats/predicted_features_norm": predictions,
            }
        )

    def _named(self, metrics: Mapping[str, float]) -> dict[str, float]:
        return with_other_names(metrics) if self.data.sample_view.has_other_names else dict(metrics)

    def after_update(self, step: int) -> None:
        self.target.update(self.jepa.encoder, self.schedule.momentum(step))

    def concept_model(self) -> ConceptModel:
        """Return the current model for use: the target's encoder if it follows the online one, else the online encoder.

        It shares its weights with the run.
        """
        encoder = self.target.encoder if self.target.kept else self.jepa.encoder
        jepa = Jepa(encoder, self.jepa.predictor, reads_sentences=self.jepa.reads_sentences)
        statistics = training_statistics(jepa, self.data.sample_view, self.settings)
        model = ConceptModel(jepa.eval(), self.data.tokenizer, statistics, _of_an_encoder(self.settings))
        model.card = {"corpus": self.data.fingerprint}
        return model

    def validate(self, step: int, seconds: float, *, last: bool) -> Validation | None:
        if self.data.held_out is None:
            return None
        self.jepa.eval()
        found = self.data.held_out.measure(
            predict=self._predict,
            embed=self._embed,
            device=self.fabric.device,
            distances=self.objective.distances,
            regularizer=self.objective.regularizer,
            weights=self.schedule.weights(self.settings.objective, step),
        )
        self.jepa.train()
        warnings, stop = [], ""
        task = task_alarm(step, self.total, found.metrics, self.settings.data.unit)
        if task and not self._task_warned:  # only once: the task does not change
            self._task_warned = True
            warnings.append(str(task))
        if alarm := self.monitor.check(step, found.metrics):
            if not self.alarms:
                warnings.append(str(alarm))
            self.alarms.append(alarm)
            if self.settings.meta.on_collapse == "stop":
                stop = f"stopped (meta.on_collapse=stop): {alarm}"
        return Validation(self._named(found.metrics), found.examples, warnings, stop)

    def _predict(self, batch: Batch) -> Tensor:
        with self.fabric.autocast():  # for the model only: metrics are computed in full precision
            output: Output = self.jepa(batch.contexts)
        return output.predictions

    def _embed(self, batch: Batch) -> Tensor:
        with self.fabric.autocast():
            return self.target.embed(batch.targets)

    def best(self) -> tuple[str | None, str]:
        return self.settings.logging.best_metric, self.settings.logging.best_mode

    def state(self) -> dict[str, Any]:
        return {**super().state(), **self.own_state()}

    def own_state(self) -> dict[str, Any]:
        """Return the state besides that of model and optimizer."""
        centre = self.objective.centre
        return {
            "target": self.target.encoder.state_dict() if self.target.own else {},
            "centre": centre.state_dict() if centre else None,
            "watch": self.monitor.state_dict(),
            "alarms": [[alarm.step, list(alarm.signs)] for alarm in self.alarms],
        }

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        super().restore(state, path)
        self.restore_own(state, str(path))

    def restore_own(self, state: Mapping[str, Any], where: str) -> None:
        """Restore what `own_state` returned; `where` names the checkpoint."""
        if self.target.own:
            checkpoints.load_weights(self.target.encoder, state["target"], what=f"the target in {where}")
        if self.objective.centre is not None:
            self.objective.centre.load_state_dict(state["centre"] or {})
        self.monitor.load_state_dict(state["watch"])
        self.alarms = [Alarm(step, tuple(signs), self.monitor.advice) for step, signs in state["alarms"]]

    def is_made(self, summary: Mapping[str, Any]) -> bool:
        model = find_model(Path(self.settings.logging.log_dir))
        return model is not None and is_whole(model / CARD, what="model card")

    def export(self, folder: Path, end: End) -> Path:
        """Write `model/`: the best by logging.best_metric if data is held out, else the last."""
        source, target = end.checkpoint, self.target
        parts = ("model", "target")
        state = checkpoints.load_checkpoint(source, system=self.settings.system, contents=self.contents, parts=parts)
        if self.sharded:  # only rank 0 needs whole weights, and reads them from the checkpoint
            self.jepa = build_jepa(as_resumed(self.settings), self.data.tokenizer).to(self.fabric.device)
            target.encoder = copy.deepcopy(self.jepa.encoder) if target.kept else self.jepa.encoder
        checkpoints.load_weights(self.jepa, state["model"], what=f"the model in {source}")
        if target.kept:
            checkpoints.load_weights(target.encoder, state["target"], what=f"the target in {source}")
        model, held_out = self.concept_model(), self.data.held_out
        # With several ranks each holds a part of the sample, and rank zero alone cannot gather it.
        if held_out is not None and self.fabric.world_size == 1:
            model.similarity_kind = best_similarity(held_out, model.jepa, model.statistics)
            if "whitened" not in estimated(model.statistics):
                self.reporter.message(self._few(model))
        rows = read_metrics(folder / "metrics.csv")
        worse = worse_than_at_start(rows, end.best_step)
        self._warnings = [worse] if worse else []
        if self.settings.meta.start_from is not None:
            said, fell = since_start(rows, end.best_step) or ("", False)
            if fell:
                self._warnings.append(said)
            elif said:
                self.reporter.message(said)
        model.save(
            folder / "model",
            weights="target" if target.kept else "online",
            step=int(state["step"]),
            best=None if end.best_step is None else {"metric": end.metric, "value": end.value},
            corpus=self.identity,
            warnings=self._warnings,
        )
        return folder / "model"

    def _few(self, model: ConceptModel) -> str:
        """Explain why not all similarities were compared."""
        there, count = self.data.sample_view.split.num_sentences, model.statistics.count
        cure = "Raise model.score_sample" if count < there else more_text(self.settings, there)
        units = self.settings.data.units
        return (
            f"similarity: {model.similarity_kind}, of raw and centred; {count:,} training {units} are too few for "
            f"whitened and predictable. {text_for_width(self.settings)}. {cure}"
        )

    def summary(self, folder: Path, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        if lacking := self._draw(folder, rows):
            self.reporter.message(lacking)
        return {
            "warnings": self._warnings,
            "alarms": [str(alarm) for alarm in self.alarms],
            "task_alarms": [str(one) for one in task_alarms(rows, total=self.total, unit=self.settings.data.unit)],
        }

    def catch_up(self, folder: Path) -> str:
        if (folder / PICTURE).exists():
            return ""
        lacking = self._draw(folder, read_metrics(folder / "metrics.csv"))
        return lacking or f"{folder / PICTURE} was missing: it is drawn now"

    def _draw(self, folder: Path, rows: Sequence[Mapping[str, float]]) -> str:
        """Draw the curves; if the extra is missing, return how to get them later, else nothing."""
        if missing := missing_extra("evaluate", PICTURE):
            return f"{missing}; then `lang-jepa train {shlex.quote(str(folder))} --resume` draws it"
        draw_run(rows, folder / PICTURE, title=f"{self.settings.recipe}: {folder}")
        return ""


def _of_an_encoder(settings: Settings) -> Settings:
    """Return settings for a model directory: what a user-defined system trains is saved as an ordinary encoder, which
    can be used without the user's class.
    """
    if type(settings) is Settings:
        return settings
    known = {name: value for name, value in settings.model_dump().items() if name in Settings.model_fields}
    return Settings.model_validate(known | {"system": "encoder"})
