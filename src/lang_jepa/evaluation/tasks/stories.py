"""The task `stories`: next sentence and paraphrase on generated stories, where the truth is known.

`heldout` stories use known templates, `unseen` stories use templates that training never saw. The similarity is
selected on stories with another seed than the reported ones. An oracle that knows the hidden state is the upper bound,
and ridge regression on words shows how much can be reached without a deep model.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.baselines.copying import ScoresBySet, WordRidge
from lang_jepa.evaluation.baselines.words import tfidf
from lang_jepa.evaluation.embedder import Encoder, encode
from lang_jepa.evaluation.metrics.intervals import rank_correlation
from lang_jepa.evaluation.metrics.retrieval import Retrieval, chance, from_scores, other_candidates
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, dense, prepare, row_products
from lang_jepa.evaluation.questions import Questions, build_questions
from lang_jepa.evaluation.table import Row, mean_row, score_row
from lang_jepa.evaluation.tasks.public import spearman_row
from lang_jepa.evaluation.tasks.request import Request, Result, Task
from lang_jepa.evaluation.tasks.retrieval import NextSentence

if TYPE_CHECKING:
    from lang_jepa.stories import ParaphrasePair, Story

TITLES = {"other": "stories: next sentence", "same": "stories: same story"}
PARAPHRASE = "stories: paraphrase"
METRICS = ("recall@1", "mrr")
"""Metrics of finding the paraphrase; reported beside Spearman's correlation with the grade."""
SAME_MEANING = 5.0
CHOOSING_SEED = 1_000_003  # added to the seed for stories that are only used for selection


def word_ridge(train_stories: int, *, seed: int = 0) -> WordRidge:
    """Fit ridge regressions on the words of the last sentence and of the last three, on training stories."""
    from lang_jepa.stories import generate

    train = [[sentence.text for sentence in story.sentences] for story in generate(train_stories, seed, "train")]
    return WordRidge(train, spans=(1, 3))


def next_sentence_rows(
    models: Mapping[str, Encoder],
    split: str,
    *,
    window_size: int,
    stories: int = 300,
    queries: int = 1024,
    ridge: WordRidge,
    seed: int = 0,
) -> tuple[list[Row], dict[str, str]]:
    """Rank the next sentence among 256 from other stories, and among the sentences of its own story.

    The candidates from the same story are all its sentences but the last one of the context; telling the earlier ones
    from the next takes knowledge of how stories go.

    Args:
        models: encoders by name, the evaluated one first.
        split: `heldout` or `unseen`.
        window_size: most previous sentences in a context.
        stories: reported stories; a third as many more are only used to select the similarity.
        queries: most questions, over reported and selection stories together.
        ridge: word regressions, from `word_ridge`.

    Returns:
        Rows, and the evaluated model's similarity per task.
    """
    from lang_jepa.stories import generate

    drawn = [*generate(stories, seed, split), *generate(max(2, stories // 3), seed + CHOOSING_SEED, split)]
    questions = build_questions(
        [[sentence.text for sentence in story.sentences] for story in drawn],
        window_size=window_size,
        queries=queries,
        exclude="last",
        choosing=[index >= stories for index in range(len(drawn))],
        seed=seed,
    )
    events = _event_numbers(drawn, questions.sentences)
    asked = NextSentence(questions, TITLES, split, events=events, seed=seed)
    asked.add_models(models)
    for span, found in ridge.scores(questions):
        options = [("", penalty, scores) for penalty, scores in found]
        asked.add(f"ridge on words, last {span}", options, note="trained on training stories")
    asked.add_words(None, spans=(1, 3))
    asked.add("oracle", [("", "", _oracle_scores(drawn, questions))], note="knows the hidden state")
    asked.add_chance()
    return asked.rows, asked.similarity(next(iter(models)))


def paraphrase_rows(
    models: Mapping[str, Encoder], split: str, *, pairs: int = 1800, seed: int = 0
) -> tuple[list[Row], dict[str, str]]:
    """Return Spearman of cosine and graded closeness of meaning, and recall@1 and MRR of the paraphrase among 256.

    The similarity is selected by Spearman on as many pairs with another seed.

    Args:
        models: encoders by name, the evaluated one first; its other similarities get rows too.
        split: `heldout` or `unseen`.
        pairs: number of pairs, graded from 0 (unrelated) to 5 (same event and arguments, other words).
    """
    from lang_jepa.stories import paraphrase_pairs

    test = list(paraphrase_pairs(pairs, seed, split))
    dev = list(paraphrase_pairs(pairs, seed + CHOOSING_SEED, split))
    rows: list[Row] = []
    chosen: dict[str, str] = {}
    for position, (name, model) in enumerate(models.items()):
        on_dev, on_test = _sides(model, name, dev), _sides(model, name, test)
        labels = [pair.score for pair in dev]
        merits = {
            kind: rank_correlation(_cosines(*_prepared(on_dev, model, kind)), labels)
            for kind in model.statistics.similarities
        }
        chosen[name] = best = max(merits, key=lambda kind: merits[kind])
        for kind in model.statistics.similarities if position == 0 else (best,):
            items = [[pair.first, pair.second] for pair in test] if kind == best and position == 0 else None
            sides = _prepared(on_test, model, kind)
            rows += _paraphrase_scores(
                name, split, test, sides, seed, items=items, similarity=kind, chosen=kind == best
            )
    rows += _tfidf_paraphrase(split, test, seed)
    return rows, {PARAPHRASE: chosen[next(iter(models))]}


def _event_numbers(drawn: Sequence["Story"], sentences: Sequence[str]) -> NDArray[np.int64]:
    """Return the event type of each sentence as a number, [S]; equal wordings get the event of the first."""
    events: dict[str, str] = {}
    for sentence in chain.from_iterable(story.sentences for story in drawn):
        events.setdefault(sentence.text, sentence.event)
    return np.unique([events[text] for text in sentences], return_inverse=True)[1]


def _oracle_scores(drawn: Sequence["Story"], questions: Questions) -> ScoresBySet:
    """Return the generator's probability of each candidate, given the hidden state of the question's story."""
    from lang_jepa.stories import oracle_scores

    anywhere = {s.text: s for story in reversed(drawn) for s in reversed(story.sentences)}
    scores: ScoresBySet = {}
    for name, rows in questions.candidates.items():
        table = np.full(rows.shape, -np.inf)
        for index, row in enumerate(rows):
            story, position = drawn[questions.documents[index]], int(questions.positions[index])
            # A wording can occur in several stories with other arguments: within its story it has that story's meaning.
            own = {s.text: s for s in story.sentences} | {story.sentences[position].text: story.sentences[position]}
            texts = [questions.sentences[i] for i in row[row >= 0]]
            meant = [own.get(text, anywhere[text]) for text in texts]
            table[index, row >= 0] = oracle_scores(story, position, meant)
        scores[name] = table
    return scores


def _sides(model: Encoder, name: str, pairs: Sequence["ParaphrasePair"]) -> tuple[Floats, Floats]:
    """Encode the first and the second sentences, [n, D] each; every distinct sentence is encoded once."""
    sentences = list(dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second)))
    embeddings = encode(model, sentences, name)
    row = {sentence: index for index, sentence in enumerate(sentences)}
    return embeddings[[row[p.first] for p in pairs]], embeddings[[row[p.second] for p in pairs]]


def _prepared(sides: tuple[Floats, Floats], model: Encoder, kind: Similarity) -> tuple[Floats, Floats]:
    return prepare(sides[0], model.statistics, kind), prepare(sides[1], model.statistics, kind)


def _paraphrase_scores(
    name: str, split: str, pairs: Sequence["ParaphrasePair"], sides: tuple[Any, Any], seed: int, **more: Any
) -> list[Row]:
    """Return the rows of one scorer from its unit vectors [n, ...], dense or sparse; `more` as in `spearman_row`."""
    cosines = _cosines(*sides)
    labels = [pair.score for pair in pairs]
    rows = [spearman_row((PARAPHRASE, split, "Spearman"), name, cosines, labels, seed=seed, **more)]
    retrieval = _paraphrase_retrieval(pairs, *sides, seed)
    for metric in METRICS:
        task, note = (PARAPHRASE, split, metric), f"{retrieval.candidates.mean():.0f} candidates"
        rows.append(mean_row(task, name, retrieval.values(metric), seed=seed, note=note, **more))
    return rows


def _cosines(first: Any, second: Any) -> NDArray[np.float64]:
    """Return the cosine of each pair, [n], rounded above fp32 noise so that equal pairs tie."""
    return np.round(row_products(first, second), 6)


def _paraphrase_retrieval(pairs: Sequence["ParaphrasePair"], first: Any, second: Any, seed: int) -> Retrieval:
    """For each pair with the same meaning, rank its second sentence among the second sentences of other such pairs."""
    same = np.flatnonzero(np.array([pair.score for pair in pairs]) == SAME_MEANING)
    own = np.arange(len(same))
    rows = other_candidates(own, own, candidates=256, seed=seed)
    table = dense(first[same] @ second[same].T)
    # Another pair's second sentence with the same meaning is just as right, so it is not a wrong candidate.
    valid = (rows >= 0) & (~_same_meanings([pairs[int(index)].second for index in same])[own[:, None], rows])
    valid |= rows == own[:, None]
    return from_scores(np.take_along_axis(table, np.clip(rows, 0, None), 1), valid, own)


def _same_meanings(sentences: Sequence[str]) -> NDArray[np.bool_]:
    """Return which sentences express the same event with the same arguments, [n, n]."""
    from lang_jepa.stories import same_meaning

    return np.array([[same_meaning(one, other) for other in sentences] for one in sentences])


def _tfidf_paraphrase(split: str, pairs: Sequence["ParaphrasePair"], seed: int) -> list[Row]:
    """Return the rows of TF-IDF on words, fitted on the scored sentences, and of chance."""
    texts = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
    first, second = tfidf([text for pair in pairs for text in (pair.first, pair.second)], *texts)
    rows = _paraphrase_scores("TF-IDF", split, pairs, (first, second), seed)
    rows.append(score_row((PARAPHRASE, split, "Spearman"), "chance", 0.0, None, len(pairs)))
    expected = chance(_paraphrase_retrieval(pairs, first, second, seed))
    for metric in METRICS:
        values = expected[metric]
        rows.append(score_row((PARAPHRASE, split, metric), "chance", float(values.mean()), None, len(values)))
    return rows


def _score(request: Request) -> Result:
    budget, seed = request.budget, request.seed
    rows: list[Row] = []
    similarity: dict[str, str] = {}
    ridge = word_ridge(budget.train_stories)
    for split in request.splits:
        asked = next_sentence_rows(
            request.models,
            split,
            window_size=request.window_size,
            stories=budget.stories,
            queries=budget.queries,
            ridge=ridge,
            seed=seed,
        )
        for more, chosen in (asked, paraphrase_rows(request.models, split, pairs=budget.paraphrases, seed=seed)):
            rows += more
            similarity |= {f"{task}, {split}": kind for task, kind in chosen.items()}
    source = f"generated, seed {seed}, {budget.stories} stories per split"
    return Result(rows, {STORIES.name: source}, similarity)


STORIES = Task("stories", _score)
