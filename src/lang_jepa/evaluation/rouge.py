"""ROUGE-L in any script: rouge-score's own tokenizer drops every letter but a to z."""

import re
import sys
from collections.abc import Sequence
from functools import cache
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Han. Each of their letters is a word."""


class Words:
    """The words of a text, as rouge-score asks for them; case and compatibility forms do not matter."""

    def tokenize(self, text: str) -> list[str]:
        """Words in order."""
        return _word().findall(normalize("NFKC", text).casefold())


@cache
def _word() -> re.Pattern[str]:
    """A word: letters and digits with the marks that belong to them, which Python's `\\w` does not take for letters."""
    marks = "".join(chr(code) for code in range(sys.maxunicode) if category(chr(code)).startswith("M"))
    return re.compile(rf"[{_UNSPACED}][{marks}]*|(?:(?![_{_UNSPACED}])[\w{marks}])+")


def rouge_l(told: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """F-measure of the longest common subsequence of words (Lin 2004), of each pair: rouge-score, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(texts, told, strict=True)
    return np.array([scorer.score(text, one)["rougeL"].fmeasure for text, one in pairs])
