"""Refuse models, by folder or hub name, that would run their own code, before any of it is run.

transformers and sentence-transformers run Python files from a model's folder if its JSON names them (`auto_map`, or a
module's class by import path). Here every `from_pretrained` is called with trust_remote_code=False, and a model that
needs such code is refused with an error message instead of being loaded.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError

ST_PREFIX = "sentence_transformers."
"""Prefix of the module classes that a sentence-transformers model may name."""


def local_only(name: str) -> bool:
    """Whether a model must be loaded without the hub, because it is a folder or the hub cannot be reached."""
    from lang_jepa.data.sources.hub import go_offline_if_unreachable

    return Path(name).exists() or go_offline_if_unreachable()


def model_json(name: str, file: str) -> Any:
    """Read a JSON file of a model given by folder or hub name; None if it has no such file.

    Raises:
        LangJepaError: the file is not valid JSON.
    """
    found = model_file(name, file)
    if found is None:
        return None
    try:
        return json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LangJepaError(f"{file} of {name!r} cannot be read: {error}") from error


def model_file(name: str, file: str) -> Path | None:
    """Local path of a file of a model, downloaded from the hub if necessary; None if there is no such file."""
    folder = Path(name)
    if folder.exists() or not _may_be_on_the_hub(name):
        return folder / file if (folder / file).is_file() else None
    from transformers.utils.hub import cached_file

    quiet = {
        "_raise_exceptions_for_gated_repo": False,
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    try:
        found = cached_file(name, file, local_files_only=local_only(name), **quiet)
    except (OSError, ValueError):  # no such model, or not a valid hub name
        return None
    return None if found is None else Path(found)


def _may_be_on_the_hub(name: str) -> bool:
    """Whether a name could be on the hub: `owner/model` or `model`, and not below a local folder."""
    owner = name.partition("/")[0]
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None and not Path(owner).exists()


def refuse_custom_code(name: str) -> None:
    """Raise if a model, given by folder or hub name, could only be loaded by running code that comes with it.

    Raises:
        LangJepaError: names the file and the code that it would run.
    """
    for file in ("config.json", "tokenizer_config.json"):
        for where, found in _auto_maps(model_json(name, file)):
            _refuse(name, f"{file}{where}", found)
    modules = model_json(name, "modules.json")
    for module in modules if isinstance(modules, list) else []:
        kind = module.get("type") if isinstance(module, dict) else module
        if not isinstance(kind, str) or not kind.startswith(ST_PREFIX):
            _refuse(name, "modules.json", kind)


def _auto_maps(config: object, where: str = "") -> Iterator[tuple[str, Any]]:
    """The parts of a config.json, at any depth, that name code and whose model type is not built into transformers."""
    from transformers import CONFIG_MAPPING

    if not isinstance(config, dict):
        return
    kind = config.get("model_type")
    if config.get("auto_map") and not (isinstance(kind, str) and kind in CONFIG_MAPPING):
        yield where, config["auto_map"]
    for key, value in config.items():
        yield from _auto_maps(value, f"{where} at {key}")


def _refuse(name: str, file: str, what: object) -> None:
    raise LangJepaError(
        f"the model {name!r} needs code of its own ({file} names {what}), and code from a model's folder is never "
        "run here. Use a version of the model whose type is built into transformers, or another model."
    )
