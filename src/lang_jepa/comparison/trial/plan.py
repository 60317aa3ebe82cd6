"""What a trial is asked to do, and how it trains: recipe by kind of text, sizes by its amount, steps by the time."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lang_jepa.comparison.trial.recognise import Kind, Taken
from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.deduplicate import hash_text
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.models.architecture import read_config, width_of
from lang_jepa.report.run import PIECE
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import load_settings
from lang_jepa.training.text_size import ENOUGH_PER_DIMENSION
from lang_jepa.training.train import method_of, open_run, start

MINUTES = 4.0
"""Of training, by default."""
RECIPES: dict[Kind, str] = {"documents": "documents", "dialogues": "dialogue", "logs": "log"}
"""The recipe for each kind, from scratch."""
OVER: dict[Kind, str] = {"documents": "pretrained", "dialogues": "dialogue_pretrained"}
"""The recipe for each kind over a pretrained encoder; none for logs, whose lines are not natural language."""
MOST_DOCUMENTS = 20_000
"""Documents that a trial reads at most, the first ones."""
LEAST_STEPS = 20
"""Steps below which a training is not worth starting."""
VALIDATIONS = 11
"""In a training, the first of them before its first step."""

_WIDTHS = (256, 192, 128, 96, 64, 48, 32)
_TIMED, _MOST_TIMED, _TIMED_SHARE = 6, 60, 0.05
"""Steps that are timed at least and at most, and the share of the training's time beyond which the least are enough."""
_PLANNED = 0.95
"""Share of the time that is planned, since no measurement is exact."""
_QUICKEST = 0.02
"""The least seconds that a step over a pretrained encoder takes on any machine."""
_HEADS = (6, 8, 4, 2, 1)
_FEW_DOCUMENTS = 60
_LOGS_HELD_OUT = 0.3
_REPETITIVE, _CAREFUL = 0.5, 0.0007
"""Share of turns repeated word for word at which the recipe's learning rate leads to a collapse, since many turns in a
batch equal the true one that they must be told from; and the learning rate to use then.
"""
_LEAST_HELD_OUT, _LEAST_QUESTIONS = 4, 20
"""Documents (for logs, pieces of `report.run.PIECE` lines), and units other than the first of a document, that must be
held out at least: one in four documents is used only for selection, and intervals are over the others.
"""
_CHARACTERS_PER_TOKEN = 40
"""Characters of text for each token of the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What to try.

    Attributes:
        path: a file or a folder.
        output: folder of the trial.
        wanted: what to take the text for (None: what it looks like).
        beside: a pretrained encoder by folder or hub name.
        minutes: that training may take with its validations, including that over the pretrained encoder.
        changes: overrides of the recipes, applied last.
    """

    path: Path
    output: Path
    wanted: Kind | None = None
    beside: str | None = None
    minutes: float = MINUTES
    changes: Sequence[str] = ()

    @property
    def command(self) -> str:
        """The shell command with these options; without `changes`, for which it has no option."""
        words = ["lang-jepa", "try", str(self.path), "--output", str(self.output), "--minutes", f"{self.minutes:g}"]
        words += ["--as", self.wanted] if self.wanted else []
        words += ["--beside", self.beside] if self.beside else []
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Plan:
    """A training that is about to begin.

    Attributes:
        recipe: its name.
        overrides: `SECTION.KEY=VALUE`; with the recipe they are all that a command needs.
        seconds_per_step: as measured (None: the number of steps was given).
        steps: of the optimizer.
    """

    recipe: str
    overrides: list[str]
    seconds_per_step: float | None
    steps: int

    @property
    def settings(self) -> Settings:
        return load_settings(self.recipe, self.overrides)

    def shorter(self, seconds: float, per_step: float, per_validation: float) -> "Plan":
        """Return the plan with as many steps as fit into the seconds, of which each takes `per_step`, beside the
        validations.
        """
        steps = min(self.steps, max(LEAST_STEPS, _fitting(seconds, per_step, per_validation)))
        made = schedule(self.settings, steps)
        names = {one.partition("=")[0] for one in made}
        own = [one for one in self.overrides if one.partition("=")[0] not in names]
        return replace(self, overrides=[*own, *made], seconds_per_step=per_step, steps=steps)


def data_overrides(taken: Taken, output: Path, *, texts: Sequence[str], language: str | None) -> list[str]:
    """Return the overrides of data settings that apply to any recipe.

    Args:
        taken: what the text is.
        output: folder of the trial.
        texts: all documents' texts, which decide the share to hold out.
        language: of the texts, if known.
    """
    share = _LOGS_HELD_OUT if taken.kind == "logs" else held_out(texts)
    limit = MOST_DOCUMENTS if len(texts) > MOST_DOCUMENTS else "null"
    own = [f"data.val_fraction={share}", "data.min_length=1", f"data.limit={limit}"]
    own.append(f"data.corpus_dir={output / 'corpora'}")
    return [*taken.overrides, *own, *([f"data.language={language}"] if language and taken.kind == "documents" else [])]


def held_out(texts: Sequence[str]) -> float:
    """Return the `data.val_fraction` that holds out a fifth of these documents, or a quarter if they are few.

    Documents with a hash below the fraction are held out; with few documents, by chance many or none are. The fraction
    is therefore set between the hashes of the last document to hold out and the first one to train on.
    """
    hashes = sorted({int(hash_text(text)) for text in texts})
    wanted = max(1, round(len(hashes) * (0.25 if len(hashes) < _FEW_DOCUMENTS else 0.2)))
    if len(hashes) <= wanted:
        return 0.2
    return round((hashes[wanted - 1] + hashes[wanted]) / 2 / 2.0**64, 6)


def vocabulary(characters: int) -> str:
    """Return the override of the vocabulary size for a text of so many characters."""
    return f"data.vocab_size={max(400, min(8192, characters // _CHARACTERS_PER_TOKEN))}"


def lacking(corpus: Corpus, unit: str) -> str | None:
    """Say what a corpus has too little of to train on, and what to do about it; None if it has enough."""
    train, held = corpus.train, corpus.validation
    least = ENOUGH_PER_DIMENSION * _WIDTHS[-1]
    if train.num_sentences < least:
        return (
            f"There are {counted(train.num_sentences, unit)} to learn from beside those that are held out, and "
            f"{least} or more are needed ({ENOUGH_PER_DIMENSION} for each dimension of the smallest model)."
        )
    questions = held.num_sentences - held.num_documents
    if unit == "line" and held.num_sentences < _LEAST_HELD_OUT * PIECE:
        return (
            f"Scores need lines that were not learnt from: {counted(held.num_sentences, 'line')} could be held out, "
            f"and {_LEAST_HELD_OUT * PIECE} are needed. Give a longer log."
        )
    if unit != "line" and (held.num_documents < _LEAST_HELD_OUT or questions < _LEAST_QUESTIONS):
        return (
            f"Scores need text that was not learnt from: {counted(held.num_documents, 'document')} with "
            f"{counted(max(0, questions), 'question')} could be held out, and {_LEAST_HELD_OUT} with "
            f"{_LEAST_QUESTIONS} are needed. Give more documents, or split one long text into a file per chapter."
        )
    return None


def plan(
    taken: Taken, corpus: Corpus, data: Sequence[str], folder: Path, *, seconds: float, encoder: str | None = None
) -> Plan | None:
    """Plan the training on a corpus in the time available.

    Args:
        taken: what the text is.
        corpus: as prepared with `data`, for its size.
        data: overrides of the data.
        folder: of the run.
        seconds: that the steps and validations may take.
        encoder: a pretrained one, to train over (None: from scratch).

    Returns:
        None if not even `LEAST_STEPS` steps over the encoder fit.
    """
    if encoder is not None and seconds < LEAST_STEPS * _QUICKEST:
        return None
    recipe = RECIPES[taken.kind] if encoder is None else OVER[taken.kind]
    own = [*data, f"logging.log_dir={folder}"]
    own += sizes(corpus) if encoder is None else over(encoder)
    if encoder is None and taken.kind == "dialogues" and repeats(corpus) >= _REPETITIVE:
        own.append(f"optimization.lr={_CAREFUL}")
    settings = load_settings(recipe, own)
    lengths = np.diff(corpus.train.document_starts)
    passages = int((-(-lengths // settings.data.passage_size)).sum())  # about; a long document has several
    batch = max(1, min(settings.data.batch_size, passages // 2))
    own += [f"data.batch_size={batch}"] if batch < settings.data.batch_size else []
    measured, validation = _measure(load_settings(recipe, own), seconds)
    steps = min(settings.optimization.max_steps or LEAST_STEPS, _fitting(seconds, measured, validation))
    if encoder is not None and steps < LEAST_STEPS:
        return None
    steps = max(LEAST_STEPS, steps)
    return Plan(recipe, [*own, *schedule(settings, steps)], measured, steps)


def repeats(corpus: Corpus) -> float:
    """Return the share of held-out units that occur word for word in the training text."""
    return float(corpus.manifest["statistics"]["overlap"]["all_sentences"] or 0.0)


def sizes(corpus: Corpus) -> list[str]:
    """Return overrides for the widest model that the text suffices for, by `lang_jepa.training.text_size`."""
    there = corpus.train.num_sentences
    width = next(width for width in _WIDTHS if ENOUGH_PER_DIMENSION * width <= there)
    return [f"model.embed_dim={width}", f"model.pred_dim={width}"]


def over(encoder: str) -> list[str]:
    """Return overrides for training over a pretrained encoder.

    Raises:
        LangJepaError: there is no such encoder.
    """
    width = width_of(read_config(encoder))
    heads = next(heads for heads in _HEADS if width % heads == 0)
    return [
        f"data.tokenizer_path={encoder}",
        f"model.embed_dim={width}",
        f"model.pred_dim={width}",
        f"model.predictor_heads={heads}",
    ]


def schedule(settings: Settings, steps: int) -> list[str]:
    """Overrides for the steps, a warm-up of at most a third (a shorter one collapses), ten validations, checkpoints."""
    warmup = min(settings.optimization.warmup_steps or 0, steps // 3)
    shorter = [f"optimization.predictor_warmup_steps={warmup}"] if settings.optimization.predictor_warmup_steps else []
    return [
        f"optimization.max_steps={steps}",
        f"optimization.warmup_steps={warmup}",
        *shorter,
        f"logging.eval_freq={max(1, steps // (VALIDATIONS - 1))}",
        f"logging.checkpoint_steps={max(10, steps // 4)}",
        "logging.checkpoint_freq=null",
        f"logging.log_freq={max(1, steps // 50)}",
    ]


def _fitting(seconds: float, per_step: float, per_validation: float) -> int:
    """Return how many steps fit into a time beside the validations; 0 or less if not even these do."""
    return int((_PLANNED * seconds - VALIDATIONS * per_validation) / per_step)


def _measure(settings: Settings, seconds: float) -> tuple[float, float]:
    """Measure, in a throw-away run of this recipe on this text, the seconds of a step, and of a validation that saves.

    A twentieth of the `seconds` of the training is spent on steps, so that their mean has batches of all kinds.
    """
    with TemporaryDirectory() as scratch:
        logging = settings.logging.model_copy(update={"log_dir": scratch})
        method = method_of(settings.model_copy(update={"logging": logging}))
        engine = start(method, open_run(method), None)
        try:
            engine.next_step()  # the first is slower than all others
            began = time.perf_counter()
            steps = 0
            while steps < _TIMED or (steps < _MOST_TIMED and time.perf_counter() - began < seconds * _TIMED_SHARE):
                engine.next_step()
                steps += 1
            trained = time.perf_counter()
            method.validate(engine.step, trained - began, last=False)
            engine.save()
            return max(1e-4, (trained - began) / steps), time.perf_counter() - trained
        finally:
            engine.close()


def check_encoder_named(encoder: str | None) -> None:
    """Refuse, before anything is read, an encoder that does not exist, or a model of this project.

    Raises:
        LangJepaError: names it.
    """
    if encoder is not None:
        from lang_jepa.inference.model_folder import find_model

        if find_model(Path(encoder)) is not None:
            raise LangJepaError(
                f"--beside {encoder} is a run or model directory of this project, but a pretrained encoder is "
                "expected: to compare runs, lang-jepa evaluate RUN --beside OTHER"
            )
        width_of(read_config(encoder))
