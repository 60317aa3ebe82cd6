"""How much training text an embedding width needs: one rule and one advice for all that estimates covariances."""

from lang_jepa.data.views import View
from lang_jepa.settings.encoder import Settings

LEAST_PER_DIMENSION = 2
"""Sentences per embedding dimension below which a covariance is shrunk and reported as rough."""
ENOUGH_PER_DIMENSION = 8
"""Sentences per dimension that suffice: the basis of all advice on widths, and the minimum for choosing the
similarities `whitened` and `predictable`. With fewer, a covariance mainly describes the sample.
"""
_LEAST_WIDTH = 4
"""The smallest model.embed_dim."""


def check_sample(settings: Settings, sample: View) -> str | None:
    """Warn of too little training text for the whitened start or the score statistics.

    Args:
        settings: of the run.
        sample: training sentences from which both are computed.

    Returns:
        The warning; None if there is enough text.
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
    """Say how much training text embeddings of this width need."""
    width, units = settings.model.embed_dim, settings.data.units
    wanted = f"{ENOUGH_PER_DIMENSION * width:,} training {units}, {ENOUGH_PER_DIMENSION} per dimension"
    return f"model.embed_dim={width} needs at least {wanted}"


def more_text(settings: Settings, there: int) -> str:
    """Say what to do if there are fewer training units than that."""
    most = there // ENOUGH_PER_DIMENSION
    if settings.model.pretrained or most < _LEAST_WIDTH:
        return "Use more text"
    return f"Use more text, or a smaller model.embed_dim ({most} at most, pred_dim with it)"
