"""Verdict on a finished encoder run: whether training improved the retrieval of what comes next."""

from collections.abc import Mapping, Sequence

from lang_jepa.training.metrics import STEP

_RECALL = "val/retrieval/recall@1"


def worse_than_at_start(rows: Sequence[Mapping[str, float]], step: int | None) -> str | None:
    """Return a warning, with a remedy, if training made held-out retrieval worse; None if not, or if it may be chance.

    Worse means a recall@1 below that before the first step by more than twice the binomial standard error of the
    difference. As the questions are the same, the true error is somewhat smaller.

    Args:
        rows: rows of metrics.csv.
        step: step of the weights that became the model (None: those of the last validation).
    """
    validations = [row for row in rows if _RECALL in row]
    kept = [row for row in validations if step in (None, row[STEP])]
    if not kept or validations[0][STEP] != 0 or not kept[-1][STEP]:
        return None
    first, last = validations[0], kept[-1]
    before, after, count = first[_RECALL], last[_RECALL], first["val/count"]
    error = ((before * (1 - before) + after * (1 - after)) / count) ** 0.5
    if before - after <= 2 * error:
        return None
    return (
        f"training made held-out retrieval worse: recall@1 was {before:.3f} before the first step, and of the weights "
        f"that were kept (step {last[STEP]:.0f}) it is {after:.3f}. With {count:,.0f} questions and "
        f"{first['val/retrieval/candidates']:.0f} candidates, chance rarely explains a difference above "
        f"{2 * error:.3f}. Use more text, or train for fewer steps (optimization.max_steps) or in smaller ones "
        "(optimization.lr), and validate more often (logging.eval_freq), so that an earlier validation can be kept"
    )


def since_start(rows: Sequence[Mapping[str, float]], step: int | None) -> tuple[str, bool] | None:
    """Compare validation at the start and at the end of a run that started from another's weights (`train --from`).

    Args:
        rows, step: as for `worse_than_at_start`.

    Returns:
        A sentence, with advice if recall@1 fell, and whether it fell by any amount; None if one of the two validations
        is missing.
    """
    validations = [row for row in rows if _RECALL in row]
    if len(validations) < 2 or validations[0][STEP] != 0:
        return None
    before, after = validations[0][_RECALL], validations[-1][_RECALL]
    said = f"held-out recall@1 was {before:.3f} with the weights of --from, and is {after:.3f} at the end"
    if step is not None and step != validations[-1][STEP]:
        said += f"; the model is that of step {step}, the best validation"
    if after >= before:
        return said, False
    return (
        f"{said}: it fell. Keep the model that it began with, or train fewer steps (optimization.max_steps) or in "
        "smaller ones (optimization.lr), on more text, or on the old text with the new",
        True,
    )
