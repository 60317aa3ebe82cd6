"""Additions to a `tokenizers` backend: special tokens in a text are treated as text, and word ids are cached.

Words are cached only if their ids never depend on neighbouring words. Running text repeats its words (in 2.6 million
words from novels one in twenty is new), so tokenizing each word once is several times faster than tokenizing the text.
Every id still comes from the backend.
"""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

CHARACTERS_KEPT = 4_000_000
"""Maximum number of characters in cached words. Beyond it the cache is cleared, which bounds memory."""

_SPACES_TOGETHER = re.compile(r" \s|\s ")


class WordCache:
    """Tokenize documents word by word.

    A word is the text between two spaces. A sentence in which a space is next to other white space is one word.
    """

    def __init__(self, backend: Tokenizer, lead: str) -> None:
        """Wrap a backend that `splits_at_spaces`; `lead` is prepended to every text."""
        self._backend, self._lead = backend, lead
        added = backend.get_added_tokens_decoder().values()
        self._added = [token.content for token in added if not token.special]
        self._known: dict[str, list[int]] = {}
        self._characters = 0

    def encode(self, sentences: Sequence[str]) -> tuple[list[int], list[int]] | None:
        """Ids of the sentences joined by one space, and the index of each sentence's first token, then the id count.

        Args:
            sentences: texts without white space at their ends.

        Returns:
            None if the text contains an added token (not a special one), which may absorb adjacent spaces.
        """
        text = " ".join(sentences)
        if any(token in text for token in self._added):
            return None
        words = [_words(sentence) for sentence in sentences]
        self._learn(set(chain.from_iterable(words)))
        ids: list[int] = []
        starts = [0]
        for sentence in words:
            ids.extend(chain.from_iterable(map(self._known.__getitem__, sentence)))
            starts.append(len(ids))
        if self._characters > CHARACTERS_KEPT:
            self._known.clear()
            self._characters = 0
        return ids, starts

    def _learn(self, words: set[str]) -> None:
        """Tokenize the words that are not cached yet."""
        new = [word for word in words if word not in self._known]
        texts = [self._lead + word for word in new]
        encoded = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        self._known.update((word, item.ids) for word, item in zip(new, encoded, strict=True))
        self._characters += sum(map(len, new))


def splits_at_spaces(backend: Tokenizer, lead: str) -> bool:
    """Whether a single space always ends a word for this tokenizer, and a word alone gets the same ids as in a text.

    True for byte-level BPE with GPT-2's pattern (every match begins at the space or after it) and for BERT's
    WordPiece. It may hold for others too; only certain cases count.
    """
    parts: dict[str, Any] = json.loads(backend.to_str())
    model, before = parts["model"], parts["pre_tokenizer"] or {}
    normalizer = (parts["normalizer"] or {}).get("type")
    if model.get("type") == "BPE" and before.get("type") == "ByteLevel":
        joined = before["use_regex"] and (before["add_prefix_space"] or lead == " ")
        return bool(joined) and normalizer is None and not model.get("dropout")
    is_bert = model.get("type") == "WordPiece" and before.get("type") == "BertPreTokenizer"
    return is_bert and normalizer in (None, "BertNormalizer")


def _words(sentence: str) -> list[str]:
    """The words of a sentence; the whole sentence if a space is next to other white space."""
    return [sentence] if _SPACES_TOGETHER.search(sentence) else sentence.split(" ")


def read_specials_as_text(backend: Tokenizer) -> None:
    """Treat special tokens that are spelt out in a text as text.

    The backend's option for this (not stored in tokenizer.json) stops the search that precedes the model. A model with
    special tokens in its own vocabulary (Unigram, WordLevel) may still assemble them; then words are cut inside them.
    """
    backend.encode_special_tokens = True
    specials = {
        token.content: index
        for index, token in backend.get_added_tokens_decoder().items()
        if token.special and len(token.content) > 1
    }
    leaking = [text for text, index in sorted(specials.items()) if _is_put_together(backend, text, index)]
    if leaking:
        inside = "|".join(f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in leaking)
        cut = pre_tokenizers.Split(Regex(inside), "merged_with_previous")
        before = backend.pre_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([before, cut]) if before else cut


def _is_put_together(backend: Tokenizer, text: str, index: int) -> bool:
    """Whether a text, alone or within other text, becomes the single token `index`."""
    for around in ("", " ", "a"):
        whole = f"{around}{text}{around}"
        encoded = backend.encode(whole, add_special_tokens=False)
        spans = zip(encoded.ids, encoded.offsets, strict=True)
        if any(found == index and whole[start:stop].strip() == text for found, (start, stop) in spans):
            return True
    return False
