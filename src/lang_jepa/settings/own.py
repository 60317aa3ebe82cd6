"""Classes of the user's own, named by import path."""

import importlib
import sys
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError


def import_class(path: str, *, what: str) -> Any:
    """The class at `module:Class`; modules of the current folder are found first.

    Args:
        path: of the import.
        what: it is, for messages.

    Raises:
        LangJepaError: there is no such module or class, or importing it fails.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # a file of the user's own may raise anything
        raise LangJepaError(
            f"the {what} {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, type):
        raise LangJepaError(f"the module {module} has no class {name}, which {what}={path} names")
    return found
