"""Views of a corpus: which examples it has, how large they are, and how to batch them.

One file per view; `make_view` builds the one selected by the settings.
"""

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.data.views.base import AsksNext, Frame, View
from lang_jepa.data.views.masked import MaskedConceptsView, MaskedView
from lang_jepa.data.views.next_sentence import NextSentenceView
from lang_jepa.data.views.spans import SameSentenceView, SpansView
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import VIEW

__all__ = ["VIEWS", "AsksNext", "View", "make_plain_view", "make_view", "view_of"]

VIEWS: dict[str, type[View]] = {
    "next_sentence": NextSentenceView,  # type: ignore[type-abstract]  # its modes are not
    "masked_sentences": MaskedView,
    "masked_concepts": MaskedConceptsView,
    "spans": SpansView,
    "same_sentence": SameSentenceView,
}
"""Built-in views by `data.view`."""


def views_with(attribute: str) -> str:
    """The names of the built-in views for which a class attribute is true, as text for messages."""
    return " or ".join(name for name, view in VIEWS.items() if getattr(view, attribute))


def view_of(settings: Settings) -> type[View]:
    """The view class selected by the settings, in the mode they select."""
    chosen: type[View] = VIEW.part(settings.data.view)
    return chosen.in_mode(settings.data)


def make_view(settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer, *, seed: int | None = None) -> View:
    """Build the view selected by the settings over one split of a corpus.

    Args:
        settings: of the run.
        split: of the corpus.
        tokenizer: of the corpus.
        seed: of the view's random draws (None: `meta.seed`).
    """
    frame = Frame(
        prefix=tokenizer.prefix_ids,
        suffix=tokenizer.suffix_ids,
        max_length=settings.model.max_length,
        seed=settings.meta.seed if seed is None else seed,
    )
    return view_of(settings).of(settings, split, tokenizer, frame)


def make_plain_view(settings: Settings, split: CorpusSplit, tokenizer: TextTokenizer) -> View:
    """The same view without training's variations: only the next sentence (horizon 1), and the same draws every run."""
    data = settings.data.model_copy(update={"horizons": 1})
    return make_view(settings.model_copy(update={"data": data}), split, tokenizer, seed=0)
