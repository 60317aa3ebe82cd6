"""Runs evaluation tasks on one model and puts every score beside its baselines, with a 95 % interval.

A task that fails raises: a report never lacks a row without saying so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.embedder import Encoder, Teller
from lang_jepa.evaluation.table import Report
from lang_jepa.evaluation.tasks.document_data import Grouped
from lang_jepa.evaluation.tasks.language import Language, bits_rows, quantised_rows

if TYPE_CHECKING:
    from lang_jepa.evaluation.tasks.document_repetitions import Pairs
    from lang_jepa.evaluation.tasks.search import Searched

EncoderTask = Literal["sts", "probe", "au", "retrieval", "stories", "decode", "document", "search"]
GPTTask = Literal["bits_per_byte", "quantised", "retrieval", "sts", "probe", "au"]
ENCODER_TASKS: tuple[EncoderTask, ...] = get_args(EncoderTask)
GPT_TASKS: tuple[GPTTask, ...] = get_args(GPTTask)
TASKS: tuple[str, ...] = tuple(dict.fromkeys([*ENCODER_TASKS, *GPT_TASKS]))


@dataclass(frozen=True)
class Budget:
    """How much to evaluate.

    Attributes:
        queries: next-sentence questions per task and split at most, those that only choose included.
        stories: reported stories per split.
        train_stories: training stories from which the word regressions learn.
        paraphrases: paraphrase pairs per split; a sixth of them have the same meaning and serve retrieval.
        probe_sentences: training sentences of the SST-2 probe (None: all, about 67,000).
        ridge_pairs: context-target pairs of the corpus from which the vector regression learns.
        decoded: sentences that are decoded from their own concepts.
        documents: held-out documents that `retrieval`, `decode` and `document` read at most.
        held_out_documents: held-out documents on which bits per byte are measured at most.
        document_tokens: tokens of each of those at most, from its beginning.
        continuations: questions of the task `document` at most; they need no further encoding.
    """

    queries: int = 1024
    stories: int = 300
    train_stories: int = 2000
    paraphrases: int = 1800
    probe_sentences: int | None = None
    ridge_pairs: int = 4000
    decoded: int = 1024
    documents: int = 200
    held_out_documents: int = 256
    document_tokens: int = 1024
    continuations: int = 20_000


DEFAULT_BUDGET = Budget()
QUICK = Budget(queries=512, stories=150, train_stories=1000, paraphrases=900, decoded=512)
"""The quick-start's evaluation, and --quick's of encoders."""
GPT_QUICK = Budget(queries=256, ridge_pairs=1000, documents=64, held_out_documents=128, document_tokens=512)
"""--quick's of GPTs: about 50 CPU seconds for one of 1.2 M parameters."""


def evaluate(
    model: Encoder,
    *,
    tasks: Sequence[str],
    data_dir: Path | None = None,
    baselines: Mapping[str, Encoder] | None = None,
    documents: Sequence[Sequence[str]] | None = None,
    train_documents: Sequence[Sequence[str]] | None = None,
    window_size: int = 8,
    splits: Sequence[str] = ("heldout", "unseen"),
    seed: int = 0,
    budget: Budget = DEFAULT_BUDGET,
    on_task: Callable[[Report], None] | None = None,
    decoding: Teller | None = None,
    decoding_beside: Mapping[str, Teller] | None = None,
    told_events: bool = False,
    grouped: Grouped | None = None,
    searched: "Searched | None" = None,
    language: Language | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Score a model.

    Args:
        model: called `model` in the rows. With a predictor (`Embedder`) its predictions are scored; an encoder
            alone is scored by copy-forward and the recency-weighted mean.
        tasks: of `sts` (STS-B), `probe` (SST-2), `au` (alignment and uniformity on STS-B), `retrieval` (next sentences
            of held-out documents), `stories` (the built-in tasks), `decode` (text from concepts), `document` (what
            a predictor tells about a document), `search` (queries over documents), `bits_per_byte` and `quantised` (of
            a language model), in the order of the report.
        data_dir: folder with stsb/ and sst2/ (None: the hub).
        baselines: further encoders by name, for example the untrained encoder and the pretrained starting point.
        documents: held-out documents for `retrieval`, each a list of sentences.
        train_documents: training documents for the corpus baselines that learn (TF-IDF weights, ridge).
        window_size: sentences of context at most.
        splits: of the stories.
        seed: of every draw.
        budget: how much to evaluate.
        decoding: the model with its decoder, for `decode`.
        decoding_beside: other models with decoders, by name, to be scored beside it.
        told_events: of a model trained on stories, `decode` also scores whether its predictions tell the right event.
        grouped: for `document`, held-out documents with what they belong to.
        searched: for `search`, queries with what they should find.
        language: for `bits_per_byte` and `quantised`, the model as one that predicts tokens.
        notes: what else to tell of the documents of a task, by task.
        on_task: called with the report so far after each task; `settings["unfinished"]` names what is to come.

    Raises:
        LangJepaError: unknown task, missing data or documents, a name taken twice, NaN embeddings.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise LangJepaError(f"unknown task {', '.join(unknown) or '(none)'}: choose from {', '.join(TASKS)}.")
    if ("retrieval" in tasks and documents is None) or ("document" in tasks and grouped is None):
        raise LangJepaError(
            "the tasks retrieval and document need held-out documents: give a corpus with a validation part."
        )
    if "decode" in tasks and (decoding is None or documents is None):
        raise LangJepaError(
            "the task decode needs a model with a decoder (lang-jepa train concept_decoder --encoder RUN) and held-out "
            "documents."
        )
    if {"bits_per_byte", "quantised"} & {*tasks} and language is None:
        raise LangJepaError("the tasks bits_per_byte and quantised need a model that predicts tokens: a GPT.")
    if "search" in tasks and searched is None:
        raise LangJepaError("the task search needs queries: give --queries FILE and --documents TEXTS")
    if "model" in (baselines or {}):
        raise LangJepaError("a baseline cannot be called 'model': that is the examined one.")
    models = {"model": model, **(baselines or {})}
    settings = {"seed": seed, "window_size": window_size, "budget": asdict(budget), "tasks": list(tasks)}
    report = Report([], {}, {}, settings)
    wanted = list(dict.fromkeys(tasks))
    for number, task in enumerate(wanted, start=1):
        if task == "sts":
            _sts(report, models, data_dir, seed)
        elif task == "au":
            _au(report, models, data_dir, seed)
        elif task == "probe":
            _probe(report, models, data_dir, seed, budget)
        elif task == "stories":
            _stories(report, models, splits, window_size, seed, budget)
        elif task == "bits_per_byte":
            assert language is not None
            report.rows.extend(bits_rows(language, seed=seed))
            report.sources[task] = language.source
        elif task == "quantised":
            assert language is not None
            report.rows.extend(quantised_rows(language, seed=seed))
        elif task == "decode":
            assert decoding is not None
            assert documents is not None
            told = splits if told_events else ()
            _decode(report, decoding, decoding_beside, documents, train_documents, told, seed, budget)
        elif task == "document":
            assert grouped is not None
            pairs = _pairs(report, data_dir, of_stories=told_events, seed=seed)
            _document(report, models, grouped, train_documents, pairs, window_size, seed, budget)
        elif task == "search":
            assert searched is not None
            _search(report, models, searched, seed)
        elif documents is not None:
            _corpus(report, models, documents, train_documents, window_size, seed, budget)
        if notes and task in notes:
            report.sources[task] += f"; {notes[task]}"
        report.settings["unfinished"] = wanted[number:]
        if on_task is not None:
            on_task(report)
    return report


def _sts(report: Report, models: Mapping[str, Encoder], data_dir: Path | None, seed: int) -> None:
    from lang_jepa.evaluation.tasks.sts import TASK, sts_rows
    from lang_jepa.evaluation.tasks.tasks import find_stsb

    data = find_stsb(data_dir)
    rows, chosen = sts_rows(models, data, seed=seed)
    report.rows.extend(rows)
    report.similarity[TASK] = chosen["model"]
    report.sources[TASK] = data.source


def _au(report: Report, models: Mapping[str, Encoder], data_dir: Path | None, seed: int) -> None:
    from lang_jepa.evaluation.tasks.sts import TASK, geometry_rows
    from lang_jepa.evaluation.tasks.tasks import find_stsb

    data = find_stsb(data_dir)
    report.rows.extend(geometry_rows(models, data, seed=seed))
    report.sources[TASK] = data.source


def _probe(
    report: Report, models: Mapping[str, Encoder], data_dir: Path | None, seed: int, budget: Budget
) -> None:
    from lang_jepa.evaluation.tasks.probe import TASK, probe_rows
    from lang_jepa.evaluation.tasks.tasks import find_sst2

    data = find_sst2(data_dir)
    report.rows.extend(probe_rows(models, data, train_sentences=budget.probe_sentences, seed=seed))
    report.sources[TASK] = data.source


def _stories(
    report: Report,
    models: Mapping[str, Encoder],
    splits: Sequence[str],
    window_size: int,
    seed: int,
    budget: Budget,
) -> None:
    from lang_jepa.evaluation.tasks.stories import next_sentence_rows, paraphrase_rows, word_ridges

    ridges = word_ridges(budget.train_stories)
    for split in splits:
        rows, chosen = next_sentence_rows(
            models,
            split,
            window_size=window_size,
            stories=budget.stories,
            queries=budget.queries,
            ridges=ridges,
            seed=seed,
        )
        more, also = paraphrase_rows(models, split, pairs=budget.paraphrases, seed=seed)
        report.rows.extend([*rows, *more])
        report.similarity.update({f"{task}, {split}": kind for task, kind in (chosen | also).items()})
    report.sources["stories"] = f"generated, seed {seed}, {budget.stories} stories per split"


def _corpus(
    report: Report,
    models: Mapping[str, Encoder],
    documents: Sequence[Sequence[str]],
    train_documents: Sequence[Sequence[str]] | None,
    window_size: int,
    seed: int,
    budget: Budget,
) -> None:
    from lang_jepa.evaluation.tasks.corpus import corpus_rows

    rows, chosen = corpus_rows(
        models,
        documents,
        window_size=window_size,
        queries=budget.queries,
        train_documents=train_documents,
        train_pairs=budget.ridge_pairs,
        seed=seed,
    )
    report.rows.extend(rows)
    report.similarity.update(chosen)
    report.sources["retrieval"] = (
        f"{len(documents):,} held-out documents{_overlap(documents, train_documents)}"
    )


def _pairs(
    report: Report, data_dir: Path | None, *, of_stories: bool, seed: int
) -> "tuple[Pairs, Pairs] | None":
    """Graded sentence pairs to plant into documents, choosing and reported ones: of the stories, or STS-B on disk."""
    from lang_jepa.evaluation.tasks.document_repetitions import Pairs
    from lang_jepa.evaluation.tasks.stories import CHOOSING_SEED
    from lang_jepa.evaluation.tasks.tasks import find_stsb
    from lang_jepa.stories import paraphrase_pairs

    if of_stories:
        report.sources["repetitions"] = "graded pairs of generated stories"
        made = [paraphrase_pairs(_STORY_PAIRS, start) for start in (seed + CHOOSING_SEED, seed)]
        told = [[(one.first, one.second, one.score) for one in some] for some in made]
        choosing, reported = (Pairs(*zip(*some, strict=True)) for some in told)
        return choosing, reported
    if data_dir is None:
        report.sources["repetitions"] = "not measured: give STS-B with --data-dir"
        return None
    splits = find_stsb(data_dir).splits
    report.sources["repetitions"] = f"STS-B pairs of {data_dir}: dev chooses, test is reported"
    return tuple(Pairs(one.first, one.second, one.scores) for one in (splits["dev"], splits["test"]))  # type: ignore[return-value]


_STORY_PAIRS = 1200


def _document(
    report: Report,
    models: Mapping[str, Encoder],
    grouped: Grouped,
    train_documents: Sequence[Sequence[str]] | None,
    pairs: "tuple[Pairs, Pairs] | None",
    window_size: int,
    seed: int,
    budget: Budget,
) -> None:
    from lang_jepa.evaluation.tasks.document import document_rows

    rows, chosen, tools = document_rows(
        models, grouped, window_size=window_size, queries=budget.continuations, pairs=pairs, seed=seed
    )
    report.rows.extend(rows)
    report.similarity.update(chosen)
    report.tools.update({tool: asdict(choice) for tool, choice in tools.items()})
    reported = [
        texts for texts, chooses in zip(grouped.documents, grouped.choosing, strict=True) if not chooses
    ]
    report.sources["document"] = (
        f"{len(reported):,} reported and {len(grouped.documents) - len(reported):,} choosing documents"
        f"{_overlap(reported, train_documents)}"
    )


def _search(report: Report, models: Mapping[str, Encoder], searched: "Searched", seed: int) -> None:
    from lang_jepa.evaluation.tasks.search import TASK, search_rows

    report.rows.extend(search_rows(models, searched, seed=seed))
    report.sources[TASK] = searched.source


def _decode(
    report: Report,
    model: Teller,
    beside: Mapping[str, Teller] | None,
    documents: Sequence[Sequence[str]],
    train_documents: Sequence[Sequence[str]] | None,
    splits: Sequence[str],
    seed: int,
    budget: Budget,
) -> None:
    from lang_jepa.evaluation.tasks.decode import NOTE, decode_rows, told_event_rows

    report.rows.extend(
        decode_rows(
            model,
            documents,
            train_documents=train_documents,
            beside=beside,
            sentences=budget.decoded,
            seed=seed,
        )
    )
    report.sources["decode"] = f"{len(documents):,} held-out documents; {NOTE}"
    stories, train = budget.stories, budget.train_stories
    for split in splits:
        report.rows.extend(
            told_event_rows(model, split, beside=beside, stories=stories, train_stories=train, seed=seed)
        )


def _overlap(documents: Sequence[Sequence[str]], train: Sequence[Sequence[str]] | None) -> str:
    """How many held-out sentences occur literally in training: a score on those is memory, not understanding."""
    if train is None:
        return ", overlap with training unknown"
    seen = {sentence for document in train for sentence in document}
    held = [sentence for document in documents for sentence in document]
    share = sum(sentence in seen for sentence in held) / len(held)
    return f", {100 * share:.1f} % of their sentences occur in training"
