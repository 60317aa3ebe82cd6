"""What a model finds in a document: surprise, topics, continuations, sentences out of place, repetitions.

Each tool can work with the predictor or with a baseline that needs none (means of neighbouring sentences in the same
space). `lang-jepa evaluate RUN --tasks document` measures which is better on held-out documents and saves the result
with the model; the tools use the better one and say so. docs/document.md says what the numbers mean.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from lang_jepa.data.sources.conversations import names_in, without_speaker
from lang_jepa.errors import LangJepaError, counted
from lang_jepa.evaluation.baselines.document_rules import REACH, Positions, Reading, Rule
from lang_jepa.evaluation.metrics.similarity import Floats, Similarity, prepare
from lang_jepa.evaluation.scoreboard import Candidate, Tool
from lang_jepa.inference.document_findings import Against as Against
from lang_jepa.inference.document_findings import Continuation as Continuation
from lang_jepa.inference.document_findings import Fits as Fits
from lang_jepa.inference.document_findings import Repetition as Repetition
from lang_jepa.inference.document_findings import SentenceFit as SentenceFit
from lang_jepa.inference.document_findings import Study as Study
from lang_jepa.inference.document_findings import Topics as Topics
from lang_jepa.inference.document_reading import (
    LEAST_REFERENCE,
    Progress,
    Read,
    encoder,
    numbered,
    of_document,
    of_others,
    sentences_of,
    silent,
    units_of,
)
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.texts import texts_of

Using = Literal["best", "predictor", "baseline"]

REPEATED = 0.85
"""Cosine from which a sentence counts as repeating an earlier one, if no threshold was measured."""
_ROWS = 256
"""Sentences compared with all earlier ones at a time."""
_SAME = 1e-12
"""Cosines that differ by less are equal up to rounding."""


def study(
    model: EmbeddingModel,
    text: str | Sequence[str],
    *,
    candidates: Sequence[str] | None = None,
    segments: int | None = None,
    using: Using = "best",
    against: Against | None = None,
    progress: Progress = silent,
) -> Study:
    """Run all tools on one document; memory grows with the number of its sentences, not with its square.

    Args:
        model, text, using, against: see `surprise`.
        candidates: sentences that might follow, to be ranked.
        segments: how many topics are wanted.
        progress: called with the progress made.
    """
    sentences, speakers = units_of(model, text)
    found = study_read(Read.by(model, sentences, progress), speakers, segments=segments, using=using, against=against)
    if candidates:
        found = replace(found, next=continuations(model, sentences, candidates, using=using)[0])
    return found


def study_read(
    read: Read,
    speakers: Sequence[str] = (),
    *,
    segments: int | None = None,
    using: Using = "best",
    against: Against | None = None,
) -> Study:
    """Run the tools of `study` on a document that is already encoded; nothing is ranked.

    Args:
        read: the document.
        speakers: who says each unit (empty: nobody is named).
        segments, using, against: see `study`.
    """
    return Study(
        fits_of(read, "next", using, against),
        fits_of(read, "outliers", using, against),
        topics_of(read, segments, using),
        _repetitions(read, None),
        [],
        _repeating(read.model)[2],
        list(speakers),
        _hint(read.model),
    )


def surprise(
    model: EmbeddingModel, text: str | Sequence[str], *, using: Using = "best", against: Against | None = None
) -> Fits:
    """Measure how far each sentence lies from what is expected after the sentences before it.

    Args:
        model: any model; without a predictor the baseline is used.
        text: a text, or its sentences.
        using: the method that was measured to be better, or one of the two.
        against: whose sentences are shuffled in: the document's own, outside the context (then an on-topic sentence out
            of order is as surprising as any), or training sentences (then only off-topic sentences are surprising).
            None: the document's own, if it has enough of them.

    Raises:
        LangJepaError: no text, or a method or a reference that the model does not have.
    """
    return fits_of(Read.by(model, sentences_of(model, text)), "next", using, against)


def outliers(
    model: EmbeddingModel, text: str | Sequence[str], *, using: Using = "best", against: Against | None = None
) -> Fits:
    """Measure how well each sentence fits between its neighbours on both sides; `.ranked()` begins with the worst fit.

    Arguments and errors are those of `surprise`.
    """
    return fits_of(Read.by(model, sentences_of(model, text)), "outliers", using, against)


def segment(
    model: EmbeddingModel, text: str | Sequence[str], *, count: int | None = None, using: Using = "best"
) -> Topics:
    """Find where the topic changes.

    Args:
        model, text, using: see `surprise`.
        count: how many segments are wanted (None: decided by the threshold that was best on held-out documents).

    Raises:
        LangJepaError: as `surprise`; a count below 1.
    """
    return topics_of(Read.by(model, sentences_of(model, text)), count, using)


def topics_of(read: Read, count: int | None, using: Using) -> Topics:
    """Run `segment` on a document that is already encoded."""
    # Importing this loads all evaluation tasks, none of which `infer` needs.
    from lang_jepa.evaluation.tasks.document_segmentation import GapSetting, boundaries, gap_scores, shape

    if count is not None and count < 1:
        raise LangJepaError(f"a document has at least one segment, not {count}")
    sentences = read.sentences
    way, said = way_of(read.model, "segment", using)
    setting = GapSetting(way.rule, cast(Similarity, way.similarity), **way.setting)
    if len(sentences) < 2:
        return Topics(sentences, [], [], said)
    reading = read.reading(gaps=True)
    scores = gap_scores(reading, setting.rule, setting.similarity, setting.block)
    found = boundaries(scores, setting, None if count is None else count - 1)
    if count is not None and len(found) + 1 < count:
        most = counted(len(found) + 1, "segment")
        said = f"{said}; {len(sentences)} sentences have {most} at most, of {setting.least} sentences or more each"
    return Topics(sentences, found.tolist(), shape(scores, depth=setting.depth).tolist(), said)


def continuations(
    model: EmbeddingModel, context: str | Sequence[str], candidates: Sequence[str], *, using: Using = "best"
) -> tuple[list[Continuation], str]:
    """Rank candidates by how well they fit as the next sentence, best first; also return the method in words.

    Raises:
        LangJepaError: as `surprise`; no candidates.
    """
    candidates = texts_of(candidates, "candidate")
    if not candidates:
        raise LangJepaError("ranking continuations needs a list of candidates")
    before = sentences_of(model, context)
    way, said = way_of(model, "next", using)
    texts = candidates
    if model.knows_speakers:
        texts = [f"-: {text}" for text in without_speaker(candidates, names_in(before))]
    distinct, rows = numbered([*before, *texts])
    asked = rows[: len(before)][-max(REACH, model.settings.data.window_size) :]
    positions = Positions(distinct, [asked], [asked[:0]])
    reading = Reading(encoder(model), positions, model.encode(distinct, turns=model.knows_speakers))
    kind = cast(Similarity, way.similarity)
    expected = reading.expected(cast(Rule, way.rule), kind)[0]
    fits = reading.space(kind)[rows[len(before) :]].astype(np.float64) @ expected
    leads = (fits - fits.mean()) / fits.std() if fits.std() > 0 else np.zeros_like(fits)
    order = np.argsort(-fits, kind="stable")
    return [Continuation(candidates[i], float(fits[i]), float(leads[i])) for i in order], said


def redundant(model: EmbeddingModel, text: str | Sequence[str], *, threshold: float | None = None) -> list[Repetition]:
    """Find, for each sentence but the first, the earlier one that is closest to it by cosine.

    No predictor is used: an expected sentence may still say something new. Similarity and threshold are those that were
    best at finding planted paraphrases, if `evaluate --tasks document` measured them; otherwise centred cosine and
    `REPEATED`.

    Args:
        model, text: see `surprise`.
        threshold: cosine from which a sentence counts as repeating the earlier one (None: as above).
    """
    return _repetitions(Read.by(model, sentences_of(model, text)), threshold)


def _repetitions(read: Read, threshold: float | None) -> list[Repetition]:
    kind, usual, _ = _repeating(read.model)
    threshold = usual if threshold is None else threshold
    space = prepare(read.embeddings, read.model.statistics, kind).astype(np.float64)[read.rows]
    found, count = [], len(space)
    for begin in range(0, count, _ROWS):
        read.progress("sentences compared", begin, count)
        block = space[begin : begin + _ROWS]
        cosines = block @ space[: begin + len(block)].T
        for position, row in enumerate(cosines, start=begin):
            if position:
                best = row[:position].max()
                earlier = int(np.argmax(row[:position] >= best - _SAME))  # the first of equally close ones
                cosine = float(row[earlier])
                sentence = read.sentences[position]
                found.append(Repetition(position, sentence, earlier, cosine, cosine >= threshold))
    return found


def _repeating(model: EmbeddingModel) -> tuple[Similarity, float, str]:
    """Return similarity and threshold for repetitions, and both in words."""
    choice = model.choices.get("redundant")
    if choice is None:
        why = "not measured" if model.has_predictor else "the model is an encoder alone"
        return "centred", REPEATED, f"centred cosine of {REPEATED} or more ({why})"
    kind, threshold = cast(Similarity, choice.used.similarity), float(choice.used.setting["threshold"])
    return kind, threshold, f"{kind} cosine of {threshold:.2f} or more; {choice.describe()}"


def fits_of(read: Read, tool: Tool, using: Using, against: Against | None) -> Fits:
    """Run `surprise` (`tool` is `next`) or `outliers` on a document that is already encoded."""
    model = read.model
    way, said = way_of(model, tool, using)
    kind = cast(Similarity, way.similarity)
    reading = read.reading()
    expected = reading.expected(cast(Rule, way.rule), kind)
    own = reading.space(kind)[read.rows]
    known = np.abs(expected).sum(1) > 0
    fits = np.einsum("qd,qd->q", expected, own, dtype=np.float64)
    chosen = against or _usual(model, len(read.sentences))
    means, spreads = (
        of_document(expected, own)
        if chosen == "document"
        else of_others(expected, prepare(_training_sample(model), model.statistics, kind))
    )
    values = np.divide(means - fits, spreads, out=np.zeros_like(fits), where=spreads > 0)
    judged = known & (against is not None or chosen != "document" or len(known) > LEAST_REFERENCE)
    found = [
        SentenceFit(i, sentence, float(fits[i]) if known[i] else None, float(values[i]) if judged[i] else None)
        for i, sentence in enumerate(read.sentences)
    ]
    return Fits(found, said, chosen)


def _usual(model: EmbeddingModel, count: int) -> Against:
    """Return the default reference for a document of `count` sentences."""
    if count - 2 * REACH - 1 >= LEAST_REFERENCE or model.statistics.sample is None:
        return "document"
    return "training"


def _training_sample(model: EmbeddingModel) -> Floats:
    """Return embeddings of training sentences, [N, D]."""
    if model.statistics.sample is None:
        raise LangJepaError(
            "this model has no training sentences to compare with (an older version saved it, or it was never "
            "trained): compare with the document's own, or train again"
        )
    return model.statistics.sample


def way_of(model: EmbeddingModel, tool: Tool, using: Using) -> tuple[Candidate, str]:
    """Return the method that a tool uses with a model, and its description in words.

    Raises:
        LangJepaError: the predictor is asked for, but the model has none.
    """
    choice = model.choices.get(tool)
    if choice is None:
        return _unmeasured(model, tool, using)
    if using == "predictor" and choice.predictor is None:
        raise LangJepaError("this model has no predictor that this tool could use; choose the baseline")
    if using == "best":
        return choice.used, choice.describe()
    one = choice.predictor if using == "predictor" else choice.baseline
    assert one is not None
    return one, f"{one.rule} [{one.similarity}], as asked; measured best: {choice.describe()}"


def _hint(model: EmbeddingModel) -> str:
    """Say how to measure what was not measured yet, in one hint for all tools."""
    lacking = [tool for tool in ("next", "outliers", "segment", "redundant") if tool not in model.choices]
    if not lacking or not model.has_predictor:
        return ""
    data = " --data-dir FOLDER (for repetitions)" if lacking == ["redundant"] else ""
    return f"what was not measured yet for this model: lang-jepa evaluate {_place(model)} --tasks document{data}"


def _place(model: EmbeddingModel) -> str:
    """Return the folder of a model as a command takes it: that of its run, if it lies in one."""
    folder = getattr(model, "folder", None)
    if folder is None:
        return "RUN"
    run = folder.parent if folder.name == "model" else folder
    return shlex.quote(os.path.relpath(run) if run.is_relative_to(Path.cwd()) else str(run))


def _unmeasured(model: EmbeddingModel, tool: Tool, using: Using) -> tuple[Candidate, str]:
    """Without a measurement, return the baseline, which nothing has beaten yet, or the method that was asked for."""
    if using == "predictor":
        if not model.predicts_next:
            raise LangJepaError("this model has no predictor of next sentences; choose the baseline")
        rule = "prediction between" if tool == "outliers" and model.sees_both_sides else "prediction"
    else:
        rule = {"next": "recency mean", "outliers": "neighbours", "segment": "blocks"}[tool]
    setting = {"block": 5, "depth": False, "threshold": 1.0} if tool == "segment" else {}
    why = "not measured" if model.has_predictor else "the model is an encoder alone"
    return Candidate(rule, model.similarity_kind, setting, float("nan")), f"{rule} [{model.similarity_kind}] ({why})"
