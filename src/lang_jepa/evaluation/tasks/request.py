"""The input of an evaluation (`Request`), the definition of a task (`Task`), and its output (`Result`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import speaker_name
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.language import Baseline
from lang_jepa.evaluation.embedder import Decoding, Encoder
from lang_jepa.evaluation.metrics.bits_per_byte import DocumentBits, LogitsFn, Validation
from lang_jepa.evaluation.table import Report, Row

Documents = Sequence[Sequence[str]]
"""Documents, each a list of sentences."""


@dataclass(frozen=True)
class Budget:
    """How much to evaluate. Most numbers are upper limits.

    Attributes:
        queries: most next-sentence questions per task and split, those for selection included.
        stories: reported stories per split.
        train_stories: training stories from which the word regressions learn.
        paraphrases: paraphrase pairs per split; a sixth of them have the same meaning and serve retrieval.
        probe_sentences: training sentences of the SST-2 probe (None: all, about 67,000).
        ridge_pairs: context-target pairs of the corpus from which the vector regression learns.
        decoded: sentences that are decoded from their own concepts.
        documents: most held-out documents that `retrieval`, `decode` and `document` read.
        conversations: most held-out conversations that `turns` and `replies` read.
        turn_queries: most questions of each of these tasks, those for selection included.
        train_conversations: most training conversations for the baselines that learn and for the bank.
        turn_pairs: most pairs of context and next turn from which these baselines learn, and most replies of the bank.
        held_out_documents: most held-out documents on which bits per byte are measured.
        document_tokens: most tokens of each of these documents, from its beginning.
        continuations: most continuation questions of the task `document`; they need no further encoding.
    """

    queries: int = 1024
    stories: int = 300
    train_stories: int = 2000
    paraphrases: int = 1800
    probe_sentences: int | None = None
    ridge_pairs: int = 4000
    decoded: int = 1024
    documents: int = 200
    conversations: int = 400
    turn_queries: int = 2048
    train_conversations: int = 1500
    turn_pairs: int = 20_000
    held_out_documents: int = 256
    document_tokens: int = 1024
    continuations: int = 20_000


DEFAULT_BUDGET = Budget()
QUICK = Budget(
    queries=512,
    turn_queries=512,
    train_conversations=300,
    turn_pairs=4000,
    stories=150,
    train_stories=1000,
    paraphrases=900,
    decoded=512,
)
"""Budget of the quick-start, and of --quick for encoders."""
GPT_QUICK = Budget(queries=256, ridge_pairs=1000, documents=64, held_out_documents=128, document_tokens=512)
"""Budget of --quick for GPTs: about 50 CPU seconds for one of 1.2 M parameters."""


@dataclass(frozen=True)
class Grouped:
    """Documents of the task `document` and their groups, one entry per document.

    Attributes:
        documents: each a list of sentences.
        groups: a name that documents of one book (or folder) share.
        choosing: whether the document is used for selection; the others are reported.

    Raises:
        LangJepaError: the lists differ in length.
    """

    documents: Documents
    groups: Sequence[str]
    choosing: Sequence[bool]

    def __post_init__(self) -> None:
        sizes = [len(part) for part in (self.documents, self.groups, self.choosing)]
        if len(set(sizes)) > 1:
            raise LangJepaError(f"documents, groups and selection marks differ in number: {sizes}.")


@dataclass(frozen=True)
class Conversations:
    """Conversations of the tasks `turns` and `replies`.

    Attributes:
        documents: the texts of each conversation's turns.
        speakers: `speaker_number` of each turn (None: no speakers are named).
        choosing: whether the conversation is used for selection; the others are reported.
        train: training conversations, for the baselines that learn and for the bank.
        source: where they come from, in words.
        train_speakers: speakers of `train`, like `speakers`.
        labels, train_labels: a label of each turn, empty if it has none (None: there are no labels).
        files: for models of lines, the number of the file that each conversation is a piece of, in order of time
            (None: each is whole).
    """

    documents: Documents
    speakers: Sequence[Sequence[int]] | None
    choosing: Sequence[bool]
    train: Documents
    source: str
    train_speakers: Sequence[Sequence[int]] | None = None
    labels: Sequence[Sequence[str]] | None = None
    train_labels: Sequence[Sequence[str]] | None = None
    files: Sequence[int] | None = None


def as_said(texts: Documents, speakers: Sequence[Sequence[int]]) -> list[list[str]]:
    """Return the turns of conversations like "user: Good morning"."""
    pairs = zip(texts, speakers, strict=True)
    return [[f"{speaker_name(number)}: {text}" for text, number in zip(*one, strict=True)] for one in pairs]


@dataclass(frozen=True)
class Searched:
    """Queries of the task `search`, and the sentences they search.

    Attributes:
        sentences: [S], every sentence of the documents.
        queries: [Q], each once.
        expected: for each query the rows of `sentences` that it should find, at least one.
        name: name of the documents, used as the split in the rows.
        source: description of documents and queries.
    """

    sentences: list[str]
    queries: list[str]
    expected: list[NDArray[np.int64]]
    name: str
    source: str


@dataclass(frozen=True)
class Passages:
    """Questions of the task `passages` about conversations, and all units of the conversations.

    Attributes:
        units: [S], document after document, without speakers, for models that do not read them.
        spoken: the same like "user: Good morning", for models that read speakers (None: those read `units` too).
        documents: int64 [S], the document of each unit.
        queries: [Q], the questions.
        owners: int64 [Q], the document that each question is about.
        expected: for each question the rows of the units that answer it, at least one.
        name: name of the documents, used as the split in the rows.
        source: description of questions and documents.
    """

    units: list[str]
    spoken: list[str] | None
    documents: NDArray[np.int64]
    queries: list[str]
    owners: NDArray[np.int64]
    expected: list[NDArray[np.int64]]
    name: str
    source: str


Precision = Literal["int8", "int6"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Quantised:
    """A model loaded from a quantised file.

    Attributes:
        logits: the model's function from tokens to logits.
        bytes: size of the file.
    """

    logits: LogitsFn
    bytes: int


@dataclass(frozen=True)
class Language:
    """A language model, and the scorers it is compared with.

    Attributes:
        validation: the held-out documents.
        score: returns the bits of each document under a scorer, by name; `model` is the evaluated one.
        names: scorers that `score` knows, the evaluated one first.
        quantise: returns the evaluated model at a precision.
        baselines: returns the scores of compressors and n-grams on the same documents.
        source: description of the documents.
        items: anything JSON can hold that distinguishes one set of documents from another.
    """

    validation: Validation
    score: Callable[[str], DocumentBits]
    names: tuple[str, ...]
    quantise: Callable[[Precision], Quantised]
    baselines: Callable[[], list[Baseline]]
    source: str
    items: object
    _found: dict[str, DocumentBits] = field(default_factory=dict)

    def bits(self, name: str) -> DocumentBits:
        """Return the bits of each document under a scorer, computed once."""
        if name not in self._found:
            self._found[name] = self.score(name)
        return self._found[name]


@dataclass(frozen=True)
class Request:
    """Everything an evaluation takes. A task whose input is missing raises before any work is done.

    Attributes:
        model: called `model` in the rows. With a predictor (`Embedder`) its predictions are scored; an encoder
            alone is scored by copying the last sentence and by the recency-weighted mean.
        tasks: names from `lang_jepa.evaluation.tasks.TASKS`, in the order of the report.
        baselines: further encoders by name, for example the untrained encoder and the pretrained starting point.
        data_dir: folder with stsb/ and sst2/ (None: the hub).
        documents: held-out documents.
        train_documents: training documents for the baselines that learn (TF-IDF weights, ridge regression).
        grouped: for `document`, held-out documents with their groups.
        conversations: for `turns` and `replies`, held-out conversations with their speakers.
        searched: for `search`, queries with the sentences they should find.
        passages: for `passages`, questions about conversations with the units that answer them.
        decoding: for `decode`, the model with its decoder.
        decoding_beside: for `decode`, other models with decoders to score beside it, by name.
        language: for `bits_per_byte` and `quantised`, the model as a language model.
        of_stories: the model was trained on the built-in stories: `decode` also scores whether its predictions are
            decoded to the right event, and `document` plants pairs of stories.
        window_size: most sentences of context.
        unit: what the model's units of text are called: sentence, line or turn.
        splits: splits of the stories.
        seed: seed of every draw.
        budget: how much to evaluate.
        notes: further remarks on the documents of a task, by task.
        on_task: called with the report so far after each task; `settings["unfinished"]` names the remaining tasks.
    """

    model: Encoder
    tasks: Sequence[str]
    baselines: Mapping[str, Encoder] = field(default_factory=dict)
    data_dir: Path | None = None
    documents: Documents | None = None
    train_documents: Documents | None = None
    grouped: Grouped | None = None
    conversations: Conversations | None = None
    searched: Searched | None = None
    passages: Passages | None = None
    decoding: Decoding | None = None
    decoding_beside: Mapping[str, Decoding] = field(default_factory=dict)
    language: Language | None = None
    of_stories: bool = False
    window_size: int = 8
    unit: str = "sentence"
    splits: Sequence[str] = ("heldout", "unseen")
    seed: int = 0
    budget: Budget = DEFAULT_BUDGET
    notes: Mapping[str, str] = field(default_factory=dict)
    on_task: Callable[[Report], None] | None = None

    @property
    def models(self) -> dict[str, Encoder]:
        """All encoders by name, the evaluated one first."""
        return {"model": self.model, **self.baselines}

    def overlap(self, documents: Documents) -> str:
        """Say how many of their sentences occur verbatim in training: a score on those may be memorised."""
        if self.train_documents is None:
            return ", overlap with training unknown"
        seen = {sentence for document in self.train_documents for sentence in document}
        held = [sentence for document in documents for sentence in document]
        share = sum(sentence in seen for sentence in held) / len(held)
        return f", {100 * share:.1f} % of their {self.unit}s occur in training"


@dataclass(frozen=True)
class Result:
    """The output of a task.

    Attributes:
        rows: scores of all candidates and baselines, in printing order.
        sources: by task, where its data came from and how much there was, in words.
        similarity: by task, the evaluated model's similarity as selected on development data.
        tools: what the document tools should use, as plain data.
    """

    rows: list[Row]
    sources: Mapping[str, str]
    similarity: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Any] = field(default_factory=dict)


Need = Literal["documents", "grouped", "conversations", "searched", "passages", "decoding", "language"]
NEEDS: Mapping[Need, str] = {
    "documents": "held-out documents: give a corpus with a validation part",
    "grouped": "held-out documents: give a corpus with a validation part",
    "conversations": "conversations: a model that was trained with data.units=turns or lines, and its corpus",
    "searched": "queries: give --queries FILE and --documents TEXTS",
    "passages": "questions: give --documents with a column of them",
    "decoding": "a model with a decoder (lang-jepa train concept_decoder --encoder RUN)",
    "language": "a model that predicts tokens: a GPT",
}
"""Fields of a `Request` that a task may need, and what to provide, for error messages."""


@dataclass(frozen=True)
class Task:
    """One name of --tasks. The file of a task defines its data, its score and its baselines.

    Attributes:
        name: its name in --tasks.
        score: computes the result of a request that has what the task needs.
        needs: fields of the request without which there is nothing to score.
        data_dir: whether its data are in --data-dir or on the hub: always, or unless the model was trained on stories.
        find_data: reads these data from a folder (None: the hub); raises LangJepaError if they are missing.
        options: fields of `lang_jepa.report.run.EvaluateOptions` that it reads and few other tasks do.
        incomplete: error message if one of these options is missing (empty: all are optional).
        asks_next: it only asks for predictions of the next sentence.
        own_controls: its controls come with its input, so other encoders are not scored beside the model.
        enough: raises LangJepaError if there is too little to score; called before any work.
        own_space: its baselines are rules in the space of the evaluated encoder.
    """

    name: str
    score: Callable[[Request], Result]
    needs: tuple[Need, ...] = ()
    data_dir: Literal["never", "always", "unless of stories"] = "never"
    find_data: Callable[[Path | None], object] | None = None
    options: tuple[str, ...] = ()
    incomplete: str = ""
    asks_next: bool = False
    own_controls: bool = False
    own_space: bool = False
    enough: Callable[[Request], object] | None = None

    @property
    def reads_held_out(self) -> bool:
        """Whether it reads held-out documents of the training corpus as sentences."""
        return bool({"documents", "grouped", "conversations"} & {*self.needs})

    def check(self, request: Request) -> None:
        """Raise LangJepaError if the request lacks what the task needs."""
        for need in self.needs:
            if getattr(request, need) is None:
                raise LangJepaError(f"the task {self.name} needs {NEEDS[need]}")
        if self.enough is not None:
            self.enough(request)
