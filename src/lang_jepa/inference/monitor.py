"""Units as they come (lines of a log, messages): how surprising each is after those before it, and what is an alarm.

Each unit has the four scores of `evaluation/rarity.py`: surprise, novelty, n-gram, repetition. Each becomes the share
of usual units that have as much of it, and those that find faults best together are added up. Faults that are put into
the usual units decide which, and the threshold is a quantile of the sums of these units. They are the held-out ones of
the training, or others that the user names.

Lines have a second way to be alarms: at a severe level (`data/text/levels.py`) a line of a kind that nobody knew is one
where its novelty alone is above a quantile of its own. Both ways together ring for the stated share of the usual units.

A unit is scored after those before it in its course: of a model that was trained on sessions (`data.session`) in its
session, else after all. The usual units are scored in courses too.
"""

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
from lang_jepa.evaluation.faults import KINDS, WARM, Faulty, Pools, with_faults
from lang_jepa.evaluation.metrics.segmentation import auc
from lang_jepa.evaluation.metrics.similarity import Floats, prepare
from lang_jepa.evaluation.rarity import SCORES, Usual, Values, named, rounded, subsets, threshold
from lang_jepa.files.atomic import write_json
from lang_jepa.inference.cache import SentenceCache, weights_hash
from lang_jepa.inference.courses import Course, Courses, Name, in_courses
from lang_jepa.inference.drift import Drift
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.kinds import NewKinds
from lang_jepa.inference.monitor_data import batches, counted_units, documents, key_of, rate_of
from lang_jepa.inference.monitor_state import FORMAT, read_state

BLOCK = 256
"""Units scored in one pass where many wait."""
_NOTHING_EXPECTED = -1.0
"""Surprise of a first unit, below that of any other."""
_CACHED = 50_000
"""Units whose vectors are kept at most."""
SEVERE_SHARE = 0.5
"""Of the stated rate, for severe units of new kinds at most; what they do not take is left to the sum."""
PIECE, DECIDING = 64, 2000
"""Usual units of a piece in which faults are put, and of all pieces, at most."""
_SURPRISE, _NOVELTY, _REPETITION = map(SCORES.index, ("surprise", "novelty", "repetition"))
_UNDECIDED = (_SURPRISE, _NOVELTY)
"""What decides where no document has room for a fault."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its scores.

    Attributes:
        number: of the unit, from 0 on since the monitor began.
        text: of it.
        surprise, novelty, ngram, repetition: shares of usual units that have less.
        score: the sum of the rarities (-ln of the shares that have as much) of those that decide.
        expected: the known units nearest to what was expected, best first; of alarms alone.
        severe: whether it is a line at a severe level of a kind that was not known, and an alarm for that alone.
        alarm: whether the score is above the threshold, or the unit is severe.
    """

    number: int
    text: str
    surprise: float
    novelty: float
    ngram: float
    repetition: float
    score: float
    expected: tuple[str, ...]
    severe: bool
    alarm: bool


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is computed of a unit once: its tokens as a key, its prepared vector [D], its novelty, and whether it is a
    line at a severe level that the training text does not have.
    """

    key: bytes
    vector: Floats
    novelty: float
    severe: bool


class Monitor:
    """Scores units in their order.

    Args:
        model: whose predictor reads units encoded alone (`data.context=concepts`).
        corpus: of its training: its training units are known and counted, its held-out ones are usual.
        per_thousand: false alarms wanted in a thousand units (None: 1, or what the usual units can set).
        usual: units in order of time that are usual in place of the held-out ones (None: those).
        courses: of which each of them is one (None: by `data.session`).

    Attributes:
        per_thousand: as it is.
        decides: columns of `SCORES` that are added up.
        merits: mean AUC of the faults in the usual units, by the scores that were added up (empty: no document has room
            for any).
        threshold: of the sum.
        least_novelty: of a severe unit of a new kind, above which it is an alarm.
        seen, alarms: units and alarms so far.
        apart: units so far of no session (or group), where the model knows some; they are one course.
        drift: alarms among how many last units, when they first were too many for three times the stated rate (None:
            they were not), see `Drift`.

    Raises:
        LangJepaError: the model predicts no next unit; too few usual units, or too few that have one before them; a
            rate that is none, or that these cannot set.
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
            raise LangJepaError(f"the rate of false alarms is one of a thousand units, not {per_thousand}")
        if not model.predicts_next:
            raise LangJepaError("this model predicts no next unit, so nothing can surprise it")
        held, names = corpus.validation, model.knows_speakers
        self.model, self._kind = model, model.similarity_kind
        own = None if usual is None else self._in_courses(usual, courses)
        lengths = np.diff(held.document_starts).tolist() if own is None else list(map(len, own))
        self.per_thousand = rate_of(per_thousand, lengths, "held-out" if own is None else "usual")
        lines, rows = counted_units(corpus.train, model.room, names=names)
        self.known = corpus.train.units(rows) if names else corpus.train.texts(rows)
        self._space = prepare(model.encode(self.known), model.statistics, self._kind)
        self._ngrams = UnitNGram(lines)
        self._units: dict[str, _Unit] = {}
        usual_units = list(documents(held, names=names)) if own is None else own
        scores, severe = list[Values](), list[str | None]()
        for some in batches(usual_units):
            scores.append(self._raw(some)[0])
            severe += self._severe_texts([unit for one in some for unit in one])
        self._usual, self._kinds = Usual(np.concatenate(scores)), NewKinds(severe)
        self.decides, self.merits = self._decide(usual_units)
        self._set_thresholds(np.concatenate(scores))
        self.seen = self.alarms = self.apart = 0
        self._drift = Drift(self.per_thousand)
        self._courses = Courses(max(model.settings.data.window_size, CACHE + ORDER))

    def feed(self, units: Iterable[str], *, block: int = BLOCK) -> Iterator[Scored]:
        """Score units as they come, in blocks where many wait.

        Args:
            units: texts, as they stand in the source.
            block: units that are scored together.
        """
        waiting: list[str] = []
        for unit in units:
            waiting.append(unit)
            if len(waiting) >= block:
                yield from self.score(waiting)
                waiting = []
        yield from self.score(waiting)

    def score(self, units: Sequence[str], courses: Sequence[Name] | None = None) -> list[Scored]:
        """Score some units that follow those before.

        Args:
            units: texts, as they stand in the source.
            courses: of which each is one (None: by `data.session`; where that is not set, of the same).
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
        return self._judged(units, self._severe(read, scores[order]), scores[order], expected[order])

    @property
    def has_sessions(self) -> bool:
        """Whether the model was trained on units that say of which course they are, a line or a message each."""
        data = self.model.settings.data
        return data.session is not None or (data.units == "turns" and data.group_column is not None)

    @property
    def drift(self) -> tuple[int, int] | None:
        return self._drift.found

    def _names(self, units: Sequence[str], courses: Sequence[Name] | None) -> Sequence[Name]:
        """Of the course of each unit."""
        return session_names(units, self.model.settings.data) if courses is None else courses

    def _judged(self, units: Sequence[str], severe: Sequence[bool], scores: Values, expected: Floats) -> list[Scored]:
        """Units with their scores and what was expected, which are counted."""
        less, sums = self._usual.less(scores), self._sums(scores)
        alarms = (sums > self.threshold) | severe
        found = []
        for row, (unit, total, alarm) in enumerate(zip(units, sums.tolist(), alarms.tolist(), strict=True)):
            near = self._nearest(expected[row]) if alarm else ()
            surprise, novelty, ngram, repetition = less[row].tolist()
            found.append(
                Scored(self.seen + row, unit, surprise, novelty, ngram, repetition, total, near, severe[row], alarm)
            )
        self.seen, self.alarms = self.seen + len(units), self.alarms + int(alarms.sum())
        self._drift.count(alarms.tolist(), (scores[:, _REPETITION] > 0).tolist())
        return found

    def _severe(self, units: Sequence[str], scores: Values) -> list[bool]:
        """Which of some masked units in their order [n] are severe, of a new kind, and novel enough; scores [n, 4]."""
        new = self._kinds.new(self._severe_texts(units), self.seen)
        enough = (rounded(scores[:, _NOVELTY]) > self.least_novelty).tolist()
        return [one and far for one, far in zip(new, enough, strict=True)]

    def _severe_texts(self, units: Sequence[str]) -> list[str | None]:
        """Units that are severe and not of the training text, None in the place of others."""
        return [text if unit.severe else None for text, unit in zip(units, self._read(units), strict=True)]

    def _set_thresholds(self, scores: Values) -> None:
        """Set both thresholds so that the usual units, with their scores [n, 4], are alarms at the stated rate."""
        rate = self.per_thousand / 1000
        novelty = np.where(self._kinds.among_usual, rounded(scores[:, _NOVELTY]), 0.0)
        self.least_novelty = threshold(novelty, rate * SEVERE_SHARE)
        sums = np.where(novelty > self.least_novelty, np.inf, self._sums(scores, own=True))
        self.threshold = threshold(sums, rate)

    def _in_courses(self, units: Sequence[str], courses: Sequence[Name] | None) -> list[list[str]]:
        """Units as the model reads them, those of each course by themselves."""
        read = masked(units, self.model.settings.data)
        return [[read[row] for row in rows] for rows in in_courses(self._names(units, courses)).values()]

    def _sums(self, scores: Values, *, own: bool = False) -> Values:
        """The sum that is compared with the threshold, [n]; `own`: of the usual units."""
        sums: Values = self._usual.rarity(scores, own=own)[:, self.decides].sum(1)
        return sums

    def _raw(
        self, lines: Sequence[Sequence[str]], courses: Sequence[Course] = ()
    ) -> tuple[Values, Floats, list[float]]:
        """The four scores of masked units in order.

        Args:
            lines: of each course, the units that are scored, one at least.
            courses: what came before them (nothing: each begins).

        Returns:
            float64 [n, 4]; what was expected, float32 [n, D], zeros where nothing is; the last score of repetition of
            each line.
        """
        courses = courses or [Course(deque()) for _ in lines]
        own: list[_Unit] = []
        contexts: list[tuple[str, ...]] = []
        ngram, again, runs = list[NDArray[np.float64]](), list[float](), list[float]()
        pairs = list(zip(courses, lines, strict=True))
        every = iter(self._read([unit for course, line in pairs for unit in (*course.before, *line)]))
        for course, line in pairs:
            skip = len(course.before)
            units = list(islice(every, skip + len(line)))
            own += units[skip:]
            contexts += self._contexts([*course.before, *line], skip)
            keys = [unit.key for unit in units]
            ngram.append(self._ngrams.surprise(keys[skip:], keys[:skip]))
            again += self._ngrams.runs(keys[skip:], keys[skip - 1] if skip else None, course.run)
            runs.append(again[-1])
        expected = self._expected(contexts)
        surprise = 1 - np.einsum("nd,nd->n", expected, np.stack([unit.vector for unit in own]), dtype=np.float64)
        surprise[[at for at, one in enumerate(contexts) if not one]] = _NOTHING_EXPECTED
        novelty = np.array([unit.novelty for unit in own])
        return np.column_stack([surprise, novelty, np.concatenate(ngram), again]), expected, runs

    def _contexts(self, line: Sequence[str], skip: int) -> list[tuple[str, ...]]:
        """What the predictor reads before each unit of a line from `skip` on."""
        window = self.model.settings.data.window_size
        return [tuple(line[max(0, at - window) : at]) for at in range(skip, len(line))]

    def _expected(self, contexts: Sequence[tuple[str, ...]]) -> Floats:
        """The prepared predictions after contexts, float32 [n, D]; zeros after an empty one."""
        model = self.model
        expected = np.zeros((len(contexts), model.dim), dtype=np.float32)
        distinct = {one: row for row, one in enumerate(dict.fromkeys(one for one in contexts if one))}
        if distinct:
            made = model.predict_next([list(one) for one in distinct])
            rows = [at for at, one in enumerate(contexts) if one]
            made = prepare(made, model.statistics, self._kind, side="predictions")
            expected[rows] = made[[distinct[contexts[at]] for at in rows]]
        return expected

    def _read(self, units: Sequence[str]) -> list[_Unit]:
        """What is known of units; of each distinct one it is computed once as long as the cache is small."""
        model, new = self.model, [unit for unit in dict.fromkeys(units) if unit not in self._units]
        has_levels = model.settings.data.units == "lines"
        if len(self._units) + len(new) > _CACHED:
            self._units, new = {}, list(dict.fromkeys(units))
        if model.sentence_cache is None or len(model.sentence_cache) > _CACHED:
            model.sentence_cache = SentenceCache(model.room)
        if new:
            tokens = model.tokenize(new)
            vectors = prepare(model.encode_tokens(tokens), model.statistics, self._kind)
            for start in range(0, len(new), BLOCK):
                some = vectors[start : start + BLOCK]
                novelties = 1 - (some @ self._space.T).max(1)
                for row, novelty in enumerate(novelties.tolist()):
                    text, key = new[start + row], key_of(tokens[start + row], model.room)
                    severe = has_levels and is_severe(text) and not self._ngrams.knows(key)
                    self._units[text] = _Unit(key, some[row], novelty, severe)
        return [self._units[unit] for unit in units]

    def _decide(self, documents: Sequence[Sequence[str]]) -> tuple[list[int], dict[str, float]]:
        """Which scores find faults in the usual units best together, and the mean AUC of each sum of scores."""
        sources = [one for one in documents if len(one) > WARM]
        if not sources:
            return list(_UNDECIDED), {}
        pieces = [(one, one[at : at + PIECE]) for one in sources for at in range(0, len(one), PIECE)]
        share = min(1.0, DECIDING / sum(map(len, sources)))
        rows = np.unique(np.linspace(0, len(pieces) - 1, max(1, int(share * len(pieces)))).astype(int))
        generator = np.random.default_rng(0)
        usual = [pieces[row][1] for row in rows]
        copies: list[list[Faulty]] = []
        for row in rows:
            source, piece = pieces[row]
            others = [unit for other in sources if other is not source for unit in other]
            pools = Pools(others, source, spoken=self.model.knows_speakers)
            copies.append([with_faults(piece, kind, pools, generator) for kind in KINDS])
        scores = self._raw(usual)[0][np.concatenate([np.arange(len(one)) >= WARM for one in usual])]
        clean = self._usual.rarity(scores)
        wrong = [self._usual.rarity(self._faults(some)) for some in zip(*copies, strict=True)]
        merits = {}
        for columns in subsets(len(SCORES)):
            sums = clean[:, columns].sum(1)
            found = [_auc(sums, some[:, columns].sum(1)) for some in wrong if len(some)]
            merits[columns] = float(np.mean(found)) if found else 0.5
        best = max(merits, key=lambda columns: round(merits[columns], 3))
        return list(best), {named(columns): merit for columns, merit in merits.items()}

    def _faults(self, copies: Sequence[Faulty]) -> Values:
        """The four scores of the units that are faults in some copies."""
        marks = [np.isin(np.arange(len(one.units)), [at for fault in one.faults for at in fault]) for one in copies]
        return self._raw([one.units for one in copies])[0][np.concatenate(marks)]

    def _nearest(self, expected: Floats, count: int = 3) -> tuple[str, ...]:
        """The known units nearest to what was expected; none where nothing was."""
        if not expected.any():
            return ()
        order = np.argsort(-(self._space @ expected), kind="stable")[:count]
        return tuple(self.known[row] for row in order)

    def save(self, path: Path, **more: Any) -> None:
        """Write where it stands, to be taken up by `restore`; keyword arguments are kept beside it."""
        state = {"courses": self._courses.plain(), "recent": self._drift.plain(), "kinds": self._kinds.plain(),
                 "apart": self.apart}  # fmt: skip
        write_json(path, {"format": FORMAT, "model": weights_hash(self.model.jepa), "seen": self.seen,
                          "alarms": self.alarms, **state, **more})  # fmt: skip

    def restore(self, path: Path) -> Mapping[str, Any]:
        """Take up what `save` wrote, and return it; errors are those of `read_state`."""
        state = read_state(path, self.model)
        self._courses.restore(state["courses"])
        self._drift.restore(state["recent"])
        self._kinds.restore(state["kinds"])
        self.seen, self.alarms, self.apart = state["seen"], state["alarms"], state["apart"]
        return state


def _auc(usual: Values, wrong: Values) -> float:
    return auc(np.concatenate([usual, wrong]), np.arange(len(usual) + len(wrong)) >= len(usual))
