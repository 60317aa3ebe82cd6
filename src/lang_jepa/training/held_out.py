"""Looking at held-out data: the same figures by the same functions as the evaluation of a finished model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed

from lang_jepa.config import Settings
from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.order import permuted
from lang_jepa.data.sequences import Batch
from lang_jepa.data.views import View
from lang_jepa.evaluation.geometry import health
from lang_jepa.evaluation.retrieval import next_sentence_retrieval
from lang_jepa.evaluation.similarity import unit_rows
from lang_jepa.objectives.distance import DISTANCES
from lang_jepa.objectives.reduction import world_size

_NAMES = {
    "cosine_similarity": "val/semantic/avg_similarity",
    "hit_rate": "val/semantic/hit_rate",
    "count": "val/count",
    "norm": "val/embeddings/norm",
    "diversity": "val/embeddings/diversity",
    "target_std_mean": "val/embeddings/target_std_mean",
    "target_std_relative": "val/embeddings/target_std_relative",
    "target_eff_rank": "val/embeddings/target_eff_rank",
    "target_eff_rank_limit": "val/embeddings/target_eff_rank_limit",
    "target_off_diag_cov_l1": "val/embeddings/target_off_diag_cov_l1",
    "mean_pairwise_cosine": "val/embeddings/mean_pairwise_cosine",
    "first_component_share": "val/embeddings/first_component_share",
    "raw_std": "val/embeddings/raw_std",
}
CANDIDATES = 256


Distances = Callable[[Tensor, Tensor], Tensor]


class Answers(NamedTuple):
    """Predictions and targets of Q held-out sentences.

    Attributes:
        predictions, targets: fp32 [Q, D] on the CPU, not normalised.
        sentences, documents: int64 [Q], their indices in the held-out side.
    """

    predictions: Tensor
    targets: Tensor
    sentences: Tensor
    documents: Tensor


@dataclass(frozen=True, slots=True)
class Look:
    """One look.

    Attributes:
        figures: metric names to values.
        examples: contexts, what came next, and what the prediction is nearest to, as text.
    """

    figures: dict[str, float]
    examples: list[str]


class HeldOut:
    """A fixed sample of held-out predictions, shared out among the ranks.

    Args:
        settings: budget, distance and number of examples.
        view: over the held-out side.
        split: the same side, for its texts.
        rank, world: this process and their number.
    """

    def __init__(self, settings: Settings, view: View, split: CorpusSplit, *, rank: int, world: int) -> None:
        self.split = split
        self.distance = DISTANCES[settings.optimization.loss_fn]
        self.examples = settings.logging.num_examples
        wanted = min(
            view.count, max(1, round(settings.logging.val_sentences * view.count / max(1, view.targets)))
        )
        examples = permuted(np.arange(wanted), view.count, seed=0, epoch=0)
        examples = examples[np.argsort(view.sizes(examples), kind="stable")]
        size = settings.data.batch_size
        batches = [examples[i : i + size] for i in range(0, len(examples), size)]
        self.batches: list[Batch] = [view.batch(batch) for batch in batches[rank::world]]
        self.before = self._before(view)

    def look(
        self,
        predict: Callable[[Batch], Tensor],
        embed: Callable[[Batch], Tensor],
        device: torch.device,
        distances: Distances | None = None,
    ) -> Look:
        """Predict every held-out target and compare.

        Args:
            predict, embed, device: as for `answers`.
            distances: what training minimises, [Q, D] and [Q, D] to [Q] (None: `optimization.loss_fn` as it is).
        """
        answers = self.answers(predict, embed, device)
        look = self._compare(answers, distances or self.distance)
        before = self._last_of_contexts(answers, embed, device)
        look.figures.update(_trivial_losses(answers, before, distances or self.distance))
        return look

    def _before(self, view: View) -> list[Batch]:
        """The last context sentences that are not themselves targets of this rank, as targets of batches."""
        if not self.batches:
            return []
        targets = torch.cat([batch.sentence_ids for batch in self.batches]).numpy()
        rows = np.setdiff1d(targets - 1, targets)
        owners = np.searchsorted(view.starts, rows, side="right") - 1
        return [
            replace(
                self.batches[0],  # its contexts are not read: only targets are embedded
                targets=view.sentences(rows[part]),
                sentence_ids=torch.from_numpy(rows[part]),
                document_ids=torch.from_numpy(owners[part]),
            )
            for part in np.array_split(np.arange(len(rows)), -(-len(rows) // CANDIDATES))
        ]

    def _last_of_contexts(
        self, answers: Answers, embed: Callable[[Batch], Tensor], device: torch.device
    ) -> Tensor:
        """Embedding [Q, D] of the sentence before each target, by the target encoder."""
        with torch.inference_mode():
            more = [embed(batch.to(device)).float().cpu() for batch in self.before]
        missing = [batch.sentence_ids for batch in self.before]
        numbers = torch.cat([answers.sentences, _everywhere(missing)])
        vectors = torch.cat([answers.targets, _everywhere(more)])
        ordered, order = numbers.sort(stable=True)
        return vectors[order[torch.searchsorted(ordered, answers.sentences - 1)]]

    def answers(
        self, predict: Callable[[Batch], Tensor], embed: Callable[[Batch], Tensor], device: torch.device
    ) -> Answers:
        """Predictions and targets of the whole sample, gathered from all ranks, in the order of the sentences.

        Args:
            predict: batch to predictions [Q, D], in eval mode.
            embed: batch to target embeddings [Q, D], not normalised.
            device: where both compute.
        """
        predictions, targets, sentences, documents = [], [], [], []
        with torch.inference_mode():
            for batch in self.batches:
                moved = batch.to(device)
                predictions.append(predict(moved).float().cpu())
                targets.append(embed(moved).float().cpu())
                sentences.append(batch.sentence_ids)
                documents.append(batch.document_ids)
        order = torch.argsort(
            _everywhere(sentences), stable=True
        )  # the same rows whatever the number of ranks
        return Answers(*(_everywhere(parts)[order] for parts in (predictions, targets, sentences, documents)))

    def _compare(self, answers: Answers, distances: Distances) -> Look:
        predicted, target, sentence, document = answers
        measured = health(target, predicted)
        figures = {name: measured[key] for key, name in _NAMES.items()}
        figures["val/loss"] = float(distances(predicted, target).mean())
        centre = _unit(target).mean(
            0
        )  # of these held-out targets: the training mean is known only when training ends
        ours, theirs = (unit_rows((x - centre).numpy()) for x in (_unit(predicted), _unit(target)))
        retrieval = next_sentence_retrieval(ours, theirs, document.numpy(), candidates=CANDIDATES)
        for key in ("recall@1", "recall@5", "mrr", "candidates"):
            figures[f"val/retrieval/{key}"] = retrieval.metrics()[key]
        nearest = (ours @ theirs.T).argmax(1)
        return Look(figures, self._examples(sentence.numpy(), nearest))

    def _examples(self, sentences: np.ndarray, nearest: np.ndarray) -> list[str]:
        """Some predictions in words, spread over the sample."""
        texts = []
        for row in np.linspace(0, len(sentences) - 1, self.examples).astype(int):
            before, true, found = self.split.texts(
                [sentences[row] - 1, sentences[row], sentences[nearest[row]]]
            )
            texts.append(f"after:     {before}\nnext:      {true}\npredicted: {found}")
        return texts


def _trivial_losses(answers: Answers, before: Tensor, distances: Distances) -> dict[str, float]:
    """The loss of predictions that need no learning, by the same distance and the same centring.

    `shuffled` pairs every prediction with the target half the sample away, nearly always of another document;
    `mean_target` predicts the mean of the unit targets for all; `copy_forward` the last sentence of the context.
    """
    targets = answers.targets
    constant = _unit(targets).mean(0).expand_as(targets)
    pairs = {
        "shuffled": (answers.predictions, targets.roll(len(targets) // 2, 0)),
        "mean_target": (constant, targets),
        "copy_forward": (before, targets),
    }
    return {f"val/loss_{name}": float(distances(*pair).mean()) for name, pair in pairs.items()}


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _everywhere(parts: list[Tensor]) -> Tensor:
    """Concatenate this rank's parts and those of all other ranks."""
    if world_size() == 1:
        return torch.cat(parts)
    gathered: list[list[Tensor]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(gathered, parts)
    return torch.cat([part for rank in gathered for part in rank])
