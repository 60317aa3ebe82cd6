"""Sentences that say again what an earlier one said: paraphrases planted into documents, beside pairs that seem so.

The score of a sentence is its greatest similarity to an earlier one. The truth is people's (STS-B) or the stories' own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.document_words import WordSpace, ngram_overlaps
from lang_jepa.evaluation.embedder import Encoder
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.segmentation import auc, average_precision
from lang_jepa.evaluation.metrics.similarity import Floats, prepare
from lang_jepa.evaluation.tasks.document_contest import Contest, Entry, Values
from lang_jepa.evaluation.tasks.document_data import Made, Sources

METRICS = ("average precision", "AUC", "found", "false alarms")
RULE = "nearest earlier sentence"
SAME, RELATED = 4.0, (1.0, 3.0)
"""Grades (0 to 5) above which a pair says the same, and between which it only resembles."""
LONGEST = 30
"""Sentences of a document that pairs are planted into."""
APART = 4
"""Places between the two sentences of a pair at least."""
_STEPS = 40


@dataclass(frozen=True)
class Pairs:
    """Graded sentence pairs, [n] each: those that choose and those that are reported are different ones.

    Attributes:
        first, second: the sentences.
        grades: from 0, nothing in common, to 5, the same meaning.
    """

    first: Sequence[str]
    second: Sequence[str]
    grades: Sequence[float]

    def between(self, low: float, high: float) -> list[tuple[str, str]]:
        """Pairs of distinct sentences with low < grade <= high."""
        every = zip(self.first, self.second, self.grades, strict=True)
        return [(a, b) for a, b, grade in every if low < grade <= high and a != b]


def with_repetitions(
    sources: Sources, choosing: Pairs, reported: Pairs, *, seed: int = 0
) -> tuple[list[str], Made]:
    """One pair of the same meaning and one that only looks so in every document, while there are any.

    Returns:
        Distinct sentences, those of `sources` first; and the documents with the place of the paraphrase as truth.

    Raises:
        LangJepaError: no pairs of a kind.
    """
    generator = np.random.default_rng(seed)
    sentences = list(sources.sentences)
    row_of = {sentence: row for row, sentence in enumerate(sentences)}
    documents: list[Rows] = []
    truth: list[Rows] = []
    owners: list[int] = []
    for pairs, chooses in ((choosing, True), (reported, False)):
        kinds = [pairs.between(SAME, 5.0), pairs.between(*RELATED)]
        if not all(kinds):
            raise LangJepaError(
                "planting repetitions needs pairs of the same meaning and pairs of another one."
            )
        shuffled = [[kind[i] for i in generator.permutation(len(kind))] for kind in kinds]
        numbers = [
            n for n in np.flatnonzero(sources.choosing == chooses) if len(sources.documents[n]) >= APART
        ]
        for number, same, related in zip(numbers, *shuffled, strict=False):
            rows = list(sources.documents[number][:LONGEST])
            for first, second in (related, same):
                _plant(rows, [row_of.setdefault(text, len(row_of)) for text in (first, second)], generator)
            documents.append(np.array(rows, dtype=np.int64))
            truth.append(np.array([rows.index(row_of[same[1]])], dtype=np.int64))
            owners.append(int(number))
    sentences = list(row_of)
    index = np.array(owners, dtype=np.int64)
    return sentences, Made(documents, truth, index, sources.choosing[index])


def _plant(rows: list[int], pair: list[int], generator: np.random.Generator) -> None:
    """Put the sentences of a pair between others, the first before the second."""
    early = int(generator.integers(0, len(rows) - APART + 1))
    late = int(generator.integers(early + APART, len(rows) + 1))
    rows.insert(late, pair[1])
    rows.insert(early, pair[0])


def repetition_rows(
    models: Mapping[str, Encoder],
    embeddings: Mapping[str, Floats],
    sentences: list[str],
    made: Made,
    *,
    task: str,
    split: str,
    seed: int,
) -> Contest:
    """How well the planted paraphrases are found; the examined model first.

    Average precision and AUC are of each document's order of sentences. `found` is the share of paraphrases above the
    threshold with the best F1 on the choosing documents, `false alarms` the other sentences above it, per document.

    Args:
        models, embeddings: by name; embeddings [S, D] of `sentences`.
        made: of `with_repetitions`.
        task, split: in the rows.
        seed: of the bootstrap.
    """
    contest = Contest.over(made, sentences, task=task, metrics=METRICS, split=split, seed=seed)
    for position, (name, model) in enumerate(models.items()):
        entries = list(_entries(model, embeddings[name], made))
        contest.enter(name, entries, own=position == 0)
    space = WordSpace(sentences)
    tables = [(space.table[rows] @ space.table[rows].T).toarray() for rows in made.documents]
    contest.enter("TF-IDF", [_scored([_latest(table) for table in tables], made, "", {}, "")])
    entries = [
        _scored(
            [_latest(ngram_overlaps([sentences[r] for r in rows], n)) for rows in made.documents],
            made,
            "",
            {"n": n},
            "",
        )
        for n in (1, 2, 3)
    ]
    contest.enter("n-gram overlap", entries)
    generator = np.random.default_rng(seed)
    contest.enter(
        "chance", [_scored([generator.random(len(rows) - 1) for rows in made.documents], made, "", {}, "")]
    )
    return contest


def _entries(model: Encoder, embeddings: Floats, made: Made) -> Iterator[Entry]:
    for kind in model.statistics.similarities:
        space = prepare(embeddings, model.statistics, kind).astype(np.float64)
        scores = [_latest(space[rows] @ space[rows].T) for rows in made.documents]
        yield _scored(scores, made, kind, {}, RULE)


def _latest(table: Values) -> Values:
    """The greatest similarity of each sentence but the first to an earlier one, [n - 1], from all pairs [n, n]."""
    return np.array([table[place, :place].max() for place in range(1, len(table))])


def _scored(scores: list[Values], made: Made, kind: str, setting: dict[str, float], rule: str) -> Entry:
    """One way to score sentences, with the threshold that has the best F1 on the choosing documents."""
    marks = []
    for one, truth in zip(scores, made.truth, strict=True):
        mark = np.zeros(len(one), dtype=bool)
        mark[truth - 1] = True
        marks.append(mark)
    chosen = np.flatnonzero(made.choosing)
    flat = np.concatenate([scores[i] for i in chosen])
    right = np.concatenate([marks[i] for i in chosen])

    def f1(threshold: float) -> float:
        said = flat >= threshold
        return float(2 * (said & right).sum() / (said.sum() + right.sum()))

    options = np.quantile(flat, np.linspace(0.8, 1.0, _STEPS))
    threshold = float(max(options, key=f1))
    values = {
        "average precision": np.array([average_precision(s, m) for s, m in zip(scores, marks, strict=True)]),
        "AUC": np.array([auc(s, m) for s, m in zip(scores, marks, strict=True)]),
        "found": np.array([(s[m] >= threshold).mean() for s, m in zip(scores, marks, strict=True)]),
        "false alarms": np.array(
            [(s[~m] >= threshold).sum() for s, m in zip(scores, marks, strict=True)], dtype=np.float64
        ),
    }
    return Entry(values, kind, setting | {"threshold": round(threshold, 4)}, rule)
