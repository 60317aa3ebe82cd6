"""Three ways to compare embeddings, each ending in unit rows so that a score is a dot product.

`raw` compares the vectors as they are; `centred` first subtracts the mean of the TRAINING embeddings; `whitened`
also undoes their covariance (ZCA). The statistics come from training data only, never from what is scored, and the
same mean and whitening serve predictions and targets. None of the three is best for every model, so evaluation
reports all of them and names the one chosen on development data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.files import atomic_file

Similarity = Literal["raw", "centred", "whitened"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """First and second moment of training sentence embeddings.

    Attributes:
        mean: float32 [D].
        whitening: float32 [D, D], symmetric; (x - mean) @ whitening has about unit covariance.
        count: number of embeddings they were estimated from (0: `identity`, nothing was estimated).
    """

    mean: Floats
    whitening: Floats
    count: int

    @classmethod
    def of(cls, embeddings: ArrayLike, *, shrinkage: float = 0.01, eps: float = 1e-12) -> Self:
        """Estimate from training embeddings, in fp64.

        The covariance's eigenvalues l become (1 - shrinkage) l + shrinkage mean(l) + eps before the inverse square
        root: without it, directions that the sample hardly fills (all of them when N <= D) would be blown up
        without bound. `eps` keeps a completely collapsed encoder's whitening finite.

        Args:
            embeddings: [N, D] unit rows, N >= 2.
            shrinkage: in [0, 1]; 1 gives a multiple of the identity.
            eps: absolute floor of the variances.

        Raises:
            LangJepaError: fewer than two rows, NaN, shrinkage out of range.
        """
        if not 0.0 <= shrinkage <= 1.0 or eps <= 0.0:
            raise LangJepaError(f"shrinkage must be in [0, 1] and eps positive: got {shrinkage} and {eps}.")
        x = checked(embeddings, "training embeddings", rows=2).astype(np.float64)
        mean = x.mean(0)
        covariance = np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])
        values, vectors = np.linalg.eigh(covariance)
        values = np.clip(values, 0, None)
        values = (1 - shrinkage) * values + shrinkage * values.mean() + eps
        whitening = (vectors / np.sqrt(values)) @ vectors.T
        return cls(mean.astype(np.float32), whitening.astype(np.float32), len(x))

    @classmethod
    def identity(cls, dim: int) -> Self:
        """Statistics that change nothing: all three similarities are then raw cosine."""
        return cls(np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32), 0)

    def save(self, path: Path) -> None:
        """Write as safetensors (mean, whitening, count), atomically."""
        from safetensors.numpy import save_file

        tensors: dict[str, NDArray[Any]] = {
            "mean": np.ascontiguousarray(self.mean),
            "whitening": np.ascontiguousarray(self.whitening),
            "count": np.array([self.count], dtype=np.int64),
        }
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            LangJepaError: missing, damaged, or of the wrong shapes.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not Path(path).is_file():
            raise LangJepaError(f"no score statistics at {path}: is this a complete model directory?")
        try:
            tensors = load_file(path)
            mean, whitening, count = tensors["mean"], tensors["whitening"], int(tensors["count"][0])
        except (SafetensorError, KeyError) as error:
            raise LangJepaError(f"the score statistics are damaged ({path}): {error}") from error
        if mean.ndim != 1 or whitening.shape != (len(mean), len(mean)):
            raise LangJepaError(
                f"the score statistics do not fit ({path}): {mean.shape} and {whitening.shape}."
            )
        return cls(mean.astype(np.float32), whitening.astype(np.float32), count)


def prepare(x: ArrayLike, statistics: Statistics, kind: Similarity) -> Floats:
    """Embeddings ready to be compared by a dot product.

    Args:
        x: [N, D] embeddings or predictions.
        statistics: of training embeddings of the same encoder.
        kind: `raw`, `centred` or `whitened`.

    Returns:
        float32 [N, D], unit rows. A row that is exactly zero after centring stays zero: it scores 0 with all.

    Raises:
        LangJepaError: unknown kind, NaN, or a width that is not the statistics'.
    """
    if kind not in SIMILARITIES:
        raise LangJepaError(f"unknown similarity '{kind}': use one of {', '.join(SIMILARITIES)}.")
    rows = checked(x, "embeddings")
    if kind != "raw":
        if rows.shape[1] != len(statistics.mean):
            raise LangJepaError(
                f"embeddings are {rows.shape[1]} wide but the statistics {len(statistics.mean)}: they belong to "
                "another model."
            )
        rows = rows - statistics.mean
    if kind == "whitened":
        rows = rows @ statistics.whitening
    return unit_rows(rows)


def unit_rows(x: Floats) -> Floats:
    """Rows divided by their L2 norm; zero rows stay zero."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Floats = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit


def checked(x: ArrayLike, what: str, rows: int = 0) -> Floats:
    """A finite float32 matrix [N, D] with at least so many rows.

    Raises:
        LangJepaError: it is not; `what` names it.
    """
    matrix = np.asarray(x, dtype=np.float32)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or len(matrix) < rows:
        raise LangJepaError(f"{what} must be a matrix [N >= {rows}, D], got shape {matrix.shape}.")
    bad = ~np.isfinite(matrix).all(1)
    if bad.any():
        raise LangJepaError(
            f"{int(bad.sum())} of {len(matrix)} rows of the {what} hold NaN or infinite values: the model has "
            "diverged or its weights are damaged."
        )
    return matrix
