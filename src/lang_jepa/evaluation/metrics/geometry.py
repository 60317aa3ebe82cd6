"""Geometry of embeddings: whether they have collapsed, how spread out they are, whether predictions find their targets.

Functions take tensors on any device and return floats. They compute in fp64 (fp32 on MPS, which has no fp64) for any
input dtype, without gradients. Shapes: N rows, D dimensions.

None of these metrics shows that embeddings carry content: a high rank can be noise. Read them beside a retrieval score.
"""

import math

import torch
from torch import Tensor

from lang_jepa.errors import LangJepaError


def effective_rank(x: Tensor) -> float:
    """Return exp(entropy of the normalised singular values of the centred matrix); Roy and Vetterli, EUSIPCO 2007.

    Args:
        x: [N, D], N >= 2.

    Returns:
        A value between 1 and min(N - 1, D), or 0.0 if all rows are equal. N bounds it, so always report N beside it.

    Raises:
        LangJepaError: not a matrix, fewer than two rows, NaN or infinite entries.
    """
    singular = _spectrum(_centred(_matrix(x))).sqrt()
    total = singular.sum()
    if float(total) == 0.0:
        return 0.0
    p = singular[singular > 0] / total
    return math.exp(float(-(p * p.log()).sum()))


def first_component_share(x: Tensor, centred: bool = False) -> float:
    """Return the share of the sum of squares in the first singular direction, in [1 / min(N, D), 1].

    Un-centred by default, since a common offset of all embeddings is a collapse that centring would hide.

    Args:
        x: [N, D], N >= 2.
        centred: subtract the mean row first. A constant matrix then gives 1.0.
    """
    matrix = _matrix(x)
    squares = _spectrum(_centred(matrix) if centred else matrix)
    total = float(squares.sum())
    return float(squares.max()) / total if total > 0 else 1.0


def mean_pairwise_cosine(x: Tensor) -> float:
    """Return the mean cosine of all N (N - 1) ordered pairs of different rows, exactly, in O(N D).

    With unit rows u_i and their sum s: (|s|^2 - sum |u_i|^2) / (N (N - 1)). A zero row has cosine 0 with all others.
    """
    unit = _unit(_matrix(x))
    count = unit.shape[0]
    total = unit.sum(0)
    return float((total @ total - unit.square().sum()) / (count * (count - 1)))


def diversity(x: Tensor) -> float:
    """Return 1 - `mean_pairwise_cosine`: 0 if all rows have the same direction, about 1 if directions are random."""
    return 1.0 - mean_pairwise_cosine(x)


def normalized_std(x: Tensor) -> float:
    """Return the mean per-dimension standard deviation of the L2-normalised rows, times sqrt(D).

    About 1 for rows spread evenly over the sphere, for any D; 0 after a collapse. Population formula (1 / N).
    """
    return _std_of_units(_matrix(x)) * math.sqrt(x.shape[1])


def off_diagonal_covariance_l1(x: Tensor) -> float:
    """Return the mean absolute off-diagonal entry of the covariance (1 / (N - 1)) of unscaled rows; 0.0 for D = 1."""
    centred = _centred(_matrix(x))
    count, dims = centred.shape
    if dims == 1:
        return 0.0
    covariance = centred.T @ centred / (count - 1)
    off_diagonal = covariance.abs().sum() - covariance.diagonal().abs().sum()
    return float(off_diagonal / (dims * (dims - 1)))


def alignment(x: Tensor, y: Tensor) -> float:
    """Return E |f(x) - f(y)|^2 over N positive pairs of unit vectors, in [0, 4]; Wang and Isola, arXiv 2005.10242.

    Args:
        x, y: [N, D]; rows i of both are a pair. They are normalised here.
    """
    if x.shape != y.shape:
        raise LangJepaError(f"alignment needs pairs: shapes {tuple(x.shape)} and {tuple(y.shape)} differ.")
    left, right = _unit(_matrix(x, rows=1)), _unit(_matrix(y, rows=1))
    return float((left - right).square().sum(1).mean())


def uniformity(x: Tensor, t: float = 2.0, block: int = 1024) -> float:
    """Return log E exp(-t |f(x) - f(y)|^2) over pairs of different rows; Wang and Isola, arXiv 2005.10242.

    0 after a collapse, down to about -2 t for widely spread rows (t = 2: about -4). Rows are normalised here. Takes
    O(N^2 D) time in blocks of rows, so no [N, N] matrix is held.
    """
    unit = _unit(_matrix(x))
    count = unit.shape[0]
    total = 0.0
    for start in range(0, count, block):
        cosine = unit[start : start + block] @ unit.T
        rows = torch.arange(cosine.shape[0], device=unit.device)
        kernel = torch.exp(-t * (2 - 2 * cosine).clamp(min=0))
        kernel[rows, rows + start] = 0
        total += float(kernel.sum())
    return math.log(total / (count * (count - 1)))


def health(raw_targets: Tensor, predictions: Tensor) -> dict[str, float]:
    """Return the metrics that show a collapse early, from one batch of held-out targets and their predictions.

    Args:
        raw_targets: [N, D], target embeddings before L2 normalisation, N >= 2.
        predictions: [N, D]; row i predicts row i of the targets. `norm` is their unscaled L2 norm.

    Returns:
        count: N. Ranks and hit rates mean nothing without it.
        cosine_similarity: mean cosine of a prediction and its own target.
        hit_rate: share of predictions whose nearest target in the batch is their own; chance is 1 / N. A tie with
            another target is not a hit, so a collapsed batch scores 0 and not 1.
        norm, diversity: mean norm and `diversity` of the predictions.
        target_std_mean: mean per-dimension std of the normalised targets; target_std_relative: the same times
            sqrt(D), so that an even spread gives about 1.
        target_eff_rank, target_eff_rank_limit: effective rank of the normalised targets, and min(N - 1, D).
        target_off_diag_cov_l1, mean_pairwise_cosine, first_component_share: of the normalised targets, the last
            two un-centred.
        raw_std: mean per-dimension std of the targets before normalisation.

    Raises:
        LangJepaError: shapes differ, fewer than two rows, NaN or infinite entries.
    """
    if raw_targets.shape != predictions.shape:
        raise LangJepaError(
            f"health needs one prediction per target: targets {tuple(raw_targets.shape)}, "
            f"predictions {tuple(predictions.shape)}."
        )
    raw, predicted = _matrix(raw_targets), _matrix(predictions)
    targets, directions = _unit(raw), _unit(predicted)
    count, dims = raw.shape
    std = _std_of_units(raw)
    return {
        "count": float(count),
        "cosine_similarity": float((targets * directions).sum(1).mean()),
        "hit_rate": _hit_rate(directions, targets),
        "norm": float(predicted.norm(dim=1).mean()),
        "diversity": diversity(predicted),
        "target_std_mean": std,
        "target_std_relative": std * math.sqrt(dims),
        "target_eff_rank": effective_rank(targets),
        "target_eff_rank_limit": float(min(count - 1, dims)),
        "target_off_diag_cov_l1": off_diagonal_covariance_l1(targets),
        "mean_pairwise_cosine": mean_pairwise_cosine(targets),
        "first_component_share": first_component_share(targets),
        "raw_std": float(raw.std(dim=0, correction=0).mean()),
    }


def _matrix(x: Tensor, rows: int = 2) -> Tensor:
    """Convert to fp64, and check that it is a finite [N, D] matrix with N >= rows."""
    if x.ndim != 2 or x.shape[0] < rows or x.shape[1] < 1:
        raise LangJepaError(f"expected embeddings [N, D] with N >= {rows}, got shape {tuple(x.shape)}.")
    wide = x.detach().to(torch.float32 if x.device.type == "mps" else torch.float64)
    if not bool(torch.isfinite(wide).all()):
        bad = int((~torch.isfinite(wide).all(1)).sum())
        raise LangJepaError(
            f"{bad} of {x.shape[0]} embeddings hold NaN or infinite values: the model has diverged, or the "
            "weights are damaged. Lower the learning rate, or load an earlier checkpoint."
        )
    return wide


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)


def _std_of_units(x: Tensor) -> float:
    return float(_unit(x).std(dim=0, correction=0).mean())


def _spectrum(x: Tensor) -> Tensor:
    """Return squared singular values from the smaller of the two Gram matrices, which is far faster than an SVD.

    Squaring turns exact zeros into noise of about eps times the largest value. The noise is set to 0, as otherwise a
    rank-one matrix would seem to have hundreds of small directions.
    """
    gram = x.T @ x if x.shape[1] <= x.shape[0] else x @ x.T
    # LAPACK on the CPU: eigvalsh is missing on MPS and slower on CUDA at these sizes.
    squares = torch.linalg.eigvalsh(gram.cpu()).clamp(min=0)
    floor = squares.max() * max(x.shape) * torch.finfo(squares.dtype).eps
    return torch.where(squares > floor, squares, 0.0)


def _hit_rate(predictions: Tensor, targets: Tensor) -> float:
    scores = predictions @ targets.T
    own = scores.diagonal().clone()
    scores.fill_diagonal_(-math.inf)
    # Cosines within rounding error of each other are ties.
    return float((own > scores.max(1).values + 1e-9).double().mean())
