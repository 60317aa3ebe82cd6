"""The task `decode`: how well a trained decoder reconstructs held-out sentences from their concepts, beside controls.

Good reconstruction is a property of encoder and decoder, and no evidence that the encoder learnt anything: an untrained
encoder keeps more of the wording and is decoded better. `event_rows` evaluates decoded predictions.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.embedder import Decoding
from lang_jepa.evaluation.metrics.intervals import Interval, cluster_draws, percentiles, ratio_interval
from lang_jepa.evaluation.metrics.similarity import prepare
from lang_jepa.evaluation.table import Row, mean_row, score_row
from lang_jepa.evaluation.tasks.request import Documents, Request, Result, Task

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Han. Each of their letters is one word."""


class Words:
    """Word tokenizer for rouge-score; case and compatibility forms do not matter."""

    def tokenize(self, text: str) -> list[str]:
        return _word().findall(normalize("NFKC", text).casefold())


@cache
def _word() -> re.Pattern[str]:
    """Return the pattern of a word: letters and digits with their combining marks, which Python's `\\w` lacks."""
    marks = "".join(chr(code) for code in range(sys.maxunicode) if category(chr(code)).startswith("M"))
    return re.compile(rf"[{_UNSPACED}][{marks}]*|(?:(?![_{_UNSPACED}])[\w{marks}])+")


def rouge_l(decoded: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """Return ROUGE-L (F-measure; Lin 2004) of each pair, on words without stemming, computed by rouge-score."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(texts, decoded, strict=True)
    return np.array([scorer.score(text, one)["rougeL"].fmeasure for text, one in pairs])


FORCED, DECODED = "decode: words given so far", "decode: reconstruction"
EVENT = "stories: decoded event"
NOTE = "decodability is no evidence of learning: an untrained encoder is decoded better"
SPLIT = "validation"
FIRST = 3
"""Fewest sentences of context of an event."""
Floats = NDArray[np.float64]


def decode_rows(
    model: Decoding,
    documents: Documents,
    *,
    train_documents: Documents | None = None,
    beside: Mapping[str, Decoding] | None = None,
    sentences: int = 1024,
    seed: int = 0,
) -> list[Row]:
    """Score teacher-forced decoding and greedy reconstruction of held-out sentences, with intervals over documents.

    Args:
        model: the model, which encodes and decodes.
        documents: held-out documents, each a list of sentences.
        train_documents: documents to search for the nearest training sentence (None: that baseline is left out).
        beside: other encoders with their own decoders, by name (the untrained start); each in its own space.
        sentences: most sentences to score, spread evenly over all.
        seed: seed of shuffling and intervals.

    Returns:
        Rows for `model`, `shuffled concept` (of another sentence), `zero concept` (only what the decoder knows of the
        language), `nearest training sentence`, and the encoders in `beside`.
    """
    every = [text for document in documents for text in document]
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    spread = np.unique(np.linspace(0, len(every) - 1, min(sentences, len(every))).astype(np.int64))
    asked = _Sentences([every[row] for row in spread], owner[spread], seed)
    concepts = model.encode(asked.texts)
    controls = {
        "model": concepts,
        "shuffled concept": concepts[_shifted(len(concepts), seed)],
        "zero concept": np.zeros_like(concepts),
    }
    rows: list[Row] = []
    for name, vectors in controls.items():
        rows += asked.forced(model, name, vectors)
        rows += asked.decoded(model, name, model.decode(vectors), concepts)
    if train_documents:
        pool = list(dict.fromkeys(text for document in train_documents for text in document))
        nearest = np.argmax(concepts @ model.encode(pool).T, axis=1)
        texts = [pool[index] for index in nearest]
        rows += asked.decoded(model, "nearest training sentence", texts, concepts, note=f"among {len(pool):,}")
    for name, other in (beside or {}).items():
        own = other.encode(asked.texts)
        rows += asked.forced(other, name, own)
        rows += asked.decoded(other, name, other.decode(own), own)
    return rows


def _shifted(count: int, seed: int) -> NDArray[np.int64]:
    """Return a permutation without fixed points (for count >= 2)."""
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty(count, dtype=np.int64)
    shifted[order] = np.roll(order, 1)
    return shifted


@dataclass(frozen=True)
class _Sentences:
    """Sentences whose concepts are decoded, [n], and the number of each one's document."""

    texts: list[str]
    clusters: NDArray[np.int64]
    seed: int

    def forced(self, model: Decoding, name: str, concepts: NDArray[np.float32]) -> list[Row]:
        """Return token accuracy, perplexity and bits per byte, each from a ratio of sums."""
        scores = model.score_texts(concepts, self.texts)
        size = np.array([len(text.encode()) for text in self.texts], dtype=np.float64)
        rows = []
        for metric, above, below in (
            ("token accuracy", scores.right, scores.tokens),
            ("perplexity", scores.nats, scores.tokens),
            ("bits per byte", scores.nats / math.log(2), size),
        ):
            value = float(above.sum() / below.sum())
            interval = ratio_interval(above, below, self.clusters, seed=self.seed)
            if metric == "perplexity":  # exp is monotone, so it maps the interval of the mean in nats too
                value, interval = math.exp(value), Interval(*map(math.exp, interval))
            note = NOTE if name == "model" else ""
            rows.append(score_row((FORCED, SPLIT, metric), name, value, interval, len(size), note=note))
        return rows

    def decoded(
        self, model: Decoding, name: str, texts: Sequence[str], concepts: NDArray[np.float32], *, note: str = ""
    ) -> list[Row]:
        """Return exact match, ROUGE-L and concept cosine (means over sentences), and BLEU (of the corpus)."""
        pairs = zip(texts, self.texts, strict=True)
        means: Mapping[str, Floats] = {
            "exact match": np.array([one == other for one, other in pairs], dtype=np.float64),
            "ROUGE-L": rouge_l(texts, self.texts),
            "concept cosine": _cosines(model, texts, concepts),
        }
        rows = [
            mean_row(
                (DECODED, SPLIT, metric),
                name,
                values,
                clusters=self.clusters,
                seed=self.seed,
                shares=metric == "exact match",
                note=note,
                items=self.texts if name == "model" else None,
            )
            for metric, values in means.items()
        ]
        value, interval = bleu(texts, self.texts, self.clusters, seed=self.seed)
        return [*rows, score_row((DECODED, SPLIT, "BLEU"), name, value, interval, len(texts), note=note)]


def _cosines(model: Decoding, decoded: Sequence[str], concepts: NDArray[np.float32]) -> Floats:
    """Return the raw cosine of each concept and that of its reconstruction; 0 if nothing was decoded."""
    result = np.zeros(len(decoded))
    filled = [i for i, text in enumerate(decoded) if text.strip()]
    if filled:
        again = model.encode([decoded[i] for i in filled])
        result[filled] = (again * concepts[filled]).sum(1)
    return result


def bleu(
    decoded: Sequence[str], texts: Sequence[str], clusters: NDArray[np.int64], *, seed: int, resamples: int = 500
) -> tuple[float, Interval]:
    """Return corpus BLEU, 0 to 100 (sacreBLEU's defaults: 13a tokens, exponential smoothing), with its 95 % interval.

    BLEU is a function of sums over sentences, so a resample needs only a weighted sum of its documents' sums.
    """
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(effective_order=True)  # for single sentences, of which only the counts are used
    found = [scorer.sentence_score(one, [text]) for one, text in zip(decoded, texts, strict=True)]
    counts = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], dtype=np.int64)

    def score(sums: NDArray[np.int64]) -> float:
        right, total = sums[:4].tolist(), sums[4:8].tolist()
        return float(BLEU.compute_bleu(right, total, int(sums[8]), int(sums[9]), smooth_method="exp").score)

    draws, labels = cluster_draws(clusters, len(texts), resamples=resamples, seed=seed)
    of_cluster = np.zeros((draws.shape[1], counts.shape[1]), dtype=np.int64)
    np.add.at(of_cluster, labels, counts)
    return score(counts.sum(0)), percentiles(np.array([score(sums) for sums in draws @ of_cluster]))


def event_rows(
    model: Decoding,
    split: str,
    *,
    beside: Mapping[str, Decoding] | None = None,
    stories: int = 300,
    train_stories: int = 1000,
    seed: int = 0,
) -> list[Row]:
    """Score whether the sentence decoded from the PREDICTED concept of a context has the right event.

    Args:
        model: the model, which predicts and decodes.
        split: `heldout` or `unseen`.
        beside: other models with their own decoders, by name (the untrained start).
        stories: number of stories; questions are at every second position from the fourth sentence on.
        train_stories: training stories to search for the sentence nearest to the prediction.
        seed: seed of the stories.

    Returns:
        Rows of `right event` and `no event` (the decoded text is not a sentence of this world) for `model` and those in
        `beside`; and `right event` for the training sentence nearest to the prediction; the last sentence of the
        context, decoded; the oracle, which names the most probable event given the hidden state; the most frequent
        event; and chance, which names events as often as they occur.
    """
    from lang_jepa.stories import generate

    drawn = list(generate(stories, seed, split))
    positions = [(number, at) for number, one in enumerate(drawn) for at in range(FIRST, len(one.sentences), 2)]
    clusters = np.array([number for number, _ in positions])
    expected = [drawn[number].sentences[at] for number, at in positions]
    truth = [sentence.event for sentence in expected]
    contexts = [[sentence.text for sentence in drawn[number].sentences[:at]] for number, at in positions]
    rows = []

    def add(metric: str, name: str, values: Floats, items: list[str] | None = None) -> None:
        rows.append(mean_row((EVENT, split, metric), name, values, clusters=clusters, seed=seed, items=items))

    predicted = model.predict_next(contexts)
    for name, other in {"model": model, **(beside or {})}.items():
        decoded = other.decode(predicted if other is model else other.predict_next(contexts))
        events = [_event(text) for text in decoded]
        items = [sentence.text for sentence in expected] if name == "model" else None
        add("right event", name, _equal(events, truth), items)
        add("no event", name, np.array([event is None for event in events], dtype=np.float64), items)
    again = model.decode(model.encode([context[-1] for context in contexts]))
    guesses: dict[str, Sequence[str | None]] = {
        "nearest training sentence": _nearest(model, predicted, train_stories, seed),
        "last sentence, decoded": [_event(text) for text in again],
        "oracle": [max(one, key=one.__getitem__) for one in (drawn[number].oracle[at] for number, at in positions)],
    }
    for name, guess in guesses.items():
        add("right event", name, _equal(guess, truth))
    shares = np.array(list(Counter(truth).values())) / len(truth)
    for name, value in (("most frequent event", shares.max()), ("chance", (shares**2).sum())):
        rows.append(score_row((EVENT, split, "right event"), name, float(value), None, len(truth)))
    return rows


def _event(text: str) -> str | None:
    """Return the event of a text, or None if it is not a sentence of the stories."""
    from lang_jepa.stories import parse_event

    found = parse_event(text)
    return None if found is None else found.event


def _equal(guesses: Sequence[str | None], truth: Sequence[str]) -> NDArray[np.float64]:
    return np.array([guess == event for guess, event in zip(guesses, truth, strict=True)], dtype=np.float64)


def _nearest(model: Decoding, predicted: NDArray[np.float32], stories: int, seed: int) -> list[str | None]:
    """Return the event of the training sentence nearest to each prediction, by the model's similarity."""
    from lang_jepa.stories import generate

    texts = list(dict.fromkeys(s.text for story in generate(stories, seed, "train") for s in story.sentences))
    pool = prepare(model.encode(texts), model.statistics, model.similarity_kind)
    asked = prepare(predicted, model.statistics, model.similarity_kind, side="predictions")
    best = [int(np.argmax(pool @ one)) for one in asked]
    return [_event(texts[index]) for index in best]


def _score(request: Request) -> Result:
    documents, model, beside = request.documents, request.decoding, request.decoding_beside
    budget, seed = request.budget, request.seed
    assert documents is not None
    assert model is not None
    rows = decode_rows(
        model, documents, train_documents=request.train_documents, beside=beside, sentences=budget.decoded, seed=seed
    )
    stories, train = budget.stories, budget.train_stories
    for split in request.splits if request.of_stories else ():
        rows += event_rows(model, split, beside=beside, stories=stories, train_stories=train, seed=seed)
    return Result(rows, {DECODE.name: f"{len(documents):,} held-out documents; {NOTE}"})


DECODE = Task("decode", _score, needs=("decoding", "documents"), own_controls=True)
