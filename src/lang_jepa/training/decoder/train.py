"""From a trained encoder to a finished decoder, which joins the encoder's model directory."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare, tell_losses
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import check_writable, write_json
from lang_jepa.files.run_lock import RunLock
from lang_jepa.inference.cards import CARD, is_whole
from lang_jepa.inference.decoding import WEIGHTS, join_model, restore
from lang_jepa.inference.model import ConceptModel, missing, own_corpus
from lang_jepa.inference.model_folder import find_gpt, find_model
from lang_jepa.inference.prediction import check_predicts
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.decoder import DecoderSettings
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import SAVED, apply_override, build, build_saved, is_gpt_recipe, read_settings
from lang_jepa.training import checkpoint as checkpoints
from lang_jepa.training.checkpoint import LAST
from lang_jepa.training.decoder.run import FREE, LAYOUT, DecoderRun
from lang_jepa.training.export import load_any
from lang_jepa.training.heartbeat import end_together, meet
from lang_jepa.training.preflight import check_decoder_run
from lang_jepa.training.reporter import Reporter, Silent
from lang_jepa.training.run_folder import SETTINGS, SUMMARY, RunFolder
from lang_jepa.training.signals import exit_status
from lang_jepa.training.train import telling


@dataclass(frozen=True, slots=True)
class DecoderResult:
    """How a decoder's training ended.

    Attributes:
        folder: the run directory.
        model: the encoder's model directory that the decoder joined; None where the encoder is a checkpoint file or
            training was interrupted.
        step, total: optimizer steps done and planned.
        interrupted: it was asked to stop; go on with --resume.
        seconds: wall-clock time of the training loop.
        exit_status: of a command that ends with it: 0, or 128 and the number of the signal that interrupted.
    """

    folder: Path
    model: Path | None
    step: int
    total: int
    interrupted: bool
    seconds: float
    exit_status: int = 0


@end_together
def train_decoder(
    encoder: Path,
    settings: DecoderSettings,
    *,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> DecoderResult:
    """Train a decoder on the concepts of a frozen encoder.

    Concepts of the corpus are computed once, by the first process, and read from disk after that.

    Args:
        encoder: a run directory, a model directory or a checkpoint.
        settings: of the decoder.
        overrides: `data.key=value` on top of the encoder's settings, for training on other text than the encoder's.
        reporter: told how it goes (rank 0 only); None is silent.

    Raises:
        LangJepaError: see `DecoderRun.fit`; the encoder, its corpus or a checkpoint cannot be used.
    """
    from lang_jepa.training.ranks import launch

    check_decoder_run(encoder, settings)
    training = settings.training
    fabric = launch(training.device, bfloat16=training.use_bfloat16, timeout_minutes=training.timeout_minutes)
    place = RunFolder(Path(training.output_dir), LAYOUT)
    listener: Reporter = (reporter or Silent()) if fabric.is_global_zero else Silent()
    if training.resume and training.checkpoint_path is None:
        model = None if encoder.is_file() else find_model(encoder)
        joined = model is None or ((model / WEIGHTS).is_file() and is_whole(model / CARD, what="model card"))
        over = place.finished(
            settings,
            fabric,
            listener,
            free=FREE,
            made=lambda told: joined and Path(str(told.get("encoder"))).resolve() == encoder.resolve(),
        )
        if over is not None:
            return DecoderResult(place.path, model, over["steps"], over["total"], False, over["seconds"])
    with place.held(None, chief=bool(fabric.is_global_zero)) as lock:
        return _train(encoder, settings, overrides, fabric, place, lock, listener)


def _train(
    encoder: Path,
    settings: DecoderSettings,
    overrides: Sequence[str],
    fabric: Any,
    place: RunFolder,
    lock: RunLock | None,
    listener: Reporter,
) -> DecoderResult:
    from lang_jepa.training.decoder.material import DecoderMaterial

    chief = bool(fabric.is_global_zero)
    if chief:
        _check_writable(encoder)
    model = load_any(encoder)
    if not model.has_predictor:
        raise LangJepaError(
            f"a decoder is kept in the model directory of its encoder, and {encoder} is a pretrained encoder: train a "
            f"model on it first, with lang-jepa train pretrained -o data.tokenizer_path={encoder} (add "
            "-o model.freeze_encoder=true -o objective.target=frozen to leave the encoder as it is)"
        )
    other = settings.decoder.tokenizer_path
    tokenizer = model.tokenizer if other is None else TextTokenizer.load(other)
    _check_end(tokenizer)
    if settings.training.predicted_share:
        check_predicts(model)
    corpus = _corpus(model, encoder, overrides)
    model.jepa.to(fabric.device)
    # Concepts are computed by one process, whose lock the others wait for.
    share = {"rank": fabric.global_rank, "world": fabric.world_size}
    material = DecoderMaterial(settings, model, corpus, tokenizer, tell=listener.message, **share)
    meet("data")
    tell_losses(material.losses(), telling(listener))
    if chief:
        place.start(lock, settings, resume=settings.training.resume, listener=listener)
    fabric.barrier()
    run = DecoderRun(settings, fabric, material, model, listener)
    run.begin()
    if chief:
        place.accept(settings)
    began = time.perf_counter()
    try:
        run.fit()
    finally:
        run.finish()
        listener.end()
    seconds = time.perf_counter() - began
    joined = _finish(run, encoder, seconds) if chief else None
    status = exit_status(run.stopped_by) if run.interrupted else 0
    return DecoderResult(run.folder, joined, run.step, run.total, run.interrupted, seconds, status)


def _check_writable(encoder: Path) -> None:
    """Raise before the work if the model directory that the decoder is to join cannot be written."""
    model = None if encoder.is_file() else find_model(encoder)
    if model is not None:
        check_writable(model.parent / "model", folder=True)


def _finish(run: DecoderRun, encoder: Path, seconds: float) -> Path | None:
    """Put the decoder into the encoder's model directory unless it was interrupted, and sum the run up."""
    best = None if run.best.step is None else run.best.value
    model, step = None, run.best.step
    if not run.interrupted:
        decoder, step = run.decoder()
        model = None if encoder.is_file() else find_model(encoder)
        if model is not None:
            join_model(model, decoder, step=step, loss=best)
    write_json(
        run.folder / SUMMARY,
        {
            "encoder": str(encoder),
            "steps": run.step,
            "total": run.total,
            "interrupted": run.interrupted,
            "seconds": round(seconds, 1),
            "best_step": step,
            "best_loss": best,
        },
    )
    return model


def _corpus(model: ConceptModel, encoder: Path, overrides: Sequence[str]) -> Corpus:
    """The encoder's corpus, or the one that the overrides ask for, in the encoder's tokens."""
    tree: dict[str, Any] = model.settings.model_dump()
    for override in overrides:
        if not override.startswith("data."):
            raise LangJepaError(
                f"override '{override}': the encoder is frozen, so of its settings only those of the data can be "
                "changed here; the decoder's own settings are changed with -d"
            )
        apply_override(tree, override, Settings)
    settings = build(Settings, tree, where="the encoder's settings")
    if settings.data.streaming:
        raise LangJepaError(
            "the encoder was trained on a stream, which leaves no corpus: say what the decoder shall be trained on, "
            "for example -o data.streaming=false -o data.limit=20000"
        )
    corpus = prepare(_here(settings.data, model, encoder, overrides)) if overrides else own_corpus(model)
    if corpus is None:
        raise LangJepaError(
            missing(model, "say what the decoder shall be trained on, -o data.train_file=DOCUMENTS")
        )
    if corpus.tokenizer.fingerprint() != model.tokenizer.fingerprint():
        raise LangJepaError(
            f"the corpus {corpus.path} has other tokens than the encoder {encoder}; remove it and train again, or give "
            "the run directory of the encoder"
        )
    return corpus


def _here(data: DataSettings, model: ConceptModel, encoder: Path, overrides: Sequence[str]) -> DataSettings:
    """Settings of other documents, which would give a `trained` tokenizer other tokens: the encoder's own is named.

    Nothing is prepared where a model of another machine has its corpora.
    """
    foreign = own_corpus(model) is None
    if foreign and not any(one.startswith("data.train_file=") for one in overrides):
        raise LangJepaError(
            missing(model, "say what the decoder shall be trained on, -o data.train_file=DOCUMENTS")
        )
    if foreign and not any(one.startswith("data.corpus_dir=") for one in overrides):
        data = data.model_copy(update={"corpus_dir": DataSettings().corpus_dir})
    if data.tokenizer_path != "trained" and not foreign:
        return data
    folder = find_model(encoder)
    if folder is None:
        raise LangJepaError(
            f"{encoder} is a checkpoint without its tokenizer: to train on other data, give a run or model directory"
        )
    return data.model_copy(update={"tokenizer_path": str(folder)})


def _check_end(tokenizer: TextTokenizer) -> None:
    if tokenizer.eos_id is None:
        raise LangJepaError(
            "the decoder's tokenizer has no end token (eos or sep), so no text could end: set "
            "decoder.tokenizer_path to one that has"
        )


def load_decoder(path: Path, model: ConceptModel) -> None:
    """Give a model the decoder of a checkpoint (best_decoder.pt) or of a decoder's run directory.

    Raises:
        LangJepaError: it cannot be read, or reads concepts of another width.
    """
    from lang_jepa.training.decoder.run import BEST

    path = path / BEST if path.is_dir() else path
    state = checkpoints.load_checkpoint(path, system="decoder")
    settings = build_saved(DecoderSettings, state["settings"], where=str(path))
    name = settings.decoder.tokenizer_path
    tokenizer = model.tokenizer if name is None else TextTokenizer.load(name)
    model.decoder = restore(state["model"], settings, tokenizer, encoder=state["encoder"], where=str(path))


def resume_decoder(folder: Path) -> DecoderSettings:
    """Settings of a decoder's run directory, set to resume in it, wherever it was moved, from its last checkpoint.

    A run that was ended before its first checkpoint starts at step 0.

    Raises:
        LangJepaError: there is no run.
    """
    settings = read_settings(folder / SETTINGS, DecoderSettings)
    changed = {"resume": True, "checkpoint_path": None, "output_dir": str(folder)}
    return settings.model_copy(update={"training": settings.training.model_copy(update=changed)})


PLACES = ("logs", "runs")
"""Folders that hold run directories by default."""


def latest_encoder(root: Path) -> Path:
    """The run directory under `root`'s logs/ or runs/ whose model, or else whose last checkpoint, is newest.

    Returns:
        The run directory, relative to `root`; of a run that did not end, its last checkpoint.

    Raises:
        LangJepaError: there is none.
    """
    found: list[tuple[float, Path]] = []
    for place in PLACES:
        for run in sorted(path for path in (root / place).glob("*") if path.is_dir()):
            card, last = run / "model" / CARD, run / LAST
            if card.is_file():
                found.append((card.stat().st_mtime, run))
            elif last.is_file() and not _is_gpt(run):
                found.append((last.stat().st_mtime, last))
    if not found:
        raise LangJepaError(
            f"no trained encoder in {' or '.join(f'{place}/' for place in PLACES)}: train one (lang-jepa train), or "
            "name one with --encoder RUN"
        )
    return max(found)[1].relative_to(root)


def _is_gpt(run: Path) -> bool:
    """Whether a run directory, finished or not, is one of a GPT, which has no concepts."""
    return find_gpt(run) is not None or is_gpt_recipe(str(run / SAVED))
