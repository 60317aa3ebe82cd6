"""How well a trained decoder tells held-out sentences from their concepts, beside controls that know less.

This is a property of the encoder and its decoder, and no evidence that the encoder learnt anything: an untrained
encoder forgets less of the wording and is decoded better. What a prediction is worth is asked in `told_event`.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.embedder import Decoding
from lang_jepa.evaluation.metrics.intervals import cluster_draws, mean_interval, percentiles, ratio_interval
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.evaluation.table import Row, detail_of, score_row
from lang_jepa.evaluation.tasks.request import Request, Result, Task

if TYPE_CHECKING:
    from lang_jepa.stories import Story


_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Han. Each of their letters is a word."""


class Words:
    """The words of a text, as rouge-score asks for them; case and compatibility forms do not matter."""

    def tokenize(self, text: str) -> list[str]:
        """Words in order."""
        return _word().findall(normalize("NFKC", text).casefold())


@cache
def _word() -> re.Pattern[str]:
    """A word: letters and digits with the marks that belong to them, which Python's `\\w` does not take for letters."""
    marks = "".join(chr(code) for code in range(sys.maxunicode) if category(chr(code)).startswith("M"))
    return re.compile(rf"[{_UNSPACED}][{marks}]*|(?:(?![_{_UNSPACED}])[\w{marks}])+")


def rouge_l(told: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """F-measure of the longest common subsequence of words (Lin 2004), of each pair: rouge-score, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(texts, told, strict=True)
    return np.array([scorer.score(text, one)["rougeL"].fmeasure for text, one in pairs])


FORCED, TOLD = "decode: words given so far", "decode: reconstruction"
NOTE = "decodability is no evidence of learning: an untrained encoder is decoded better"
Floats = NDArray[np.float64]


def decode_rows(
    model: Decoding,
    documents: Sequence[Sequence[str]],
    *,
    train_documents: Sequence[Sequence[str]] | None = None,
    beside: Mapping[str, Decoding] | None = None,
    sentences: int = 1024,
    split: str = "validation",
    seed: int = 0,
) -> list[Row]:
    """Teacher-forced figures and greedy reconstructions of held-out sentences, with intervals over documents.

    Args:
        model: encodes and tells.
        documents: held-out documents, each a list of sentences.
        train_documents: where the nearest training sentence is looked for (None: that baseline is left out).
        beside: other encoders with decoders of their own, by name (the untrained start); each in its own space.
        sentences: scored at most, spread evenly over all.
        split: name of the split in the rows.
        seed: of shuffling and intervals.

    Returns:
        Rows for `model`, `shuffled concept` (of another sentence), `zero concept` (what the decoder knows of the
        language alone), `nearest training sentence`, and those beside.
    """
    texts, clusters = _spread(documents, sentences)
    concepts = model.encode(texts)
    others = _shifted(len(texts), seed)
    controls = {
        "model": concepts,
        "shuffled concept": concepts[others],
        "zero concept": np.zeros_like(concepts),
    }
    rows: list[Row] = []
    for name, read in controls.items():
        told = model.decode(read)
        rows += _forced_rows(model, name, read, texts, clusters, split, seed)
        rows += _text_rows(model, name, told, texts, concepts, clusters, split, seed)
    if train_documents:
        pool = list(dict.fromkeys(text for document in train_documents for text in document))
        nearest = np.argmax(concepts @ model.encode(pool).T, axis=1)
        told = [pool[index] for index in nearest]
        note = f"among {len(pool):,}"
        name = "nearest training sentence"
        rows += _text_rows(model, name, told, texts, concepts, clusters, split, seed, note=note)
    for name, other in (beside or {}).items():
        own = other.encode(texts)
        rows += _forced_rows(other, name, own, texts, clusters, split, seed)
        rows += _text_rows(other, name, other.decode(own), texts, own, clusters, split, seed)
    return rows


def _spread(documents: Sequence[Sequence[str]], count: int) -> tuple[list[str], NDArray[np.int64]]:
    """Up to `count` sentences, evenly spread over all, and the number of each one's document."""
    texts = [text for document in documents for text in document]
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    rows = np.unique(np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(np.int64))
    return [texts[row] for row in rows], owner[rows]


def _shifted(count: int, seed: int) -> NDArray[np.int64]:
    """A permutation without a fixed point (for count >= 2)."""
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty(count, dtype=np.int64)
    shifted[order] = np.roll(order, 1)
    return shifted


def _forced_rows(
    model: Decoding,
    name: str,
    concepts: NDArray[np.float32],
    texts: Sequence[str],
    clusters: NDArray[np.int64],
    split: str,
    seed: int,
) -> list[Row]:
    """Token accuracy, perplexity and bits per byte, each a sum over a sum."""
    scores = model.score_texts(concepts, texts)
    size = np.array([len(text.encode()) for text in texts], dtype=np.float64)
    rows = []
    for metric, above, below in (
        ("token accuracy", scores.right, scores.tokens),
        ("perplexity", scores.nats, scores.tokens),
        ("bits per byte", scores.nats / math.log(2), size),
    ):
        value = float(above.sum() / below.sum())
        interval = ratio_interval(above, below, clusters, seed=seed)
        if metric == "perplexity":  # a mean of nats, and its ends, under a monotone map
            value, interval = math.exp(value), type(interval)(math.exp(interval.low), math.exp(interval.high))
        note = NOTE if name == "model" else ""
        rows.append(score_row((FORCED, split, metric), name, value, interval, len(texts), note=note))
    return rows


def _text_rows(
    model: Decoding,
    name: str,
    told: Sequence[str],
    texts: Sequence[str],
    concepts: NDArray[np.float32],
    clusters: NDArray[np.int64],
    split: str,
    seed: int,
    *,
    note: str = "",
) -> list[Row]:
    """Exact match, ROUGE-L, concept cosine (means over sentences) and BLEU (of the corpus)."""
    means: Mapping[str, Floats] = {
        "exact match": np.array(
            [one == other for one, other in zip(told, texts, strict=True)], dtype=np.float64
        ),
        "ROUGE-L": rouge_l(told, texts),
        "concept cosine": _cosines(model, told, concepts),
    }
    rows = []
    for metric, values in means.items():
        interval = mean_interval(values, clusters, seed=seed, shares=metric == "exact match")
        detail = detail_of(values, clusters=clusters, items=list(texts)) if name == "model" else None
        value = float(values.mean())
        rows.append(
            score_row((TOLD, split, metric), name, value, interval, len(texts), note=note, detail=detail)
        )
    value, low, high = bleu(told, texts, clusters, seed=seed)
    rows.append(Row(TOLD, split, "BLEU", name, value, low, high, len(texts), note=note))
    return rows


def _cosines(model: Decoding, told: Sequence[str], concepts: NDArray[np.float32]) -> Floats:
    """Raw cosine of each original's concept and its reconstruction's; 0 where nothing was told."""
    result = np.zeros(len(told))
    filled = [i for i, text in enumerate(told) if text.strip()]
    if filled:
        again = model.encode([told[i] for i in filled])
        result[filled] = (again * concepts[filled]).sum(1)
    return result


def bleu(
    told: Sequence[str], texts: Sequence[str], clusters: NDArray[np.int64], *, seed: int, resamples: int = 500
) -> tuple[float, float, float]:
    """Corpus BLEU of 0 to 100 (sacreBLEU's defaults: 13a tokens, exponential smoothing), and its 95 % interval.

    BLEU is a function of sums over sentences, so a resample is a weighted sum of the sums of its documents.
    """
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(effective_order=True)  # for single sentences, whose counts are all that is taken
    found = [scorer.sentence_score(one, [text]) for one, text in zip(told, texts, strict=True)]
    counts = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], dtype=np.int64)

    def score(sums: NDArray[np.int64]) -> float:
        right, total = sums[:4].tolist(), sums[4:8].tolist()
        return float(BLEU.compute_bleu(right, total, int(sums[8]), int(sums[9]), smooth_method="exp").score)

    draws, labels = cluster_draws(clusters, len(texts), resamples=resamples, seed=seed)
    of_cluster = np.zeros((draws.shape[1], counts.shape[1]), dtype=np.int64)
    np.add.at(of_cluster, labels, counts)
    interval = percentiles(np.array([score(sums) for sums in draws @ of_cluster]))
    return score(counts.sum(0)), interval.low, interval.high


TASK = "stories: told event"
FIRST = 3
"""Sentences of context at least."""


def told_event_rows(
    model: Decoding,
    split: str,
    *,
    beside: Mapping[str, Decoding] | None = None,
    stories: int = 300,
    train_stories: int = 1000,
    seed: int = 0,
) -> list[Row]:
    """Whether the sentence that is decoded from the PREDICTED concept of a context tells the right event.

    Args:
        model: predicts and tells.
        split: `heldout` or `unseen`.
        beside: other models with decoders of their own, by name (the untrained start).
        stories: asked, at every second place from the fourth sentence on.
        train_stories: where the training sentence nearest to the prediction is looked for.
        seed: of the stories.

    Returns:
        Rows of `right event` and `no event` (what was told is no sentence of this world) for `model` and those beside;
        `right event` for the training sentence nearest to the prediction, the last sentence of the context decoded
        again, the oracle, which names the most probable event of the hidden state, the most frequent event, and
        chance, which names events as often as they occur.
    """
    from lang_jepa.stories import generate

    told = list(generate(stories, seed, split))
    places = [(number, at) for number, one in enumerate(told) for at in range(FIRST, len(one.sentences), 2)]
    truth = [told[number].sentences[at].event for number, at in places]
    contexts = [[sentence.text for sentence in told[number].sentences[:at]] for number, at in places]
    predicted = model.predict_next(contexts)
    clusters = np.array([number for number, _ in places])
    again = model.decode(model.encode([context[-1] for context in contexts]))
    items = [told[number].sentences[at].text for number, at in places]
    names: dict[str, Sequence[str | None]] = {
        "nearest training sentence": _nearest(model, predicted, train_stories, seed),
        "last sentence, decoded": [_event(text) for text in again],
        "oracle": _oracle(told, places),
    }
    rows = []
    for name, other in {"model": model, **(beside or {})}.items():
        foreseen = predicted if other is model else other.predict_next(contexts)
        events = [_event(text) for text in other.decode(foreseen)]
        silent = np.array([event is None for event in events], dtype=np.float64)
        asked = items if name == "model" else None
        rows.append(_row(split, "right event", name, _equal(events, truth), clusters, seed, asked))
        rows.append(_row(split, "no event", name, silent, clusters, seed, asked))
    rows += [
        _row(split, "right event", name, _equal(guess, truth), clusters, seed)
        for name, guess in names.items()
    ]
    shares = np.array(list(Counter(truth).values())) / len(truth)
    for name, value in (("most frequent event", shares.max()), ("chance", (shares**2).sum())):
        rows.append(score_row((TASK, split, "right event"), name, float(value), None, len(truth)))
    return rows


def _row(
    split: str,
    metric: str,
    name: str,
    values: NDArray[np.float64],
    clusters: NDArray[np.int64],
    seed: int,
    items: Sequence[str] | None = None,
) -> Row:
    detail = None if items is None else detail_of(values, clusters=clusters, items=list(items))
    interval = mean_interval(values, clusters, seed=seed, shares=True)
    return score_row((TASK, split, metric), name, float(values.mean()), interval, len(values), detail=detail)


def _event(text: str) -> str | None:
    """The event that a text tells, None if it is no sentence of the stories."""
    from lang_jepa.stories import parse_event

    found = parse_event(text)
    return None if found is None else found.event


def _equal(guesses: Sequence[str | None], truth: Sequence[str]) -> NDArray[np.float64]:
    return np.array([guess == event for guess, event in zip(guesses, truth, strict=True)], dtype=np.float64)


def _nearest(model: Decoding, predicted: NDArray[np.float32], stories: int, seed: int) -> list[str | None]:
    """Event of the training sentence nearest to each prediction, by the model's similarity."""
    from lang_jepa.stories import generate

    texts = list(dict.fromkeys(s.text for story in generate(stories, seed, "train") for s in story.sentences))
    pool = prepare(model.encode(texts), model.statistics, model.similarity)
    asked = prepare(predicted, model.statistics, model.similarity, side="predictions")
    best = [int(np.argmax(pool @ one)) for one in asked]
    return [_event(texts[index]) for index in best]


def _oracle(told: Sequence["Story"], places: Sequence[tuple[int, int]]) -> list[str]:
    odds = [told[number].oracle[at] for number, at in places]
    return [max(one, key=lambda event: one[event]) for one in odds]


def _score(request: Request) -> Result:
    documents, model, beside = request.documents, request.decoding, request.decoding_beside
    budget, seed = request.budget, request.seed
    assert documents is not None
    assert model is not None
    rows = decode_rows(
        model,
        documents,
        train_documents=request.train_documents,
        beside=beside,
        sentences=budget.decoded,
        seed=seed,
    )
    stories, train = budget.stories, budget.train_stories
    for split in request.splits if request.of_stories else ():
        rows += told_event_rows(model, split, beside=beside, stories=stories, train_stories=train, seed=seed)
    return Result(rows, {DECODE.name: f"{len(documents):,} held-out documents; {NOTE}"})


DECODE = Task("decode", _score, needs=("decoding", "documents"))
