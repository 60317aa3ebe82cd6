"""Special tokens that are spelt out in a text are text."""

import re

from tokenizers import Regex, Tokenizer, pre_tokenizers


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
        places = zip(encoded.ids, encoded.offsets, strict=True)
        if any(found == index and whole[start:stop].strip() == text for found, (start, stop) in places):
            return True
    return False
