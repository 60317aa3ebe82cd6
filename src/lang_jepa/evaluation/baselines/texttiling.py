"""TextTiling (Hearst 1997, Text segmentation into multi-paragraph subtopic passages), by blocks of words.

Pseudo-sentences of `width` words; at each gap between them the cosine of the word counts of the `block`
pseudo-sentences on either side; smoothing; depth scores; a gap is a boundary where its depth exceeds mean - deviation /
2 of all depths. A boundary moves to the nearest gap between real sentences. Words are lower-cased and stop words left
out; Hearst also stems, which is not done here.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lang_jepa.evaluation.metrics.segmentation import Gaps, depths

_WORD = re.compile(r"[^\W\d_]+")


def texttiling_depths(
    sentences: Sequence[str], *, width: int = 20, block: int = 10, smoothing: int = 2
) -> Gaps:
    """Depth score of every gap between sentences, float64 [n - 1]; 0 where no pseudo-sentence ends near it.

    Args:
        sentences: of one document, n of them.
        width: words of a pseudo-sentence (Hearst's w).
        block: pseudo-sentences in a block (Hearst's k).
        smoothing: gaps over which scores are averaged on either side of one (one round).
    """
    words = [_words(sentence) for sentence in sentences]
    ends = np.cumsum([len(one) for one in words])
    scores = _block_scores([word for one in words for word in one], width, block)
    result = np.zeros(max(0, len(sentences) - 1))
    if not len(scores):
        return result
    deep = depths(-_smoothed(scores, smoothing))
    for number, depth in enumerate(deep):
        gap = int(np.argmin(np.abs(ends[:-1] - (number + 1) * width))) if len(result) else -1
        if gap >= 0:
            result[gap] = max(result[gap], depth)
    return result


def cutoff(deep: Gaps) -> float:
    """Hearst's threshold, mean - deviation / 2, over the depths that are above 0 (0 if there is none)."""
    real = deep[deep > 0]
    return float(max(real.mean() - real.std() / 2, np.nextafter(0, 1))) if len(real) else 1.0


def _words(sentence: str) -> list[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return [word for word in _WORD.findall(sentence.lower()) if word not in ENGLISH_STOP_WORDS]


def _block_scores(words: list[str], width: int, block: int) -> NDArray[np.float64]:
    """Cosine of the blocks on both sides of each gap between pseudo-sentences."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    counts = np.zeros((len(words) // width, max(1, len(numbers))))
    for place, word in enumerate(words[: len(counts) * width]):
        counts[place // width, numbers[word]] += 1
    scores = []
    for gap in range(1, len(counts)):
        size = min(block, gap, len(counts) - gap)
        left, right = counts[gap - size : gap].sum(0), counts[gap : gap + size].sum(0)
        scores.append(left @ right / np.sqrt((left @ left) * (right @ right)))
    return np.array(scores)


def _smoothed(scores: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Each score averaged with its neighbours up to `reach` away."""
    return np.array([scores[max(0, i - reach) : i + reach + 1].mean() for i in range(len(scores))])
