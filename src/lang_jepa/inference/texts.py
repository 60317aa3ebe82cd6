"""Turn texts and vectors from users into lists of strings and arrays, or raise an error that names the fault."""

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lang_jepa.data.corpus.corpus import CorpusSplit
from lang_jepa.data.sources.base import VISIBLE
from lang_jepa.data.text.tokenizer import TextTokenizer
from lang_jepa.errors import LangJepaError


def text_of(given: object, what: str = "the text", *, blank: bool = False) -> str:
    """Validate one text.

    Args:
        given: what should be a text.
        what: what errors call it.
        blank: whether it may be empty.

    Raises:
        LangJepaError: it is not a string, has a lone surrogate, or holds nothing visible.
    """
    if not isinstance(given, str):
        said = type(given).__name__
        cure = ", which must be decoded first" if isinstance(given, bytes | bytearray) else ""
        shown = f" {given}" if isinstance(given, float) else ""
        raise LangJepaError(f"{what} is not a string ({said}{shown}{cure})")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise LangJepaError(
                f"{what} has a lone surrogate ({given[error.start]!a}) at character {error.start}, which is not text"
            ) from None
    if not blank and not VISIBLE.search(given):
        raise LangJepaError(f"{what} has no token to encode: {given!r} is empty, white space or nothing visible")
    return str(given)


def texts_of(given: object, what: str = "text", *, where: str = "", blank: bool = False) -> list[str]:
    """Return a list of texts from a list, tuple, generator, array or table column, in order.

    Args:
        given: what should hold strings.
        what: what errors call one of them, followed by its number, counted from 0.
        where: what errors begin with to say where it stands.
        blank: whether a text may be empty.

    Raises:
        LangJepaError: a single string, something without an order or of several dimensions, or a text that `text_of`
            refuses.
    """
    items = items_of(given, what, where=where)
    return [text_of(one, f"{where}{what} {number}", blank=blank) for number, one in enumerate(items)]


def role_of(given: object) -> str | None:
    """Validate the name of whoever speaks next, None if none is given; raises as `text_of` does."""
    return None if given is None else text_of(given, "the role")


def items_of(given: object, what: str, *, where: str = "") -> list[Any]:
    """Return the items of something ordered, by position whatever its index; raises as `texts_of` does."""
    if isinstance(given, str):
        raise LangJepaError(f"{where}expected a list of {what}s, not a single string: put it into a list, [text]")
    if isinstance(given, bytes | bytearray | Mapping | Set) or not isinstance(given, Iterable):
        raise LangJepaError(f"{where}expected a list of {what}s, not {_named(given)}")
    dimensions = getattr(given, "ndim", 1)
    if dimensions != 1:
        raise LangJepaError(f"{where}expected a list of {what}s, not {_named(given)} of {dimensions} dimensions")
    return list(given)


def tokens_of(given: object, vocab_size: int) -> list[NDArray[np.int64]]:
    """Validate arrays of token ids, one per sentence.

    Raises:
        LangJepaError: not whole numbers, none at all, or one that is no token id; the message names the sentence.
    """
    found = []
    for number, one in enumerate(items_of(given, "array of token ids")):
        ids = np.asarray(one)
        if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
            raise LangJepaError(f"sentence {number} is not a list of token ids: {_named(one)}")
        if ids.min() < 0 or ids.max() >= vocab_size:
            raise LangJepaError(f"sentence {number} has a token id outside of 0 to {vocab_size - 1}")
        found.append(ids.astype(np.int64))
    return found


def device_of(name: str | torch.device) -> torch.device:
    """Return a device that torch can compute on here.

    Raises:
        LangJepaError: there is no device of that name, or not on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises whatever the device's backend does
        reason = str(error).splitlines()[0][:200]
        raise LangJepaError(f"device {name!r} cannot be used here ({reason}): use 'cpu'") from error
    return device


def contexts_of(given: object) -> tuple[list[list[str]], bool]:
    """Return contexts, each a list of sentences, and whether a single one was given.

    Raises:
        LangJepaError: a bare string, no context or an empty one, a mixture, or a sentence that `text_of` refuses.
    """
    if isinstance(given, str):
        raise LangJepaError("predict_next takes a list of sentences; split the text first")
    rows = list(given) if isinstance(given, np.ndarray) and given.ndim == 2 else None
    items = items_of(given, "sentence") if rows is None else rows
    if not items:
        raise LangJepaError("predict_next needs at least one sentence of context")
    single = [not _several(one) for one in items]
    if all(single):
        return [texts_of(items, "sentence")], True
    if any(single) and any(isinstance(one, str) for one in items):
        raise LangJepaError("predict_next was given a list that mixes sentences and lists of sentences")
    return [_context(one, f"context {number}") for number, one in enumerate(items)], False


def sides_of(before: object, after: object) -> tuple[list[list[str]], list[list[str]]]:
    """Return the sentences before and after each of some positions; one side of a position may be empty.

    Raises:
        LangJepaError: sides that differ in number or are both empty, or a sentence that `text_of` refuses.
    """
    sides = [
        [_context(one, f"side {number} ({name})", empty=True) for number, one in enumerate(items_of(given, "side"))]
        for name, given in (("before", before), ("after", after))
    ]
    left, right = sides
    if len(left) != len(right) or not all(one or other for one, other in zip(left, right, strict=True)):
        raise LangJepaError("predict_between needs two sides for each sentence, of which one may be empty")
    return left, right


def vectors_of(given: object, dim: int, what: str = "concept") -> NDArray[np.float32]:
    """Validate finite vectors [n, dim].

    Args:
        given: an array, tensor, table or list of rows.
        dim: their width.
        what: what errors call one of them, followed by its number.

    Raises:
        LangJepaError: not numbers, another shape, or an entry that is not finite; the message names its row.
    """
    given = _array_of(given)
    try:
        rows = np.asarray(given)
        fits = rows.dtype.kind in "fiu"
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise LangJepaError(f"expected {what}s as numbers [n, {dim}], not {_named(given)}{_odd(given, dim)}")
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise LangJepaError(f"expected {what}s [n, {dim}], not {list(rows.shape)}")
    rows = rows.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(wrong):
        raise LangJepaError(f"{what} {wrong[0]} has entries that are not finite")
    return rows


def _array_of(given: Any) -> Any:
    """Return a tensor of any device and precision as an array, and anything else as it is."""
    if not hasattr(given, "detach"):
        return given
    return (given.detach().float() if given.is_floating_point() else given.detach()).cpu().numpy()


def texts_or_vectors(given: object, dim: int) -> list[str] | NDArray[np.float32]:
    """Return texts, or vectors [n, dim] if numbers are given; a single text or vector is one row.

    Raises:
        LangJepaError: what `text_of` or `vectors_of` refuses.
    """
    if isinstance(given, str):
        return [text_of(given)]
    given = _array_of(given)
    if getattr(given, "ndim", 1) == 2:
        return vectors_of(given, dim, "vector")
    items = [_array_of(item) for item in items_of(given, "text")]
    if items and isinstance(items[0], Real):
        return vectors_of([items], dim, "vector")
    rows = bool(items) and isinstance(items[0], list | tuple | np.ndarray)
    return vectors_of(items, dim, "vector") if rows else texts_of(items)


def _context(given: object, what: str, *, empty: bool = False) -> list[str]:
    if not _several(given):
        raise LangJepaError(f"{what} is not a list of sentences ({type(given).__name__})")
    sentences = texts_of(given, "sentence", where=f"{what}: ")
    if not sentences and not empty:
        raise LangJepaError(f"{what} is an empty context: the first sentence cannot be predicted")
    return sentences


def _several(given: object) -> bool:
    """Whether something is a container, which text and single numbers are not."""
    plain = isinstance(given, str | bytes | bytearray) or getattr(given, "ndim", 1) == 0
    return isinstance(given, Iterable) and not plain


def _odd(given: object, dim: int) -> str:
    """Say which row of a list is not `dim` numbers."""
    rows = enumerate(given) if isinstance(given, list | tuple) else ()
    for number, row in rows:
        size = len(row) if isinstance(row, list | tuple | np.ndarray) else None
        if size != dim or any(isinstance(one, str | bytes) or one is None for one in row):
            return f" (row {number})"
    return ""


def _named(given: object) -> str:
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" if given is not None else "None"


def as_documents(contexts: Sequence[Sequence[str]], tokenizer: TextTokenizer) -> CorpusSplit:
    """Return contexts as the documents of an in-memory corpus.

    Raises:
        LangJepaError: the tokenizer keeps nothing of a sentence.
    """
    documents = [tokenizer.encode_document(context) for context in contexts]
    for context, (_, starts) in zip(contexts, documents, strict=True):
        sizes = np.diff(starts)  # the separator in front gives even an empty sentence a token
        empty = [text for text, size in zip(context, sizes, strict=True) if not size or not text.strip()]
        if empty:
            raise LangJepaError(f"a sentence of the context has no token: {empty[0]!r}")
    sizes = np.array([len(tokens) for tokens, _ in documents])
    shifts = np.cumsum(sizes) - sizes
    firsts = [starts[:-1] + shift for (_, starts), shift in zip(documents, shifts, strict=True)]
    return CorpusSplit.from_arrays(
        np.concatenate([tokens for tokens, _ in documents]),
        np.concatenate([*firsts, [int(sizes.sum())]]).astype(np.int64),
        np.concatenate([[0], np.cumsum([len(first) for first in firsts])]).astype(np.int64),
        np.array([str(number).encode() for number in range(len(documents))]),
        tokenizer,
    )


def about_tokens(context: Sequence[str]) -> int:
    """Estimate how many tokens a context has: one for every four characters."""
    return sum(map(len, context)) // 4 + 1


def nearest(before: Sequence[str], after: Sequence[str], room: int) -> tuple[Sequence[str], Sequence[str]]:
    """Return the nearest sentences of two sides, at most `room` in all, as in training passages around a position."""
    left = min(len(before), max(room - room // 2, room - len(after)))
    return before[len(before) - left :], after[: room - left]
