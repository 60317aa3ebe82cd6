"""Sentences by wtpsplit's SaT model, an optional extra."""

from dataclasses import dataclass, field
from typing import Any

from lang_jepa.data.sentences_cut import cut_long
from lang_jepa.errors import LangJepaError

MODEL = "sat-3l-sm"
"""SaT model: three layers, tuned for sentences."""


@dataclass
class SatSplitter:
    """Sentences by SaT. The model is loaded at the first text, so that the splitter can be sent to a process."""

    max_chars: int
    device: str = "cpu"
    _model: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise early where the extra is not installed."""
        _sat_class()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded model."""
        return {**self.__dict__, "_model": None}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Ordered, disjoint character spans without outer white space; only white space lies outside.

        Raises:
            LangJepaError: the model's sentences do not add up to the text.
        """
        if not text.strip():
            return []
        if self._model is None:
            self._model = _sat_class()(MODEL)
            if self.device != "cpu":
                self._model.half().to(self.device)
        found: list[tuple[int, int]] = []
        for start, end in align(text, self._model.split(text)):
            found.extend(cut_long(text, start, end, self.max_chars))
        return found


def align(text: str, sentences: list[str]) -> list[tuple[int, int]]:
    """Spans of sentences in the text they were taken from; white space may be missing around them, nothing else.

    Raises:
        LangJepaError: something else is missing or differs.
    """
    found: list[tuple[int, int]] = []
    position = 0
    for sentence in (part.strip() for part in sentences):
        if not sentence:
            continue
        start = text.find(sentence, position)
        if start < 0 or text[position:start].strip():
            raise LangJepaError(
                f"the sat splitter returned a sentence that is not next in the text: {sentence[:80]!r}. "
                "Use data.splitter=rules."
            )
        position = start + len(sentence)
        found.append((start, position))
    if text[position:].strip():
        raise LangJepaError(
            f"the sat splitter lost text: {text[position : position + 80]!r}. Use data.splitter=rules."
        )
    return found


def _sat_class() -> Any:
    """wtpsplit's SaT class.

    Raises:
        LangJepaError: the extra is not installed.
    """
    try:
        from wtpsplit import SaT
    except ImportError as error:
        raise LangJepaError(
            'data.splitter=sat needs an optional package: pip install "lang-jepa[sat]", or use data.splitter=rules.'
        ) from error
    return SaT
