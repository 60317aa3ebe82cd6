"""A side of a prepared corpus as a row of tokens, with a BOS before each document, as token shards have it."""

import numpy as np

from lang_jepa.data.corpus import CorpusSplit
from lang_jepa.data.tokenizer import Ints, TextTokenizer
from lang_jepa.errors import LangJepaError


class CorpusTokens:
    """Index arithmetic over the memory-mapped arrays: nothing is copied, memory holds 8 bytes a document.

    Attributes:
        num_tokens: of the side, and one BOS for each document.
        vocab_size, bos_id: of the tokenizer.
    """

    def __init__(self, split: CorpusSplit, tokenizer: TextTokenizer) -> None:
        """Use a side of a corpus.

        Raises:
            LangJepaError: the side is empty, or the tokenizer has no token that begins a text.
        """
        if tokenizer.bos_id is None:
            raise LangJepaError(
                "the corpus' tokenizer has no token that begins a text (bos or cls), which a language model needs to "
                "tell documents apart: prepare the corpus with data.tokenizer_path=trained"
            )
        if not split.num_documents:
            raise LangJepaError(
                "this side of the corpus is empty: set data.val_fraction, or take more documents"
            )
        self._split = split
        self.vocab_size, self.bos_id = tokenizer.vocab_size, tokenizer.bos_id
        self._text_starts = split.token_starts(split.document_starts)
        self._starts: Ints = self._text_starts + np.arange(split.num_documents + 1)
        self.num_tokens = int(self._starts[-1])

    def read(self, start: int, stop: int) -> Ints:
        """Tokens start .. stop - 1, int64."""
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens {start}..{stop} do not lie among {self.num_tokens}")
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        documents = np.arange(first, last)
        begin = np.maximum(self._starts[documents] + 1, start)  # behind the BOS
        end = np.minimum(self._starts[documents + 1], stop)
        lengths = np.maximum(end - begin, 0)
        places = self._text_starts[documents] + begin - self._starts[documents] - 1
        tokens = np.full(stop - start, self.bos_id, dtype=np.int64)
        is_text = np.ones(stop - start, dtype=bool)
        is_text[self._starts[documents][self._starts[documents] >= start] - start] = False
        tokens[is_text] = self._split.gather(places, lengths)
        return tokens
