"""Units as they come (lines of a log, messages): how surprising each is after those before it, and what is an alarm.

Two scores: the surprise, a cosine distance from what the predictor expects here, and the novelty, that from the nearest
known unit of the training text. Each is turned into the share of held-out units that have less of it; the larger share
decides. The threshold is a quantile of that on held-out units, for a stated rate of false alarms.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lang_jepa.data.corpus.corpus import Corpus, CorpusSplit
from lang_jepa.data.text.masks import masked
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Floats, prepare
from lang_jepa.files.atomic import read_json, write_json
from lang_jepa.inference.cache import SentenceCache
from lang_jepa.inference.embedding import EmbeddingModel

BLOCK = 256
"""Units scored in one pass where many wait."""
KNOWN = 20_000
"""Distinct training units that are known, the first ones."""
_NOTHING_EXPECTED = -1.0
"""Surprise of a first unit, below that of any other."""
_CACHED = 50_000
"""Units whose vectors are kept at most."""
LEAST = 200
"""Held-out units from which a threshold can be had."""
DRIFT = 3.0
"""Times the stated rate from which alarms are called too many."""
RECENT = 1000
"""Units over which the rate is watched."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its scores.

    Attributes:
        number: of the unit, from 0 on since the monitor began.
        text: of it.
        surprise, novelty: shares of held-out units that have less.
        expected: the known units nearest to what was expected, best first; of alarms alone.
        alarm: whether the larger share is above the threshold.
    """

    number: int
    text: str
    surprise: float
    novelty: float
    expected: tuple[str, ...]
    alarm: bool


class Monitor:
    """Scores units in their order.

    Args:
        model: whose predictor reads units encoded alone (`data.context=concepts`).
        corpus: of its training: its units are known, its held-out ones set the threshold.
        per_thousand: false alarms wanted in a thousand units.

    Attributes:
        threshold: of the larger share.
        seen, alarms: units and alarms so far.

    Raises:
        LangJepaError: the model predicts no next unit; too little is held out; a rate that is none.
    """

    def __init__(self, model: EmbeddingModel, corpus: Corpus, *, per_thousand: float = 1.0) -> None:
        if not 0 < per_thousand < 1000:
            raise LangJepaError(f"the rate of false alarms is one of a thousand units, not {per_thousand}")
        if not model.predicts_next:
            raise LangJepaError("this model predicts no next unit, so nothing can surprise it")
        self.model, self.per_thousand = model, per_thousand
        self._kind = model.similarity
        self.known = _distinct(corpus.train, KNOWN, names=model.knows_speakers)
        self._space = prepare(model.encode(self.known), model.statistics, self._kind)
        held = corpus.validation
        if held.num_sentences < LEAST:
            raise LangJepaError(
                f"a threshold needs {LEAST} held-out units or more, and there are {held.num_sentences}: train with "
                "data.val_fraction (and data.val_split=tail for logs)"
            )
        scores = [self._raw(units, []) for units in _documents(held, names=model.knows_speakers)]
        self._levels: Floats = np.sort(np.concatenate(scores), axis=0).T
        shares = self._shares(np.concatenate(scores)).max(1)
        self.threshold = float(np.quantile(shares, 1 - per_thousand / 1000))
        self.seen = self.alarms = 0
        self._before: deque[str] = deque(maxlen=model.settings.data.window_size)
        self._recent: deque[bool] = deque(maxlen=RECENT)

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

    def score(self, units: Sequence[str]) -> list[Scored]:
        """Score some units that follow those before."""
        found: list[Scored] = []
        if not units:
            return found
        shares = self._shares(self._raw(units, list(self._before)))
        for unit, (surprise, novelty) in zip(units, shares.tolist(), strict=True):
            alarm = max(surprise, novelty) > self.threshold
            expected = self._expected(list(self._before)) if alarm else ()
            found.append(Scored(self.seen, unit, surprise, novelty, expected, alarm))
            self._before.append(unit)
            self._recent.append(alarm)
            self.seen, self.alarms = self.seen + 1, self.alarms + alarm
        return found

    @property
    def drifts(self) -> bool:
        """Whether the last thousand units had more than three times the alarms that were asked for, and one at least
        beyond chance.
        """
        rate = self.per_thousand / 1000 * len(self._recent)
        return len(self._recent) == RECENT and sum(self._recent) > max(DRIFT * rate, rate + 3)

    def _raw(self, units: Sequence[str], before: Sequence[str]) -> Floats:
        """Surprise and novelty as cosine distances, float32 [n, 2]; nothing is expected of a first unit."""
        model, window = self.model, self.model.settings.data.window_size
        units = masked(units, model.settings.data)
        line = [*masked(before, model.settings.data), *units]
        vectors = self._vectors(units)
        contexts = [line[max(0, place - window) : place] for place in range(len(before), len(line))]
        asked = [place for place, context in enumerate(contexts) if context]
        expected = np.zeros_like(vectors)
        if asked:
            made = model.predict_next([contexts[place] for place in asked])
            expected[asked] = prepare(made, model.statistics, self._kind, side="predictions")
        surprise = 1 - np.einsum("nd,nd->n", expected, vectors)
        surprise[[place for place, context in enumerate(contexts) if not context]] = _NOTHING_EXPECTED
        novelty = np.concatenate(
            [1 - (vectors[start : start + BLOCK] @ self._space.T).max(1) for start in range(0, len(vectors), BLOCK)]
        )
        result: Floats = np.stack([surprise, np.maximum(novelty, 0.0)], axis=1).round(4).astype(np.float32)
        return result  # rounded, since equal units must have equal shares, in whatever block they are scored

    def _vectors(self, units: Sequence[str]) -> Floats:
        """Prepared vectors [n, D]; each distinct unit is encoded once as long as the cache is small."""
        cache = self.model.sentence_cache
        if cache is None or len(cache) > _CACHED:
            self.model.sentence_cache = SentenceCache(self.model.room)
        return prepare(self.model.encode(units), self.model.statistics, self._kind)

    def _shares(self, scores: Floats) -> Floats:
        """Share of held-out units with less of each score, [n, 2]."""
        columns = [
            np.searchsorted(level, scores[:, one], side="left") / len(level) for one, level in enumerate(self._levels)
        ]
        return np.stack(columns, axis=1)

    def _expected(self, before: list[str], count: int = 3) -> tuple[str, ...]:
        if not before:
            return ()
        made = prepare(self.model.predict_next([before]), self.model.statistics, self._kind, side="predictions")[0]
        order = np.argsort(-(self._space @ made), kind="stable")[:count]
        return tuple(self.known[row] for row in order)

    def save(self, path: Path) -> None:
        """Write where it stands, to be taken up by `restore`."""
        write_json(path, {"before": list(self._before), "seen": self.seen, "alarms": self.alarms,
                          "recent": list(self._recent)})  # fmt: skip

    def restore(self, path: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            LangJepaError: it is missing or something else.
        """
        state: Mapping[str, Any] = read_json(path, what="the state of a monitor")
        try:
            before, recent = [str(one) for one in state["before"]], [bool(one) for one in state["recent"]]
            self.seen, self.alarms = int(state["seen"]), int(state["alarms"])
        except (LookupError, TypeError, ValueError) as error:
            raise LangJepaError(f"{path} is not the state of a monitor: {error!r}") from error
        self._before.extend(before)
        self._recent.extend(recent)


def _distinct(split: CorpusSplit, most: int, *, names: bool) -> list[str]:
    """Distinct units of a side as the model reads them, the first ones; `names`: with who says them."""
    found: dict[str, None] = {}
    for start in range(0, split.num_sentences, 4096):
        rows = np.arange(start, min(start + 4096, split.num_sentences))
        found.update(dict.fromkeys(split.units(rows) if names else split.texts(rows)))
        if len(found) >= most:
            break
    return list(found)[:most]


def _documents(split: CorpusSplit, *, names: bool) -> Iterator[list[str]]:
    starts = split.document_starts
    for row in range(split.num_documents):
        rows = np.arange(starts[row], starts[row + 1])
        yield split.units(rows) if names else split.texts(rows)
