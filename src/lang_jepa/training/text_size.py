"""How much training text an embedding's width takes: one rule, and one advice, for all that estimates covariances."""

from lang_jepa.data.views import View
from lang_jepa.settings.encoder import Settings

LEAST_PER_DIMENSION = 2
"""Sentences for each dimension of an embedding, below which a covariance is shrunk, and said to be rough."""
ENOUGH_PER_DIMENSION = 8
"""Sentences for each dimension from which all is well: what advice on widths counts with, everywhere, and from which
the similarities `whitened` and `predictable` may be chosen; of fewer a covariance is that of the sample.
"""
_LEAST_WIDTH = 4
"""The smallest model.embed_dim."""


def check_sample(settings: Settings, sample: View) -> str | None:
    """A warning about training text that is too short for the whitened start or the statistics of the scores.

    Args:
        settings: of the run.
        sample: training sentences to take both from.

    Returns:
        A line for people; None where there is enough.
    """
    model, there, units = settings.model, sample.split.num_sentences, settings.data.units
    least = LEAST_PER_DIMENSION * model.embed_dim
    uses = {"model.score_sample": "the statistics of the scores"}
    if model.head == "whitened":
        uses = {"model.head_sample": "the whitened start", **uses}
    short = {name: what for name, what in uses.items() if min(there, getattr(model, name[6:])) < least}
    if not short:
        return None
    rough = f"there are {there:,} training {units}: {' and '.join(short.values())} can only be rough"
    return f"{rough}. {text_for_width(settings)}. " + (
        more_text(settings, there) if there < least else f"Raise {' and '.join(short)}"
    )


def text_for_width(settings: Settings) -> str:
    """How much training text embeddings of this width take, in words."""
    width, units = settings.model.embed_dim, settings.data.units
    wanted = f"{ENOUGH_PER_DIMENSION * width:,} training {units} or more, {ENOUGH_PER_DIMENSION} for each dimension"
    return f"model.embed_dim={width} takes {wanted}"


def more_text(settings: Settings, there: int) -> str:
    """What to do where there are fewer training units than that."""
    most = there // ENOUGH_PER_DIMENSION
    if settings.model.pretrained or most < _LEAST_WIDTH:
        return "Take more text"
    return f"Take more text, or a smaller model.embed_dim ({most} at most, pred_dim with it)"
