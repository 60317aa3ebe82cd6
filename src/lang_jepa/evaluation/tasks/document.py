"""The task `document`: topic boundaries, intruders, continuation, repetitions, and which rules the tools should use.

Topic boundaries are in `document_segmentation`. An intruder's score is minus the cosine with what a rule expects at its
position, and a continuation's score is that cosine. A repetition's score is its greatest similarity to an earlier
sentence; its truth comes from human grades (STS-B) or from the stories themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.baselines.document_rules import (
    BOTH,
    PAST,
    REACH,
    Positions,
    Reading,
    Rule,
    add_rules,
    learned,
)
from lang_jepa.evaluation.baselines.words import (
    WordSpace,
    ngram_overlaps,
    recency_weights,
    sparse_cosines,
    tfidf_scores,
)
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.retrieval import candidate_scores, chance, from_scores
from lang_jepa.evaluation.metrics.segmentation import auc, average_precision
from lang_jepa.evaluation.metrics.similarity import Floats, prepare
from lang_jepa.evaluation.questions import build_questions
from lang_jepa.evaluation.scoreboard import Choice, Option, Scoreboard, Tool, Values
from lang_jepa.evaluation.table import Row
from lang_jepa.evaluation.tasks.document_data import (
    SHORT,
    SHORTEST,
    SPLIT,
    From,
    Lengths,
    Made,
    Sources,
    joined,
    lengths_of,
    with_intruders,
    with_repetitions,
)
from lang_jepa.evaluation.tasks.document_segmentation import segmentation
from lang_jepa.evaluation.tasks.public_data import Split, StsPairs, find_stsb
from lang_jepa.evaluation.tasks.request import Grouped, Request, Result, Task
from lang_jepa.evaluation.tasks.stories import CHOOSING_SEED

SEGMENTS = {True: "topic boundaries, same group", False: "topic boundaries, other groups"}
INTRUDERS: dict[From, str] = {"same group": "intruders, same group", "same document": "intruders, same document"}
CONTINUATION = "continuation, same document"
REPETITIONS = "repetitions"
DECIDE: dict[Tool, str] = {
    "segment": SEGMENTS[True],
    "outliers": INTRUDERS["same document"],
    "next": CONTINUATION,
    "redundant": REPETITIONS,
}
"""The scoreboard that decides for each tool; the harder one if there are two."""
RULE = "nearest earlier sentence"
"""Rule that finds repetitions; it needs no predictor."""
_STEPS = 40
_STORY_PAIRS = 1200


def document_rows(
    models: Mapping[str, Encoder],
    grouped: Grouped,
    *,
    window_size: int,
    queries: int = 1024,
    pairs: tuple[StsPairs, StsPairs] | None = None,
    seed: int = 0,
) -> tuple[list[Row], dict[str, str], dict[str, Choice]]:
    """Score all parts of the task.

    Args:
        models: encoders by name, the evaluated one first.
        grouped: held-out documents; nothing is reported on those used for selection.
        window_size: most sentences of context.
        queries: most continuation questions.
        pairs: graded sentence pairs for selection and for the report (None: no repetitions).
        seed: seed of every draw.

    Returns:
        The rows; for each metric the evaluated model's similarity; and what the tools should use.

    Raises:
        LangJepaError: the documents are too few or too short; the message says how many are needed.
    """
    sources = Sources.of(grouped)
    lengths = lengths_of(grouped, sources, seed=seed)
    embeddings = {name: encode(model, sources.sentences, name) for name, model in models.items()}
    read = _Sources(models, embeddings, sources, lengths, max(REACH, window_size), seed)
    boards = read.boards()
    boards[CONTINUATION] = read.continuation(grouped, window_size, queries)
    if pairs is not None:
        boards[REPETITIONS] = read.repetitions(pairs)
    rows = [row for board in boards.values() for row in board.rows]
    choices: dict[str, Choice] = {tool: boards[task].choice() for tool, task in DECIDE.items() if task in boards}
    similarity = {f"{row.task}, {row.metric}": row.similarity for row in rows if row.name == "model" and row.detail}
    return rows, similarity, choices


@dataclass(frozen=True)
class _Sources:
    """Documents as models read them: embeddings [S, D] of the sentences by model, `reach` sentences on either side."""

    models: Mapping[str, Encoder]
    embeddings: Mapping[str, Floats]
    sources: Sources
    lengths: Lengths
    reach: int
    seed: int

    def readings(self, positions: Positions, embeddings: Mapping[str, Floats] | None = None) -> dict[str, Reading]:
        """Return the reading of some positions by each model."""
        vectors = embeddings or self.embeddings
        return {name: Reading(model, positions, vectors[name], name) for name, model in self.models.items()}

    def boards(self) -> dict[str, Scoreboard]:
        """Return the scoreboards of topic boundaries and intruders, by task."""
        boards: dict[str, Scoreboard] = {}
        sentences = self.sources.sentences
        for same_group, task in SEGMENTS.items():
            if same_group or len(set(self.sources.groups.tolist())) > 1:
                made = joined(self.sources, self.lengths, same_group=same_group, seed=self.seed)
                gaps = Positions.of(sentences, made.documents, reach=self.reach, gaps=True)
                boards[task] = segmentation(self.readings(gaps), made, task=task, seed=self.seed)
        return boards | {task: self.intruders(where, task) for where, task in INTRUDERS.items()}

    def intruders(self, where: From, task: str) -> Scoreboard:
        """Compute the AUC of all candidates on documents with intruders, within each document."""
        made = with_intruders(self.sources, self.lengths, where=where, seed=self.seed)
        sentences, own = self.sources.sentences, np.concatenate(made.documents)
        positions = Positions.of(sentences, made.documents, reach=self.reach)
        board = made.board(sentences, task, "AUC", seed=self.seed)

        def options(reading: Reading, rule: Rule) -> Iterator[Option]:
            for kind in reading.statistics.similarities:
                cosines = np.einsum(
                    "qd,qd->q", reading.expected(rule, kind), reading.space(kind)[own], dtype=np.float64
                )
                yield Option({"AUC": _aucs(-cosines, made)}, kind, rule=rule, predicts=learned(rule))

        add_rules(board, self.readings(positions), BOTH, options)
        space = WordSpace(sentences)
        sides = ([rows[::-1] for rows in positions.before], positions.after)
        near = sum(space.sums(rows, recency_weights) for rows in sides)
        board.add("TF-IDF, both sides", [Option({"AUC": _aucs(-sparse_cosines(near, space.table[own]), made)})])
        board.add("chance", [Option({"AUC": np.full(len(made), 0.5)})])
        return board

    def continuation(self, grouped: Grouped, window_size: int, queries: int) -> Scoreboard:
        """Rank the true next sentence among those of its own document outside the context, by MRR and recall@1."""
        questions = build_questions(
            grouped.documents,
            window_size=window_size,
            queries=queries,
            other=0,
            choosing=self.sources.choosing.tolist(),
            seed=self.seed,
        )
        row_of = {sentence: row for row, sentence in enumerate(self.sources.sentences)}
        asked = [row_of[sentence] for sentence in questions.sentences]
        nothing = [some[:0] for some in questions.context_rows]
        positions = Positions(questions.sentences, questions.context_rows, nothing)
        vectors = {name: found[asked] for name, found in self.embeddings.items()}
        rows, documents = questions.candidates["same"], questions.documents
        items = [questions.sentences, questions.true.tolist(), rows.tolist()]
        board = Scoreboard(CONTINUATION, SPLIT, "MRR", documents, items, questions.choosing, seed=self.seed)

        def values(scores: NDArray[np.floating[Any]]) -> dict[str, Values]:
            found = from_scores(scores, rows >= 0, documents)
            return {"MRR": found.values("mrr"), "recall@1": found.values("recall@1")}

        def options(reading: Reading, rule: Rule) -> Iterator[Option]:
            for kind in reading.statistics.similarities:
                scores = candidate_scores(reading.expected(rule, kind), reading.space(kind), rows)
                yield Option(values(scores), kind, rule=rule, predicts=learned(rule))

        note = f"{(rows >= 0).sum(1).mean():.0f} candidates"
        add_rules(board, self.readings(positions, vectors), PAST, options, note=note)
        for name, fitted, scores in tfidf_scores(questions, None):
            board.add(name, [Option(values(scores["same"]))], note=fitted)
        expected = chance(from_scores(np.zeros(rows.shape), rows >= 0, documents))
        board.add("chance", [Option({"MRR": expected["mrr"], "recall@1": expected["recall@1"]})])
        return board

    def repetitions(self, pairs: tuple[StsPairs, StsPairs]) -> Scoreboard:
        """Score repetitions; the planted pairs are encoded too."""
        sentences, made = with_repetitions(self.sources, *pairs, seed=self.seed)
        planted = sentences[len(self.sources.sentences) :]
        every = {
            name: np.concatenate([self.embeddings[name], encode(model, planted, name)])
            for name, model in self.models.items()
        }
        return repetitions(self.models, every, sentences, made, seed=self.seed)


def _aucs(scores: Values, made: Made) -> Values:
    """Return the AUC in each document, without its first sentence, which has no past."""
    parts = np.split(scores, np.cumsum([len(rows) for rows in made.documents])[:-1])
    return np.array([auc(one[1:], mark) for one, mark in zip(parts, _marks(made), strict=True)])


def _marks(made: Made) -> list[NDArray[np.bool_]]:
    """Mark the true positions of each document, without its first sentence, [n - 1]."""
    marks = [np.zeros(len(rows) - 1, dtype=bool) for rows in made.documents]
    for mark, truth in zip(marks, made.truth, strict=True):
        mark[truth - 1] = True
    return marks


def repetitions(
    models: Mapping[str, Encoder], embeddings: Mapping[str, Floats], sentences: list[str], made: Made, *, seed: int
) -> Scoreboard:
    """Measure how well planted paraphrases are found; each document also contains a pair that is only related.

    Average precision and AUC rank the sentences of each document. `found` is the share of paraphrases that reach the
    threshold with the best F1 on the selection documents, `false alarms` the other sentences that do, per document.

    Args:
        models, embeddings: by name, the evaluated model first; embeddings [S, D] of `sentences`.
        made: documents from `with_repetitions`.
        seed: seed of the bootstrap.
    """
    board = made.board(sentences, REPETITIONS, "average precision", seed=seed)
    for position, (name, model) in enumerate(models.items()):
        options = []
        for kind in model.statistics.similarities:
            space = prepare(embeddings[name], model.statistics, kind).astype(np.float64)
            scores = [_latest(space[rows] @ space[rows].T) for rows in made.documents]
            options.append(_scored(scores, made, kind, {}, RULE))
        board.add(name, options, own=position == 0)
    words = WordSpace(sentences).table
    tables = [(words[rows] @ words[rows].T).toarray() for rows in made.documents]
    board.add("TF-IDF", [_scored([_latest(table) for table in tables], made, "", {})])
    texts = [[sentences[row] for row in rows] for rows in made.documents]
    overlaps = {n: [_latest(ngram_overlaps(some, n)) for some in texts] for n in (1, 2, 3)}
    board.add("n-gram overlap", [_scored(scores, made, "", {"n": n}) for n, scores in overlaps.items()])
    generator = np.random.default_rng(seed)
    drawn = [generator.random(len(rows) - 1) for rows in made.documents]
    board.add("chance", [_scored(drawn, made, "", {})])
    return board


def _latest(table: Values) -> Values:
    """Return the greatest similarity of each sentence but the first to an earlier one, [n - 1], from pairs [n, n]."""
    return np.array([table[row, :row].max() for row in range(1, len(table))])


def _scored(scores: list[Values], made: Made, kind: str, setting: dict[str, float], rule: str = "") -> Option:
    """Evaluate scores of sentences, with the threshold that has the best F1 on the selection documents."""
    marks = _marks(made)
    chosen = np.flatnonzero(made.choosing)
    flat = np.concatenate([scores[i] for i in chosen])
    right = np.concatenate([marks[i] for i in chosen])

    def f1(threshold: float) -> float:
        said = flat >= threshold
        return float(2 * (said & right).sum() / (said.sum() + right.sum()))

    options = np.quantile(flat, np.linspace(0.8, 1.0, _STEPS))
    threshold = float(max(options, key=f1))
    both = list(zip(scores, marks, strict=True))
    values = {
        "average precision": np.array([average_precision(s, m) for s, m in both]),
        "AUC": np.array([auc(s, m) for s, m in both]),
        "found": np.array([(s[m] >= threshold).mean() for s, m in both]),
        "false alarms": np.array([(s[~m] >= threshold).sum() for s, m in both], dtype=np.float64),
    }
    return Option(values, kind, setting | {"threshold": round(threshold, 4)}, rule)


def _score(request: Request) -> Result:
    grouped = request.grouped
    assert grouped is not None
    said, pairs = _pairs(request)
    rows, similarity, tools = document_rows(
        request.models,
        grouped,
        window_size=request.window_size,
        queries=request.budget.continuations,
        pairs=pairs,
        seed=request.seed,
    )
    reported = [texts for texts, chooses in zip(grouped.documents, grouped.choosing, strict=True) if not chooses]
    source = (
        f"{len(reported):,} reported and {len(grouped.documents) - len(reported):,} choosing documents"
        f"{request.overlap(reported)}"
    )
    if _lengths(request) is SHORT:
        source += f"; they are short: pieces have {SHORTEST} {request.unit}s or more, and documents one intruder each"
    plain = {tool: asdict(choice) for tool, choice in tools.items()}
    return Result(rows, {REPETITIONS: said, DOCUMENT.name: source}, similarity, plain)


def _pairs(request: Request) -> tuple[str, tuple[StsPairs, StsPairs] | None]:
    """Return a description of the graded pairs to plant, and the pairs for selection and for the report."""
    from lang_jepa.stories import paraphrase_pairs

    if request.of_stories:

        def drawn(split: Split, seed: int) -> StsPairs:
            some = [(one.first, one.second, one.score) for one in paraphrase_pairs(_STORY_PAIRS, seed)]
            return StsPairs(split, *map(list, zip(*some, strict=True)))

        pairs = drawn("dev", request.seed + CHOOSING_SEED), drawn("test", request.seed)
        return "graded pairs of generated stories", pairs
    if request.data_dir is None:
        return "not measured: give STS-B with --data-dir", None
    splits = find_stsb(request.data_dir).splits
    return f"STS-B pairs of {request.data_dir}: dev chooses, test is reported", (splits["dev"], splits["test"])


def _lengths(request: Request) -> Lengths:
    assert request.grouped is not None
    return lengths_of(request.grouped, Sources.of(request.grouped), unit=request.unit, seed=request.seed)


DOCUMENT = Task(
    "document",
    _score,
    needs=("grouped",),
    data_dir="unless of stories",
    options=("documents",),
    own_space=True,
    enough=_lengths,
)
