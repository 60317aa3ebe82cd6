"""Choose the precision: what `auto` means on this machine, and why."""

from typing import TypeVar

import torch

from lang_jepa.errors import LangJepaError
from lang_jepa.settings.run import RunSettings

Kind = TypeVar("Kind", bound=RunSettings)
PRECISIONS = ("auto", "fp32", "bf16")


def native_bf16() -> str:
    """The vendor's name of the instructions with which this CPU multiplies in bfloat16; empty if it has none.

    torch 2.8 to 2.13 have no public function for this: `torch.backends.cpu.get_cpu_capability` ends at AVX512. torch
    reports nothing for Arm processors, so they count as having none.
    """
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else ""


def choose_precision(device: str, precision: str) -> tuple[str, str]:
    """Return `fp32` or `bf16`, and why `auto` resolves to it (empty if the precision is not `auto`).

    Args:
        device: `auto` (a GPU if there is one), or one of torch's device types.
        precision: one of `PRECISIONS`; `auto` is bf16 on a GPU or CPU that has it in hardware.

    Raises:
        LangJepaError: `precision` is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise LangJepaError(f"the precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision != "auto":
        return precision, ""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        return "bf16", "this GPU computes it"
    if device == "cpu" and (name := native_bf16()):
        return "bf16", f"this CPU computes it ({name})"
    return "fp32", f"this {'CPU' if device == 'cpu' else 'device'} does not compute bf16 by itself"


def as_it_was(settings: Kind) -> Kind:
    """Resolve `auto` in settings of a run that did not yet store its choice, when `auto` meant bf16 only on GPUs."""
    meta = settings.meta
    if meta.precision != "auto":
        return settings
    on_gpu = meta.device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return settings.model_copy(update={"meta": meta.model_copy(update={"precision": "bf16" if on_gpu else "fp32"})})
