"""The end of a run: the best weights as a model directory; and a checkpoint as a model."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import next_sentence_retrieval
from lang_jepa.evaluation.metrics.similarity import Floats, Predictable, Similarity, Statistics, prepare
from lang_jepa.inference.model import ConceptModel, own_folder
from lang_jepa.inference.model_folder import build_jepa
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.target import target_of
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import build_saved
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.held_out import CANDIDATES, Answers, HeldOut, sample_examples
from lang_jepa.training.start import sample_embeddings

KEPT = 1000
"""Embeddings of training sentences that stay with the model, to tell what is usual."""


@torch.inference_mode()
def training_statistics(jepa: Jepa, sample: View, settings: Settings) -> Statistics:
    """Moments of model.score_sample training sentences, each alone, and of as many predictions with their targets.

    Args:
        jepa: left in the mode it was found in.
        sample: training examples.
        settings: of the run.
    """
    device, training = next(jepa.parameters()).device, jepa.training
    jepa.eval()
    predictions, targets = [], []
    examples = sample_examples(sample, settings.model.score_sample, settings.data.batch_size, seed=settings.meta.seed)
    for some in examples:
        batch = sample.batch(some).to(device)
        predictions.append(_unit(jepa(batch.contexts).predictions))
        targets.append(_unit(jepa.encoder.embed_targets(batch.targets)))
    count, seed = settings.model.score_sample, settings.meta.seed
    alone = sample_embeddings(jepa.encoder, sample, count, seed=seed, head=True)
    jepa.train(training)
    predictable = Predictable.of(np.concatenate(predictions), np.concatenate(targets))
    return Statistics.of(_unit(alone), predictable=predictable, keep=KEPT)


def _unit(x: Tensor) -> Floats:
    rows: Floats = functional.normalize(x.float(), dim=-1).cpu().numpy()
    return rows


def best_similarity(held_out: HeldOut, jepa: Jepa, statistics: Statistics) -> Similarity:
    """The similarity with the best MRR of held-out next sentences."""
    jepa.eval()
    answers = held_out.answers(
        predict=lambda batch: jepa(batch.contexts).predictions,
        embed=lambda batch: jepa.encoder.embed_targets(batch.targets),
        device=next(jepa.parameters()).device,
    )
    return max(statistics.similarities, key=lambda kind: _mrr(answers, statistics, kind))


def _mrr(answers: Answers, statistics: Statistics, kind: Similarity) -> float:
    ours = prepare(_unit(answers.predictions), statistics, kind, side="predictions")
    theirs = prepare(_unit(answers.targets), statistics, kind)
    documents = answers.documents.numpy()
    return next_sentence_retrieval(ours, theirs, documents, candidates=CANDIDATES).mrr


def load_any(path: Path, *, corpus: Path | None = None) -> ConceptModel:
    """A model from a run directory, a model directory or a checkpoint file.

    Args:
        path: of it.
        corpus: of a checkpoint, if it is no longer where it was.
    """
    return model_from_checkpoint(path, corpus=corpus) if path.is_file() else ConceptModel.load(path)


def model_from_checkpoint(path: Path, *, corpus: Path | None = None) -> ConceptModel:
    """A checkpoint as a model to use; its corpus must still be there, for the tokenizer and the score statistics.

    Args:
        path: of the checkpoint.
        corpus: of its training (None: where it was).

    Raises:
        LangJepaError: the checkpoint or the corpus cannot be read.
    """
    state = checkpoints.load_checkpoint(path, system="encoder", contents={"model": dict, "target": dict})
    settings = build_saved(Settings, state["settings"], where=str(path))
    folder = corpus or own_folder(settings.data.corpus_dir, state["data"])
    if folder is None:
        raise LangJepaError(
            f"{path} was trained on the corpus {Path(settings.data.corpus_dir) / state['data']}, which is not there; "
            "its tokenizer is needed. Use the model directory of the run instead, or prepare the corpus again."
        )
    found = Corpus.open(folder)
    model = settings.model.model_copy(update={"head": "linear" if settings.model.head != "none" else "none"})
    jepa = build_jepa(settings.model_copy(update={"model": model}), found.tokenizer)
    checkpoints.load_weights(jepa, state["model"], what=f"the model in {path}")
    if target_of(settings).kept:
        checkpoints.load_weights(jepa.encoder, state["target"], what=f"the target in {path}")
    view = make_plain_view(settings, found.train, found.tokenizer)
    statistics = training_statistics(jepa, view, settings)
    loaded = ConceptModel(jepa.eval(), found.tokenizer, statistics, settings)
    loaded.card = {"corpus": folder.name}
    return loaded
