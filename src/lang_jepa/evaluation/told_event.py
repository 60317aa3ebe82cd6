"""Stories: does the decoded prediction tell what happens next?

The rule parser reads the event off the decoded sentence, and the generator knows the true one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.embedder import Teller
from lang_jepa.evaluation.intervals import mean_interval
from lang_jepa.evaluation.similarity import prepare
from lang_jepa.evaluation.table import Row, detail_of, score_row

if TYPE_CHECKING:
    from lang_jepa.data.stories import Story

TASK = "stories: told event"
FIRST = 3
"""Sentences of context at least."""


def told_event_rows(
    model: Teller,
    split: str,
    *,
    beside: Mapping[str, Teller] | None = None,
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
    from lang_jepa.data.stories import generate

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
    for name, teller in {"model": model, **(beside or {})}.items():
        foreseen = predicted if teller is model else teller.predict_next(contexts)
        events = [_event(text) for text in teller.decode(foreseen)]
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
    from lang_jepa.data.stories import parse_event

    found = parse_event(text)
    return None if found is None else found.event


def _equal(guesses: Sequence[str | None], truth: Sequence[str]) -> NDArray[np.float64]:
    return np.array([guess == event for guess, event in zip(guesses, truth, strict=True)], dtype=np.float64)


def _nearest(model: Teller, predicted: NDArray[np.float32], stories: int, seed: int) -> list[str | None]:
    """Event of the training sentence nearest to each prediction, by the model's similarity."""
    from lang_jepa.data.stories import generate

    texts = list(dict.fromkeys(s.text for story in generate(stories, seed, "train") for s in story.sentences))
    pool = prepare(model.encode(texts), model.statistics, model.similarity)
    asked = prepare(predicted, model.statistics, model.similarity, side="predictions")
    best = [int(np.argmax(pool @ one)) for one in asked]
    return [_event(texts[index]) for index in best]


def _oracle(told: Sequence["Story"], places: Sequence[tuple[int, int]]) -> list[str]:
    odds = [told[number].oracle[at] for number, at in places]
    return [max(one, key=lambda event: one[event]) for one in odds]
