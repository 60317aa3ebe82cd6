"""What the engine needs of a `Method`, checked where the method gives it: a system of one's own is told what is wrong
with it by name, before training where that can be known.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Size, Tensor, device, dtype, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.training.checkpoint import what_is_wrong
from lang_jepa.training.method import Loss, Method, Validation
from lang_jepa.training.metrics import STEP

_PLAIN = frozenset((type(None), bool, int, float, str, dtype, device))
_NESTED = frozenset((dict, OrderedDict, list, tuple, Size))


def _broken(method: Method[Any], what: str) -> LangJepaError:
    return LangJepaError(f"system {method.settings.system}: {what} (see lang_jepa.training.method.Method)")


def check_built(method: Method[Any]) -> None:
    """What `open_data` and `build` must have set, and what the class says of itself.

    Raises:
        LangJepaError: it is missing, or of another kind.
    """
    wanted: dict[str, tuple[type | tuple[type, ...], str]] = {
        "identity": (str, "open_data sets it: a text that changes with the data"),
        "total": (int, "open_data sets it: optimizer steps planned"),
        "network": (nn.Module, "build sets it: what is trained"),
        "model": (nn.Module, "build sets it, by set_up(network, optimizer)"),
        "optimizers": ((list, tuple), "build sets them, by set_up(network, optimizer)"),
        "micro_batches": (int, "micro-batches of an optimizer step"),
        "columns": ((list, tuple), "names of metrics"),
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
    if not method.optimizers:
        raise _broken(method, "it has no optimizer; build sets them, by set_up(network, optimizer)")
    if STEP not in method.columns or len({*method.columns}) < len(method.columns):
        raise _broken(method, f"columns must hold {STEP}, and each name once")
    best = method.best()
    if not (isinstance(best, tuple) and len(best) == 2 and best[1] in ("min", "max")):
        raise _broken(method, f"best gives {_short(best)}; a metric or None, and 'min' or 'max', are wanted")


def check_batches(method: Method[Any], batches: Any) -> None:
    """Raise LangJepaError unless there is a next batch and a position, as `Batches` says."""
    if not callable(getattr(batches, "__next__", None)) or not isinstance(getattr(batches, "state", None), dict):
        raise _broken(
            method,
            f"batches gives {_short(batches)}; `__next__` and a dictionary `state` are wanted, as of DrawnBatches",
        )


def check_batch(method: Method[Any], batch: Any) -> None:
    """Raise LangJepaError unless a micro-batch is what `Batch` says."""
    if not isinstance(getattr(batch, "predictions", None), int) or not callable(getattr(batch, "to", None)):
        raise _broken(
            method,
            f"a batch is {_short(batch)}; it needs `predictions`, a whole number, and `to(device)`, as Rows has them",
        )


def check_loss(method: Method[Any], loss: Any) -> None:
    """Raise LangJepaError unless a loss is what `Loss` says."""
    if not isinstance(loss, Loss):
        raise _broken(method, f"loss gives {_short(loss)}; a Loss is wanted")
    if not (isinstance(loss.total, Tensor) and loss.total.numel() == 1 and loss.total.requires_grad):
        raise _broken(method, f"the total of the Loss is {_short(loss.total)}; a scalar with a gradient is wanted")
    if not isinstance(loss.sums, Mapping) or not all(isinstance(one, Tensor) for one in loss.sums.values()):
        raise _broken(method, "the sums of the Loss are names with tensors, detached")


def check_metrics(method: Method[Any], metrics: Any, *, of: str) -> None:
    """Raise LangJepaError unless what is to be written are numbers under names of metrics.csv.

    Args:
        method: whose metrics.
        metrics: to be written.
        of: what gave them, for the message.
    """
    if not isinstance(metrics, Mapping):
        raise _broken(method, f"{of} gives {_short(metrics)}; names with numbers are wanted")
    if of != "validate" and "train/loss" not in metrics:
        raise _broken(method, f"{of} gives no train/loss: what is minimised")
    if unknown := [str(name) for name in metrics if name not in method.columns]:
        raise _broken(method, f"{of} gives {', '.join(unknown)}, which its class attribute columns does not name")
    for name, value in metrics.items():
        if isinstance(value, str | bytes | bool) or not hasattr(value, "__float__"):
            raise _broken(method, f"{of} gives {name} as {_short(value)}, which is no number")


def check_validation(method: Method[Any], found: Any) -> None:
    """Raise LangJepaError unless a validation is a `Validation` with metrics that can be written."""
    if not isinstance(found, Validation):
        raise _broken(method, f"validate gives {_short(found)}; a Validation or None is wanted")
    check_metrics(method, found.metrics, of="validate")
    if isinstance(found.examples, str) or isinstance(found.warnings, str):
        raise _broken(method, "validate gives examples or warnings as one text; a list of texts is wanted")


def check_going_on(method: Method[Any], step: int) -> None:
    """Raise LangJepaError where training goes on beyond the steps planned: such a checkpoint is of no use."""
    if step >= method.total:
        raise _broken(method, f"ended says that training goes on at step {step}, and total is {method.total}")


def check_state(method: Method[Any], state: Mapping[str, Any]) -> None:
    """Raise LangJepaError unless a checkpoint with this state can be read again and gone on from."""
    if problem := what_is_wrong(state, method.contents):
        raise _broken(method, f"a checkpoint of it {problem}")
    if place := _not_plain(state, "state"):
        raise _broken(method, f"{place}: a checkpoint holds tensors, numbers, texts, lists and dictionaries of them")


def check_export(method: Method[Any], model: Any) -> None:
    """Raise LangJepaError unless `export` gave the path of something that is there, or None."""
    if model is not None and not (isinstance(model, Path) and model.exists()):
        raise _broken(method, f"export gives {_short(model)}; the Path of what it wrote, or None, is wanted")


def _not_plain(value: Any, place: str) -> str:
    """Where something lies that `torch.load` does not read without running code; nothing if nowhere."""
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
    """A value for a message: its type, and itself where that is short."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" + ("" if value.requires_grad else " without a gradient")
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__
