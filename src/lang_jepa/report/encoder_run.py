"""Score an encoder's run: its model, its corpus, and the encoders that it is compared with."""

import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.words import BagOfWords
from lang_jepa.evaluation.embedder import ArrayCache, Decoding, Encoder, EncoderOnly
from lang_jepa.evaluation.metrics.similarity import Statistics
from lang_jepa.evaluation.scoreboard import choices_from
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks import ENCODER_TASKS, OF_ENCODERS, check_data_dir, tasks_named
from lang_jepa.evaluation.tasks.request import Need, Request, Task
from lang_jepa.evaluation.tasks.turns import choices_of_turns
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import check_writable, fingerprint, locked
from lang_jepa.files.version import __version__
from lang_jepa.inference.cache import SentenceCache, weights_hash
from lang_jepa.inference.model import ConceptModel, missing, own_corpus
from lang_jepa.inference.model_folder import find_model
from lang_jepa.models.encoder import TextEncoder
from lang_jepa.models.jepa import Jepa
from lang_jepa.models.predictors.predictor import NoPredictor
from lang_jepa.report.run import (
    TRAINING_DOCUMENTS,
    EvaluateOptions,
    ScoredRun,
    add_cache,
    conversations,
    grouped,
    labels_of,
    other_corpus,
    passages,
    searched,
    some_texts,
)
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.checkpoint import BEST
from lang_jepa.training.load import load_any, training_statistics
from lang_jepa.training.run_folder import SUMMARY, first_alarm
from lang_jepa.training.start import start_model, with_own_start

WITHOUT_HEAD = "without head"
"""Name of the pretrained encoder alone, if it was frozen and only a head was added."""

START = "untrained"
"""Folder in a run directory with the model before training and a decoder of its own, as a control."""


class ScoredEncoder(ScoredRun):
    """An encoder's run, or a pretrained encoder.

    Args:
        path: a run directory, a model directory, a checkpoint, or anything else that `ConceptModel.load` reads.
        options: tasks and options.

    Raises:
        LangJepaError: the model, a task, its data or an option cannot be used; raised before the work.
    """

    def __init__(self, path: Path, options: EvaluateOptions) -> None:
        if options.output is not None:
            check_writable(options.output)
        self.path, self.options = path, options
        self.model = model = load_any(path, corpus=options.prepared)
        self.corpus = own_corpus(model, options.prepared) if model.has_predictor else None
        self.tasks = tasks_named(options.names(_usual_tasks(model, options.data_dir)), ENCODER_TASKS)
        _check_options(model, path, self.tasks, options)
        self.held_out = any(task.reads_held_out for task in self.tasks)
        if self.held_out and (self.corpus is None or not self.corpus.validation.num_documents):
            why = self.corpus.why_nothing_held_out() if self.corpus else missing(model) or "it is not here"
            raise LangJepaError(
                f"the tasks {_listed(task for task in OF_ENCODERS if task.reads_held_out)} need held-out documents of "
                "the training corpus; "
                f"{why.rstrip('.')}. Or choose others: --tasks sts,probe,au, or search (over your own texts)"
            )
        self.folder = path.parent if path.is_file() else path
        usual = self.folder / "scores.json"
        if not model.has_predictor:
            usual = Path(f"{_label(str(self.folder), set())}-scores.json")
        self.destination, self.weights = options.output or usual, _weights(model)

    def evaluate(self) -> tuple[Report, Path]:
        """Report the first warning of training, score the run, and save the document tools' choices with the model."""
        if (alarm := first_alarm(self.folder)) and self.options.on_message:
            self.options.on_message(f"training warned of a {alarm}")
        report, destination = super().evaluate()
        chosen = {**choices_of_turns(report.rows), **self.model.choices, **choices_from(report.tools)}
        if chosen != self.model.choices and self.model.folder is not None:
            self.model.choose(chosen)
        return report, destination

    def request(self) -> Request:
        """The model with what the tasks need."""
        model, options, corpus, settings = self.model, self.options, self.corpus, self.model.settings
        read = searched(settings, options) if self._needs("searched") else None
        about = passages(settings, options) if self._needs("passages") else None
        labels = labels_of(settings, options)
        others = None
        if corpus and (self._needs("grouped") or self._needs("conversations")):
            if options.documents is not None:
                others = other_corpus(settings, corpus, options.documents, options.columns)
            shown = [one for one in (corpus, others) if one]
            named = [one for one in shown if options.prepared or one is others]
            add_cache(model, shown, options.on_message, named=named)
        else:
            add_cache(model, [], options.on_message)
        texts, names = corpus if self.held_out else None, model.knows_speakers
        on_own = {task.name for task in self.tasks if task.reads_held_out and not (others and task.options)}
        request = Request(
            _scored(model),
            [task.name for task in self.tasks],
            data_dir=options.data_dir,
            documents=some_texts(texts.validation, options.budget.documents, names=names) if texts else None,
            train_documents=some_texts(texts.train, TRAINING_DOCUMENTS, names=names) if texts else None,
            grouped=(
                grouped(corpus, others, options.budget.documents, names=names)
                if corpus and self._needs("grouped")
                else None
            ),
            conversations=(
                conversations(corpus, others, options.budget, labels)
                if corpus and self._needs("conversations")
                else None
            ),
            searched=read,
            passages=about,
            decoding=model,
            decoding_beside=_untrained_decoding(self.folder, settings) if self._needs("decoding") else {},
            of_stories=_of_stories(model),
            unit=settings.data.unit,
            window_size=options.window_size or settings.data.window_size,
            budget=options.budget,
            notes=self._flattered(on_own),
        )
        for task in self.tasks:
            task.check(request)  # before other encoders are prepared
        return replace(request, baselines=self._baselines())

    def _needs(self, need: Need) -> bool:
        """Whether any task needs this field of the request."""
        return any(need in task.needs for task in self.tasks)

    def _baselines(self) -> dict[str, Encoder]:
        """The model before training, and other encoders, by their names in the table."""
        model, corpus, settings = self.model, self.corpus, self.model.settings
        baselines: dict[str, Encoder] = {}
        compared = None if all(task.own_controls for task in self.tasks) else corpus
        if settings.model.freeze_encoder and corpus and all(task.own_space for task in self.tasks):
            compared = None  # before training the encoder was the same, and these tasks' baselines use it already
            if model.jepa.encoder.head is not None:
                baselines[WITHOUT_HEAD] = without_head(model, _sample(corpus))
        begun = settings.meta.start_from is not None  # with another run's weights, which are not untrained
        start = self._start(compared) if compared and not begun else None
        if start is not None:
            baselines[_start_name(settings)] = _scored(start)
        sample = _sample(compared) if compared and self.options.beside else []
        for name in self.options.beside:
            baselines[_label(name, {*baselines})] = other_encoder(name, sample)
        if corpus is None and self.options.on_message is not None and model.has_predictor:
            self.options.on_message(f"left out: the row '{_start_name(settings)}'. {missing(model)}")
        return baselines

    def _start(self, corpus: Corpus) -> ConceptModel | None:
        """The model before training; it shares cached vectors with every encoder that has the same weights.

        None, after a message to `on_message`, if its pretrained weights are no longer available.
        """
        model, on_message = self.model, self.options.on_message
        try:
            start = start_of(model.settings, corpus, cached=self._for_start())
        except LangJepaError as error:
            if on_message is None or not model.settings.model.pretrained:
                raise
            on_message(f"left out: the row '{_start_name(model.settings)}', since {error}")
            return None
        weights = weights_hash(start.jepa.encoder.backbone)
        same = weights == weights_hash(model.jepa.encoder.backbone)
        cache = ArrayCache(self.options.shared)
        start.sentence_cache = (
            model.sentence_cache if same else SentenceCache(start.room, cache=cache, identity=weights)
        )
        return start

    def _for_start(self) -> Path | None:
        """Folder for cached statistics of the model before training: the shared one, or a finished, writable run."""
        own = (self.folder / SUMMARY).is_file() and os.access(self.folder, os.W_OK)
        return self.options.shared or (self.folder if own else None)

    def _flattered(self, tasks: Set[str]) -> dict[str, str]:
        """A note for each of these tasks if validations on its documents selected the weights that are scored."""
        best = self.model.card.get("best")
        if not best and self.path.name != BEST:
            return {}
        metric = best["metric"] if best else self.model.settings.logging.best_metric
        note = f"these documents also chose which weights are scored (best {metric}), which flatters a little"
        return dict.fromkeys(tasks, note)


def _check_options(model: ConceptModel, path: Path, tasks: Sequence[Task], options: EvaluateOptions) -> None:
    """Raise LangJepaError for tasks that do not fit the model, and for options that no task reads."""
    names = [task.name for task in tasks]
    if not model.has_predictor:
        if options.prepared is not None:
            raise LangJepaError(
                f"--corpus has no effect with {path}: it is an encoder alone, trained on no corpus here"
            )
        wrong = [task.name for task in tasks if task.reads_held_out]
        if wrong:
            raise LangJepaError(
                f"{path} is an encoder alone, so the tasks {', '.join(wrong)}, which read documents held out of a "
                "model's training corpus, have none to read: use --tasks sts,probe,au,stories. To compare it with a "
                f"run of yours on these tasks: lang-jepa evaluate RUN --beside {path}"
            )
    for option in ("documents", "queries", "labels"):
        readers = [task for task in OF_ENCODERS if option in task.options]
        if getattr(options, option) is not None and not any(task in readers for task in tasks):
            some, one = ("tasks", "one of them") if len(readers) > 1 else ("task", "it")
            raise LangJepaError(f"--{option} belongs to the {some} {_listed(readers)}: add {one} to --tasks")
    units = model.settings.data.units
    asking = [task for task in tasks if "conversations" in task.needs]
    if units == "sentences" and asking:
        some, asks = ("task", "asks") if len(asking) == 1 else ("tasks", "ask")
        raise LangJepaError(
            f"the {some} {_listed(asking)} {asks} for turns of conversations or lines, and this model was trained on "
            "sentences (data.units=turns or lines): use retrieval"
        )
    if units == "lines" and any(task.name == "replies" for task in tasks):
        raise LangJepaError(
            "the task replies chooses answers in conversations, and this model was trained on lines: use turns"
        )
    if units != "turns" and options.labels is not None:
        raise LangJepaError(
            f"--labels needs a model trained on turns (data.units=turns); this one was trained on {units}"
        )
    for task in tasks:
        if task.incomplete and any(getattr(options, option) is None for option in task.options):
            raise LangJepaError(task.incomplete)
    check_data_dir(names, options.data_dir, _of_stories(model))
    if options.beside and all(task.own_controls for task in tasks):
        raise LangJepaError(
            f"--beside has no effect on the task {_listed(tasks)}, which compares decoders: add other tasks"
        )


def _listed(tasks: Iterable[Task]) -> str:
    """The names of tasks as text: a, b and c."""
    *first, last = (task.name for task in tasks)
    return f"{', '.join(first)} and {last}" if first else last


def _of_stories(model: ConceptModel) -> bool:
    return model.predicts_next and model.settings.data.train_file == "stories"


def _weights(model: ConceptModel) -> str:
    """Digest of everything that a score depends on."""
    decoder = {} if model.decoder is None else model.decoder.network.state_dict()
    return digest(model.jepa.state_dict() | {f"decoder.{name}": one for name, one in decoder.items()})


def _label(name: str, taken: Set[str]) -> str:
    """The name of an encoder: the shortest end of its path that is not taken and is not `model`.

    Model folders often have that name, and in the table it is that of the evaluated model.
    """
    path = Path(name)
    parts = (path.resolve().parent if path.name == "model" else path).parts or (name,)
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    free = [end for end in ends if end not in {*taken, "model"}]
    if not free:
        raise LangJepaError(f"--beside names {name} twice")
    return free[0]


def _sample(corpus: Corpus) -> list[str]:
    """Training sentences from which the statistics of other encoders are estimated."""
    return [text for texts in some_texts(corpus.train, TRAINING_DOCUMENTS) for text in texts]


def _scored(model: ConceptModel) -> Encoder:
    """The model, or only its encoder if it does not predict next sentences, so that copying replaces its prediction."""
    return model if model.predicts_next else EncoderOnly(model)


def start_of(settings: Settings, corpus: Corpus, *, cached: Path | None = None) -> ConceptModel:
    """The model before training: same seed, same whitening, no step.

    Args:
        settings: of the run.
        corpus: of its training.
        cached: folder that caches its statistics, separately for each version of lang-jepa (None: no cache).
    """
    view = make_plain_view(settings, corpus.train, corpus.tokenizer)
    jepa = start_model(settings, corpus.tokenizer, view).eval()
    if cached is None:
        return ConceptModel(jepa, corpus.tokenizer, training_statistics(jepa, view, settings), settings)
    chosen = settings.model_dump(mode="json", include={"data", "model", "objective"})
    key = [__version__, corpus.path.name, settings.meta.seed, chosen, weights_hash(jepa)]
    path = cached / f"{START}-{fingerprint(key)}.safetensors"
    if not path.is_file():
        training_statistics(jepa, view, settings).save(path)
    return ConceptModel(jepa, corpus.tokenizer, Statistics.load(path), settings)


def save_start(run: Path) -> Path:
    """Write the model of a run directory as it was before its first step into RUN/untrained, unless it exists already.

    Raises:
        LangJepaError: there is no model, or its corpus is missing.
    """
    folder = run / START
    model = ConceptModel.load(run)
    settings, corpus = with_own_start(model.settings, run), own_corpus(model)
    if corpus is None:
        raise LangJepaError(f"how {run} started cannot be made again; {missing(model, 'prepare it again')}")
    with locked(run / f".{START}.lock"):  # every process of several gets here
        if find_model(folder) is None:
            start = start_of(settings, corpus)
            start.save(folder, weights=_start_name(settings), step=0, corpus=corpus.path.name)
    return folder


def _untrained_decoding(run: Path, settings: Settings) -> dict[str, Decoding]:
    """The model before training, by its name in the table, if a decoder was trained for it."""
    folder = find_model(run / START)
    if folder is None:
        return {}
    model = ConceptModel.load(folder)
    return {_start_name(settings): model} if model.decoder is not None else {}


def _start_name(settings: Settings) -> str:
    return "pretrained start" if settings.model.pretrained else "untrained"


def _usual_tasks(model: ConceptModel, data_dir: Path | None) -> list[str]:
    if not model.has_predictor:
        return ["sts", "probe", "au"]
    if model.settings.data.train_file == "stories":
        return ["stories"]
    own = {"sentences": ["retrieval"], "turns": ["turns", "replies"]}.get(model.settings.data.units, ["turns"])
    return [*own, *(("sts", "probe", "au") if data_dir else ())]


WORDS = "words"


def other_encoder(name: str, sample: Sequence[str]) -> Encoder:
    """An encoder that was not trained here.

    Args:
        name: `words` for a bag of words, else anything that `ConceptModel.load` reads.
        sample: training sentences from which mean and whitening are estimated (empty: raw similarity only).

    Raises:
        LangJepaError: see `ConceptModel.load`.
    """
    encoder: Encoder
    if name == WORDS:
        encoder = BagOfWords()
    else:
        model = ConceptModel.load(name)
        model.sentence_cache = SentenceCache(model.room)  # tasks ask for the same sentences
        encoder = EncoderOnly(model)
    if len(sample) > 1:
        encoder.statistics = Statistics.of(encoder.encode(sample))
    return encoder


def without_head(model: ConceptModel, sample: Sequence[str]) -> EncoderOnly:
    """The encoder of a model without its head, sharing the model's cache.

    Args:
        model: a model whose encoder has a head.
        sample: training sentences from which mean and whitening are estimated.
    """
    encoder = TextEncoder(model.jepa.encoder.backbone, head=None)
    jepa = Jepa(encoder, NoPredictor("the encoder without its head", model.dim), reads_sentences=False).eval()
    plain = ConceptModel(jepa, model.tokenizer, None, model.settings)
    plain.sentence_cache = model.sentence_cache
    plain.statistics = Statistics.of(plain.encode(sample))
    return EncoderOnly(plain)
