"""One tokenizer for documents and single sentences that gives both the same token ids.

A document is tokenized once, as its sentences joined by one space, and the sentence boundaries become token indices.
Tokenizers differ in how they treat a leading space. If it changes the ids (byte-level BPE without a prefix space),
every text gets one, so a sentence alone has the same ids as in the middle of a document. Which kind a tokenizer is,
and which special tokens it puts around a text, is determined by probing it, never by its class name.

A special token that is spelt out in a text ("<mask>" on a page about HTML) is text: its characters are tokenized like
any others. Only this package inserts special tokens.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Regex, Tokenizer, pre_tokenizers

from lang_jepa.data.text.backend import WordCache, read_specials_as_text, splits_at_spaces
from lang_jepa.data.text.custom_code import local_only, refuse_custom_code
from lang_jepa.errors import LangJepaError, first_line
from lang_jepa.files.atomic import fingerprint, make_folder, read_json

FORMAT = 2
"""Format of the ids of a text and of tokenizers trained here: raise it when either changes."""

Ints = NDArray[np.int64]

WORD_BYTES = 64
"""Longer words are cut before training a tokenizer, because merging inside a one-megabyte word would take for ever."""

ROLES = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")
"""Special tokens that models may need, by their Hugging Face names."""

TRAINED_SPECIALS = {
    "bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "mask": "<mask>",
}  # fmt: skip
"""Special tokens of a tokenizer made by `train_tokenizer`."""

_PROBES = ("The sea was calm.", "it rained all night", "Anna left, of course!", "42 ships came.", "Why?")


class TextTokenizer:
    """A fast Hugging Face tokenizer with what this package needs to know about it.

    It holds only the `tokenizers` backend, so processes that prepare a corpus need not import transformers
    (and with it torch).

    Attributes:
        specials: role (`pad`, `mask`, ...) to token text, for the roles that the tokenizer has.
        vocab_size: number of embedding rows a model needs: the largest id plus one.
        lead: prepended to every text: "" or " ".
        prefix_ids, suffix_ids: special tokens that the tokenizer itself puts around a single text.
        pad_id, mask_id, unk_id: ids of special tokens, None if the tokenizer has none.
        bos_id, eos_id: ids of the tokens that open and close a text (`cls` and `sep` if there is no `bos` or `eos`).
    """

    def __init__(self, backend: Tokenizer, specials: Mapping[str, str]) -> None:
        """Wrap a backend (modified in place: no truncation, no padding, no special tokens recognised in texts).

        Args:
            backend: the actual tokenizer; special tokens spelt out in a text will be treated as text.
            specials: role to token text; see ROLES.
        """
        backend.no_truncation()
        backend.no_padding()
        read_specials_as_text(backend)
        self.backend = backend
        self.specials = dict(specials)
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        self.lead = _find_lead(backend)
        self.prefix_ids, self.suffix_ids = _find_frame(backend, self.lead + _PROBES[0])
        self.pad_id, self.mask_id, self.unk_id = self.special_id("pad"), self.special_id("mask"), self.special_id("unk")
        self.bos_id, self.eos_id = self.special_id("bos", "cls"), self.special_id("eos", "sep")
        self._word_cache = WordCache(backend, self.lead) if splits_at_spaces(backend, self.lead) else None

    @classmethod
    def load(cls, path: str) -> "TextTokenizer":
        """Load a tokenizer by hub name or from a folder.

        Raises:
            LangJepaError: it is not found, not reachable, or exists only in a slow (pure Python) version.
        """
        from transformers import AutoTokenizer

        refuse_custom_code(path)
        try:
            wrapped = AutoTokenizer.from_pretrained(
                path, use_fast=True, trust_remote_code=False, local_files_only=local_only(path)
            )
        except Exception as error:  # the backend raises bare exceptions, and a file may contain anything
            raise LangJepaError(
                f"no tokenizer could be loaded from '{path}' ({first_line(error)}). Set data.tokenizer_path to a "
                "folder with tokenizer.json, to a hub name that is cached or reachable, or to 'trained'."
            ) from error
        if not getattr(wrapped, "is_fast", False):
            raise LangJepaError(
                f"the tokenizer at '{path}' exists only as a slow Python tokenizer; sentence boundaries need a fast "
                "one. Convert it (save a tokenizer.json) or set data.tokenizer_path=trained."
            )
        specials = {role: getattr(wrapped, f"{role}_token") for role in ROLES}
        known = {role: str(token) for role, token in specials.items() if token is not None}
        try:
            return cls(wrapped.backend_tokenizer, known)
        except Exception as error:  # the backend raises no narrower kind
            raise LangJepaError(f"the tokenizer at '{path}' is damaged: {str(error)[:200]}") from error

    @classmethod
    def from_files(cls, folder: Path, specials: Mapping[str, str]) -> "TextTokenizer":
        """Load what `save` wrote, without importing transformers.

        Raises:
            LangJepaError: `tokenizer.json` is missing or damaged.
        """
        file = Path(folder) / "tokenizer.json"
        read_json(file, what="tokenizer file")  # for its messages, since the backend raises only bare exceptions
        try:
            return cls(Tokenizer.from_file(str(file)), specials)
        except Exception as error:  # the backend raises no narrower kind
            raise LangJepaError(f"tokenizer file is damaged ({file}): {str(error)[:200]}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend.to_str(), "specials": self.specials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Tokenizer.from_str(state["backend"]), state["specials"])  # type: ignore[misc]

    def save(self, folder: Path) -> None:
        """Write a folder that `AutoTokenizer.from_pretrained` loads with the same ids."""
        from transformers import PreTrainedTokenizerFast

        names = {f"{role}_token": token for role, token in self.specials.items()}
        # On loading, transformers resets the pre-tokenizer's prefix space to this argument's default, so the backend's
        # actual value must be passed. The generic class is used because model-specific classes replace the
        # pre-tokenizer of tokenizer.json with their own.
        wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=self.backend,
            add_prefix_space=bool(getattr(self.backend.pre_tokenizer, "add_prefix_space", False)),
            split_special_tokens=True,
            **names,
        )
        make_folder(Path(folder))
        wrapped.save_pretrained(str(folder))

    def special_id(self, *roles: str) -> int | None:
        """Id of the first of these special tokens (see ROLES) that the tokenizer has, or None."""
        if unknown := set(roles).difference(ROLES):
            raise ValueError(f"unknown role {min(unknown)!r}; known: {', '.join(ROLES)}")
        ids = (self.backend.token_to_id(self.specials[role]) for role in roles if role in self.specials)
        return next((found for found in ids if found is not None), None)

    def encode_document(self, sentences: Sequence[str]) -> tuple[Ints, Ints]:
        """Tokenize one document.

        Args:
            sentences: texts in order, without whitespace at their ends.

        Returns:
            ids int64 [T] of the sentences joined by one space (no special tokens), and int64 [S + 1] with the index
            of each sentence's first token, then T. A token that spans a boundary belongs to the sentence of its last
            character that is not a space; a token of spaces only belongs to the following sentence. A sentence for
            which the tokenizer returns no tokens has equal start and end.
        """
        if not sentences:
            return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
        known = self._word_cache.encode(sentences) if self._word_cache else None
        if known is not None:
            return np.array(known[0], dtype=np.int64), np.array(known[1], dtype=np.int64)
        encoded = self.backend.encode(self.lead + " ".join(sentences), add_special_tokens=False)
        starts = _sentence_starts(encoded, [len(sentence) for sentence in sentences], len(self.lead))
        return np.array(encoded.ids, dtype=np.int64), np.array(starts, dtype=np.int64)

    def encode_sentences(self, sentences: Sequence[str]) -> list[Ints]:
        """Tokenize every sentence alone: int64 arrays without special tokens, with the same ids as in a document."""
        encoded = self.backend.encode_batch_fast([self.lead + text for text in sentences], add_special_tokens=False)
        return [np.array(item.ids, dtype=np.int64) for item in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, stripped and without special tokens."""
        return str(self.backend.decode([int(i) for i in ids], skip_special_tokens=True)).strip()

    def fingerprint(self) -> str:
        """Hash of everything that determines the ids."""
        # Rereading a tokenizer.json can change the last digit of a Unigram score, so only nine digits are used.
        content = json.loads(self.backend.to_str(), parse_float=lambda digits: f"{float(digits):.9g}")
        return fingerprint({"tokenizer": content, "specials": self.specials, "lead": self.lead})


def _sentence_starts(encoded: Encoding, lengths: Sequence[int], begin: int) -> list[int]:
    """Index of the first token of every sentence, then the number of tokens.

    A binary search for each boundary needs the offsets of about six tokens; getting the offsets of all tokens from the
    backend as Python objects takes several times as long.

    Args:
        encoded: tokens of the sentences joined by one space.
        lengths: number of characters in each sentence.
        begin: where the first sentence begins.
    """
    count = len(encoded)
    span: Callable[[int], tuple[int, int]] = encoded.token_to_chars  # type: ignore[assignment]
    rate = count / (sum(lengths) + len(lengths) + begin)
    starts = [0]
    for length in lengths[:-1]:
        end = begin + length
        begin = end + 1
        # The first token that ends inside the next sentence, or that begins after this one.
        low = starts[-1]
        high = min(count, low + 2 * int(rate * length) + 8)
        if high < count and span(high)[1] <= begin and span(high)[0] < end:
            low, high = high + 1, count
        while low < high:
            middle = (low + high) // 2
            left, right = span(middle)
            if right > begin or left >= end:
                high = middle
            else:
                low = middle + 1
        starts.append(low)
    return [*starts, count]


def _find_lead(backend: Tokenizer) -> str:
    """The lead ("" or " ") with which sentences get the same ids alone and joined.

    For most tokenizers both leads satisfy this; then nothing is added. If neither does on some probe (the tokenizer
    merges across spaces), the lead that agrees more often is used.
    """

    def agreement(lead: str) -> int:
        def ids(text: str) -> list[int]:
            return list(backend.encode(lead + text, add_special_tokens=False).ids)

        pairs = [(first, second) for first in _PROBES for second in _PROBES]
        return sum(ids(f"{first} {second}") == ids(first) + ids(second) for first, second in pairs)

    return max(("", " "), key=agreement)


def _find_frame(backend: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and after a single text."""
    inner = list(backend.encode(text, add_special_tokens=False).ids)
    outer = list(backend.encode(text, add_special_tokens=True).ids)
    for start in range(len(outer) - len(inner) + 1):
        if outer[start : start + len(inner)] == inner:
            return outer[:start], outer[start + len(inner) :]
    raise LangJepaError("this tokenizer changes a text's own tokens when it adds special ones; it cannot be used.")


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, max_characters: int = 15_000_000) -> TextTokenizer:
    """Train a byte-level BPE tokenizer without unknown tokens, with `<s> text </s>` and a built-in prefix space.

    Takes time linear in the sample whatever its content, because words are cut after WORD_BYTES bytes.

    Args:
        texts: documents; reading stops after `max_characters`, which bounds memory and time.
        vocab_size: wanted number of tokens, special tokens included; a small corpus may yield fewer.
        max_characters: size of the sample.

    Returns:
        A tokenizer that depends only on the texts and their order, not on the number of threads.

    Raises:
        LangJepaError: there are no texts.
    """
    from tokenizers import decoders, models, processors, trainers

    backend = Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=True)
    cut = pre_tokenizers.Split(Regex(f".{{1,{WORD_BYTES}}}"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, cut])
    backend.encode_special_tokens = True
    backend.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = _Sample(texts, max_characters)
    backend.train_from_iterator(sample, trainer=trainer)
    backend.pre_tokenizer = words
    if not sample.characters:
        raise LangJepaError("there is no text to learn a tokenizer from: the source gave no documents to train on.")
    first, last = backend.token_to_id("<s>"), backend.token_to_id("</s>")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", first), ("</s>", last)]
    )
    return TextTokenizer(backend, TRAINED_SPECIALS)


class _Sample:
    """Iterate over texts until a number of characters is reached, and count the characters."""

    def __init__(self, texts: Iterable[str], max_characters: int) -> None:
        self.texts, self.limit, self.characters = texts, max_characters, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            if self.characters >= self.limit:
                return
            piece = text[: self.limit - self.characters]
            self.characters += len(piece)
            yield piece
