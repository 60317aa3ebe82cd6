"""Options and base class for evaluating a finished run of an encoder or a GPT, and the documents that tasks read."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources.columns import questions, turn_labels
from lang_jepa.data.sources.conversations import speakers_of
from lang_jepa.data.sources.source import elsewhere
from lang_jepa.data.views import make_plain_view
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.questions import CHOOSING_EVERY
from lang_jepa.evaluation.table import Report, Saver
from lang_jepa.evaluation.tasks import DEFAULT_BUDGET, Budget, evaluate
from lang_jepa.evaluation.tasks.document_data import group_of
from lang_jepa.evaluation.tasks.passages import ask as ask_passages
from lang_jepa.evaluation.tasks.request import Conversations, Grouped, Passages, Request, Searched
from lang_jepa.evaluation.tasks.search import ask
from lang_jepa.inference.cache import ConceptCache, OnMessage, SentenceCache, reads_cached
from lang_jepa.inference.index.source import SplitDocuments
from lang_jepa.inference.model import ConceptModel
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings

TRAINING_DOCUMENTS = 300
"""Maximum training documents that the baselines learn from."""
PIECE = 64
"""Lines of a file that the task `turns` treats as one conversation."""
ENCODER_OPTIONS = ("beside", "documents", "queries", "labels", "columns", "language", "window_size")
"""Options that only apply to encoders."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How to evaluate a run.

    Attributes:
        tasks: names separated by commas (empty: those that the run's data allow).
        data_dir: folder with stsb/ and sst2/ (None: the hub).
        output: path of the JSON (None: scores.json beside the model; NAME-scores.json here for a pretrained encoder).
        budget: how much to evaluate.
        shared: folder with results of the model before training, for reuse by other evaluations (None: recompute).
        prepared: a corpus, or token shards of a GPT, to use instead of those of the training (None: those, if they
            exist here). Nothing is ever prepared to replace them: what cannot be scored without them is left out, and
            `on_message` says so.
        beside: other encoders to score too, see `other_encoder`.
        documents: any source that `data.train_file` may name. For the tasks `document`, `turns` and `replies`, scores
            are reported on these documents, and those held out of the training corpus only choose (None: every fourth
            of those chooses); for `search`, the documents to search; for `passages`, those that questions are about.
        queries: for the task `search`, see `lang_jepa.evaluation.tasks.search.read_queries`.
        labels: for the task `replies`, see `lang_jepa.data.sources.columns.turn_labels` (None: turns have none).
        columns: column settings of `documents` (`text_column`, `group_column`, `speaker_column`), if they differ from
            those detected in the files.
        language: of the texts to search (None: `data.language` of the model).
        window_size: sentences of context in the questions (None: as many as the model reads).
        on_message: called with a message about anything that takes long.
    """

    tasks: str = ""
    data_dir: Path | None = None
    output: Path | None = None
    budget: Budget = DEFAULT_BUDGET
    shared: Path | None = None
    prepared: Path | None = None
    beside: Sequence[str] = ()
    documents: str | None = None
    queries: Path | None = None
    labels: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    window_size: int | None = None
    on_message: OnMessage | None = None

    def names(self, usual: Sequence[str]) -> list[str]:
        """The names of the tasks, or the `usual` ones."""
        return [name.strip() for name in self.tasks.split(",") if name.strip()] or list(usual)


class ScoredRun(ABC):
    """A finished run to score, created for one evaluation; options that do not fit are refused.

    Attributes:
        destination: path of the JSON.
        weights: digest of everything that a score depends on.
    """

    destination: Path
    weights: str

    @abstractmethod
    def request(self) -> Request:
        """The model with what the tasks need."""

    def evaluate(self) -> tuple[Report, Path]:
        """Score the run, and save the report as JSON after each task.

        Raises:
            NotSaved: the report could not be written; the error contains it.
        """
        saver = Saver(self.destination, self.weights)
        report = evaluate(replace(self.request(), on_task=saver))
        saver.end(report)
        return report, self.destination


def other_corpus(
    settings: Settings, corpus: Corpus, documents: str, columns: Mapping[str, str] = MappingProxyType({})
) -> Corpus:
    """Prepare documents to report on like those of the run, with its tokenizer.

    Args:
        settings: of the run.
        corpus: of the run.
        documents: any source that `data.train_file` may name; prepared beside `corpus`.
        columns: see `EvaluateOptions`.
    """
    changed = elsewhere(
        settings.data,
        documents,
        val_fraction=0.0,
        streaming=False,
        corpus_dir=str(corpus.path.parent),
        tokenizer_path=str(corpus.path / "tokenizer"),
        **columns,
    )
    found = prepare(changed)
    if found.tokenizer.fingerprint() != corpus.tokenizer.fingerprint():
        raise LangJepaError(f"{changed.tokenizer_path} is no longer the tokenizer of {corpus.path}")
    return found


def searched(settings: Settings, options: EvaluateOptions) -> Searched | None:
    """Queries over documents, which are split into sentences as in `lang-jepa index`.

    Args:
        settings: of the model.
        options: with the documents, queries and language; without documents or queries, None is returned.
    """
    documents, queries = options.documents, options.queries
    if documents is None or queries is None:
        return None
    language = options.language or settings.data.language
    data = elsewhere(settings.data, documents, language=language, **options.columns)
    return ask(queries, _units_by_id(data), Path(documents).name)


def _units_by_id(data: DataSettings) -> list[tuple[str, list[str]]]:
    """Id and units of each document, read as in `lang-jepa index`."""
    source = SplitDocuments.open(data)
    source.characters()  # raises if there is no document, and says why
    return [(row.id, row.sentences) for row in source.rows() if row.id is not None]


def passages(settings: Settings, options: EvaluateOptions) -> Passages | None:
    """The questions in a column `queries` about the units of the documents beside it.

    Args:
        settings: of the model.
        options: with the documents, which are local files; without documents, None is returned.
    """
    documents = options.documents
    if documents is None:
        return None
    data = elsewhere(settings.data, documents, streaming=False, **options.columns)
    asked = questions(data)
    read = _units_by_id(data)
    if data.speakers != "embedding":
        return ask_passages(documents, read, None, asked)
    texts = [(identity, speakers_of(units)[1]) for identity, units in read]
    return ask_passages(documents, texts, [units for _, units in read], asked)


Labels = Mapping[str, list[str]]
"""The labels of a document's turns, by its id."""


def labels_of(settings: Settings, options: EvaluateOptions) -> tuple[Labels | None, Labels | None]:
    """The labels of a run's conversations and of the documents in the options; None if they are not requested."""
    if options.labels is None:
        return None, None
    own = turn_labels(settings.data, options.labels)
    if options.documents is None:
        return own, None
    others = elsewhere(settings.data, options.documents, streaming=False, **options.columns)
    return own, turn_labels(others, options.labels)


def grouped(corpus: Corpus, others: Corpus | None, count: int, *, names: bool = False) -> Grouped:
    """Held-out documents of a corpus with their groups. If there are others, scores are reported on those, and the
    held-out ones only choose. Up to `count` of each, spread evenly. `names`: see `some_texts`.
    """
    held, groups = _taken(corpus.validation, count, names)
    if others is None:
        return Grouped(held, groups, [index % CHOOSING_EVERY == 0 for index in range(len(held))])
    reported, theirs = _taken(others.train, count, names)
    choosing = [True] * len(held) + [False] * len(reported)
    return Grouped([*held, *reported], [*groups, *theirs], choosing)


def conversations(
    corpus: Corpus, others: Corpus | None, budget: Budget, labels: tuple[Labels | None, Labels | None] = (None, None)
) -> Conversations:
    """Held-out conversations of a corpus, and others to report on, if any; the held-out ones then only choose.

    Args:
        corpus: of the run.
        others: of other documents, prepared in the same way.
        budget: how many of each, spread evenly.
        labels: of both, from `labels_of`.
    """
    own, theirs = labels
    lines = corpus.manifest["made_from"]["settings"].get("units") == "lines"
    held = _spoken(corpus.validation, budget.conversations, own, lines=lines)
    reported = _spoken(others.train, budget.conversations, theirs, lines=lines) if others else _Said([], [], [], [])
    train = _spoken(corpus.train, budget.train_conversations, own, lines=False)
    choosing = [others is not None or row % CHOOSING_EVERY == 0 for row in range(len(held.texts))]
    speakers = [*held.speakers, *reported.speakers]
    where = "held out" if others is None else others.manifest["source"]["description"]
    named = any(any(numbers) for numbers in speakers)
    choosing += [False] * len(reported.texts)
    said = counted(choosing.count(False), "conversation")
    return Conversations(
        [*held.texts, *reported.texts],
        speakers if named else None,
        choosing,
        train.texts,
        f"{counted(choosing.count(False), 'piece of a file', 'pieces of files') if lines else said} ({where})",
        train_speakers=train.speakers if named else None,
        labels=None if own is None else [*held.labels, *reported.labels],
        train_labels=None if own is None else train.labels,
        files=[*held.files, *(corpus.validation.num_documents + row for row in reported.files)] if lines else None,
    )


@dataclass(frozen=True)
class _Said:
    """Conversations: texts of the turns, their speaker numbers (0: none), labels (empty: none), and documents."""

    texts: list[list[str]]
    speakers: list[list[int]]
    labels: list[list[str]]
    files: list[int]


def _spoken(split: CorpusSplit, count: int, labels: Labels | None, *, lines: bool) -> _Said:
    """Up to `count` conversations.

    Args:
        split: one side of a corpus.
        count: how many, spread evenly.
        labels: of the turns of each document, by its id; ignored if their number differs from that of its units.
        lines: documents are files of lines, of any length, which are cut into pieces of `PIECE`, without labels.
    """
    starts = split.document_starts
    turns = [(row, np.arange(starts[row], starts[row + 1])) for row in range(split.num_documents)]
    if lines:
        turns = [(row, piece) for row, some in turns for piece in np.split(some, np.arange(PIECE, len(some), PIECE))]
    said = _Said([], [], [], [])
    for row in evenly(len(turns), count):
        document, some = turns[row]
        found = labels.get(split.document_id(document), []) if labels is not None and not lines else []
        said.texts.append(split.texts(some))
        said.speakers.append(split.speakers(some).tolist() if split.has_speakers else [0] * len(some))
        said.labels.append(found if len(found) == len(some) else [""] * len(some))
        said.files.append(document)
    return said


def _taken(split: CorpusSplit, count: int, names: bool) -> tuple[list[list[str]], list[str]]:
    """Sentences and groups of up to `count` documents."""
    read = split.units if names else split.texts
    rows, starts = evenly(split.num_documents, count), split.document_starts
    texts = [read(np.arange(starts[row], starts[row + 1])) for row in rows]
    return texts, [group_of(split.document_id(row)) for row in rows]


def evenly(available: int, count: int) -> list[int]:
    """Up to `count` of the integers below `available`, spread evenly."""
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(int)).tolist()  # type: ignore[no-any-return]


def add_cache(
    model: ConceptModel, corpora: Sequence[Corpus], on_message: OnMessage | None, *, named: Collection[Corpus] = ()
) -> None:
    """Make a model encode each sentence only once, and reuse the cached vectors if training reads such a cache.

    Args:
        model: gets a `SentenceCache`.
        corpora: with the sentences that it will encode; prepared with its tokenizer.
        on_message: called with a message about what is being done.
        named: those of the corpora that the user named. Missing vectors are written only beside these, never beside a
            corpus that only the model's settings name.
    """
    model.sentence_cache = SentenceCache(model.room)
    if not reads_cached(model.settings):
        return
    for corpus in corpora:
        for split in (corpus.train, corpus.validation):
            if split.num_sentences:
                view = make_plain_view(model.settings, split, model.tokenizer)
                take = ConceptCache.open_or_make if corpus in named else ConceptCache.find
                found = take(model.jepa.encoder, view, on_message=on_message)
                if found is not None:
                    model.sentence_cache.fill(split, found.vectors)


def some_texts(split: CorpusSplit, count: int, *, names: bool = False) -> list[list[str]]:
    """The sentences of up to `count` documents, spread evenly over a side; `names`: turns as "user: Good morning"."""
    return _taken(split, count, names)[0]
