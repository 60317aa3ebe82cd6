"""Folders and hub names that would bring code of their own: refused by name, before anything in them is run.

transformers and sentence-transformers run Python files from a model's folder where its JSON names them (`auto_map`, or
a module's class by import path). Here every `from_pretrained` says trust_remote_code=False, and a model that needs such
code is refused with that message instead of being asked for.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError

ST_PREFIX = "sentence_transformers."
"""Modules of a sentence-transformers model are classes of that package."""


def local_only(name: str) -> bool:
    """Whether a model must be found without the hub: it is a folder, or the hub cannot be reached."""
    from lang_jepa.data.sources.hub import go_offline_if_unreachable

    return Path(name).exists() or go_offline_if_unreachable()


def model_json(name: str, file: str) -> Any:
    """A JSON file of a model given by folder or hub name; None where it has none.

    Raises:
        LangJepaError: the file is no JSON.
    """
    found = model_file(name, file)
    if found is None:
        return None
    try:
        return json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LangJepaError(f"{file} of {name!r} cannot be read: {error}") from error


def model_file(name: str, file: str) -> Path | None:
    """Where a file of a model is on this machine, fetched from the hub if need be; None where there is none."""
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
    except (OSError, ValueError):  # no such model, or no name that the hub could have
        return None
    return None if found is None else Path(found)


def _may_be_on_the_hub(name: str) -> bool:
    """Whether the hub could know a name (`owner/model` or `model`) that is not below a folder of this machine."""
    owner = name.partition("/")[0]
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None and not Path(owner).exists()


def refuse_custom_code(name: str) -> None:
    """Raise if a model, by folder or hub name, could only be loaded by running code that comes with it.

    Raises:
        LangJepaError: names the file, and what it would have run.
    """
    for where, found in _auto_maps(model_json(name, "config.json")):
        _refuse(name, f"config.json{where}", found)
    for where, found in _auto_maps(model_json(name, "tokenizer_config.json")):
        _refuse(name, f"tokenizer_config.json{where}", found)
    modules = model_json(name, "modules.json")
    for module in modules if isinstance(modules, list) else []:
        kind = module.get("type") if isinstance(module, dict) else module
        if not isinstance(kind, str) or not kind.startswith(ST_PREFIX):
            _refuse(name, "modules.json", kind)


def _auto_maps(config: object, where: str = "") -> Iterator[tuple[str, Any]]:
    """The parts of a config.json, at any depth, that name code and are of no type that transformers has itself."""
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
        f"the model {name!r} brings code of its own ({file} names {what}), and code from a model's folder is never "
        "run here. Take a version of the model in a type that transformers has itself, or another model."
    )
