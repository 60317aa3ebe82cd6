"""LANG-JEPA: joint-embedding predictive models of text.

Nothing heavy is imported here: `from lang_jepa import ConceptModel` loads torch when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lang_jepa.concepts.model import ConceptModel

__version__ = "0.1.0"
__all__ = ["ConceptModel", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ConceptModel":
        from lang_jepa.concepts.model import ConceptModel

        return ConceptModel
    raise AttributeError(f"module 'lang_jepa' has no attribute '{name}'")
