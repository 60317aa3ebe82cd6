"""How a text might go on: predict a concept, tell it in words, append the words, predict again."""

from collections.abc import Sequence
from dataclasses import dataclass

from lang_jepa.errors import LangJepaError
from lang_jepa.inference.decoding import TextDecoder
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.search import neighbours
from lang_jepa.inference.texts import texts_of
from lang_jepa.models.decoder import Generation


@dataclass(frozen=True, slots=True)
class Imagined:
    """One imagined sentence.

    Attributes:
        text: the alternative whose concept agrees best with the predicted one.
        agreement: cosine of the two, by the model's default similarity.
        alternatives: (agreement, sentence) of all of them, best first.
    """

    text: str
    agreement: float
    alternatives: list[tuple[float, str]]


def imagine(
    model: EmbeddingModel, decoder: TextDecoder, context: Sequence[str], steps: int, *, beams: int = 8
) -> list[Imagined]:
    """Sentences that might follow a context.

    The decoder writes `beams` alternatives of the predicted concept by beam search. Each is encoded again, and the one
    nearest to the prediction goes on: what the decoder finds probable as text is not always what was meant.

    Args:
        model: with a predictor of the next sentence.
        decoder: of its concepts.
        context: sentences so far, oldest first.
        steps: sentences to add.
        beams: alternatives of each.

    Raises:
        LangJepaError: a model or a context that `predict_next` refuses, steps below 1, or a prediction of
            which the decoder tells nothing but empty texts.
    """
    if not isinstance(steps, int) or steps < 1:
        raise LangJepaError(f"there must be at least one sentence to imagine, not {steps}")
    told, found = texts_of(context, "sentence"), []
    options = Generation(method="beam", beams=beams, returned=beams)
    for _ in range(steps):
        predicted = model.predict_next(told)[None, :]
        texts = list(dict.fromkeys(decoder.decode(predicted, options)[0]))
        texts = [text for text in texts if text.strip() and len(model.tokenizer.encode_sentences([text])[0])]
        if not texts:
            raise LangJepaError(
                "the decoder has no words for the predicted concept (every alternative was empty): train it longer"
            )
        ranked = neighbours(model, predicted, texts, top_k=len(texts), side="predictions")[0]
        agreement, best = ranked[0]
        found.append(Imagined(best, agreement, ranked))
        told.append(best)
    return found
