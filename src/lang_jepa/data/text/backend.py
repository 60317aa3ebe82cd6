"""What is done around a `tokenizers` backend: special tokens in a text are text, and words are looked up once.

The latter where a word's ids never depend on its neighbours. Running text repeats its words: of 2.6 million words of
novels one in twenty is new. Asking the backend once for each is several times faster than tokenizing the text. Every
id still comes from the backend.
"""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

CHARACTERS_KEPT = 4_000_000
"""Characters of the words remembered. Beyond that all are forgotten, so that memory does not grow with the corpus."""

_SPACES_TOGETHER = re.compile(r" \s|\s ")


class WordCache:
    """Tokenizes documents word by word.

    A word is what stands between two spaces. A sentence in which a space has white space beside it is one word.
    """

    def __init__(self, backend: Tokenizer, lead: str) -> None:
        """Take a backend that `splits_at_spaces`, and what is put before every text."""
        self._backend, self._lead = backend, lead
        added = backend.get_added_tokens_decoder().values()
        self._added = [token.content for token in added if not token.special]
        self._known: dict[str, list[int]] = {}
        self._characters = 0

    def encode(self, sentences: Sequence[str]) -> tuple[list[int], list[int]] | None:
        """Ids of the sentences joined by one space, and the index of each sentence's first token, then their number.

        Args:
            sentences: texts without white space at their ends.

        Returns:
            None where an added token (a word, no special one) is in the text: that may swallow the spaces beside it.
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
        """Ask the backend for the words that are not known yet."""
        new = [word for word in words if word not in self._known]
        texts = [self._lead + word for word in new]
        encoded = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        self._known.update((word, item.ids) for word, item in zip(new, encoded, strict=True))
        self._characters += sum(map(len, new))


def splits_at_spaces(backend: Tokenizer, lead: str) -> bool:
    """Whether a single space always ends a word for this tokenizer, and a word alone gets the ids it has in a text.

    True for byte-level BPE with GPT-2's pattern (every match begins at the space or after it) and for BERT's
    WordPiece. Others may do so too; only what is known for certain counts.
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
    """The words of a sentence; the sentence itself where white space stands together."""
    return [sentence] if _SPACES_TOGETHER.search(sentence) else sentence.split(" ")


def read_specials_as_text(backend: Tokenizer) -> None:
    """Make the characters of a special token in a text text.

    The switch for it (tokenizer.json does not keep it) stops the search before the model. A model that has special
    tokens in its own vocabulary (Unigram, WordLevel) may still put them together: there words are cut inside of them.
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
    """Whether a text somewhere becomes the one token `index`."""
    for around in ("", " ", "a"):
        whole = f"{around}{text}{around}"
        encoded = backend.encode(whole, add_special_tokens=False)
        spans = zip(encoded.ids, encoded.offsets, strict=True)
        if any(found == index and whole[start:stop].strip() == text for found, (start, stop) in spans):
            return True
    return False
