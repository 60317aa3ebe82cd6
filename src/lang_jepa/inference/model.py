"""The class that users import: a model with all its tools, and the corpus it was trained on, if that still exists.

The settings of a model that someone else made name folders of another machine. From these, only a finished corpus is
read, and only under the name that the model's card gives, which ends in a hash of what the corpus was made of. Nothing
is prepared or written there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch

from lang_jepa.data.corpus.corpus import MANIFEST, Corpus
from lang_jepa.data.corpus.store import CorpusStore, local_folder
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.baselines.replies import VOTERS
from lang_jepa.evaluation.metrics.similarity import unit_rows
from lang_jepa.evaluation.scoreboard import Choice, Choices
from lang_jepa.files.atomic import fingerprint
from lang_jepa.inference import document, replies
from lang_jepa.inference.decoding import TextDecoder, encoder_fingerprint
from lang_jepa.inference.document import Continuation, Repetition, SentenceFit
from lang_jepa.inference.embedding import EmbeddingModel
from lang_jepa.inference.encoding import Vectors
from lang_jepa.inference.replies import Ranked, Reply, ReplyBank
from lang_jepa.inference.search import neighbours
from lang_jepa.inference.texts import texts_of, texts_or_vectors, vectors_of
from lang_jepa.models.decoder import Generation, Method, Scores
from lang_jepa.models.predictors.predictor import refuse_without_predictor


@dataclass(frozen=True, slots=True)
class Imagined:
    """One imagined sentence.

    Attributes:
        text: the alternative whose concept agrees best with the predicted one.
        agreement: cosine of the two, by the model's default similarity.
        alternatives: (agreement, sentence) of every alternative, best first.
    """

    text: str
    agreement: float
    alternatives: list[tuple[float, str]]


def _weights(card: dict[str, Any]) -> str:
    """Return a hash of what the choices were measured with: all files of the model except those of its decoder."""
    hashes = card["sha256"].items()
    return fingerprint({name: digest for name, digest in hashes if not name.startswith("decoder")})


class ConceptModel(EmbeddingModel):
    """A trained encoder and predictor with all their tools: decoding concepts, and tools for documents and dialogues.

    Example:
        >>> model = ConceptModel.load("runs/quickstart/model")             # doctest: +SKIP
        >>> model.encode(["The cat sat on the mat."]).shape                # doctest: +SKIP
        (1, 128)
    """

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | torch.device = "cpu", precision: str = "fp32") -> Self:
        """Load a model as `EmbeddingModel.load` does, with what was chosen for the document tools."""
        model = super().load(path, device=device, precision=precision)
        model.load_choices()
        return model

    def similarity(self, a: object, b: object) -> Vectors:
        """Return how similar texts are, by the model's own similarity (`similarity_kind`), in [-1, 1].

        Args:
            a: A texts, or their vectors [A, D] as `encode` returns them (an array, tensor, table or list of rows); or
                one text or one vector [D], which counts as one row. The length of a vector does not matter.
            b: B texts or vectors.

        Returns:
            float32 [A, B].

        Raises:
            LangJepaError: what `encode` refuses, or vectors of another width or with non-finite entries.
        """
        cosines: Vectors = self._rows_of(a) @ self._rows_of(b).T
        return cosines.clip(-1, 1)

    def similarity_pairwise(self, a: object, b: object) -> Vectors:
        """Return the similarity of each row of `a` with the same row of `b`, float32 [N]; see `similarity`.

        Raises:
            LangJepaError: as `similarity`, or the two differ in number.
        """
        left, right = self._rows_of(a), self._rows_of(b)
        if len(left) != len(right):
            raise LangJepaError(
                f"similarity_pairwise wants as many on both sides, not {len(left)} and {len(right)}: similarity "
                "compares all with all"
            )
        cosines: Vectors = (left * right).sum(1)
        return cosines.clip(-1, 1)

    def _rows_of(self, given: object) -> Vectors:
        """Return unit rows [N, D] whose dot products are the similarity, from texts or the output of `encode`."""
        found = texts_or_vectors(given, self.dim)
        vectors = self.encode(found) if isinstance(found, list) else unit_rows(found)
        return self.comparable(vectors)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return vectors for a vector store: [N][D] unit rows, whose cosines are the model's own similarity.

        With `embed_query` this is the interface of LangChain's embeddings objects, for whatever takes one.
        """
        rows: list[list[float]] = self._rows_of(texts_of(texts)).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Return the vector [D] of one text, as `embed_documents` does."""
        return self.embed_documents([text])[0]

    def decode(self, z: Vectors, method: Method = "greedy", **options: Any) -> list[str]:
        """Decode each concept into a sentence with the trained decoder.

        Args:
            z: float [n, D], from `encode`, `predict_next` or elsewhere.
            method: `greedy`, `sample`, or `beam`.
            options: temperature, top_p, top_k, beams, seed, max_length; see `lang_jepa.models.decoder.Generation`.

        Raises:
            LangJepaError: this model has no decoder, or an option or the shape is wrong.
        """
        return [best for best, *_ in self.decode_several(z, method, **options)]

    def decode_several(self, z: Vectors, method: Method = "beam", **options: Any) -> list[list[str]]:
        """Decode each concept into `returned=N` sentences, best first; see `decode`."""
        decoder = self._decoder()
        unknown = sorted(options.keys() - {field.name for field in fields(Generation)})
        if unknown:
            raise LangJepaError(f"unknown option of decoding: {', '.join(unknown)}")
        return decoder.decode(vectors_of(z, decoder.dim), Generation(method=method, **options))

    def score_texts(self, z: Vectors, texts: Sequence[str]) -> Scores:
        """Score how well the decoder predicts given texts from concepts [n, D], by teacher forcing.

        Raises:
            LangJepaError: this model has no decoder.
        """
        decoder = self._decoder()
        return decoder.score(vectors_of(z, decoder.dim), texts_of(texts))

    def _decoder(self) -> TextDecoder:
        if self.decoder is None:
            raise LangJepaError(
                "this model has no decoder, so its concepts cannot be turned into text: train one with "
                "lang-jepa train concept_decoder --encoder RUN"
            )
        return self.decoder

    @property
    def decoder_is_foreign(self) -> bool:
        """Whether the decoder was trained on concepts of weights other than this encoder's."""
        return self.decoder is not None and self.decoder.encoder != encoder_fingerprint(self.jepa.encoder)

    def imagine(self, context: Sequence[str], steps: int, *, beams: int = 8) -> list[Imagined]:
        """Imagine sentences that might follow a context: predict a concept, decode it, append the sentence, repeat.

        The decoder writes `beams` alternatives for the predicted concept by beam search. Each is encoded again, and the
        one closest to the prediction is kept: what the decoder finds probable as text is not always what was meant.

        Args:
            context: sentences so far, oldest first.
            steps: how many sentences to add.
            beams: alternatives for each sentence.

        Raises:
            LangJepaError: a model or a context that `predict_next` refuses, no decoder, steps below 1, or a prediction
                for which the decoder writes only empty texts.
        """
        refuse_without_predictor(self.jepa.predictor)
        decoder = self._decoder()
        if not isinstance(steps, int) or steps < 1:
            raise LangJepaError(f"there must be at least one sentence to imagine, not {steps}")
        sentences, found = texts_of(context, "sentence"), []
        options = Generation(method="beam", beams=beams, returned=beams)
        for _ in range(steps):
            predicted = self.predict_next(sentences)[None, :]
            texts = list(dict.fromkeys(decoder.decode(predicted, options)[0]))
            texts = [text for text in texts if text.strip() and len(self.tokenizer.encode_sentences([text])[0])]
            if not texts:
                raise LangJepaError(
                    "the decoder has no words for the predicted concept (every alternative was empty): train it longer"
                )
            ranked = neighbours(self, predicted, texts, top_k=len(texts), side="predictions")[0]
            agreement, best = ranked[0]
            found.append(Imagined(best, agreement, ranked))
            sentences.append(best)
        return found

    def rank(self, context: Sequence[str], candidates: Sequence[str], *, role: str | None = None) -> list[Ranked]:
        """Rank candidates for the next turn, the likeliest first; see `lang_jepa.inference.replies.rank`."""
        return replies.rank(self, context, candidates, role=role)

    def reply(
        self,
        context: Sequence[str],
        bank: ReplyBank | Sequence[Sequence[str]],
        *,
        k: int = VOTERS,
        top: int | None = None,
        role: str | None = None,
    ) -> list[Reply]:
        """Choose what to say next from earlier conversations, best first, each with the context that it answered.

        Args:
            context: turns so far, oldest first.
            bank: earlier conversations, each a list of turns; or a `ReplyBank`, built once for many queries.
            k: contexts of the bank that vote.
            top: replies at most (None: 3, or `k` if that is less).
            role: whose turns of the bank are replies; a `ReplyBank` has its own.
        """
        return ReplyBank.of(self, bank, role).reply(context, k=k, top=top)

    def choose(self, tools: dict[str, Choice]) -> None:
        """Set what the document tools use, and save it in the model directory if this model was loaded from one."""
        self.choices = dict(tools)
        if self.folder is not None:
            Choices(self.choices, _weights(self.card)).save(self.folder)

    def load_choices(self) -> None:
        """Load what `choose` saved in the model directory, if anything."""
        if self.folder is not None:
            saved = Choices.load(self.folder, model=_weights(self.card))
            self.choices = saved.tools if saved else {}

    surprise = document.surprise
    segment = document.segment

    def outliers(self, text: str | Sequence[str], **options: Any) -> list[SentenceFit]:
        """Rank sentences by how little they fit between their neighbours, the worst fit first."""
        return document.outliers(self, text, **options).ranked()

    def next(self, context: str | Sequence[str], candidates: Sequence[str], **options: Any) -> list[Continuation]:
        """Rank candidates by how well they fit as the next sentence, best first."""
        return document.continuations(self, context, candidates, **options)[0]

    def redundant(self, text: str | Sequence[str], **options: Any) -> list[Repetition]:
        """Return sentences that repeat an earlier one, the clearest first."""
        found = [one for one in document.redundant(self, text, **options) if one.repeats]
        return sorted(found, key=lambda one: -one.cosine)


def own_folder(corpus_dir: str, name: object) -> Path | None:
    """Return the folder of a finished corpus, None if there is none; one in a store is copied to this machine first.

    Args:
        corpus_dir: data.corpus_dir of the model's settings.
        name: name of the corpus in the model's card.
    """
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    if (store := CorpusStore.of(corpus_dir)) is not None:
        store.fetch(name)
    folder = local_folder(corpus_dir) / name
    return folder if (folder / MANIFEST).is_file() else None


def own_corpus(model: EmbeddingModel, named: Path | None = None) -> Corpus | None:
    """Open the corpus of a model; None if it is not here (see `missing`).

    Args:
        model: the loaded model.
        named: a prepared corpus that the user names (None: the one of its training).

    Raises:
        LangJepaError: `named` is no corpus, or its tokens are not the model's; or the model's own corpus is damaged.
    """
    data = model.settings.data
    folder = named or (None if data.streaming else own_folder(data.corpus_dir, model.card.get("corpus")))
    if folder is None:
        return None
    corpus = Corpus.open(folder)
    if corpus.tokenizer.fingerprint() != model.tokenizer.fingerprint():
        raise LangJepaError(
            f"the corpus {folder} has other tokens than the model: prepare one with the model's tokenizer "
            f"({_prepare(model)}), and name it with --corpus"
        )
    return corpus


def missing(model: EmbeddingModel, cure: str = "") -> str:
    """Explain that the corpus of a model is not here, and how to get it.

    Args:
        model: the loaded model.
        cure: what to do (empty: name another corpus with --corpus).
    """
    data, name = model.settings.data, model.card.get("corpus")
    if data.streaming:
        stream = "" if cure else " -o data.streaming=false"
        why = "this model was trained on a stream, which leaves no corpus"
    else:
        where = f"{data.corpus_dir}/{name}" if isinstance(name, str) else data.corpus_dir
        stream, why = ("", f"the corpus of this model's training is not here ({where}), and none is made in its place")
    cure = cure or f"if you have it elsewhere, give --corpus FOLDER; to make it again: {_prepare(model)}{stream}"
    return f"{why}: {cure}"


def _prepare(model: EmbeddingModel) -> str:
    """Return the command that prepares documents with the model's tokenizer."""
    folder = model.folder or Path("MODEL")
    return (
        f"lang-jepa prepare {folder / 'settings.yaml'} -o data.train_file=DOCUMENTS -o data.corpus_dir=corpora "
        f"-o data.tokenizer_path={folder}"
    )
