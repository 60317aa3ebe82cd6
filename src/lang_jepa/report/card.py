"""The scores of a run: finds the model, its corpus and its baselines, and runs the evaluation."""

from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.embedder import Encoder, EncoderOnly, Shelf, Teller
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks.document_choice import choices_from
from lang_jepa.evaluation.tasks.evaluate import DEFAULT_BUDGET, ENCODER_TASKS, Budget, evaluate
from lang_jepa.evaluation.tasks.saving import Saver
from lang_jepa.evaluation.tasks.tasks import check_data_dir
from lang_jepa.files.arrays import digest
from lang_jepa.files.atomic import check_writable, locked
from lang_jepa.inference.cache import SentenceCache, Tell, weights_hash
from lang_jepa.inference.model import ConceptModel, missing, own_corpus
from lang_jepa.inference.model_folder import find_model
from lang_jepa.report.documents import (
    evenly,
    grouped,
    other_corpus,
    other_encoder,
    remember,
    searched,
    without_head,
)
from lang_jepa.settings.encoder import Settings
from lang_jepa.training.checkpoint import BEST
from lang_jepa.training.export import load_any, training_statistics
from lang_jepa.training.start import start_model

_READING = frozenset({"retrieval", "decode", "document"})
"""Tasks that read documents of the training corpus."""
TRAINING_DOCUMENTS = 300
"""Training documents that these tasks read at most."""

WITHOUT_HEAD = "without head"
"""Name of the encoder as it was pretrained, where it is frozen and only a head was set on it."""

START = "untrained"
"""Folder in a run directory with the model as training began with it, and a decoder of its own, as a control."""


def evaluate_run(
    path: Path,
    *,
    tasks: str,
    data_dir: Path | None,
    output: Path | None,
    beside: Sequence[str] = (),
    budget: Budget = DEFAULT_BUDGET,
    documents: str | None = None,
    queries: Path | None = None,
    language: str | None = None,
    tell: Tell | None = None,
    shared: Path | None = None,
    window_size: int | None = None,
    prepared: Path | None = None,
) -> tuple[Report, Path]:
    """Score a run's model beside the same model untrained, and save the report as JSON after each task.

    Rows of other tasks that are in that file stay there, if they are of the same weights.

    Args:
        path: a run directory, a model directory, a checkpoint, or what else `ConceptModel.load` reads.
        tasks: names separated by commas; empty: what the run's data allows.
        data_dir: folder with stsb/ and sst2/ (None: the hub).
        output: of the JSON (None: scores.json beside the model; of a pretrained encoder NAME-scores.json here).
        beside: other encoders to score too, see `lang_jepa.report.documents`.
        budget: how much to evaluate.
        documents: for the task `document`, what `data.train_file` may name: scores are reported of these documents,
            and those held out of the training corpus only choose (None: every fourth of those chooses); for the task
            `search`, what is searched.
        queries: for the task `search`, see `lang_jepa.evaluation.tasks.search.read_queries`.
        language: of the texts that are searched (None: `data.language` of the model).
        tell: told in words of what takes long.
        shared: folder for what the same start gives in other evaluations (None: it is computed).
        window_size: sentences of context in the questions (None: as many as the model reads).
        prepared: a corpus to take in place of that of the training (None: that one, if it is here). Nothing is ever
            prepared in its place: what cannot be scored without it is left out, and `tell` is told.

    Returns:
        The report and where it was written.

    Raises:
        NotSaved: it could not be written there; it has the report.
        LangJepaError: the model, a task, its data or `output` cannot be used; said before the work.
    """
    if output is not None:
        check_writable(output)
    model = load_any(path, corpus=prepared)
    settings = model.settings
    corpus = own_corpus(model, prepared) if model.has_predictor else None
    names = [name.strip() for name in tasks.split(",") if name.strip()] or _usual_tasks(model, data_dir)
    if not model.has_predictor:
        _check_plain(path, names, prepared)
    _check_search(names, documents, queries)
    _check(names, corpus, lacking="" if corpus else missing(model))
    _check_options(model, names, data_dir, beside)
    reading = bool(_READING & {*names})
    folder = path.parent if path.is_file() else path
    usual = (
        folder / "scores.json" if model.has_predictor else Path(f"{_label(str(folder), set())}-scores.json")
    )
    compared = corpus is not None and set(names) != {"decode"}  # whose controls are of its own
    asked = None
    if documents and queries and "search" in names:
        asked = searched(settings, documents, queries, language)
    told = documents if "document" in names else None
    others = other_corpus(settings, corpus, told) if corpus and told is not None else None
    shown = [one for one in (corpus, others) if one] if "document" in names else []
    remember(model, shown, tell, named=[one for one in shown if prepared or one is others])
    baselines: dict[str, Encoder] = {}
    if settings.model.freeze_encoder and corpus and set(names) == {"document"}:
        compared = False  # the start has the same encoder, which this task's baselines use already
        if model.jepa.encoder.head is not None:
            baselines[WITHOUT_HEAD] = without_head(model, _sample(corpus))
    destination = output or usual
    saver = Saver(destination, _weights(model))
    start = _start_beside(model, corpus, shared, tell) if corpus and compared else None
    if corpus is None and tell is not None and model.has_predictor:
        tell(f"left out: the row '{_start_name(settings)}'. {missing(model)}")
    report = evaluate(
        _scored(model),
        tasks=names,
        data_dir=data_dir,
        baselines=baselines | _baselines(start, corpus if compared else None, beside),
        documents=_texts(corpus.validation, budget.documents) if corpus and reading else None,
        train_documents=_texts(corpus.train, TRAINING_DOCUMENTS) if corpus and reading else None,
        window_size=window_size or settings.data.window_size,
        budget=budget,
        decoding=model,
        decoding_beside=_untrained_teller(folder, settings) if "decode" in names else None,
        told_events=_of_stories(model),
        on_task=saver,
        grouped=grouped(corpus, others, budget.documents) if corpus and "document" in names else None,
        searched=asked,
        notes=_looked_at(model, path, _READING - ({"document"} if others else set())),
    )
    saver.end(report)
    if report.tools and model.folder is not None:
        model.choose(choices_from(report.tools))
    return report, destination


def _check_plain(path: Path, names: Sequence[str], prepared: Path | None) -> None:
    """Refuse what asks for a training corpus or a decoder, which a pretrained encoder does not have."""
    if prepared is not None:
        raise LangJepaError(
            f"--corpus has no effect with {path}: it is an encoder alone, trained on no corpus here"
        )
    wrong = [name for name in names if name in _READING]
    if wrong:
        raise LangJepaError(
            f"{path} is an encoder alone, so the tasks {', '.join(wrong)}, which read documents held out of a model's "
            "training corpus, have none to read: take --tasks sts,probe,au,stories. To compare it with a run of yours "
            f"on these tasks: lang-jepa evaluate RUN --beside {path}"
        )


def _check_search(names: Sequence[str], documents: str | None, queries: Path | None) -> None:
    """Refuse queries without texts to search in, and what no task reads."""
    if documents is not None and {"document", "search"}.isdisjoint(names):
        raise LangJepaError(
            "--documents belongs to the tasks document and search: add one of them to --tasks"
        )
    if queries is not None and "search" not in names:
        raise LangJepaError("--queries belongs to the task search: add it to --tasks")
    if "search" in names and (documents is None or queries is None):
        raise LangJepaError(
            "the task search needs --documents TEXTS to search in, and --queries FILE: on each line a query, a tab, "
            "and the sentence, or the id of the document, that it should find"
        )


def _check(names: Sequence[str], corpus: Corpus | None, lacking: str) -> None:
    """Refuse tasks that there are not, or that have no documents to ask about."""
    unknown = [name for name in names if name not in ENCODER_TASKS]
    if unknown:
        raise LangJepaError(f"unknown task {', '.join(unknown)}: choose from {', '.join(ENCODER_TASKS)}")
    if _READING & {*names} and (corpus is None or not corpus.validation.num_documents):
        why = lacking or (corpus.why_nothing_held_out() if corpus else "it is not here")
        raise LangJepaError(
            "the tasks retrieval, decode and document need held-out documents of the training corpus; "
            f"{why.rstrip('.')}. Or choose others: --tasks sts,probe,au, or search (over your own texts)"
        )


def _check_options(
    model: ConceptModel, names: Sequence[str], data_dir: Path | None, beside: Sequence[str]
) -> None:
    """Refuse options without effect on these tasks."""
    check_data_dir(names, data_dir, _of_stories(model))
    if beside and {*names} == {"decode"}:
        raise LangJepaError(
            "--beside has no effect on the task decode, which compares decoders: add other tasks"
        )


def _of_stories(model: ConceptModel) -> bool:
    return model.predicts_next and model.settings.data.train_file == "stories"


def _start_beside(
    model: ConceptModel, corpus: Corpus, shared: Path | None, tell: Tell | None
) -> ConceptModel | None:
    """The model as training began with it; what it reads is shared with all that read with the same weights.

    None, with a word to `tell`, where the pretrained weights that it began with are no longer to be had.
    """
    try:
        start = start_of(model.settings, corpus)
    except LangJepaError as error:
        if tell is None or not model.settings.model.pretrained:
            raise
        tell(f"left out: the row '{_start_name(model.settings)}', since {error}")
        return None
    weights = weights_hash(start.jepa.encoder.backbone)
    same = weights == weights_hash(model.jepa.encoder.backbone)
    start.sentence_cache = (
        model.sentence_cache if same else SentenceCache(start.room, shelf=Shelf(shared), identity=weights)
    )
    return start


def _looked_at(model: ConceptModel, path: Path, tasks: Set[str]) -> dict[str, str]:
    """For these tasks, that looks at their documents decided which weights are scored; nothing where none did."""
    best = model.card.get("best")
    if not best and path.name != BEST:
        return {}
    metric = best["metric"] if best else model.settings.logging.best_metric
    note = f"these documents also chose which weights are scored (best {metric}), which flatters a little"
    return dict.fromkeys(tasks, note)


def _weights(model: ConceptModel) -> str:
    """Digest of everything that a score depends on."""
    decoder = {} if model.decoder is None else model.decoder.network.state_dict()
    return digest(model.jepa.state_dict() | {f"decoder.{name}": one for name, one in decoder.items()})


def _baselines(
    start: ConceptModel | None, corpus: Corpus | None, beside: Sequence[str]
) -> dict[str, Encoder]:
    """The model as training began with it, and other encoders, by their names in the table."""
    baselines: dict[str, Encoder] = {}
    if start is not None:
        baselines[_start_name(start.settings)] = _scored(start)
    sample = _sample(corpus) if corpus else []
    for name in beside:
        baselines[_label(name, {*baselines})] = other_encoder(name, sample)
    return baselines


def _label(name: str, taken: Set[str]) -> str:
    """What an encoder is called: as much of the end of its path as no other has, and not `model`.

    Model folders are often called so, as is the examined one in the table.
    """
    path = Path(name)
    parts = (path.resolve().parent if path.name == "model" else path).parts or (name,)
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    free = [end for end in ends if end not in {*taken, "model"}]
    if not free:
        raise LangJepaError(f"--beside names {name} twice")
    return free[0]


def _sample(corpus: Corpus) -> list[str]:
    """Training sentences, to estimate the statistics of other encoders from."""
    return [text for texts in _texts(corpus.train, TRAINING_DOCUMENTS) for text in texts]


def _scored(model: ConceptModel) -> Encoder:
    """Of a model that does not predict next sentences only the encoder, so that copying stands for its prediction."""
    return model if model.predicts_next else EncoderOnly(model)


def start_of(settings: Settings, corpus: Corpus) -> ConceptModel:
    """The model as training began with it: same seed, same whitening, no step made."""
    view = make_plain_view(settings, corpus.train, corpus.tokenizer)
    jepa = start_model(settings, corpus.tokenizer, view).eval()
    return ConceptModel(jepa, corpus.tokenizer, training_statistics(jepa, view, settings), settings)


def save_start(run: Path) -> Path:
    """Write the model of a run directory as it was before its first step into RUN/untrained, if it is not there yet.

    Raises:
        LangJepaError: no model there, or its corpus is gone.
    """
    folder = run / START
    model = ConceptModel.load(run)
    settings, corpus = model.settings, own_corpus(model)
    if corpus is None:
        raise LangJepaError(f"how {run} started cannot be made again; {missing(model, 'prepare it again')}")
    with locked(run / f".{START}.lock"):  # each process of several comes here
        if find_model(folder) is None:
            start = start_of(settings, corpus)
            start.save(folder, weights=_start_name(settings), step=0, corpus=corpus.path.name)
    return folder


def _untrained_teller(run: Path, settings: Settings) -> dict[str, Teller]:
    """The model as training began with it, by its name in the table, if a decoder was trained for it."""
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
    return ["retrieval", *(("sts", "probe", "au") if data_dir else ())]


def _texts(split: CorpusSplit, count: int) -> list[list[str]]:
    """The sentences of up to `count` documents, spread evenly over a side."""
    starts = split.document_starts
    return [split.texts(np.arange(starts[row], starts[row + 1])) for row in _spread(split, count)]


def _spread(split: CorpusSplit, count: int) -> list[int]:
    return evenly(split.num_documents, count)


def tell_story(path: Path) -> list[str]:
    """A held-out story with, at three places, the sentence that the model expected most, in words.

    The candidates are the next sentences of 256 held-out stories, the true one among them.
    """
    from lang_jepa.inference.search import rank_continuations
    from lang_jepa.stories import generate

    model = load_any(path)
    stories = list(generate(256, seed=1, split="heldout"))
    told = [sentence.text for sentence in stories[0].sentences]
    lines = [
        "A held-out story, and what the model expected among 256 sentences of other stories and the true one:",
        "",
    ]
    asked = {len(told) // 3, len(told) // 2, len(told) - 2}
    for place, sentence in enumerate(told):
        if place in asked:
            others = [story.sentences[min(place, len(story.sentences) - 1)].text for story in stories[1:]]
            (score, best), *_ = rank_continuations(model, told[:place], [sentence, *others])
            mark = "as told" if best == sentence else "but told was"
            lines.append(f"    expected ({score:.2f}, {mark}): {best}")
        lines.append(f"  {sentence}")
    return lines


def imagine_story(path: Path, *, told: int = 5, steps: int = 3) -> list[str]:
    """The beginning of a held-out story, and how the model imagines that it goes on, beside how it did."""
    from lang_jepa.stories import generate

    model = load_any(path)
    story = [sentence.text for sentence in next(iter(generate(1, seed=1, split="heldout"))).sentences]
    lines = ["The beginning of a held-out story, and how the model imagines that it goes on:", ""]
    lines += [f"  {text}" for text in story[:told]]
    found = model.imagine(story[:told], steps)
    lines += [f"    imagined ({one.agreement:.2f}): {one.text}" for one in found]
    lines += [f"    told was:        {text}" for text in story[told : told + steps]]
    return lines
