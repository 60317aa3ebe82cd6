"""Find trained models and load them for use, from run directories, checkpoints and decoders."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views import View, make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.retrieval import next_sentence_retrieval
from lang_jepa.evaluation.metrics.similarity import Predictable, Similarity, Statistics, prepare
from lang_jepa.inference.decoding import restore
from lang_jepa.inference.model import ConceptModel, own_folder
from lang_jepa.inference.model_folder import CARD, build_jepa, find_gpt
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.target import target_of
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import SAVED, build_saved, read_settings
from lang_jepa.settings.recipes import system_of
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.checkpoint import LAST, load_checkpoint
from lang_jepa.training.held_out import CANDIDATES, HeldOut, Predicted
from lang_jepa.training.start import sample_embeddings, sample_pairs, with_own_start
from lang_jepa.training.text_size import ENOUGH_PER_DIMENSION

KEPT = 1000
"""Number of training sentences whose embeddings are stored with the model, to show what is usual."""


@torch.inference_mode()
def training_statistics(jepa: Jepa, sample: View, settings: Settings) -> Statistics:
    """Compute moments of model.score_sample training sentences, each alone, and of as many predictions with targets.

    Args:
        jepa: restored to its mode afterwards.
        sample: training examples.
        settings: of the run.
    """
    predictions, targets = sample_pairs(jepa, sample, settings, lambda contexts: _unit(jepa(contexts).predictions))
    count, seed = settings.model.score_sample, settings.meta.seed
    alone = sample_embeddings(jepa.encoder, sample, count, seed=seed, head=True)
    return Statistics.of(_unit(alone).numpy(), predictable=Predictable.of(predictions, targets), keep=KEPT)


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x.float(), dim=-1)


def estimated(statistics: Statistics) -> tuple[Similarity, ...]:
    """Return the similarities that may be chosen: with few training sentences, only `raw` and `centred`."""
    enough = statistics.count >= ENOUGH_PER_DIMENSION * len(statistics.mean)
    return statistics.similarities if enough else ("raw", "centred")


def best_similarity(held_out: HeldOut, jepa: Jepa, statistics: Statistics) -> Similarity:
    """Return the similarity with the best MRR of held-out next sentences, among those that are `estimated`."""
    jepa.eval()
    predicted = held_out.collect(
        predict=lambda batch: jepa(batch.contexts).predictions,
        embed=lambda batch: jepa.encoder.embed_targets(batch.targets),
        device=next(jepa.parameters()).device,
    )
    return max(estimated(statistics), key=lambda kind: _mrr(predicted, statistics, kind))


def _mrr(predicted: Predicted, statistics: Statistics, kind: Similarity) -> float:
    ours = prepare(_unit(predicted.predictions).numpy(), statistics, kind, side="predictions")
    theirs = prepare(_unit(predicted.targets).numpy(), statistics, kind)
    documents = predicted.documents.numpy()
    return next_sentence_retrieval(ours, theirs, documents, candidates=CANDIDATES).mrr


def load_any(path: Path, *, corpus: Path | None = None) -> ConceptModel:
    """Load a model from a run directory, a model directory or a checkpoint file.

    Args:
        path: of the directory or file.
        corpus: of a checkpoint, if it is no longer where it was.
    """
    return model_from_checkpoint(path, corpus=corpus) if path.is_file() else ConceptModel.load(path)


def model_from_checkpoint(path: Path, *, corpus: Path | None = None) -> ConceptModel:
    """Load a checkpoint as a model for use; its corpus must still exist, for the tokenizer and the score statistics.

    Args:
        path: of the checkpoint.
        corpus: the corpus it was trained on (None: where it was).

    Raises:
        LangJepaError: the checkpoint or the corpus cannot be read.
    """
    state = checkpoints.load_checkpoint(path, system="encoder", contents={"model": dict, "target": dict})
    settings = with_own_start(build_saved(Settings, state["settings"], where=str(path)), path.parent)
    folder = corpus or own_folder(settings.data.corpus_dir, state["data"])
    if folder is None:
        raise LangJepaError(
            f"{path} was trained on the corpus {settings.data.corpus_dir}/{state['data']}, which is not there; "
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


BEST_DECODER = "best_decoder.pt"


def load_decoder(path: Path, model: ConceptModel) -> None:
    """Attach the decoder of a checkpoint (best_decoder.pt) or of a decoder's run directory to a model.

    Raises:
        LangJepaError: it cannot be read, or reads concepts of another width.
    """
    path = path / BEST_DECODER if path.is_dir() else path
    state = load_checkpoint(path, system="decoder", contents={"model": dict, "encoder": str})
    settings = build_saved(DecoderSettings, state["settings"], where=str(path))
    name = settings.decoder.tokenizer_path
    tokenizer = model.tokenizer if name is None else TextTokenizer.load(name)
    model.decoder = restore(state["model"], settings, tokenizer, encoder=state["encoder"], where=str(path))


def encoder_of(path: Path) -> Path:
    """Return the encoder on which a decoder was trained, as named in the settings of its run.

    Raises:
        LangJepaError: the settings cannot be read, or the encoder is no longer there.
    """
    named = read_settings(path / SAVED, DecoderSettings).data.encoder
    if named is None or not Path(named).exists():
        raise LangJepaError(f"the encoder of the decoder {path} is not where it was ({named}): name the encoder's run")
    return Path(named)


RUN_FOLDERS = ("logs", "runs")
"""Default folders of run directories."""


def latest_encoder(root: Path) -> Path:
    """Find the run in `root`'s logs/ or runs/ whose model, or else whose last checkpoint, is newest.

    Returns:
        The run directory, relative to `root`; for an unfinished run, its last checkpoint.

    Raises:
        LangJepaError: there is none.
    """
    found: list[tuple[float, Path]] = []
    for folder in RUN_FOLDERS:
        for run in sorted(path for path in (root / folder).glob("*") if path.is_dir()):
            card, last = run / "model" / CARD, run / LAST
            if card.is_file():
                found.append((card.stat().st_mtime, run))
            elif last.is_file() and find_gpt(run) is None and system_of(str(run / SAVED)) != "gpt":  # has no concepts
                found.append((last.stat().st_mtime, last))
    if not found:
        raise LangJepaError(
            f"no trained encoder in {' or '.join(f'{folder}/' for folder in RUN_FOLDERS)}: train one (lang-jepa "
            "train), or name one with --encoder RUN"
        )
    return max(found)[1].relative_to(root)
