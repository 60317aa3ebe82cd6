"""LANG-JEPA: joint-embedding predictive models of text.

Heavy libraries are imported lazily: `from lang_jepa import ConceptModel` loads torch, `LitJEPA` Lightning, and
`ConceptVectorizer` scikit-learn.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lang_jepa.files.version import __version__

if TYPE_CHECKING:
    from lang_jepa.inference.model import ConceptModel
    from lang_jepa.python.train import train
    from lang_jepa.python.vectorizer import ConceptVectorizer
    from lang_jepa.training.methods.lit import LitJEPA, TextDataModule

__all__ = ["ConceptModel", "ConceptVectorizer", "LitJEPA", "TextDataModule", "__version__", "train"]

_MODULES = {
    "ConceptModel": "lang_jepa.inference.model",
    "ConceptVectorizer": "lang_jepa.python.vectorizer",
    "LitJEPA": "lang_jepa.training.methods.lit",
    "TextDataModule": "lang_jepa.training.methods.lit",
    "train": "lang_jepa.python.train",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lang_jepa' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
