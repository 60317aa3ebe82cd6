"""Choose what to say next: rank candidates after a conversation, or find replies in a bank of earlier conversations.

A predictor is also an encoder of contexts: contexts with similar predictions were followed by similar turns. So a reply
is chosen by a vote among the turns that followed the earlier contexts whose predictions are most similar to this one's;
every reply comes with the context that it answered. The vote was better than the turn closest to the prediction, see
docs/evaluation.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from lang_jepa.data.sources.conversations import as_turns, names_in, speaker_number, speaker_of, without_speaker
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.replies import VOTERS, votes
from lang_jepa.evaluation.metrics.similarity import Floats
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.texts import role_of, texts_of

USUAL = 0.95
"""A candidate fits if it is closer to the prediction than this share of the training turns stored with the model."""
STRANGE = 0.05
"""Replies fit a context as close to the bank as all but this share of its contexts are to other conversations."""
FAR = 0.01
"""The same share for a context that is far from all of the bank. If the model was trained on the bank, the bank's own
contexts are closer to each other than new ones are, so a context that does not fit may still be of its kind; one that
is far hardly ever is."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate for the next turn.

    Attributes:
        text: as it was given.
        score: cosine with the prediction, by the model's similarity.
        nearer: share of the training turns stored with the model that are farther from the prediction.
        fits: whether `nearer` is at least `USUAL`.
    """

    text: str
    score: float
    nearer: float
    fits: bool


def rank(
    model: EmbeddingModel, context: Sequence[str], candidates: Sequence[str], *, role: str | None = None
) -> list[Ranked]:
    """Rank candidates for the next turn, the likeliest first.

    Args:
        model: a model with a predictor of what comes next.
        context: turns so far, oldest first.
        candidates: texts to rank; a speaker of the context in front of one is ignored.
        role: whose turn it is, see `EmbeddingModel.predict_next`.

    Raises:
        LangJepaError: no candidates; a model or a context that `predict_next` refuses; a model that was saved without
            a sample of training turns.
    """
    candidates, context = texts_of(candidates, "candidate"), texts_of(context, "turn")
    if not candidates:
        raise LangJepaError("there are no candidates to rank")
    if model.statistics.sample is None:
        raise LangJepaError("this model was saved without a sample of training turns: train it again, or use infer")
    predicted = model.comparable(model.predict_next(context, role=role)[None], side="predictions")[0]
    alone = without_speaker(candidates, names_in(context)) if model.knows_speakers else candidates
    scores = model.comparable(model.encode(alone)) @ predicted
    nearer = share_farther(model, predicted, scores)
    order = np.argsort(-scores, kind="stable")
    return [
        Ranked(candidates[row], float(scores[row]), float(nearer[row]), bool(nearer[row] >= USUAL)) for row in order
    ]


def share_farther(model: EmbeddingModel, predicted: Floats, scores: Floats) -> Floats:
    """Return, for each score [n] against a prepared prediction [D], which share of stored training turns score less."""
    usual = model.statistics.sample
    assert usual is not None
    known = np.sort(model.comparable(usual) @ predicted)
    return np.asarray(np.searchsorted(known, scores) / len(known), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Reply:
    """A turn of the bank that may be said now.

    Attributes:
        text: text of the turn.
        score: its vote: mean cosine with what followed the nearest contexts, weighted by how close these are.
        likeness: cosine of the prediction after its context with the one after the given context.
        context: what it answered in the bank, oldest first.
        fits: whether the nearest context of the bank is as close as contexts usually are (None: unknown, since the bank
            has the replies of only one conversation).
        far: whether it is farther than nearly all contexts of the bank are, see `FAR` (None: unknown).
        conversation, position: where the turn stands: number of its conversation in the bank, and of the turn in that,
            both from 0.
    """

    text: str
    score: float
    likeness: float
    context: tuple[str, ...]
    fits: bool | None
    far: bool | None
    conversation: int
    position: int


class ReplyBank:
    """Turns of earlier conversations with the predictions after what was said before them.

    Args:
        model: a model with a predictor of what comes next.
        conversations: each a list of turns, like "user: Good morning" if the model knows speakers or a role is given.
        role: only turns of this role are replies (None: every turn but the first of a conversation).

    Raises:
        LangJepaError: there is no such turn; a model without a predictor of what comes next.
    """

    def __init__(
        self, model: EmbeddingModel, conversations: Sequence[Sequence[str]], *, role: str | None = None
    ) -> None:
        role = role_of(role)
        wanted = None if role is None else speaker_number(role)
        window, named = model.settings.data.window_size, role is not None or model.knows_speakers
        self.model, self.role = model, role
        self._dropped: set[str] | None = set() if named and model.settings.data.speakers == "none" else None
        self.contexts: list[list[str]] = []
        self.replies: list[str] = []
        owners, self._positions = list[int](), list[int]()
        for number, given in enumerate(conversations):
            turns = texts_of(given, "turn", where=f"conversation {number} of the bank: ")
            turns = as_turns(turns) if named else turns
            numbers, texts = [speaker_of(turn)[0] for turn in turns], turns
            if self._dropped is not None:
                self._dropped |= names_in(turns)
                texts = [speaker_of(turn)[1] for turn in turns]
            for position in range(1, len(turns)):
                if wanted in (None, numbers[position]):
                    self.contexts.append(texts[max(0, position - window) : position])
                    self.replies.append(texts[position])
                    owners.append(number)
                    self._positions.append(position)
        if not self.replies:
            raise LangJepaError("the bank has no reply" + _not_by(role, conversations))
        self._owners = np.array(owners)
        self._predictions = self._prepared(self.contexts)
        self._turns = model.comparable(model.encode(self.replies, turns=model.knows_speakers))
        self._strange: float | None
        self._far: float | None
        self._strange, self._far = self._least_usual()

    @classmethod
    def of(cls, model: EmbeddingModel, given: "ReplyBank | Sequence[Sequence[str]]", role: str | None) -> "ReplyBank":
        """Return a bank as it is, or make one from conversations.

        Raises:
            LangJepaError: a bank of another model, or of another role than is asked for.
        """
        if not isinstance(given, ReplyBank):
            return ReplyBank(model, given, role=role)
        if given.model is not model:
            raise LangJepaError("the bank was made with another model: make it again, ReplyBank(model, conversations)")
        if role is not None and role != given.role:
            raise LangJepaError(
                f"the bank has replies by {given.role or 'everybody'}, so role={role!r} comes too late: make one with "
                f"ReplyBank(model, conversations, role={role!r})"
            )
        return given

    def _prepared(self, contexts: Sequence[Sequence[str]]) -> Floats:
        model = self.model
        predicted = model.predict_next(contexts, role=self.role if model.knows_speakers else None)
        return model.comparable(predicted, side="predictions")

    def _least_usual(self) -> tuple[float, float] | tuple[None, None]:
        """Return the similarity to the nearest context of another conversation that all but a share of the bank's
        contexts reach, for the shares `STRANGE` and `FAR`; None if there is no other conversation.
        """
        some = np.unique(np.linspace(0, len(self.replies) - 1, min(500, len(self.replies))).astype(int))
        likeness = self._predictions[some] @ self._predictions.T
        likeness[self._owners[some][:, None] == self._owners[None, :]] = -np.inf
        best = likeness.max(1)
        if not np.isfinite(best).all():
            return None, None
        return float(np.quantile(best, STRANGE)), float(np.quantile(best, FAR))

    def reply(self, context: Sequence[str], *, k: int = VOTERS, top: int | None = None) -> list[Reply]:
        """Choose what to say after a context, best first.

        Args:
            context: turns so far, oldest first.
            k: nearest contexts of the bank that vote.
            top: replies at most, each text once (None: 3, or `k` if that is less).

        Raises:
            LangJepaError: `k` or `top` below 1, or more replies than contexts; a context that `predict_next` refuses.
        """
        top = min(3, k) if top is None else top
        if not all(isinstance(one, Integral) and one >= 1 for one in (k, top)):
            raise LangJepaError(
                f"k, the contexts that vote, and top, the replies, are at least 1, not k={k}, top={top}"
            )
        if top > k:
            raise LangJepaError(f"{top} replies cannot come from {k} contexts: let more of them vote, k={top}")
        turns_so_far = texts_of(context, "turn")
        if self._dropped is not None:
            turns_so_far = without_speaker(turns_so_far, self._dropped)
        likeness = self._predictions @ self._prepared([turns_so_far])[0]
        near = np.argsort(-likeness, kind="stable")[:k]
        turns = self._turns[near]
        score = votes(turns @ turns.T, likeness[near])
        fits = None if self._strange is None else bool(likeness[near[0]] >= self._strange)
        far = None if self._far is None else bool(likeness[near[0]] < self._far)
        found: dict[str, Reply] = {}
        for place in np.argsort(-score, kind="stable"):
            row = int(near[place])
            text = speaker_of(self.replies[row])[1] if self.model.knows_speakers else self.replies[row]
            where = int(self._owners[row]), self._positions[row]
            numbers = float(score[place]), float(likeness[row])
            found.setdefault(text, Reply(text, *numbers, tuple(self.contexts[row]), fits, far, *where))
        return list(found.values())[:top]


def _not_by(role: str | None, conversations: Sequence[Sequence[str]]) -> str:
    """Say who speaks in a bank that has no replies by this role."""
    if role is None:
        return ""
    names = sorted({name for one in conversations for name in names_in(one)} - {"-"})
    some = f"; those who speak there: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
    return f" by {role}: turns must look like '{role}: ...'{some}"
