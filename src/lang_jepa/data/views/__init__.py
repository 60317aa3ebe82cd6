"""Views of a corpus: which examples there are, what they cost, and how some of them become a batch.

One file per view; `make_view` builds the one that the settings name.
"""

from collections.abc import Callable

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.base import AsksNext, Frame, View
from lang_jepa.data.views.masked import MaskedConceptsView, MaskedView
from lang_jepa.data.views.next_sentence import CausalView, ConceptsView, NextSentenceView, WindowView
from lang_jepa.data.views.spans import SameSentenceView, SpansView
from lang_jepa.settings.data import DataSettings
from lang_jepa.settings.encoder import Settings

__all__ = ["CONTEXTS", "NEXT_VIEWS", "VIEWS", "AsksNext", "View", "make_plain_view", "make_view"]

CONTEXTS: dict[str, type[NextSentenceView]] = {
    "window": WindowView,
    "causal": CausalView,
    "concepts": ConceptsView,
}
"""Context modes of `next_sentence`, by `data.context`."""


def _next_sentence(data: DataSettings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> View:
    return CONTEXTS[data.context](
        split, window=data.window_size, passage=data.passage_size, horizons=data.horizons, **frame
    )


def _masked(data: DataSettings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> View:
    return MaskedView(
        split,
        mask=tokenizer.mask_id,
        passage=data.passage_size,
        hidden=data.masked_sentences,
        in_context=data.target_context == "in_context",
        **frame,
    )


def _masked_concepts(data: DataSettings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> View:
    return MaskedConceptsView(split, window=data.window_size, passage=data.passage_size, **frame)


def _spans(data: DataSettings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> View:
    return SpansView(split, chunk=data.chunk_size, shortest=data.span_min_length, **frame)


def _same_sentence(data: DataSettings, split: CorpusSplit, tokenizer: TextTokenizer, frame: Frame) -> View:
    return SameSentenceView(split, crop=data.crop, **frame)


VIEWS: dict[str, Callable[[DataSettings, CorpusSplit, TextTokenizer, Frame], View]] = {
    "next_sentence": _next_sentence,
    "masked_sentences": _masked,
    "masked_concepts": _masked_concepts,
    "spans": _spans,
    "same_sentence": _same_sentence,
}
"""Views by `data.view`."""

TWO_SIDED_VIEWS = ("masked_sentences", "masked_concepts")
"""Those whose models predict a sentence from both sides."""
NEXT_VIEWS = ("next_sentence", *TWO_SIDED_VIEWS)
"""Those whose models can be asked for the next sentence (`AsksNext`)."""


def make_view(
    settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, *, seed: int | None = None
) -> View:
    """The view that the settings name, over one side of a corpus.

    Args:
        settings: of the run.
        split: the side.
        tokenizer: of the corpus.
        seed: of what the view draws (None: `meta.seed`).
    """
    frame = Frame(
        prefix=tokenizer.prefix_ids,
        suffix=tokenizer.suffix_ids,
        max_length=settings.model.max_length,
        seed=settings.meta.seed if seed is None else seed,
    )
    return VIEWS[settings.data.view](settings.data, split, tokenizer, frame)


def make_plain_view(settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer) -> View:
    """The same without what training varies: of several horizons the next sentence, and the same draws in every run."""
    data = settings.data.model_copy(update={"horizons": 1})
    return make_view(settings.model_copy(update={"data": data}), split, tokenizer, seed=0)
