"""Quantise weights to small integers, with one scale per matrix row, by rounding to the nearest or by GPTQ.

It works on the state dict of any module. A row computes one output of a linear layer, or is one token's embedding.
Vectors and small tensors stay in half precision; tied tensors are stored once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError

Bits = Literal[6, 8]
LEVELS: dict[int, int] = {8: 127, 6: 31}
"""Largest code of each width; codes are symmetric around 0."""
MOST_AT_ONCE = 2**24
"""Most numbers for which torch computes a quantile in one call."""
SMALLEST_SCALE = 2.0**-24
"""The smallest positive number in half precision."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """How numbers become codes.

    Attributes:
        bits: 8 (codes -127 to 127) or 6 (-31 to 31).
        clip: how a row's clipping limit is set: `std`, a multiple of its standard deviation (root mean square), or
            `percentile` of its absolute values; never beyond the largest absolute value.
        clip_at: the multiple or the percentile (None: DEFAULT_CLIP).
        small: tensors with fewer numbers stay in half precision, like all vectors.
    """

    bits: Bits = 8
    clip: Literal["std", "percentile"] = "percentile"
    clip_at: float | None = None
    small: int = 4096

    def __post_init__(self) -> None:
        """Raise LangJepaError for unsupported values."""
        if self.bits not in LEVELS:
            raise LangJepaError(f"weights of {self.bits} bits are not offered: 8 or 6")
        if self.clip not in DEFAULT_CLIP:
            raise LangJepaError(f"unknown clipping '{self.clip}': use one of {', '.join(DEFAULT_CLIP)}")
        if not 0 < self.at <= (100 if self.clip == "percentile" else float("inf")):
            raise LangJepaError(f"{self.clip} {self.at} is out of range")

    @property
    def at(self) -> float:
        """`clip_at`, or its default."""
        return DEFAULT_CLIP[self.clip][self.bits] if self.clip_at is None else self.clip_at


def parse_rounding(bits: Bits, clip: str | None) -> Rounding:
    """Parse `std`, `std=4` or `percentile=99.9` as typed by the user; None gives the default.

    Raises:
        LangJepaError: it is unknown or out of range.
    """
    if clip is None:
        return Rounding(bits=bits)
    how, _, at = clip.partition("=")
    try:
        return Rounding(bits=bits, clip=how, clip_at=float(at) if at else None)  # type: ignore[arg-type]
    except ValueError as error:
        raise LangJepaError(f"--clip {clip}: '{at}' is not a number") from error


DEFAULT_CLIP: dict[str, dict[int, float]] = {"std": {8: 8.0, 6: 5.0}, "percentile": {8: 100.0, 6: 99.98}}
"""Defaults of `clip_at`: the least harmful of those compared in docs/gpt-data.md."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A quantised tensor.

    Attributes:
        codes: int8 [R, C].
        scale: float16 [R], above 0; number = code * scale.
        shape: of the tensor; its first dimension is R.
        bits: of a code.
    """

    codes: Tensor
    scale: Tensor
    shape: tuple[int, ...]
    bits: Bits

    def restore(self) -> Tensor:
        """The tensor in float32 and its original shape."""
        return (self.codes.float() * self.scale.float()[:, None]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Same:
    """A tensor that shares its memory with another, stored one."""

    name: str


Entry = Codes | Same | Tensor
"""A stored tensor: quantised, another name of one, or unquantised (floating ones in half precision if they fit)."""


def quantise_state(
    state: Mapping[str, Tensor], rounding: Rounding, *, grams: Mapping[str, Tensor] | None = None
) -> dict[str, Entry]:
    """Quantise a state dict.

    Args:
        state: tensors by name; two names of one memory are stored once.
        rounding: how weights become codes.
        grams: from `input_grams`: matrices in it are rounded by GPTQ, the others to the nearest.

    Raises:
        LangJepaError: a tensor is not finite, or a Gram matrix does not fit the size of its weights.
    """
    entries: dict[str, Entry] = {}
    seen: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    for name, value in state.items():
        tensor = value.detach()
        memory = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and memory in seen:
            entries[name] = Same(seen[memory])
            continue
        seen[memory] = name
        entries[name] = _entry(name, tensor.cpu(), rounding, (grams or {}).get(name))
    return entries


def restore_state(entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """Restore entries to tensors for `load_state_dict`: floating ones in float32, tied ones the same object."""
    restored: dict[str, Tensor] = {}
    for name, entry in entries.items():
        if isinstance(entry, Same):
            restored[name] = restored[entry.name]
        elif isinstance(entry, Codes):
            restored[name] = entry.restore()
        else:
            restored[name] = entry.float() if entry.is_floating_point() else entry
    return restored


def quantise_rows(matrix: Tensor, rounding: Rounding, gram: Tensor | None = None) -> Codes:
    """Quantise one tensor.

    Args:
        matrix: floating, with at least two dimensions; the first is that of the rows.
        rounding: how weights become codes.
        gram: float [C, C], X^T X of the inputs X [N, C] that the rows are multiplied with, to round by GPTQ.
    """
    rows = matrix.reshape(matrix.shape[0], -1).to(torch.float64)
    level = LEVELS[rounding.bits]
    scale = (_limits(rows, rounding) / level).clamp(min=SMALLEST_SCALE).to(torch.float16)
    exact = scale.double()
    codes = _nearest(rows, exact, level) if gram is None else _gptq(rows, exact, level, gram)
    return Codes(codes.to(torch.int8), scale, tuple(matrix.shape), rounding.bits)


def input_grams(model: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Collect X^T X of the inputs X of every linear layer while `run` calls the model, to calibrate GPTQ.

    Args:
        model: any module.
        run: calls the model on calibration data.

    Returns:
        float64 [C, C] by the name of the weight, on the CPU; layers that were not called are left out.
    """
    grams: dict[str, Tensor] = {}

    def count(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().reshape(-1, layer.in_features).float()
            found = (x.T @ x).double().cpu()
            grams[name] = grams[name] + found if name in grams else found

        return layer.register_forward_pre_hook(hook)

    layers = [(f"{name}.weight", one) for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    handles = [count(name, layer) for name, layer in layers]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return grams


def _entry(name: str, tensor: Tensor, rounding: Rounding, gram: Tensor | None) -> Entry:
    if not tensor.is_floating_point():
        return tensor.clone()
    if not torch.isfinite(tensor).all():
        raise LangJepaError(f"the weights hold numbers that are not finite, in {name}: this model is broken")
    if tensor.ndim < 2 or tensor.numel() < rounding.small:
        half = tensor.to(torch.float16)
        return half if torch.isfinite(half).all() else tensor.float()
    columns = tensor.numel() // tensor.shape[0]
    if gram is not None and gram.shape != (columns, columns):
        raise LangJepaError(f"{name} has {columns} inputs, and was calibrated with {gram.shape[0]}")
    return quantise_rows(tensor, rounding, gram)


def _limits(rows: Tensor, rounding: Rounding) -> Tensor:
    """Clipping limits of the rows, float64 [R]."""
    size = rows.abs()
    if rounding.clip == "std":
        limit = rounding.at * rows.square().mean(1).sqrt()
    else:
        parts = torch.split(size, max(1, MOST_AT_ONCE // size.shape[1]))
        limit = torch.cat([torch.quantile(part, rounding.at / 100, dim=1) for part in parts])
    return torch.minimum(limit, size.amax(1))


def _nearest(rows: Tensor, scale: Tensor, level: int) -> Tensor:
    return (rows / scale[:, None]).round().clamp(-level, level)


def _gptq(rows: Tensor, scale: Tensor, level: int, gram: Tensor) -> Tensor:
    """Round column by column, compensating each column's error in the remaining ones (Frantar et al. 2022).

    Columns are sorted by the size of their inputs, and a hundredth of the mean diagonal is added to the Gram matrix.
    """
    gram = gram.to(torch.float64).clone()
    diagonal = gram.diagonal()
    diagonal[diagonal == 0] = 1.0  # an input that is always 0: its column is only rounded
    order = diagonal.argsort(descending=True)
    gram = gram[order][:, order]
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left = rows[:, order].clone()
    codes = torch.empty_like(left)
    for column in range(left.shape[1]):
        codes[:, column] = _nearest(left[:, column : column + 1], scale, level)[:, 0]
        error = (left[:, column] - codes[:, column] * scale) / upper[column, column]
        left[:, column:] -= error[:, None] * upper[column, column:]
    return codes[:, order.argsort()]
