"""Monitor a stream of units (log lines, messages): how surprising each is after those before it, and which are alarms.

Each unit has the four scores of `evaluation/rarity.py`: surprise, novelty, n-gram, repetition. Each becomes the share
of usual units that have as much of it, and the scores that together find faults best are added up (as -ln). Faults
inserted into the usual units decide which scores these are, and the threshold is a quantile of the usual units' sums.
Usual units are the held-out ones of the training, or others that the user names.

Two more rules raise alarms. A unit is stuck if it comes so often in a row that this alone is improbable. A line at a
severe level (`data/text/levels.py`) and of an unknown kind is an alarm if its novelty alone is above a quantile of its
own. A unit that is repeated is one event (`events.py`), and all three rules together make as many events of the usual
units as the stated rate says.

A unit is scored after those before it in its course: its session if the model was trained on sessions (`data.session`),
else all units. The usual units are scored in courses too. The first unit of a session has none before it, so surprise
says nothing about it: if surprise is among the scores that decide, novelty and n-gram decide there instead, with their
own threshold at the stated rate (`FirstUnits`).
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.sources.sessions import session_names
from lang_jepa.data.text.levels import is_severe
from lang_jepa.data.text.masks import masked
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.ngrams import CACHE, ORDER, UnitNGram
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.evaluation.rarity import SCORES, Usual, Values, rounded, threshold
from lang_jepa.files.atomic import write_json
from lang_jepa.inference.cache import SentenceCache, weights_hash
from lang_jepa.inference.courses import Course, Courses, Name, in_courses
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.events import (
    FIRST,
    Drift,
    FirstUnits,
    NewKinds,
    Over,
    Position,
    Scored,
    per_run,
    positions,
    stuck_runs,
)
from lang_jepa.inference.monitor_choice import DECIDING, Likeliest, choose_scores
from lang_jepa.inference.monitor_data import (
    FORMAT,
    batches,
    counted_units,
    documents,
    key_of,
    no_threshold,
    rate_of,
    read_state,
)

BLOCK = 256
"""Units scored in one pass when many wait."""
_NOTHING_EXPECTED = -1.0
"""Surprise of a first unit, below that of any other."""
_CACHED = 50_000
"""Most units whose vectors are cached."""
SEVERE_SHARE = 0.5
"""Largest share of the stated rate for severe units of new kinds; what they do not use is left to the sum."""
STUCK_SHARE = 0.5
"""Largest share of the stated rate for units that come too often in a row, half of it for units that the training text
has and half for others; what they do not use is left to the sum."""
_SURPRISE, _NOVELTY, _REPETITION = map(SCORES.index, ("surprise", "novelty", "repetition"))


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is computed once for each unit: its tokens as a key, its prepared vector [D], its novelty, whether the
    training text has it, and whether it is a line at a severe level that the training text lacks.
    """

    key: bytes
    vector: Floats
    novelty: float
    known: bool
    severe: bool


class Monitor:
    """Scores units in order, and says which are alarms.

    Args:
        model: a model whose predictor reads units encoded alone (`data.context=concepts`).
        corpus: the corpus of its training: its training units are known and counted, its held-out units are usual.
        per_thousand: false alarms wanted per thousand units (None: 1, or the least that the usual units can set).
        usual: units in order of time that are usual instead of the held-out ones (None: the held-out ones).
        courses: the course of each of these units (None: by `data.session`).

    Attributes:
        per_thousand: the rate in use.
        decides: columns of `SCORES` that are added up.
        merits: mean AUC of the faults in the usual units, by the scores that were added up (empty: no document has room
            for any).
        threshold: threshold for the sum.
        least_novelty: novelty above which a severe unit of a new kind is an alarm.
        least_run: score of repetition above which a unit is an alarm for that alone: for units that the training text
            has, and for others, whose runs say less, since nobody knows how often they repeat.
        seen, alarms: units and alarms so far.
        first: judges the first units of sessions (None: surprise does not decide, or the model knows no sessions).
        apart: units so far without a session (or group), if the model knows these; together they are one course.
        unjudged: units so far with none before them in their course, and no score to judge them by.
        drift: how many alarms there were among how many last units, when alarms first became too many for three times
            the stated rate (None: they did not), see `Drift`.

    Raises:
        LangJepaError: the model predicts no next unit; too few usual units, or too few that have one before them; an
            invalid rate, or one that the usual units cannot set.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        corpus: Corpus,
        *,
        per_thousand: float | None = None,
        usual: Sequence[str] | None = None,
        courses: Sequence[Name] | None = None,
    ) -> None:
        if per_thousand is not None and not 0 < per_thousand < 1000:
            raise LangJepaError(
                f"the rate of false alarms is per thousand units, above 0 and below 1000, not {per_thousand}"
            )
        if not model.predicts_next:
            raise LangJepaError("this model does not predict the next unit, so surprise cannot be measured")
        held, names = corpus.validation, model.knows_speakers
        self.model = model
        own = None if usual is None else self._in_courses(usual, courses)
        lengths = np.diff(held.document_starts).tolist() if own is None else list(map(len, own))
        self.per_thousand = rate_of(per_thousand, lengths, "held-out" if own is None else "usual")
        lines, rows = counted_units(corpus.train, model.room, names=names)
        self.known = corpus.train.units(rows) if names else corpus.train.texts(rows)
        self._ngrams, tokens = UnitNGram(lines), model.tokenize(self.known)
        self._space = model.comparable(model.encode_tokens(tokens))
        keys = [key_of(ids, model.room) for ids in tokens]
        self._likeliest = Likeliest(self.known, self._space, [self._ngrams.count(key) for key in keys])
        self._units: dict[str, _Unit] = {}
        usual_units = list(documents(held, names=names)) if own is None else own
        scores, severe = list[Values](), list[str | None]()
        for some in batches(usual_units):
            scores.append(self._raw(some)[0])
            severe += self._severe_texts([unit for one in some for unit in one])
        self._usual, self._kinds = Usual(np.concatenate(scores)), NewKinds(severe)
        self.decides, self.merits = choose_scores(
            usual_units, lambda some: self._raw(some)[0], self._usual, spoken=names
        )
        self._fit_likeliest(usual_units, {key: row for row, key in enumerate(keys)})
        self._set_thresholds(np.concatenate(scores), [one for some in usual_units for one in self._read(some)])
        self.seen = self.alarms = self.apart = self.unjudged = 0
        self._drift = Drift(self.per_thousand)
        self._courses = Courses(max(model.settings.data.window_size, CACHE + ORDER))

    def feed(self, units: Iterable[str], *, block: int = BLOCK) -> Iterator[Scored]:
        """Score units as they come, in blocks.

        Args:
            units: texts, as they stand in the source.
            block: how many units are scored together.
        """
        every = iter(units)
        while some := list(islice(every, block)):
            yield from self.score(some)

    def score(self, units: Sequence[str], courses: Sequence[Name] | None = None) -> list[Scored]:
        """Score units that follow those scored before.

        Args:
            units: texts, as they stand in the source.
            courses: the course of each unit (None: by `data.session`; if that is not set, all share one).
        """
        if not units:
            return []
        read, names = masked(units, self.model.settings.data), self._names(units, courses)
        parts = self._courses.parts(names)
        its, lines = [course for course, _ in parts], [[read[row] for row in rows] for _, rows in parts]
        scores, expected, runs = self._raw(lines, its)
        for course, line, run in zip(its, lines, runs, strict=True):
            course.before.extend(line)
            course.run = run
        if self.has_sessions:
            self.apart += sum(name is None for name in names)
        order = np.argsort(np.concatenate([rows for _, rows in parts]))
        scores, expected = scores[order], expected[order]
        often = self._too_often(rounded(scores[:, _REPETITION]), np.array([one.known for one in self._read(read)]))
        return self._judged(units, parts, self._severe(read, scores), often, scores, expected)

    def open_events(self) -> list[Over]:
        """Return the events that are still open, as they are so far: their unit was the last of its course."""
        return [Over(course.event, course.times) for course in self._courses if course.event is not None]

    @property
    def has_sessions(self) -> bool:
        """Whether the model was trained on units, such as lines or messages, that name their course."""
        data = self.model.settings.data
        return data.session is not None or (data.units == "turns" and data.group_column is not None)

    @property
    def drift(self) -> tuple[int, int] | None:
        return self._drift.found

    def _names(self, units: Sequence[str], courses: Sequence[Name] | None) -> Sequence[Name]:
        """Return the name of the course of each unit."""
        return session_names(units, self.model.settings.data) if courses is None else courses

    def _judged(
        self,
        units: Sequence[str],
        parts: Sequence[tuple[Course, list[int]]],
        severe: Sequence[bool],
        often: NDArray[np.bool_],
        scores: Values,
        expected: Floats,
    ) -> list[Scored]:
        """Judge and count units by their scores and what was expected; `parts`: their positions in each course."""
        less, (sums, limits) = self._usual.less(scores), self._sums(scores)
        again, begins = scores[:, _REPETITION] > 0, scores[:, _SURPRISE] == _NOTHING_EXPECTED
        due, stands = (sums > limits) | severe, dict[int, Position]()
        for course, rows in parts:
            which = [self.seen + row for row in rows]
            some = positions(course, which, again[rows].tolist(), due[rows].tolist(), often[rows].tolist())
            stands |= dict(zip(rows, some, strict=True))
        found = []
        for row, (unit, total, limit) in enumerate(zip(units, sums.tolist(), limits.tolist(), strict=True)):
            index, stand, (one, two, three, four) = self.seen + row, stands[row], less[row].tolist()
            is_alarm, by_first = stand.event == index, self.first is not None and bool(begins[row])
            near = self._likeliest(expected[row]) if is_alarm else ()
            judged = (one, two, three, four, total, limit, by_first)
            found.append(Scored(index, unit, *judged, near, severe[row], is_alarm, *stand))
        if self.first is None and {*self.decides} <= {_SURPRISE, _REPETITION}:
            self.unjudged += int(begins.sum())
        alarms = [each.alarm for each in found]
        self.seen, self.alarms = self.seen + len(units), self.alarms + sum(alarms)
        self._drift.count(alarms, [each.event is not None for each in found])
        return found

    def _severe(self, units: Sequence[str], scores: Values) -> list[bool]:
        """Return which masked units, in order, are severe, of a new kind, and novel enough; scores [n, 4]."""
        new = self._kinds.new(self._severe_texts(units), self.seen)
        enough = (rounded(scores[:, _NOVELTY]) > self.least_novelty).tolist()
        return [one and far for one, far in zip(new, enough, strict=True)]

    def _too_often(self, runs: Values, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which scores of repetition [n] are above the limit for units that are `known`, or are not."""
        return np.greater(runs, np.where(known, *self.least_run))

    def _severe_texts(self, units: Sequence[str]) -> list[str | None]:
        """Return the units that are severe and not in the training text, None in place of the others."""
        return [text if unit.severe else None for text, unit in zip(units, self._read(units), strict=True)]

    def _set_thresholds(self, scores: Values, units: Sequence[_Unit]) -> None:
        """Set the thresholds so that the usual units, with scores [n, 4], make events at the stated rate."""
        known = np.array([one.known for one in units])
        rate, again = self.per_thousand / 1000, scores[:, _REPETITION] > 0
        novelty = np.where(self._kinds.among_usual, rounded(scores[:, _NOVELTY]), 0.0)
        self.least_novelty = threshold(novelty, rate * SEVERE_SHARE)
        share, runs = rate * STUCK_SHARE / 2, stuck_runs(rounded(scores[:, _REPETITION]), again)
        of_each = (threshold(np.where(which, per_run(runs, again), 0.0), share) for which in (known, ~known))
        least, other = (max(limit, -math.log(share)) for limit in of_each)
        self.least_run = least, other
        taken, sums = (novelty > self.least_novelty) | self._too_often(runs, known), self._plain_sums(scores, own=True)
        self.first = self._first_units(scores, units, rate - float(taken.mean()))
        if self.first is not None:
            begins = scores[:, _SURPRISE] == _NOTHING_EXPECTED
            taken[begins] |= self.first.sums(scores[begins][:, FIRST], own=True) > self.first.threshold
        self.threshold = threshold(per_run(np.where(taken, np.inf, sums), again), rate)
        if self.threshold == -np.inf:
            raise LangJepaError(no_threshold(self.per_thousand, int((~again).sum()), len(again)))

    def _first_units(self, scores: Values, units: Sequence[_Unit], rate: float) -> FirstUnits | None:
        """Build what judges the first units of sessions at a rate, from the usual units and their scores [n, 4]."""
        if not self.has_sessions or _SURPRISE not in self.decides:
            return None
        alone = {key: self._ngrams.surprise([key])[0] for key in {unit.key for unit in units}}
        as_first = np.column_stack([scores[:, _NOVELTY], np.array([alone[unit.key] for unit in units])])
        return FirstUnits(as_first, scores[:, _SURPRISE] == _NOTHING_EXPECTED, max(0.0, rate))

    def _in_courses(self, units: Sequence[str], courses: Sequence[Name] | None) -> list[list[str]]:
        """Return units as the model reads them, grouped by course."""
        read = masked(units, self.model.settings.data)
        return [[read[row] for row in rows] for rows in in_courses(self._names(units, courses)).values()]

    def _sums(self, scores: Values) -> tuple[Values, Values]:
        """Return the sums that decide, [n], for units with scores [n, 4], and the threshold of each, [n]."""
        sums, limits = self._plain_sums(scores), np.full(len(scores), self.threshold)
        begins = scores[:, _SURPRISE] == _NOTHING_EXPECTED
        if self.first is not None and begins.any():
            sums[begins], limits[begins] = self.first.sums(scores[begins][:, FIRST]), self.first.threshold
        return sums, limits

    def _plain_sums(self, scores: Values, *, own: bool = False) -> Values:
        """Return the summed rarities of the scores that decide, [n], from scores [n, 4]; `own`: of the usual units."""
        sums: Values = self._usual.rarity(scores, own=own)[:, self.decides].sum(1)
        return sums

    def _fit_likeliest(self, documents: Sequence[Sequence[str]], rows: Mapping[bytes, int]) -> None:
        """Fit `Likeliest` on usual units, as many as decide which scores are summed; `rows`: of known units by key."""
        share = max(1, -(-sum(map(len, documents)) // DECIDING))
        some = [one[: -(-len(one) // share)] for one in documents if len(one)]
        came = [rows.get(unit.key, -1) for one in some for unit in self._read(one)]
        self._likeliest.fit(self._raw(some)[1], np.array(came))

    def _raw(
        self, lines: Sequence[Sequence[str]], courses: Sequence[Course] = ()
    ) -> tuple[Values, Floats, list[float]]:
        """Compute the four scores of masked units in order.

        Args:
            lines: for each course the units to score, at least one.
            courses: what came before them (empty: each course begins).

        Returns:
            The scores, float64 [n, 4]; what was expected, float32 [n, D], zeros where nothing is; the last score of
            repetition of each line.
        """
        courses = courses or [Course(deque()) for _ in lines]
        own: list[_Unit] = []
        contexts: list[tuple[str, ...]] = []
        ngram, again, runs = list[NDArray[np.float64]](), list[float](), list[float]()
        pairs, window = list(zip(courses, lines, strict=True)), self.model.settings.data.window_size
        every = iter(self._read([unit for course, line in pairs for unit in (*course.before, *line)]))
        for course, line in pairs:
            skip = len(course.before)
            units = list(islice(every, skip + len(line)))
            own += units[skip:]
            whole = [*course.before, *line]
            contexts += [tuple(whole[max(0, at - window) : at]) for at in range(skip, len(whole))]
            keys = [unit.key for unit in units]
            ngram.append(self._ngrams.surprise(keys[skip:], keys[:skip]))
            again += self._ngrams.runs(keys[skip:], keys[skip - 1] if skip else None, course.run)
            runs.append(again[-1])
        expected = self._expected(contexts)
        surprise = 1 - np.einsum("nd,nd->n", expected, np.stack([unit.vector for unit in own]), dtype=np.float64)
        surprise[[at for at, one in enumerate(contexts) if not one]] = _NOTHING_EXPECTED
        novelty = np.array([unit.novelty for unit in own])
        return np.column_stack([surprise, novelty, np.concatenate(ngram), again]), expected, runs

    def _expected(self, contexts: Sequence[tuple[str, ...]]) -> Floats:
        """Return the prepared predictions after contexts, float32 [n, D]; zeros after an empty one."""
        model = self.model
        expected = np.zeros((len(contexts), model.dim), dtype=np.float32)
        distinct = {one: row for row, one in enumerate(dict.fromkeys(one for one in contexts if one))}
        if distinct:
            made = model.comparable(model.predict_next([list(one) for one in distinct]), side="predictions")
            rows = [at for at, one in enumerate(contexts) if one]
            expected[rows] = made[[distinct[contexts[at]] for at in rows]]
        return expected

    def _read(self, units: Sequence[str]) -> list[_Unit]:
        """Return what is known of units, computed once for each distinct one as long as the cache has room."""
        model, new = self.model, [unit for unit in dict.fromkeys(units) if unit not in self._units]
        has_levels = model.settings.data.units == "lines"
        if len(self._units) + len(new) > _CACHED:
            self._units, new = {}, list(dict.fromkeys(units))
        if model.sentence_cache is None or len(model.sentence_cache) > _CACHED:
            model.sentence_cache = SentenceCache(model.room)
        if new:
            tokens = model.tokenize(new)
            vectors = model.comparable(model.encode_tokens(tokens))
            for start in range(0, len(new), BLOCK):
                some = vectors[start : start + BLOCK]
                novelties = 1 - (some @ self._space.T).max(1)
                for row, novelty in enumerate(novelties.tolist()):
                    text, key = new[start + row], key_of(tokens[start + row], model.room)
                    known = self._ngrams.knows(key)
                    severe = has_levels and not known and is_severe(text)
                    self._units[text] = _Unit(key, some[row], novelty, known, severe)
        return [self._units[unit] for unit in units]

    def save(self, path: Path, **more: Any) -> None:
        """Write the state for `restore`; keyword arguments are saved beside it."""
        state = {"courses": self._courses.plain(), "recent": [*self._drift.recent], "kinds": self._kinds.last,
                 "apart": self.apart, "unjudged": self.unjudged}  # fmt: skip
        write_json(path, {"format": FORMAT, "model": weights_hash(self.model.jepa), "seen": self.seen,
                          "alarms": self.alarms, **state, **more})  # fmt: skip

    def restore(self, path: Path) -> Mapping[str, Any]:
        """Restore what `save` wrote, and return it; raises as `read_state` does."""
        state = read_state(path, self.model)
        self._courses.restore(state["courses"])
        self._drift.recent.extend(state["recent"])
        self._kinds.last = dict(state["kinds"])
        self.seen, self.alarms = state["seen"], state["alarms"]
        self.apart, self.unjudged = state["apart"], state["unjudged"]
        return state
