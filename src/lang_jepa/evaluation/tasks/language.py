"""Bits per byte of a language model on held-out documents, before and after quantisation, beside simple baselines.

The score is a sum of bits over a sum of bytes. The bootstrap resamples documents with both, so a long document counts
by its length in every resample, as it does in the score.
"""

import math

from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.bits_per_byte import DocumentBits
from lang_jepa.evaluation.metrics.intervals import ratio_interval
from lang_jepa.evaluation.table import Row, detail_of, score_row
from lang_jepa.evaluation.tasks.request import PRECISIONS, Language, Request, Result, Task

TITLE, SPLIT = "language model", "validation"
BITS = "bits per byte (lower is better)"
GAP = "bits per byte lost (lower is better)"
FILE = "bytes of the file (lower is better)"


def _score_bits(request: Request) -> Result:
    """Score bits per byte of the evaluated model, of other models, of simple scorers and of chance."""
    language = request.language
    assert language is not None
    task, note = (TITLE, SPLIT, BITS), f"{language.validation.targets:,} tokens"
    rows = [
        _row(task, name, language.bits(name), language, request.seed, evaluated=number == 0, note=note)
        for number, name in enumerate(language.names)
    ]
    documents = len(language.bits("model").bits)
    rows += [score_row(task, one.name, one.bits_per_byte, None, documents) for one in language.baselines()]
    even = language.validation.targets * math.log2(len(language.validation.table.base))
    chance = even / float(language.bits("model").bytes.sum())
    rows.append(score_row(task, "chance", chance, None, documents, note="all ids equally likely"))
    return Result(rows, {BITS_PER_BYTE.name: language.source})


def _score_quantised(request: Request) -> Result:
    """Score bits per byte of the model in int8 and int6, how many of them quantisation costs, and the file's bytes.

    Only the first is judged in a comparison; the second is a difference of two scores that are judged.
    """
    language, seed = request.language, request.seed
    assert language is not None
    rows = []
    before = language.bits("model")
    for precision in PRECISIONS:
        task, quantised = f"quantised, {precision}", language.quantise(precision)
        after = language.validation.by_document(quantised.logits)
        lost = DocumentBits(after.bits - before.bits, before.bytes)
        rows += [
            _row((task, SPLIT, BITS), "model", after, language, seed, evaluated=True),
            _row((task, SPLIT, GAP), "model", lost, language, seed, evaluated=True, judged=False),
            score_row((task, SPLIT, FILE), "model", float(quantised.bytes), None, 1, judged=False),
        ]
    return Result(rows, {})


def _row(
    task: tuple[str, str, str],
    name: str,
    found: DocumentBits,
    language: Language,
    seed: int,
    *,
    evaluated: bool,
    judged: bool = True,
    note: str = "",
) -> Row:
    if len(found.bits) < 2 or not found.bytes.all():
        raise LangJepaError(
            "the interval of bits per byte needs at least two held-out documents, each with text, and here "
            f"{int((found.bytes > 0).sum())} of {len(found.bits)} have text: hold out more"
        )
    detail = detail_of(found.bits, sizes=found.bytes, items=language.items) if evaluated else None
    interval = ratio_interval(found.bits, found.bytes, seed=seed)
    return score_row(
        task, name, found.bits_per_byte, interval, len(found.bits), note=note, judged=judged, detail=detail
    )


BITS_PER_BYTE = Task("bits_per_byte", _score_bits, needs=("language",))
QUANTISED = Task("quantised", _score_quantised, needs=("language",))
