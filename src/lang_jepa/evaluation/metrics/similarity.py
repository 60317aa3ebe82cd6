"""Four ways to compare embeddings, each ending in unit rows so that a score is a dot product.

`raw` compares the vectors unchanged; `centred` first subtracts the mean of the TRAINING embeddings; `whitened` also
removes their covariance (ZCA). `predictable` compares what a context can predict: a concept is replaced by the linear
regression of the whitened prediction on it. Each canonical direction of predictions and concepts (Hotelling 1936) then
counts by its canonical correlation, and directions that no context predicts (openings, choice of words) not at all. It
needs a predictor. The statistics come from training data only, never from the scored data. None of the four is best
for every model, so evaluation reports all of them and names the one selected on development data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lang_jepa.errors import LangJepaError
from lang_jepa.files.atomic import atomic_file

Similarity = Literal["raw", "centred", "whitened", "predictable"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
IN_WORDS: dict[Similarity, str] = {
    "raw": "raw cosine: of the vectors as they are",
    "centred": "centred cosine: after the mean of the training embeddings is subtracted",
    "whitened": "whitened cosine: after mean and covariance of the training embeddings are removed",
    "predictable": "predictable cosine: only what a context can predict of a text counts, hardly its choice of words",
}
"""What each similarity is, for people who see its name beside a number."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Predictable:
    """The space of what contexts predict, estimated from training predictions and their targets.

    Attributes:
        prediction_mean, concept_mean: float32 [D], means of predictions and of their targets.
        predictions: float32 [D, D], the whitening of predictions.
        concepts: float32 [D, D], regression of whitened predictions on centred concepts.
    """

    prediction_mean: Floats
    concept_mean: Floats
    predictions: Floats
    concepts: Floats

    @classmethod
    def of(cls, predictions: ArrayLike, targets: ArrayLike, *, shrinkage: float = 0.01) -> Self:
        """Estimate from training predictions and the embeddings of their targets, both [N, D] unit rows.

        With P and Z the centred rows: predictions map W = cov(P)^(-1/2), concepts map cov(Z)^(-1) cov(Z, P) W.

        Raises:
            LangJepaError: there are fewer than two rows, shapes differ, or an entry is NaN.
        """
        p = checked(predictions, "training predictions", rows=2).astype(np.float64)
        z = checked(targets, "training targets", rows=2).astype(np.float64)
        if p.shape != z.shape:
            raise LangJepaError(f"predictions {p.shape} and targets {z.shape} must have one shape.")
        means = p.mean(0), z.mean(0)
        p, z = p - means[0], z - means[1]
        whitening = _power(p.T @ p / len(p), -0.5, shrinkage)
        regression = _power(z.T @ z / len(z), -1.0, shrinkage) @ (z.T @ p / len(p)) @ whitening
        return cls(*(part.astype(np.float32) for part in (*means, whitening, regression)))


@dataclass(frozen=True)
class Statistics:
    """Moments of training sentence embeddings, and of predictions if there is a predictor.

    Attributes:
        mean: float32 [D].
        whitening: float32 [D, D], symmetric; (x - mean) @ whitening has about unit covariance.
        count: number of embeddings they were estimated from (0: `identity`, nothing was estimated).
        predictable: maps for the similarity `predictable` (None: the model has no predictor).
        sample: float32 [R, D], some of those embeddings, as a reference of what is usual (None: none were saved).
    """

    mean: Floats
    whitening: Floats
    count: int
    predictable: Predictable | None = None
    sample: Floats | None = None

    @property
    def similarities(self) -> tuple[Similarity, ...]:
        """The kinds of similarity that these statistics allow."""
        return tuple(kind for kind in SIMILARITIES if kind != "predictable" or self.predictable is not None)

    @classmethod
    def of(
        cls, embeddings: ArrayLike, *, predictable: Predictable | None = None, keep: int = 0, shrinkage: float = 0.01
    ) -> Self:
        """Estimate from training embeddings, in fp64 (see `_power` for the shrinkage).

        Args:
            embeddings: [N, D] unit rows, N >= 2.
            predictable: maps of the same encoder with its predictor (None: no `predictable`).
            keep: most embeddings to keep as a sample, spread evenly.
            shrinkage: in [0, 1]; 1 gives a multiple of the identity.

        Raises:
            LangJepaError: there are fewer than two rows, an entry is NaN, or shrinkage is out of range.
        """
        x = checked(embeddings, "training embeddings", rows=2).astype(np.float64)
        covariance = np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])
        whitening = _power(covariance, -0.5, shrinkage)
        rows = np.unique(np.linspace(0, len(x) - 1, min(keep, len(x))).astype(int))
        sample = x[rows].astype(np.float32) if keep else None
        return cls(x.mean(0).astype(np.float32), whitening.astype(np.float32), len(x), predictable, sample)

    @classmethod
    def identity(cls, dim: int) -> Self:
        """Return statistics that change nothing: raw, centred and whitened are then all the raw cosine."""
        return cls(np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32), 0)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically."""
        from safetensors.numpy import save_file

        tensors: dict[str, NDArray[Any]] = {
            "mean": np.ascontiguousarray(self.mean),
            "whitening": np.ascontiguousarray(self.whitening),
            "count": np.array([self.count], dtype=np.int64),
        }
        if self.predictable is not None:
            for name in _PREDICTABLE:
                tensors[f"predictable.{name}"] = np.ascontiguousarray(getattr(self.predictable, name))
        if self.sample is not None:
            tensors["sample"] = np.ascontiguousarray(self.sample)
        with atomic_file(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            LangJepaError: the file is missing or damaged, or holds wrong shapes.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not Path(path).is_file():
            raise LangJepaError(f"no score statistics at {path}: is this a complete model directory?")
        try:
            tensors = load_file(path)
            mean, whitening, count = tensors["mean"], tensors["whitening"], int(tensors["count"][0])
            # "predictable", or its earlier name "foretold".
            prefix = next((name.partition(".")[0] for name in tensors if "." in name), None)
            maps = [tensors[f"{prefix}.{name}"].astype(np.float32) for name in _PREDICTABLE] if prefix else []
        except (SafetensorError, KeyError) as error:
            raise LangJepaError(f"the score statistics are damaged ({path}): {error}") from error
        if bad := [name for name, part in tensors.items() if not np.isfinite(part).all()]:
            raise LangJepaError(f"the score statistics {path} are not usable: {bad[0]} holds NaN or infinity")
        square = (len(mean), len(mean))
        shapes = [mean.shape, whitening.shape, *(part.shape for part in maps)]
        if shapes != [square[:1], square, *([square[:1], square[:1], square, square] if maps else [])]:
            raise LangJepaError(f"the score statistics do not fit ({path}): {shapes}.")
        predictable = Predictable(*maps) if maps else None
        sample = tensors.get("sample")
        if sample is not None and (sample.ndim != 2 or sample.shape[1:] != square[:1]):
            raise LangJepaError(f"the score statistics do not fit ({path}): a sample of shape {sample.shape}.")
        return cls(mean.astype(np.float32), whitening.astype(np.float32), count, predictable, sample)


_PREDICTABLE = ("prediction_mean", "concept_mean", "predictions", "concepts")


def _power(covariance: NDArray[np.float64], exponent: float, shrinkage: float) -> NDArray[np.float64]:
    """Return a negative power of a covariance, [D, D] symmetric.

    Its eigenvalues l first become (1 - shrinkage) l + shrinkage mean(l). Without shrinkage, directions that the sample
    hardly fills (all of them when N <= D) would be scaled up without bound. A tiny floor keeps the result finite for a
    completely collapsed encoder.
    """
    if not 0.0 <= shrinkage <= 1.0:
        raise LangJepaError(f"shrinkage must be in [0, 1]: got {shrinkage}.")
    values, vectors = np.linalg.eigh(covariance)
    values = np.clip(values, 0, None)
    values = (1 - shrinkage) * values + shrinkage * values.mean() + _FLOOR
    power: NDArray[np.float64] = (vectors * values**exponent) @ vectors.T
    return power


_FLOOR = 1e-12


def prepare(
    x: ArrayLike, statistics: Statistics, kind: Similarity, *, side: Literal["concepts", "predictions"] = "concepts"
) -> Floats:
    """Transform embeddings so that they are compared by a dot product.

    Args:
        x: [N, D] embeddings or predictions.
        statistics: statistics of training embeddings of the same encoder.
        kind: `raw`, `centred`, `whitened` or `predictable`.
        side: what x holds; only `predictable` treats predictions and concepts differently.

    Returns:
        float32 [N, D], unit rows. A row that is exactly zero after centring stays zero and scores 0 with all others.

    Raises:
        LangJepaError: unknown kind, `predictable` without a predictor, NaN, or a width other than the statistics'.
    """
    rows = checked(x, "embeddings")
    mapping = linear_map(statistics, kind, side=side)
    if mapping is None:
        return unit_rows(rows)
    mean, matrix = mapping
    if rows.shape[1] != len(mean):
        raise LangJepaError(
            f"embeddings are {rows.shape[1]} wide but the statistics {len(mean)}: they belong to another model."
        )
    rows = rows - mean
    return unit_rows(rows if matrix is None else (rows @ matrix).astype(np.float32, copy=False))


def linear_map(
    statistics: Statistics, kind: Similarity, *, side: Literal["concepts", "predictions"] = "concepts"
) -> tuple[Floats, Floats | None] | None:
    """Return the map that `prepare` applies to rows x before it normalises them: (x - mean) @ matrix.

    Args:
        statistics: statistics of training embeddings.
        kind: `raw`, `centred`, `whitened` or `predictable`.
        side: what the rows are; only `predictable` treats predictions and concepts differently.

    Returns:
        Mean float32 [D] and matrix float32 [D, D] (None: the identity); None for `raw`, which leaves rows unchanged.

    Raises:
        LangJepaError: unknown kind, or `predictable` without a predictor.
    """
    if kind not in SIMILARITIES:
        raise LangJepaError(f"unknown similarity '{kind}': use one of {', '.join(SIMILARITIES)}.")
    if kind == "raw":
        return None
    if kind != "predictable":
        return statistics.mean, statistics.whitening if kind == "whitened" else None
    predictable = statistics.predictable
    if predictable is None:
        raise LangJepaError("the similarity 'predictable' needs a model with a predictor: use 'centred' or another.")
    if side == "predictions":
        return predictable.prediction_mean, predictable.predictions
    return predictable.concept_mean, predictable.concepts


def unit_rows(x: Floats) -> Floats:
    """Divide rows by their L2 norm, whose square may exceed float32; zero rows stay zero."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        x = x / np.abs(x).max(axis=1, keepdims=True, initial=1.0)
        norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Floats = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit


def dense(matrix: Any) -> NDArray[Any]:
    """Return a matrix as an array, whether it is one or is sparse."""
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def row_products(one: Any, other: Any) -> NDArray[np.float64]:
    """Return the dot product of each pair of rows of two matrices, both dense or both sparse, [n]."""
    product = one.multiply(other) if hasattr(one, "multiply") else one * other
    return np.asarray(product.sum(1), dtype=np.float64).ravel()


def checked(x: ArrayLike, what: str, rows: int = 0) -> Floats:
    """Convert to float32, and check that it is a finite matrix [N, D] with at least `rows` rows.

    Raises:
        LangJepaError: it is not; the message calls it `what`.
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
