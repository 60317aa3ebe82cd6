"""A GPT with its tokenizer: text goes on, and text becomes a vector.

The vector of a text is the mean of its tokens' hidden states at one layer (the last one's, before its norm, unless
evaluation.sentence_layer says another), L2-normalised. The text is read alone after the token that begins a document,
whose own state, equal for all texts, is not in the mean. A text of more than seq_len - 1 tokens is read from there on
where so many are left.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lang_jepa.data.text.tokenizer import Ints
from lang_jepa.data.tokens.byte_table import ByteTable
from lang_jepa.errors import LangJepaError
from lang_jepa.evaluation.metrics.similarity import Statistics, unit_rows
from lang_jepa.inference.model_folder import load_gpt, load_table
from lang_jepa.inference.texts import items_of, text_of, texts_of
from lang_jepa.models.gpt import GPT
from lang_jepa.models.gpt_generate import generate

BATCH_TOKENS = 8192
"""Slots of a batch of texts."""


class TextGPT:
    """A trained GPT that reads and writes text.

    Args:
        model: in evaluation mode.
        table: of its tokenizer.
        bos_id: the token that begins a document.
        looped: layers that are passed through twice.
        layer: whose states are averaged (-1: the last, before its norm).

    Attributes:
        dim: width of a vector.
        statistics: of training vectors; `identity` until they are set.
    """

    def __init__(self, model: GPT, table: ByteTable, *, bos_id: int, looped: tuple[int, ...], layer: int = -1) -> None:
        self.model, self.table, self.bos_id = model, table, bos_id
        self.looped, self.layer = looped, layer
        self.dim = model.settings.model_dim
        self.statistics = Statistics.identity(self.dim)

    def __repr__(self) -> str:
        model, parameters = self.model.settings, sum(one.numel() for one in self.model.parameters())
        return (
            f"TextGPT({model.num_layers} layers of {model.model_dim}; {parameters / 1e6:.1f} M parameters; reads "
            f"{self.model.seq_len:,} tokens; vocabulary {len(self.table.base):,})"
        )

    @classmethod
    def load(cls, path: Path | str) -> "TextGPT":
        """From a run directory or a model directory.

        Raises:
            LangJepaError: see `lang_jepa.inference.model_folder.load_gpt`.
        """
        model, settings, card = load_gpt(path)
        return cls(
            model,
            load_table(path),
            bos_id=card["bos_id"],
            looped=tuple(card["looped"]),
            layer=settings.evaluation.sentence_layer,
        )

    def write(
        self,
        prompt: str,
        *,
        tokens: int,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """Texts that begin with a prompt, each up to the end of its document.

        Args:
            prompt: the beginning of a document; may be empty.
            tokens: to write at most; the model's seq_len may allow fewer.
            samples: how many texts.
            temperature, top_k, top_p, seed: see `lang_jepa.models.gpt_generate.generate`.

        Raises:
            LangJepaError: the prompt leaves no room to write, or an option is out of range.
        """
        prompt = text_of(prompt, "the prompt", blank=True)
        ids = [self.bos_id, *self._ids([prompt])[0].tolist()] if prompt else [self.bos_id]
        if len(ids) >= self.model.seq_len:
            raise LangJepaError(
                f"the prompt has {len(ids) - 1:,} tokens, and the model reads {self.model.seq_len:,} (data.seq_len) "
                f"with what it writes and the one that begins a document: shorten it to {self.model.seq_len - 2:,} "
                "at most"
            )
        written = generate(
            self.model,
            torch.tensor([ids] * samples, device=self._device),
            tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            looped=self.looped,
        )
        return [self._text(row[1:], len(ids) - 1) for row in written.tolist()]

    def _text(self, ids: list[int], given: int) -> str:
        """Up to the beginning of the next document; ids that the tokenizer does not have are no text."""
        end = ids.index(self.bos_id, given) if self.bos_id in ids[given:] else len(ids)
        return self.table.decode([index for index in ids[:end] if index < len(self.table.base)])

    def encode(self, sentences: str | Sequence[str]) -> NDArray[np.float32]:
        """Float32 [n, D], unit rows: the vector of each text; zero for one without a token. [D] for a single string."""
        if isinstance(sentences, str):
            one: NDArray[np.float32] = self.encode([sentences])[0]
            return one
        texts = texts_of(sentences, blank=True)
        ids = [row[-(self.model.seq_len - 1) :] for row in self._ids(texts)]
        means = np.zeros((len(ids), self.dim), dtype=np.float32)
        for rows in _batches([len(one) for one in ids]):
            means[rows] = self._means([ids[row] for row in rows])
        return unit_rows(means)

    def predict_next(self, contexts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Float32 [n, D], unit rows: each context's sentences as one text, to be compared with what may follow."""
        return self.encode([" ".join(texts_of(one, "sentence", blank=True)) for one in items_of(contexts, "context")])

    def _ids(self, texts: Sequence[str]) -> list[Ints]:
        return self.table.encode(texts)

    @property
    def _device(self) -> torch.device:
        return self.model.embedding.weight.device

    @torch.no_grad()
    def _means(self, texts: Sequence[Ints]) -> NDArray[np.float32]:
        """float32 [B, D]: mean states of some texts' tokens; padding stands behind them, where nothing sees it."""
        width = 1 + max(len(ids) for ids in texts)
        tokens = np.full((len(texts), width), self.bos_id, dtype=np.int64)
        counted = np.zeros((len(texts), width, 1), dtype=np.float32)
        for row, mask, ids in zip(tokens, counted, texts, strict=True):
            row[1 : 1 + len(ids)] = ids
            mask[1 : 1 + len(ids)] = 1 / max(1, len(ids))
        moved = torch.from_numpy(tokens).to(self._device)
        states: Tensor = self.model.states(moved, tap=self.layer, looped=self.looped).tapped
        means: NDArray[np.float32] = (states.float() * torch.from_numpy(counted).to(self._device)).sum(1).cpu().numpy()
        return means


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of texts of like length, of `BATCH_TOKENS` slots at most."""
    order = np.argsort(lengths, kind="stable").tolist()
    batch: list[int] = []
    for row in order:  # in rising order, so that the newest is the longest
        if batch and (len(batch) + 1) * (1 + lengths[row]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
