"""Whether texts look like another language than the one by whose rules their sentences are told apart."""

import re
from collections import Counter
from collections.abc import Iterable

from lang_jepa.settings.data import DataSettings

_NAMES = {
    "da": "Danish", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch",
    "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "uk": "Ukrainian", "bg": "Bulgarian", "cs": "Czech",
    "sk": "Slovak", "el": "Greek",
}  # fmt: skip
_FREQUENT = {
    "bg": "на да се за от по със като което той",
    "cs": "je že na jsem jako jeho jsou podle které také při",
    "da": "og at det er til som af ikke med har der blev",
    "de": "der die und das nicht ist ein mit den auf sich dem",
    "el": "και το της την του να με για είναι που από",
    "en": "the of and to is that was it for with his her",
    "es": "el los las que una por con para del su más como",
    "fr": "le les et des est une dans pour que pas sur au",
    "it": "il che di per una con non sono gli del della è",
    "nl": "de het een van en niet is op dat zijn voor met",
    "pl": "nie się jest na że do jak jego tym przez który są",
    "pt": "os uma não com para que do da em mais ao pela",
    "ru": "и в не на что он как его но это был по",
    "sk": "je že na som ako jeho sú podľa ktoré tiež pri aj",
    "uk": "і в не на що він як його але це був та",
}
"""Frequent words, about as many for each language."""
_WORD = re.compile(r"[^\W\d_]+")

CHARACTERS = 200_000
"""Of the first texts, so many characters are looked at."""
LEAST_SHARE = 0.08
"""Share of a language's frequent words among all words from which on a text may be in it."""
LEAST_WORDS = 5
"""Fewer frequent words say nothing."""
TIMES = 3
"""So many times the share of the language that is set."""


def language_hint(settings: DataSettings, texts: Iterable[str]) -> str | None:
    """A warning where the first of the texts are plainly in another language than `data.language`; else None."""
    if settings.splitter != "rules" or settings.language not in _FREQUENT:
        return None
    words: Counter[str] = Counter()
    left = CHARACTERS
    for text in texts:
        words.update(_WORD.findall(text[:left].lower()))
        left -= len(text)
        if left <= 0:
            break
    shares = {code: sum(words[word] for word in common.split()) for code, common in _FREQUENT.items()}
    likely = max(shares, key=shares.__getitem__)
    if shares[likely] < max(LEAST_SHARE * words.total(), TIMES * shares[settings.language], LEAST_WORDS):
        return None
    return (
        f"the texts look like {_NAMES[likely]}, but their sentences are told apart by the rules of "
        f"{_NAMES[settings.language]}: set data.language={likely}"
    )
