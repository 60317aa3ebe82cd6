"""Training with one call: `lang_jepa.train`."""

import json
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from lang_jepa.errors import LangJepaError, counted
from lang_jepa.inference.model import ConceptModel
from lang_jepa.python.texts import Given, check_files, name_of, write_rows
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.load import load_settings
from lang_jepa.settings.recipes import system_of
from lang_jepa.settings.words import takes_list
from lang_jepa.training import train as training
from lang_jepa.training.reporter import Reporter, Silent

TEXTS = "texts"
"""Folder beside the run directory that holds the texts passed to `train`."""
_FOLDER, _FILE, _COLUMN = "logging.log_dir", "data.train_file", "data.text_column"


def train(
    data: object,
    recipe: str = "documents",
    *,
    steps: int | None = None,
    seed: int | None = None,
    output: str | PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    quiet: bool = False,
) -> ConceptModel:
    """Train an encoder and its predictor on texts or conversations, and load the model.

    This is `lang-jepa train` on a file that holds them: `texts/HASH.jsonl` beside the run directory. The file stays
    there, since a resumed run reads it again. HASH is a hash of the content, so the same texts are prepared only once.
    An older run in `output` is moved aside, never overwritten.

    Args:
        data: documents (strings), or conversations (lists of `{"role", "content"}` messages or of strings, or mappings
            with `messages`), in a list, generator, array or table column; a `datasets.Dataset` or pandas
            `DataFrame` with such a column (`data.text_column`); or the path of a file or folder.
        recipe: name of an encoder's recipe, or path of a YAML file: `documents` for texts, `dialogue` for
            conversations, `log` for texts whose lines are log lines.
        steps: optimizer steps, optimization.max_steps (None: the recipe's).
        seed: meta.seed (None: the recipe's).
        output: the run directory, logging.log_dir (None: the recipe's, such as `runs/documents`).
        settings: others by dotted name, such as `{"data.val_fraction": 0.1}`; names and rules are those of `-o`.
        quiet: print nothing and issue warnings as Python warnings; otherwise print what the command prints.

    Returns:
        The model, on the CPU; `model.run_dir` is the run directory.

    Raises:
        LangJepaError: a recipe for another kind of data (the message names one that fits) or of another system, a
            setting that is wrong or has no effect, too little text, or what `lang_jepa.training.train.train` raises.
        KeyboardInterrupt: training was interrupted; it is saved, and the message says how to resume.
        SystemExit: another signal ended the training; it is saved.
    """
    if not isinstance(recipe, str | PathLike):
        raise LangJepaError(f"recipe is the name of a recipe or a path, not {recipe!r}")
    recipe = os.fspath(recipe)
    if (system := system_of(recipe)) != "encoder":
        raise LangJepaError(
            f"recipe {recipe} trains a system of its own ({system}), and lang_jepa.train trains encoders: take "
            f"lang-jepa train {recipe}"
        )
    chosen = dict(_chosen(settings or {}, steps=steps, seed=seed, output=output))
    given = Given.of(data)
    if given.path is not None:
        resolved = load_settings(recipe, [*_typed(chosen), f"{_FILE}={json.dumps(given.path)}"])
        check_files(resolved.data)
    else:
        resolved = _written(given, recipe, chosen)
    if quiet:
        reporter: Reporter = _Warns()
    else:
        from lang_jepa.cli.progress import EncoderBar

        reporter = EncoderBar(resolved.data.units)
    result = training.train(resolved, reporter)
    if result.interrupted:
        said = f"stopped at step {result.step} of {result.total}; it is saved: lang-jepa train {result.folder} --resume"
        raise KeyboardInterrupt(said) if result.exit_status == 128 + signal.SIGINT else SystemExit(result.exit_status)
    reporter.message(f"{result.folder}: {counted(result.step, 'step')} in {result.seconds:.0f} s")
    for warning in result.warnings:
        reporter.warning(warning)
    return ConceptModel.load(result.folder)


class _Warns(Silent):
    """A reporter that issues warnings and is otherwise silent."""

    def warning(self, text: str) -> None:
        warnings.warn(text, stacklevel=2)


def _chosen(settings: Mapping[str, object], **usual: object) -> Iterator[tuple[str, object]]:
    """Yield what the user set, by dotted names.

    Raises:
        LangJepaError: something is set twice, or the location of the data is set, which the first argument gives.
    """
    names = {"steps": "optimization.max_steps", "seed": "meta.seed", "output": _FOLDER}
    if not isinstance(settings, Mapping) or not all(isinstance(name, str) and "." in name for name in settings):
        raise LangJepaError(f'settings are dotted names with values, as {{"data.val_fraction": 0.1}}, not {settings!r}')
    if _FILE in settings:
        raise LangJepaError(f"settings: {_FILE} is the first argument of train; leave it out")
    given = usual["output"]
    if not isinstance(given, str | PathLike | None) or "\0" in str(given) or given == "":
        raise LangJepaError(f"output is the path of a folder, not {given!r}")
    yield from settings.items()
    for name, value in usual.items():
        if value is not None:
            if names[name] in settings:
                raise LangJepaError(f"{name}= and settings[{names[name]!r}] are one setting: give it once")
            yield names[name], os.path.expanduser(value) if isinstance(value, str | PathLike) else value


def _typed(chosen: Mapping[str, object]) -> list[str]:
    """Return overrides as they are typed after -o, with values that keep their types.

    Raises:
        LangJepaError: a value that no setting can have.
    """
    found = []
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        value = value.item() if hasattr(value, "item") else value
        value = os.path.expanduser(value) if isinstance(value, PathLike) else value
        value = [value] if isinstance(value, str) and takes_list(Settings, section, key) else value
        try:
            found.append(f"{name}={json.dumps(value)}")
        except (TypeError, ValueError) as error:
            raise LangJepaError(f"settings: {name} cannot be {value!r} ({error})") from error
    return found


def _written(given: Given, recipe: str, chosen: Mapping[str, object]) -> Settings:
    """Write the given data, once all is known to fit, and return settings that read them."""
    before = load_settings(recipe, _typed(chosen))
    column = given.column(before.data, chosen=_COLUMN in chosen)
    given.check(before.data, column)
    name = name_of(given.rows(before.data, column))
    folder = Path(before.logging.log_dir).parent / TEXTS
    where: dict[str, Any] = {_FILE: str(folder / name), _COLUMN: column}
    resolved = load_settings(recipe, _typed({**chosen, **where}))
    write_rows(given.rows(before.data, column), folder, name)
    return resolved
