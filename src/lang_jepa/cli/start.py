"""What `train --from RUN` starts from: the recipe to train, and the settings taken from the run."""

import json
from collections.abc import Iterator
from pathlib import Path

from lang_jepa.errors import LangJepaError

_OF_THE_START = ("view", "context", "window_size", "horizons", "units", "speakers", "records", "mask", "mask_patterns")
"""Data settings that determine the form of a predictor, or what it was trained to read."""


_FITTING = ("view", "units")
"""Those of them in which a named recipe has to agree."""


def recipe_of(named: str, start: Path | None) -> str:
    """Return the recipe to train: the one that is named, or else the settings of the run to start from.

    Raises:
        LangJepaError: there is no model to start from.
    """
    if named or start is None:
        return named or "next_sentence"
    from lang_jepa.inference.model_folder import SETTINGS

    return str(_start_folder(start) / SETTINGS)


def _start_folder(start: Path) -> Path:
    from lang_jepa.inference.model_folder import find_model, nearest_run, why_no_model

    folder = find_model(start)
    if folder is None:
        raise LangJepaError(
            why_no_model(start) or f"--from {start}: there is no model of an encoder{nearest_run(start)}"
        )
    return folder


def settings_from(recipe: str, start: Path | None) -> Iterator[str]:
    """Yield the overrides with which a model starts from another's weights: its sizes, tokenizer, and what it reads.

    Raises:
        LangJepaError: there is no model, or its view or units differ from those of the named recipe.
    """
    if start is None:
        return
    from lang_jepa.inference.model_folder import SETTINGS
    from lang_jepa.settings.load import load_settings, read_settings

    folder = _start_folder(start)
    settings = read_settings(folder / SETTINGS)
    if recipe:
        own = load_settings(recipe).data
        for name in _FITTING:
            ours, theirs = getattr(own, name), getattr(settings.data, name)
            if ours != theirs:
                raise LangJepaError(
                    f"--from {start}: it was trained with data.{name}={theirs}, and the recipe {recipe} "
                    f"has data.{name}={ours}. Leave the recipe out, so that the settings of that run are taken, or "
                    "name one that fits"
                )
    else:
        run = start.parent if start.name == "model" else start
        run = run if run.name not in ("", "..") else run.resolve()  # beside it, not inside
        yield f"logging.log_dir={run}-more"
        yield from ("meta.load_checkpoint=false", "meta.checkpoint_path=null", "model.weights_path=null")
    yield f"meta.start_from={folder}"
    yield f"data.tokenizer_path={folder}"
    data = settings.data.model_dump(mode="json", include=set(_OF_THE_START))
    for section, values in (("model", settings.model.model_dump(mode="json")), ("data", data)):
        for name, value in values.items():
            if name != "weights_path":
                yield f"{section}.{name}={json.dumps(value)}"
