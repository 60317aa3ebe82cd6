"""Validation on held-out data, with the same metrics and functions as the evaluation of a finished model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.views import View
from lang_jepa.data.views.batch import Batch
from lang_jepa.data.views.order import Indices, permuted
from lang_jepa.evaluation.metrics.geometry import health
from lang_jepa.evaluation.metrics.retrieval import Rows, other_candidates, rank_candidates
from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.objectives.distance import make_distance, measured
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.method import Validation
from lang_jepa.training.metrics import COLUMNS
from lang_jepa.training.ranks import gather

_EMBEDDINGS = "val/embeddings/"
_NAMES = {
    "cosine_similarity": "val/semantic/avg_similarity",
    "hit_rate": "val/semantic/hit_rate",
    "count": "val/count",
    **{name.removeprefix(_EMBEDDINGS): name for name in COLUMNS if name.startswith(_EMBEDDINGS)},
}
"""Columns of the metrics that `health` returns."""
CANDIDATES = 256
PARTS = 8
"""Parts into which a single held-out document is cut: wrong candidates come from its other parts."""


Distances = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Maps predictions [Q, D], targets [Q, D], the targets' positions in the text [Q] and an ID of each target's text [Q]
to values [Q].
"""


class Predicted(NamedTuple):
    """Predictions and targets of Q held-out sentences.

    Attributes:
        predictions, targets: fp32 [Q, D] on the CPU, not normalised.
        sentences, documents: int64 [Q], indices in the held-out split; for a single document, the index of its part.
    """

    predictions: Tensor
    targets: Tensor
    sentences: Tensor
    documents: Tensor


class HeldOut:
    """A fixed sample of held-out predictions, divided among the ranks.

    Args:
        settings: sample size, distance and number of examples.
        view: view of the held-out split, from `make_plain_view`.
        rank, world: rank of this process, and number of processes.
    """

    def __init__(self, settings: Settings, view: View, *, rank: int, world: int) -> None:
        self.view = view
        distance = make_distance(settings)
        self.distance: Distances = partial(measured, distance)
        self.of_directions = distance.of_directions
        self.examples = settings.logging.num_examples
        self.rank, self.world = rank, world
        examples = sample_examples(view, settings.logging.val_sentences, settings.data.batch_size, seed=0)
        self.batches: list[Batch] = [view.batch(some) for some in examples[rank::world]]
        lacks = len(self.batches) < -(-len(examples) // world)
        self._fillers = [view.batch(examples[0])] if lacks else []  # all ranks must make the same number of passes

    def measure(
        self,
        predict: Callable[[Batch], Tensor],
        embed: Callable[[Batch], Tensor],
        device: torch.device,
        distances: Distances | None = None,
        regularizer: Callable[[Tensor], Tensor] | None = None,
        weights: tuple[float, float] = (1.0, 0.0),
    ) -> Validation:
        """Predict every held-out target and compare it with the prediction.

        The examples show contexts, what came next, and the sentence closest to the prediction.

        Args:
            predict, embed, device: as for `collect`.
            distances: the distances that training minimises (None: plain `optimization.loss_fn`).
            regularizer: also measured, on the un-normalised targets.
            weights: weights of the distance and of the regularizer in the loss.
        """

        def copy(batch: Batch) -> Tensor:
            return embed(self.view.copied(batch).to(device))

        (predictions, targets, copies), sentences, documents = self._gathered((predict, embed, copy), device)
        predicted = Predicted(predictions, targets, sentences, documents)
        measure = distances or self.distance
        metrics, nearest = self._compare(predicted, measure)
        if self.of_directions:  # the length at which `contrastive` compares cosines; it does not affect the others
            copies = _unit(copies) * copies.shape[-1] ** 0.5
        texts = self._texts(predicted)
        metrics |= _trivial_losses(predicted, texts, copies, measure, of_directions=self.of_directions)
        if regularizer is not None:  # it sums over the ranks, so each passes its share
            share = predicted.targets[self.rank :: self.world].to(device)
            with torch.inference_mode():
                metrics["val/regularizer"] = float(regularizer(share))
        of_distance, of_regularizer = weights
        penalty = of_regularizer * metrics.get("val/regularizer", 0.0)
        metrics["val/loss"] = of_distance * metrics["val/distance"] + penalty
        return Validation(metrics, self._examples(sentences.numpy(), nearest))

    def collect(
        self, predict: Callable[[Batch], Tensor], embed: Callable[[Batch], Tensor], device: torch.device
    ) -> Predicted:
        """Gather the predictions and targets of the whole sample from all ranks, in the order of the sentences.

        Args:
            predict: maps a batch to predictions [Q, D], in eval mode.
            embed: maps a batch to target embeddings [Q, D], not normalised.
            device: where both compute.
        """
        (predictions, targets), sentences, documents = self._gathered((predict, embed), device)
        return Predicted(predictions, targets, sentences, documents)

    def _gathered(
        self, functions: Sequence[Callable[[Batch], Tensor]], device: torch.device
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Apply functions to all batches of all ranks: fp32 [Q, D] each, on the CPU; with sentences and documents."""
        parts: list[list[Tensor]] = [[] for _ in functions]
        with torch.no_grad():  # sharded weights gathered in inference mode could not be trained
            for batch in self.batches:
                moved = batch.to(device)
                for found, function in zip(parts, functions, strict=True):
                    found.append(function(moved).float().cpu())
            for batch in self._fillers:
                for function in functions:
                    function(batch.to(device))
        sentences = _everywhere([batch.sentence_ids for batch in self.batches])
        documents = _everywhere([batch.document_ids for batch in self.batches])
        order = torch.argsort(sentences, stable=True)  # the same rows whatever the number of ranks
        documents = documents[order]
        if bool((documents == documents[0]).all()):  # the tail of one file: treat its parts as documents
            documents = torch.arange(len(documents)) * PARTS // len(documents)
        return [_everywhere(found)[order] for found in parts], sentences[order], documents

    def _compare(self, found: Predicted, distances: Distances) -> tuple[dict[str, float], Indices]:
        """Return metrics, and for each prediction the row of the target closest to it, [Q]."""
        predicted, target, sentence, document = found
        measured = health(target, predicted)
        metrics = {name: measured[key] for key, name in _NAMES.items()}
        metrics["val/distance"] = float(distances(predicted, target, sentence, self._texts(found)).mean())
        centre = _unit(target).mean(0)  # of these held-out targets; the training mean is known only after training
        ours, theirs = (unit_rows((x - centre).numpy()) for x in (_unit(predicted), _unit(target)))
        rows, usable = self._candidates(sentence.numpy(), document.numpy())
        retrieval = rank_candidates(ours[usable], theirs, rows[usable], document.numpy()[usable])
        for key in ("recall@1", "recall@5", "mrr", "candidates"):
            metrics[f"val/retrieval/{key}"] = retrieval.metrics()[key]
        return metrics, (ours @ theirs.T).argmax(1)

    def _texts(self, found: Predicted) -> Tensor:
        """Return an ID for the text of each target, int64 [Q]."""
        return torch.from_numpy(self.view.distinct(found.sentences.numpy()))

    def _candidates(self, sentences: Indices, documents: Indices) -> tuple[Rows, NDArray[np.bool_]]:
        """Return candidates [Q, C] from other documents, -1 in place of those with the true one's text; and which
        questions have a wrong candidate, bool [Q]. If none has, equal texts are kept.
        """
        rows = other_candidates(documents, np.arange(len(documents)), candidates=CANDIDATES, seed=0)
        texts = self.view.distinct(sentences)
        other = np.where((rows >= 0) & (texts[rows] != texts[:, None]), rows, -1)
        other[:, 0] = rows[:, 0]
        usable = np.asarray((other[:, 1:] >= 0).any(1))
        return (other, usable) if usable.any() else (rows, np.ones_like(usable))

    def _examples(self, sentences: np.ndarray, nearest: np.ndarray) -> list[str]:
        """Return some predictions as text, spread over the sample."""
        rows = np.linspace(0, len(sentences) - 1, self.examples).astype(int)
        return [self.view.illustrate(int(sentences[row]), int(sentences[nearest[row]])) for row in rows]


def sample_examples(view: View, targets: int, batch_size: int, *, seed: int) -> list[Indices]:
    """Draw examples of a view with about `targets` targets in all, in batches of similar length."""
    wanted = min(view.count, max(1, round(targets * view.count / max(1, view.targets))))
    examples = permuted(np.arange(wanted), view.count, seed=seed, epoch=0)
    examples = examples[np.argsort(view.sizes(examples), kind="stable")]
    return [examples[begin : begin + batch_size] for begin in range(0, len(examples), batch_size)]


def _trivial_losses(
    predicted: Predicted, texts: Tensor, copies: Tensor, distances: Distances, *, of_directions: bool
) -> dict[str, float]:
    """Return the distances of baselines that need no learning, by the same distance and the same centring.

    `shuffled` pairs every prediction with the target half the sample away, nearly always from another document;
    `mean_target` always predicts the mean of the targets, of unit targets if the distance compares directions;
    `copy_forward` predicts what the view defines as copying (`View.copied`).
    """
    targets = predicted.targets
    constant = (_unit(targets) if of_directions else targets).mean(0).expand_as(targets)
    half, positions = len(targets) // 2, predicted.sentences
    pairs = {
        "shuffled": (predicted.predictions, targets.roll(half, 0), positions.roll(half, 0), texts.roll(half, 0)),
        "mean_target": (constant, targets, positions, texts),
        "copy_forward": (copies, targets, positions, texts),
    }
    return {f"val/distance_{name}": float(distances(*pair).mean()) for name, pair in pairs.items()}


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _everywhere(parts: list[Tensor]) -> Tensor:
    """Concatenate the parts of all ranks."""
    return torch.cat([part for rank in gather(parts) for part in rank])
