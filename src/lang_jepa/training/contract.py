"""Checks of everything a `Method` passes to the engine, at the moment it does, so that the author of a system is told
what is wrong with it, before training if possible.
"""

import inspect
import json
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Size, Tensor, device, dtype, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import what_is_wrong
from lang_jepa.training.method import Loss, Method, Validation
from lang_jepa.training.run_folder import Layout

_PLAIN = frozenset((type(None), bool, int, float, str, dtype, device))
_COLUMNS = tuple(name for name in Method.columns if not name.startswith("val/"))
_NESTED = frozenset((dict, OrderedDict, list, tuple, Size))


def _broken(method: Method[Any], what: str) -> LangJepaError:
    return LangJepaError(f"system {method.settings.system}: {what} (see lang_jepa.training.method.Method)")


def check_class(system: str, found: Any) -> None:
    """Raise LangJepaError unless a class is a `Method` whose functions accept the engine's calls."""
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise LangJepaError(f"system: {system} is not a Method: derive it from lang_jepa.training.method.Method")
    if lacking := sorted(getattr(found, "__abstractmethods__", ())):
        raise LangJepaError(f"system: {system} lacks {', '.join(lacking)}; see lang_jepa.training.method.Method")
    for name, meant in inspect.getmembers(Method, inspect.isfunction):
        own = getattr(found, name)
        if own is meant or (name.startswith("__") and name != "__init__"):
            continue
        parameters = inspect.signature(meant).parameters.values()
        named = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
        try:
            inspect.signature(own).bind(*[None] * (len(parameters) - len(named)), **named)
        except TypeError as error:
            call = ", ".join(one.name for one in parameters)
            raise LangJepaError(f"system: {system}: {name} is called as {name}({call}): {error}") from None


def texts(method: Method[Any], of: str, given: Any) -> list[str]:
    """Return what `complaints` or `warnings` yielded, as a list of strings.

    Raises:
        LangJepaError: it is something else.
    """
    found = None if given is None or isinstance(given, str) else list(given)
    if found is None or not all(isinstance(one, str) for one in found):
        raise _broken(method, f"{of} must yield strings, not {_short(given if found is None else found)}")
    return found


def check_built(method: Method[Any]) -> None:
    """Check what `open_data` and `build` must have set, and the attributes of the class.

    Raises:
        LangJepaError: an attribute is missing or of the wrong type.
    """
    wanted: dict[str, tuple[type | tuple[type, ...], str]] = {
        "identity": (str, "open_data sets it: a text that changes with the data"),
        "total": (int, "open_data sets it: optimizer steps planned, a whole number"),
        "network": (nn.Module, "build sets it: what is trained"),
        "model": (nn.Module, "build sets it, by set_up(network, optimizer)"),
        "optimizers": ((list, tuple), "build sets them, by set_up(network, optimizer)"),
        "micro_batches": (int, "micro-batches of an optimizer step, a whole number"),
        "columns": ((list, tuple), "names of metrics"),
        "free": (tuple, "beginnings of settings"),
        "contents": (Mapping, "parts of a checkpoint and their types"),
        "layout": (Layout, "names of files"),
    }
    for name, (kind, meaning) in wanted.items():
        if not hasattr(method, name):
            raise _broken(method, f"it has no {name}; {meaning}")
        value = getattr(method, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _broken(method, f"{name} is {_short(value)}; {meaning}")
    for name in ("total", "micro_batches"):
        if getattr(method, name) < 1:
            raise _broken(method, f"{name} is {getattr(method, name)}, and must be 1 or more")
    if not all(isinstance(kind, type | tuple) for kind in method.contents.values()):
        raise _broken(method, "contents gives a type for each part")
    if not _rises(method.epoch_ends):
        raise _broken(method, f"epoch_ends is {_short(method.epoch_ends)}, not rising whole numbers of steps")
    _check_trained(method)
    _check_columns(method)


def _check_columns(method: Method[Any]) -> None:
    """Raise LangJepaError unless the columns include what the engine measures and the metric of the best validation."""
    lacking = [name for name in _COLUMNS if name not in method.columns]
    if lacking or len({*method.columns}) < len(method.columns):
        raise _broken(method, f"columns must hold {', '.join(lacking or _COLUMNS)}, and each name once")
    best = method.best()
    if not (isinstance(best, tuple) and len(best) == 2 and best[1] in ("min", "max")):
        raise _broken(method, f"best gives {_short(best)}, not a metric or None, and 'min' or 'max'")
    if best[0] is not None and best[0] not in method.columns and type(method).best is not Method.best:
        raise _broken(method, f"best names {best[0]}, which its class attribute columns does not")


def _check_trained(method: Method[Any]) -> None:
    """Raise LangJepaError unless every weight that requires a gradient is in exactly one optimizer."""
    if not method.optimizers:
        raise _broken(method, "it has no optimizer; build sets them, by set_up(network, optimizer)")
    groups = [group for optimizer in method.optimizers for group in optimizer.param_groups]
    counts = Counter(id(one) for group in groups for one in group["params"])
    learnt = [(name, one) for name, one in method.network.named_parameters() if one.requires_grad]
    if wrong := [name for name, one in learnt if counts[id(one)] != 1]:
        many = "no optimizer" if not counts[id(dict(learnt)[wrong[0]])] else "several optimizers"
        raise _broken(method, f"{', '.join(wrong[:5])} of network is in {many}")


def checked_info(method: Method[Any]) -> list[tuple[str, str]]:
    """Return what `info` returned, a list of pairs of strings.

    Raises:
        LangJepaError: it is something else.
    """
    info = method.info()
    pairs = isinstance(info, list) and all(isinstance(one, tuple) and len(one) == 2 for one in info)
    if not pairs or not all(isinstance(text, str) for one in info for text in one):
        raise _broken(method, f"info gives {_short(info)}, not a list of pairs of texts")
    return info


def _rises(ends: Any) -> bool:
    if not isinstance(ends, Sequence | np.ndarray):
        return False
    return all(isinstance(end, int | np.integer) for end in ends) and all(a <= b for a, b in pairwise(ends))


def check_batches(method: Method[Any], batches: Any) -> None:
    """Raise LangJepaError unless an object has a next batch and a position, as `Batches` requires."""
    if not callable(getattr(batches, "__next__", None)) or not isinstance(getattr(batches, "state", None), dict):
        raise _broken(
            method,
            f"batches gives {_short(batches)}, which lacks `__next__` or a dictionary `state`, see DrawnBatches",
        )


def check_batch(method: Method[Any], batch: Any) -> None:
    """Raise LangJepaError unless a micro-batch is a `Batch`."""
    if not isinstance(getattr(batch, "predictions", None), int) or not callable(getattr(batch, "to", None)):
        raise _broken(
            method,
            f"a batch is {_short(batch)}; it needs `predictions`, a whole number, and `to(device)`, as Rows has them",
        )


def check_loss(method: Method[Any], loss: Any) -> None:
    """Raise LangJepaError unless a loss is a valid `Loss`."""
    if not isinstance(loss, Loss):
        raise _broken(method, f"loss gives {_short(loss)}, not a Loss")
    if not (isinstance(loss.total, Tensor) and loss.total.numel() == 1 and loss.total.requires_grad):
        raise _broken(method, f"the total of the Loss is {_short(loss.total)}, not a scalar with a gradient")
    sums = loss.sums
    if not isinstance(sums, Mapping) or not sums or not all(isinstance(one, Tensor) for one in sums.values()):
        raise _broken(method, "the sums of the Loss must be names with tensors, one at least")
    if kept := [name for name, one in sums.items() if one.requires_grad]:
        raise _broken(method, f"the sum {kept[0]} of the Loss has a gradient: detach it")
    if "loss" not in sums and type(method).metrics is Method.metrics:
        raise _broken(
            method, "the sums of the Loss lack `loss`, from which train/loss is computed unless metrics is overridden"
        )


def check_alike(method: Method[Any], losses: Sequence[Loss]) -> None:
    """Raise LangJepaError unless all micro-batches of a step have the same sums, by name and shape."""
    forms = [{name: tuple(one.shape) for name, one in loss.sums.items()} for loss in losses]
    if other := next((form for form in forms if form != forms[0]), None):
        raise _broken(method, f"the micro-batches of a step give different sums: {forms[0]} and {other}")


def numbers(method: Method[Any], metrics: Any, *, of: str) -> dict[str, float]:
    """Return metrics as plain floats: numbers of Python, numpy or tensors, under column names of metrics.csv.

    Args:
        method: the method whose metrics they are.
        metrics: metrics to be written.
        of: the function that returned them, for the message.

    Raises:
        LangJepaError: they are something else.
    """
    if not isinstance(metrics, Mapping):
        raise _broken(method, f"{of} gives {_short(metrics)}, not names with numbers")
    if of == "metrics" and "train/loss" not in metrics:
        raise _broken(method, f"{of} gives no train/loss: what is minimised")
    if unknown := [str(name) for name in metrics if name not in method.columns]:
        raise _broken(method, f"{of} gives {', '.join(unknown)}, which its class attribute columns does not name")
    found = {}
    for name, value in metrics.items():
        try:
            found[name] = float("text" if isinstance(value, str | bytes | bool) else value)
        except (TypeError, ValueError, RuntimeError):
            raise _broken(method, f"{of} gives {name} as {_short(value)}, which is not a number") from None
    return found


def checked_validation(method: Method[Any], found: Any) -> Validation:
    """Return a validation with its metrics as plain floats.

    Raises:
        LangJepaError: it is not a `Validation`, or one that cannot be written.
    """
    if not isinstance(found, Validation):
        raise _broken(method, f"validate gives {_short(found)}, not a Validation or None")
    for name in ("examples", "warnings"):
        some = getattr(found, name)
        if isinstance(some, str) or not all(isinstance(one, str) for one in some):
            raise _broken(method, f"validate gives {name} as {_short(some)}, not a list of texts")
    if not isinstance(found.stop, str):
        raise _broken(method, f"validate gives stop as {_short(found.stop)}, not a text that says why the run must end")
    return replace(found, metrics=numbers(method, found.metrics, of="validate"))


def check_going_on(method: Method[Any], step: int) -> None:
    """Raise LangJepaError if training would go beyond the planned steps: its checkpoints could not be used."""
    if step >= method.total:
        raise _broken(method, f"ended says that training continues at step {step}, and total is {method.total}")


def check_state(method: Method[Any], state: Mapping[str, Any]) -> None:
    """Raise LangJepaError unless a checkpoint with this state can be read back and resumed from."""
    if problem := what_is_wrong(state, method.contents):
        raise _broken(method, f"a checkpoint of it {problem}")
    if place := _not_plain(state, "state"):
        raise _broken(method, f"{place}: a checkpoint holds tensors, numbers, texts, lists and dictionaries of them")


def check_export(method: Method[Any], model: Any) -> None:
    """Raise LangJepaError unless `export` returned an existing path, or None."""
    if model is not None and not (isinstance(model, Path) and model.exists()):
        raise _broken(method, f"export gives {_short(model)}, not the Path of what it wrote, or None")


def checked_state(method: Method[Any], engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a checkpoint: the engine's own part, and `state`.

    Raises:
        LangJepaError: `state` returned no mapping, or names that the engine saves itself.
    """
    own = method.state()
    if not isinstance(own, Mapping):
        raise _broken(method, f"state gives {_short(own)}, not names with values")
    if clash := sorted(({"format", "rounding"} | engine.keys()) & own.keys()):
        raise _broken(method, f"state gives {', '.join(clash)}, which the engine saves itself")
    return {**engine, **own}


def check_summary(method: Method[Any], summary: Any, engine: Collection[str]) -> None:
    """Raise LangJepaError unless `summary` returned JSON values by name, and no name that the engine writes."""
    if not isinstance(summary, Mapping):
        raise _broken(method, f"summary gives {_short(summary)}, not names with values")
    if clash := sorted(summary.keys() & set(engine)):
        raise _broken(method, f"summary gives {', '.join(clash)}, which the engine writes itself")
    try:
        json.dumps(dict(summary))
    except (TypeError, ValueError) as error:
        raise _broken(method, f"summary gives what JSON does not have: {error}") from None


def _not_plain(value: Any, place: str) -> str:
    """Return where a value lies that `torch.load` cannot read without running code; empty if there is none."""
    if type(value) in _PLAIN or isinstance(value, Tensor):
        return ""
    if type(value) not in _NESTED:
        return f"{place} is {_short(value)}"
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in entries:
        if type(key) not in _PLAIN or type(one) not in _PLAIN:
            found = _not_plain(key, f"a key of {place}") or _not_plain(one, f"{place}[{key!r}]")
            if found:
                return found
    return ""


def _short(value: Any) -> str:
    """Describe a value in a message: its type, and the value itself if it is short."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" + ("" if value.requires_grad else " without a gradient")
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__
