"""The model that is served, what it can do, and its answers about single texts and contexts.

Everything here runs in the thread that owns the model, unless it says otherwise.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lang_jepa.data.sources.conversations import context_of, given_candidates, names_in, without_speaker
from lang_jepa.data.text.sentences import make_splitter, split_text
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.copying import recency_mean
from lang_jepa.inference.folders.hits import HitPlaces
from lang_jepa.inference.gpt import TextGPT
from lang_jepa.inference.index import Hit as IndexHit
from lang_jepa.inference.index import Index
from lang_jepa.inference.index.files import open_files
from lang_jepa.inference.model import ConceptModel
from lang_jepa.inference.model_folder import find_gpt
from lang_jepa.inference.replies import USUAL, share_farther
from lang_jepa.inference.texts import text_of, texts_of
from lang_jepa.models.precision import choose_precision
from lang_jepa.serving import shapes
from lang_jepa.serving.refusals import CannotDo, Refused
from lang_jepa.settings.load import SAVED
from lang_jepa.training.load import BEST_DECODER, encoder_of, load_any, load_decoder

Tokens = NDArray[np.int64]
_ENCODE = ("/v1/embeddings", "/v1/models")
_DOCUMENTS = ("/document", "/surprise", "/neighbours", "/segment")


@dataclass
class Served:
    """The model that is served, with its index.

    Attributes:
        model: an encoder or a GPT.
        path: the path that the user named.
        index: the index to search (None: there is none).
        started: Unix time at which the server started.
    """

    model: ConceptModel | TextGPT
    path: Path
    index: Index | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def open(cls, path: Path, index: Path | None = None, precision: str | None = None) -> "Served":
        """Load a model and map its index.

        Args:
            path: run directory of an encoder, a decoder or a GPT, a model directory, a checkpoint, or the folder of a
                pretrained encoder.
            index: folder that `lang-jepa index` made with this model.
            precision: precision of an encoder: `fp32`, `bf16` or `auto` (None: that of the index, else fp32).

        Raises:
            LangJepaError: either cannot be read, or they do not belong together.
        """
        if find_gpt(path) is not None:
            if index is not None:
                raise LangJepaError(f"--index has no effect with the GPT {path}: an index belongs to an encoder")
            if precision is not None:
                raise LangJepaError(f"--precision has no effect with the GPT {path}: leave it out")
            return cls(TextGPT.load(path), path)
        if (path / BEST_DECODER).is_file():
            model = load_any(encoder_of(path))
            load_decoder(path, model)
        else:
            model = load_any(path)
        made_in = "fp32" if index is None else open_files(index)[0].get("precision", "fp32")
        model.precision, _ = choose_precision(model.device.type, precision or made_in)
        if index is not None and model.precision != made_in:
            raise LangJepaError(
                f"the index {index} was made in {made_in}, and --precision {precision} is {model.precision} here: "
                f"leave --precision out, or build the index again with --precision {model.precision}"
            )
        return cls(model, path, None if index is None else Index.open(index, model))

    @property
    def name(self) -> str:
        """Name of the run's folder, or of the model's own; one called `run` is named with the folder around it."""
        folder = self.path.resolve()
        if folder.name == "model" and (folder.parent / SAVED).is_file():
            folder = folder.parent
        name = folder.stem if folder.is_file() else folder.name
        return f"{folder.parent.name}/{name}" if name == "run" else name

    @property
    def encoder(self) -> ConceptModel:
        """The model, as an encoder.

        Raises:
            CannotDo: it is a GPT.
        """
        if isinstance(self.model, TextGPT):
            raise CannotDo(f"{self.name} is a GPT, which can do {', '.join(self.can)}: serve an encoder's run for this")
        return self.model

    @property
    def can(self) -> list[str]:
        """Endpoints that this model can answer."""
        if isinstance(self.model, TextGPT):
            return [*_ENCODE, "/continue"]
        found = [*_ENCODE, *_DOCUMENTS]
        predicts, index = self.model.predicts_next, self.index
        found += ["/predict", "/rank"] if predicts else []
        found += ["/search"] if index is not None else []
        found += ["/reply"] if predicts and index is not None and index.arrays.predicted is not None else []
        if self.model.decoder is not None:
            found += ["/decode", "/continue"] if predicts else ["/decode"]
        return found

    def health(self) -> shapes.Health:
        """Describe what is served, without running the model."""
        model, recipe, units, precision = self.model, None, "texts", "fp32"
        if isinstance(model, ConceptModel):
            units, precision = model.settings.data.units, model.precision
            recipe = model.settings.recipe if model.has_predictor else None
        about = None if self.index is None else shapes.IndexInfo(units=len(self.index))
        return shapes.Health(
            model=self.name, recipe=recipe, units=units, precision=precision, can=self.can, index=about
        )

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the token ids of each text, cut to what the model reads.

        Raises:
            LangJepaError: a text without a token.
        """
        model = self.model
        tokens = model.tokenize(texts_of(texts))
        empty = [number for number, ids in enumerate(tokens) if not len(ids)]
        if empty:
            raise LangJepaError(f"text {empty[0]} has no token to encode")
        return tokens if isinstance(model, TextGPT) else [ids[: model.room] for ids in tokens]

    def vectors(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """Encode what `tokenize` returns, as `ConceptModel.encode` does: float32 [n, D], unit rows."""
        return self.model.encode_tokens(tokens)

    def context(self, given: shapes.Context, roles: Sequence[str] | None = None) -> list[str]:
        """Return what came before, as the model reads it.

        Raises:
            Refused: roles for a model that reads no turns, of the wrong number, or beside messages; an empty context.
            LangJepaError: a text or a role that is no valid text, or the context is no conversation.
        """
        settings, said = self.encoder.settings.data, shapes.texts_in(given)
        chat = [] if isinstance(given, str) else [one for one in given if isinstance(one, shapes.Message)]
        for text in said:
            text_of(text, "a text of the context", blank=True)
        for role in (*(roles or ()), *(one.role for one in chat)):
            text_of(role, "a role", blank=True)
        messages: object = [one.model_dump() for one in chat] or given
        if roles is not None:
            if chat:
                raise Refused(400, "messages say their roles themselves: leave roles out", param="roles")
            if settings.units != "turns":
                raise Refused(400, f"this model reads {settings.units}, which have no roles", param="roles")
            if isinstance(given, str) or len(roles) != len(given):
                raise Refused(400, "roles has one name for each turn of a context that is a list", param="roles")
            messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
        if isinstance(given, str) and settings.units == "sentences":
            found = split_text(given, make_splitter(settings))
        else:
            found = context_of(messages, settings)
        if not found:
            raise Refused(400, "the context is empty: give at least one text", param="context", code="empty")
        return texts_of(found)

    def predict(self, asked: shapes.Predict) -> shapes.Predicted:
        """Predict the concept that follows a context, and find the units of the index closest to it."""
        model = self.predicting()
        vector = model.predict_next(self.context(asked.context, asked.roles), role=asked.role)
        hits = []
        if self.index is not None:
            hits = self.index.nearest(vector[None], top_k=asked.top_k, side="predictions")[0]
        return shapes.Predicted(embedding=vector.tolist(), nearest=list(map(as_hit, hits)))

    def rank(self, asked: shapes.Rank) -> shapes.Ranking:
        """Rank candidates by their cosine with the prediction, beside that with the context's recency-weighted mean."""
        model = self.predicting()
        context = self.context(asked.context, asked.roles)
        predicted = model.comparable(model.predict_next(context, role=asked.role)[None], side="predictions")
        given = given_candidates(asked.candidates, model.settings.data)
        alone = without_speaker(given, names_in(context)) if model.knows_speakers else given
        vectors = model.comparable(model.encode(alone))
        before = model.comparable(model.encode(context, turns=model.knows_speakers))
        scores, copying = vectors @ predicted[0], vectors @ recency_mean([np.arange(len(before))], before)[0]
        known = model.statistics.sample is not None
        fits = (share_farther(model, predicted[0], scores) >= USUAL).tolist() if known else [None] * len(scores)
        ranked = [
            shapes.RankedCandidate(index=row, text=text, score=score, fits=fit, copying=other)
            for row, (text, score, fit, other) in enumerate(
                zip(asked.candidates, scores.tolist(), fits, copying.tolist(), strict=True)
            )
        ]
        return shapes.Ranking(ranked=sorted(ranked, key=lambda one: -one.score))

    def search(self, asked: shapes.Search) -> shapes.Found:
        """Search the index for units that mean the same as a query, or that may follow a context."""
        index = self.searched()
        given = asked.query if asked.mode == "meaning" or asked.context is None else asked.context
        if given is None or (asked.query is not None and asked.context is not None):
            raise Refused(400, "mode=meaning needs query; mode=after needs either context or query", param="query")
        if asked.mode == "meaning":
            found = index.search([str(given)], top_k=asked.top_k)
        else:
            self.predicting()
            found = index.search_after([self.context(given)], top_k=asked.top_k)
        return shapes.Found(hits=[_found(hit, self.places, paragraph=asked.paragraph) for hit in found[0]])

    def reply(self, asked: shapes.Reply) -> shapes.Replies:
        """Return turns of the index that followed similar contexts, by the predictor and by the last turn alone."""
        self.predicting()
        index = self.searched()
        if index.arrays.predicted is None:
            raise CannotDo(
                "the index does not hold what the model expects at its positions: make it again with "
                "lang-jepa index RUN DATA --output DIR --predictions"
            )
        context = self.context(asked.context)
        ways = (index.voted_after(context, top_k=asked.top_k), index.voted_after_last(context, top_k=asked.top_k))
        replies, copying = (
            [
                shapes.ReplyHit(likeness=one.likeness, after=one.after, **as_hit(one.hit).model_dump())
                for one in followed
            ]
            for followed in ways
        )
        return shapes.Replies(replies=replies, copying=copying)

    def decode(self, asked: shapes.Decode) -> shapes.Texts:
        """Decode the concept of each text, or the prediction after a context, into a sentence."""
        model = self._decoding()
        if (asked.texts is None) == (asked.context is None):
            raise Refused(400, "give either texts or context", param="texts")
        if asked.texts is not None:
            vectors = model.encode(texts_of(asked.texts))
        else:
            vectors = self.predicting().predict_next([self.context(asked.context or [])])
        return shapes.Texts(texts=model.decode(vectors))

    def go_on(self, asked: shapes.Continue) -> shapes.Texts:
        """Continue a text: a GPT returns it with what it writes, an encoder with a decoder imagines sentences."""
        if isinstance(self.model, TextGPT):
            if asked.sentences is not None:
                raise Refused(400, "sentences has no effect with a GPT: give tokens", param="sentences")
            return shapes.Texts(texts=self.model.write(asked.text, tokens=asked.tokens or 100, temperature=0.8))
        model = self._decoding()
        if asked.tokens is not None:
            raise Refused(400, "tokens has no effect with a decoder: give sentences", param="tokens")
        self.predicting()
        imagined = model.imagine(self.context(asked.text), asked.sentences or 3)
        return shapes.Texts(texts=[one.text for one in imagined])

    def predicting(self) -> ConceptModel:
        """Return the model, if it predicts the next unit.

        Raises:
            CannotDo: it does not.
        """
        model = self.encoder
        if not model.predicts_next:
            raise CannotDo(
                f"{self.name} has no predictor of what comes next: serve a run that was trained on it, such as one of "
                "lang-jepa train documents"
            )
        return model

    def searched(self) -> Index:
        """Return the index.

        Raises:
            CannotDo: there is none.
        """
        if self.index is None:
            raise CannotDo(
                f"there is no index: make one with lang-jepa index {self.name} DATA --output DIR, and serve with "
                "--index DIR"
            )
        return self.index

    @cached_property
    def places(self) -> HitPlaces:
        """The places of the index's hits, which remember the files that they have read."""
        return HitPlaces(self.searched())

    def _decoding(self) -> ConceptModel:
        model = self.encoder
        if model.decoder is None:
            raise CannotDo(
                f"{self.name} has no decoder: train one with lang-jepa train concept_decoder --encoder RUN, and serve "
                "the run again; or serve a GPT for /continue"
            )
        return model


def _found(hit: IndexHit, places: HitPlaces, *, paragraph: bool) -> shapes.FoundHit:
    """Return a hit with its place in its file, and with the paragraph around it if that is asked for."""
    found, place = shapes.FoundHit(**as_hit(hit).model_dump()), places.of(hit)
    if paragraph:
        found.paragraph = places.around(hit) if place is None else place.paragraph
    if place is not None:
        found.path, found.line = place.path, place.line
    return found


def as_hit(hit: IndexHit) -> shapes.Hit:
    """Return a hit as it is sent to clients."""
    place = shapes.Place(document=hit.document, position=hit.position)
    return shapes.Hit(text=hit.text, score=hit.score, place=place)
