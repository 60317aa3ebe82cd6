"""The task `replies`: choose a reply in held-out conversations from a bank of replies in training conversations.

The evaluated model works as `lang-jepa rank --bank` does: it finds the contexts in the bank with the most similar
predictions and takes a vote among their replies. Other ways are one such context, the reply nearest to the prediction,
and contexts found by their turns, in the space of every encoder and by words. The chosen reply is compared with the
true one by a label, if turns have labels, and by similarity in spaces that did not choose.
Shapes: Q questions, B replies of the bank, D dimensions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.replies import VOTERS, nearest, voted
from lang_jepa.evaluation.baselines.words import bm25, tfidf
from lang_jepa.evaluation.embedder import Embedder, Encoder, as_read, encode, predict
from lang_jepa.evaluation.metrics.retrieval import Rows
from lang_jepa.evaluation.metrics.similarity import Floats, prepare, row_products, unit_rows
from lang_jepa.evaluation.scoreboard import Option, Scoreboard, Values
from lang_jepa.evaluation.tasks.request import Budget, Conversations, Request, Result, Task, as_said

TITLE = "reply from a bank"
LABEL, WORDS = "same label", "TF-IDF similarity"
PREVIOUS = 0.5
"""Weight of the turn before the last one when contexts are compared by their turns."""
_WHO: Mapping[str, Callable[[int, int], bool]] = {
    "what the assistant answers": lambda last, now: now == 2 and last != now,
    "what another speaker answers": lambda last, now: now > 0 and last != now,
    "every turn but the first": lambda last, now: True,
}
"""Which turns are replies, by the speakers of the last turn and of this one; the first that suits the data is used."""


@dataclass(frozen=True)
class Replies:
    """Replies with their contexts, n of them.

    Attributes:
        contexts: the turns before each reply, oldest first, at most `window_size`.
        spoken: the same like "user: Good morning" (None: no speakers are named).
        replies: texts of the replies.
        documents: int64 [n], the conversation of each.
        labels: labels of the replies, empty for a reply without one (None: there are no labels).
    """

    contexts: list[list[str]]
    spoken: list[list[str]] | None
    replies: list[str]
    documents: Rows
    labels: list[str] | None

    @property
    def last_two(self) -> tuple[list[str], list[str]]:
        """The last turn of each context, and the one before it (empty if there is none)."""
        return [one[-1] for one in self.contexts], [one[-2] if len(one) > 1 else "" for one in self.contexts]

    def some(self, rows: Rows) -> "Replies":
        """Return the replies at some rows."""
        spoken, labels = self.spoken, self.labels
        return Replies(
            [self.contexts[row] for row in rows],
            None if spoken is None else [spoken[row] for row in rows],
            [self.replies[row] for row in rows],
            self.documents[rows],
            None if labels is None else [labels[row] for row in rows],
        )


def replies_of(
    texts: Sequence[Sequence[str]],
    speakers: Sequence[Sequence[int]] | None,
    labels: Sequence[Sequence[str]] | None,
    window_size: int,
    is_reply: Callable[[int, int], bool],
) -> Replies:
    """Collect the replies of conversations.

    Args:
        texts: the turns of each conversation.
        speakers, labels: speaker numbers and labels of the turns (None: unknown).
        window_size: most turns of context.
        is_reply: whether a turn is a reply, given the speaker numbers of the previous turn and of the turn itself.
    """
    who = speakers or [[0] * len(turns) for turns in texts]
    positions = [
        (number, turn)
        for number, said in enumerate(who)
        for turn in range(1, len(said))
        if is_reply(said[turn - 1], said[turn])
    ]
    windows = [(number, slice(max(0, turn - window_size), turn)) for number, turn in positions]
    said = None if speakers is None else as_said(texts, speakers)
    return Replies(
        [list(texts[number][window]) for number, window in windows],
        None if said is None else [said[number][window] for number, window in windows],
        [texts[number][turn] for number, turn in positions],
        np.array([number for number, _ in positions], dtype=np.int64),
        None if labels is None else [labels[number][turn] for number, turn in positions],
    )


def ask(given: Conversations, window_size: int, budget: Budget) -> tuple[Replies, Replies, str]:
    """Return the questions, the bank, and a description of which turns are replies.

    Both are spread evenly over the data, with at most `turn_queries` questions and `turn_pairs` replies of the budget.
    If turns have labels, the true reply of each question has one.

    Raises:
        LangJepaError: there are too few conversations with replies, or there is no bank.
    """
    for who, is_reply in _WHO.items():
        asked = replies_of(given.documents, given.speakers, given.labels, window_size, is_reply)
        bank = replies_of(given.train, given.train_speakers, given.train_labels, window_size, is_reply)
        usable = np.arange(len(asked.replies))
        if asked.labels is not None:
            usable = np.array([row for row in usable if asked.labels[row]], dtype=np.int64)
        chooses = np.array(given.choosing, dtype=bool)[asked.documents[usable]]
        if chooses.any() and len(np.unique(asked.documents[usable][~chooses])) > 1 and len(bank.replies) > 1:
            chosen, kept = _spread(len(usable), budget.turn_queries), _spread(len(bank.replies), budget.turn_pairs)
            return asked.some(usable[chosen]), bank.some(kept), who
    raise LangJepaError(
        "the task replies needs replies in at least two held-out conversations, in one more for selection, and two in "
        "the training conversations: evaluate on more conversations"
        + (" (with labels)" if given.labels is not None else "")
    )


def _spread(available: int, count: int) -> Rows:
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(np.int64))


class Judges:
    """Metrics that compare a chosen reply with the true one.

    Args:
        asked: the questions.
        bank: the replies to choose from.
        spaces: by metric, unit rows [B, D] of the bank and [Q, D] of the true replies, dense or sparse.
    """

    def __init__(self, asked: Replies, bank: Replies, spaces: Mapping[str, tuple[Any, Any]]) -> None:
        self.spaces = spaces
        self.same: NDArray[np.bool_] | None = None
        if asked.labels is not None and bank.labels is not None:
            numbers = np.unique([*asked.labels, *bank.labels], return_inverse=True)[1]
            self.same = numbers[: len(asked.labels), None] == numbers[None, len(asked.labels) :]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, first the one by which settings are selected."""
        return [*([LABEL] if self.same is not None else []), *self.spaces]

    def __call__(self, chosen: Rows) -> dict[str, Values]:
        """Return the values [Q] of the chosen rows of the bank [Q], by metric."""
        own = np.arange(len(chosen))
        return self._values(lambda same: same[own, chosen], lambda bank, true: row_products(bank[chosen], true))

    def chance(self) -> dict[str, Values]:
        """Return the mean value of a random reply from the bank, [Q] by metric."""
        return self._values(
            lambda same: same.mean(1), lambda bank, true: np.ravel(true @ np.asarray(bank.mean(0)).ravel())
        )

    def best(self) -> dict[str, Values]:
        """Return the value of the bank's best reply under each metric, [Q]."""
        return self._values(lambda same: same.any(1), lambda bank, true: nearest(true, bank, 1)[1][:, 0])

    def _values(self, by_label: Callable[[Any], Any], by_space: Callable[[Any, Any], Any]) -> dict[str, Values]:
        """Return what is computed from equal labels [Q, B], and from the rows of the bank and of the true replies."""
        values = {} if self.same is None else {LABEL: by_label(self.same)}
        values |= {metric: by_space(*rows) for metric, rows in self.spaces.items()}
        return {metric: np.asarray(some, dtype=np.float64) for metric, some in values.items()}


class _Replies:
    """The ways to choose replies."""

    def __init__(self, asked: Replies, bank: Replies, models: Mapping[str, Encoder]) -> None:
        self.asked, self.bank, self.models = asked, bank, models
        texts = list(dict.fromkeys([text for one in (asked, bank) for text in _texts(one)]))
        self.row = {text: number for number, text in enumerate(texts)}
        self.encoded = {name: encode(model, texts, name) for name, model in models.items()}
        self.words = tfidf(bank.replies, bank.replies, asked.replies, sublinear_tf=True)

    def judges(self) -> Judges:
        """Compare by words, and by every encoder without a predictor, which therefore was not trained here."""
        spaces: dict[str, tuple[Any, Any]] = {WORDS: tuple(self.words)}
        for name, model in self.models.items():
            if not isinstance(model, Embedder) and name != "model":
                mine = unit_rows(self.encoded[name])
                bank, true = (mine[self.rows(one.replies)] for one in (self.bank, self.asked))
                spaces[f"similarity by {name}"] = bank, true
        return Judges(self.asked, self.bank, spaces)

    def rows(self, texts: Sequence[str]) -> Rows:
        return np.array([self.row[text] for text in texts], dtype=np.int64)

    def ways(self) -> Iterator[tuple[str, str, Rows]]:
        """Yield all ways: name, kind of similarity (empty: none), and the chosen row of the bank for each question."""
        for name, model in self.models.items():
            if isinstance(model, Embedder):
                yield from self._by_prediction(name, model)
        for name, model in self.models.items():
            yield from self._by_turns(name, model)
        for name, rows in self._by_words():
            yield name, "", rows

    def _by_prediction(self, name: str, model: Embedder) -> Iterator[tuple[str, str, Rows]]:
        """Choose replies by contexts with the most similar predictions, and replies nearest to the prediction."""
        asked, bank = (
            predict(model, as_read(model, one.spoken, one.contexts), name) for one in (self.asked, self.bank)
        )
        for kind in model.statistics.similarities:
            mine, theirs = (prepare(one, model.statistics, kind, side="predictions") for one in (asked, bank))
            said = prepare(self.encoded[name], model.statistics, kind)[self.rows(self.bank.replies)]
            rows, likeness = nearest(mine, theirs, VOTERS)
            yield name, kind, voted(rows, likeness, said)
            yield f"{name}, one context", kind, rows[:, 0]
            yield f"{name}, nearest reply", kind, nearest(mine, said, 1)[0][:, 0]

    def _by_turns(self, name: str, model: Encoder) -> Iterator[tuple[str, str, Rows]]:
        """Choose replies by the contexts whose last two turns are most similar."""
        for kind in model.statistics.similarities:
            space = prepare(self.encoded[name], model.statistics, kind)
            mine, theirs = (self._last_two(one, space) for one in (self.asked, self.bank))
            rows, likeness = nearest(mine, theirs, VOTERS)
            yield f"nearest contexts ({name})", kind, voted(rows, likeness, space[self.rows(self.bank.replies)])
            yield f"nearest context ({name})", kind, rows[:, 0]

    def _by_words(self) -> Iterator[tuple[str, Rows]]:
        """Choose likewise by TF-IDF, by one context under BM25, and the most frequent and most typical reply."""
        parts = [part for one in (self.asked, self.bank) for part in one.last_two]
        fitted = [" ".join(pair) for pair in zip(*self.bank.last_two, strict=True)]
        last, previous, their_last, their_previous = tfidf(fitted, *parts, sublinear_tf=True)
        mine, theirs = _sparse_units(last + PREVIOUS * previous), _sparse_units(their_last + PREVIOUS * their_previous)
        rows, likeness = nearest(mine, theirs, VOTERS)
        yield "nearest contexts (TF-IDF)", voted(rows, likeness, self.words[0])
        yield "nearest context (TF-IDF)", rows[:, 0]
        words = [" ".join(pair) for pair in zip(*self.asked.last_two, strict=True)]
        yield "nearest context (BM25)", nearest(*bm25(fitted, words, fitted), 1)[0][:, 0]
        often, _ = Counter(self.bank.replies).most_common(1)[0]
        typical = int(np.argmax(np.asarray(self.words[0] @ np.asarray(self.words[0].mean(0)).ravel())))
        for name, row in (("most frequent reply", self.bank.replies.index(often)), ("most typical reply", typical)):
            yield name, np.full(len(self.asked.replies), row)

    def _last_two(self, some: Replies, space: Floats) -> Floats:
        last, previous = some.last_two
        added = np.array([bool(text) for text in previous])
        mixed = space[self.rows(last)].copy()
        mixed[added] += PREVIOUS * space[self.rows([text for text in previous if text])]
        return unit_rows(mixed)


def _texts(some: Replies) -> Iterator[str]:
    yield from some.replies
    for context in some.contexts:
        yield from context[-2:]


def _sparse_units(rows: Any) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(rows)


NOTES = {
    "model": f"vote of the {VOTERS} contexts with the most similar predictions",
    "model, one context": "with the most similar prediction",
    "model, nearest reply": "to the prediction",
}


def _score(request: Request) -> Result:
    given = request.conversations
    assert given is not None
    asked, bank, who = ask(given, request.window_size, request.budget)
    choosing = np.array(given.choosing, dtype=bool)[asked.documents]
    found = _Replies(asked, bank, request.models)
    judges = found.judges()
    board = Scoreboard(
        TITLE,
        "held out",
        judges.metrics[0],
        asked.documents,
        [asked.replies, bank.replies],
        choosing=choosing,
        about=f"{len(bank.replies):,} replies, {counted(len(np.unique(asked.documents[~choosing])), 'conversation')}",
        seed=request.seed,
    )
    options: dict[str, list[Option]] = {}
    for name, kind, rows in found.ways():
        options.setdefault(name, []).append(Option(judges(rows), kind))
    for name, some in options.items():
        board.add(name, some, note=NOTES.get(name, ""))
    board.add("best of the bank", [Option(judges.best())], note="knows the true reply; by each metric its best")
    board.add_analytic("chance", judges.chance())
    held = {*bank.replies}
    known = np.mean([reply in held for reply in asked.replies])
    labels = "" if bank.labels is None else f", {counted(len({*bank.labels} - {''}), 'label')}"
    source = (
        f"{who}: {counted(int((~choosing).sum()), 'question')} of {given.source}, a bank of "
        f"{counted(len(bank.replies), 'reply', 'replies')} of training, which holds {100 * known:.1f} % of the true "
        f"ones{labels}; another reply may be as right as the true one"
    )
    return Result(board.rows, {REPLIES.name: source})


def _asked(request: Request) -> object:
    assert request.conversations is not None
    return ask(request.conversations, request.window_size, request.budget)


REPLIES = Task(
    "replies", _score, needs=("conversations",), options=("documents", "labels"), asks_next=True, enough=_asked
)
