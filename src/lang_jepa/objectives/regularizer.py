"""Regularizers, which keep the un-normalised embeddings from collapsing.

A regularizer is called with this rank's embeddings and the optimizer step. It returns the value for the batch of all
ranks together, a scalar that is the same on every rank. Gradient accumulation does not enlarge that batch.

Shapes: N embeddings over all ranks, n on this rank, D dimensions, K directions, J knots.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import REGULARIZER

_CHUNK = 1 << 15
"""Elements in a block of projections: a few blocks of this size fit into a core's cache."""
_UNIT_NORM, _FEW = 1e-4, 8


class Regularizer(nn.Module, ABC):
    """A term on the un-normalised embeddings, a function of them and of the step alone.

    A custom class is constructed without arguments, or with `settings=` if it has a class `Settings`. It may define
    `over_views(views, step)`, its value for several views of the same examples (otherwise the mean over views).

    Attributes:
        compares_rows: it cannot act on a batch of one embedding.
        reads: settings that have an effect with this regularizer but not with every other.
    """

    compares_rows: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("objective.regularizer_weight", "objective.final_regularizer_weight")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Construct the regularizer from the settings of a run."""
        return cls(**REGULARIZER.options(cls, settings.own_regularizer))

    @abstractmethod
    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        """Return the value for the batch of all ranks, the same on each, from this rank's embeddings [n, D]."""


class SIGReg(Regularizer):
    """SIGReg of LeJEPA (arXiv 2511.08544): the Epps-Pulley statistic of projections, averaged over random directions.

    With u = z a for a unit direction a, knots t_j evenly spaced on [0, span] and phi(t) = exp(-t^2 / 2):

        statistic = N sum_j w_j phi_j [ (mean_n cos(t_j u_n) - phi_j)^2 + (mean_n sin(t_j u_n))^2 ]

    where w_j are trapezoid weights with the negative half of the axis folded in (2 dt inside, dt at both ends). With
    17 knots on [0, 3], standard normal embeddings score 1.0525 in expectation for any N: the floor is not 0.
    Embeddings collapsed to zero score 0.4020 N.

    Directions are drawn anew at every step as a function of (seed, step), so they are equal on all ranks, in all
    micro-batches of a step, and after resuming. cos and sin are summed over all ranks, so W ranks of n samples give
    the same value as one process with W n samples.

    Args:
        directions: number of directions K (256 as in the paper's minimal example; the paper uses 1024).
        knots: number of knots J, at least 2.
        span: the largest knot.
        seed: seed of the directions.
    """

    reads = (*Regularizer.reads, *(f"objective.sigreg_{name}" for name in ("directions", "knots", "range")))

    def __init__(self, directions: int = 256, knots: int = 17, span: float = 3.0, *, seed: int = 0) -> None:
        super().__init__()
        self.directions, self.knots, self.seed = directions, knots, seed
        self.spacing = span / (knots - 1)
        self._checked = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        mine = settings.objective
        return cls(mine.sigreg_directions, mine.sigreg_knots, mine.sigreg_range, seed=settings.meta.seed)

    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        """Return a scalar for embeddings [n, D], computed in fp32 (float64 input stays float64).

        Raises:
            LangJepaError: every embedding has norm 1, so no projection can be standard normal.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
            self._refuse_unit_norm(z)
            count = sum_over_ranks(z.new_tensor(float(len(z))))
            sums: Tensor = _KnotSums.apply(z, self.draw(z, step), self.spacing, self.knots)  # type: ignore[no-untyped-call]
            cosines, sines = sum_over_ranks(sums) / count
            knots = torch.arange(self.knots, device=z.device, dtype=z.dtype) * self.spacing
            target = torch.exp(-knots.square() / 2).unsqueeze(1)
            weights = torch.full_like(target, 2 * self.spacing)
            weights[[0, -1]] = self.spacing
            errors = (cosines - target).square() + sines.square()
            statistics: Tensor = count * (weights * target * errors).sum(0)
            return statistics.mean()

    def draw(self, z: Tensor, step: int) -> Tensor:
        """Return the step's unit directions, [K, D], with the device and dtype of z."""
        seed = int(np.random.SeedSequence([self.seed, step, 0x51]).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so every device gets the same directions
        directions = torch.randn(self.directions, z.shape[1], generator=generator)
        return nn.functional.normalize(directions.to(z), dim=1)

    def _refuse_unit_norm(self, z: Tensor) -> None:
        """Check only the first large enough batch: it makes a GPU wait, and training makes no model normalise."""
        if self._checked or len(z) < _FEW or z.shape[1] == 1:
            return
        self._checked = True
        if bool(((z.detach().norm(dim=1) - 1.0).abs() < _UNIT_NORM).all()):
            raise LangJepaError(
                "SIGReg was given L2-normalised embeddings. On the unit sphere every projection has variance 1 / D "
                "instead of 1, so the term can never be satisfied: apply it before normalising."
            )


class _KnotSums(torch.autograd.Function):
    """Sums over n of cos(j dt u) and sin(j dt u) for all knots j and directions, [2, J, K].

    Each projection needs one cos and one sin; the other knots follow from x_{j+1} = 2 cos(dt u) x_j - x_{j-1}, which
    holds for both cos(j dt u) and sin(j dt u). The gradient is a series in the same functions, summed by Clenshaw's
    backward recurrence. Only z and the directions are saved; the backward pass recomputes projections block by block.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, directions: Tensor, spacing: float, knots: int) -> Tensor:
        ctx.save_for_backward(z, directions)
        ctx.spacing = spacing
        sums = z.new_empty((2, knots, len(directions)))
        sums[0, 0], sums[1, 0] = float(len(z)), 0.0
        for part in _blocks(z, directions):
            angle = _angles(z, directions[part], spacing)
            now = torch.stack([angle.cos(), angle.sin()])
            before = torch.stack([torch.ones_like(angle), torch.zeros_like(angle)])
            twice = 2.0 * now[0]
            for j in range(1, knots):
                sums[:, j, part] = _sign(j) * now.sum(1)
                # In place and without negation: `now` and `before` hold the values times the `_sign` of their index.
                before.addcmul_(twice, now, value=-1.0 if j % 2 else 1.0)
                now, before = before, now
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        z, directions = ctx.saved_tensors
        knots = gradients[0].shape[1]
        points = torch.arange(knots, device=z.device, dtype=z.dtype).unsqueeze(1) * ctx.spacing
        # d/du of g cos(t u) + h sin(t u) = t h cos(t u) - t g sin(t u)
        series = torch.stack([points * gradients[0][1], -points * gradients[0][0]])
        result = torch.zeros_like(z)
        for part in _blocks(z, directions):
            ours = directions[part]
            result.addmm_(_clenshaw(_angles(z, ours, ctx.spacing), series[:, :, part]), ours)
        return result, None, None, None


def _clenshaw(angle: Tensor, series: Tensor) -> Tensor:
    """Return the sum over j >= 1 of series[0, j] cos(j angle) + series[1, j] sin(j angle), [n, K].

    Args:
        angle: [n, K].
        series: [2, J, K].
    """
    cos, sin = angle.cos(), angle.sin()
    twice = 2.0 * cos
    now, after = (angle.new_zeros((2, *angle.shape)) for _ in range(2))
    for j in range(series.shape[1] - 1, 0, -1):
        after.addcmul_(twice, now, value=-1.0 if j % 2 else 1.0).add_(_sign(j) * series[:, j].unsqueeze(1))
        now, after = after, now
    # _sign(1) = _sign(0) = 1 and _sign(2) = -1
    return cos * now[0] + after[0] + sin * now[1]


def _sign(j: int) -> float:
    """+ + - - + + - - ...: the signs that turn the three-term recurrence into one in-place addition."""
    return 1.0 if j % 4 < 2 else -1.0


def _angles(z: Tensor, directions: Tensor, spacing: float) -> Tensor:
    """Return the projections times the knots' spacing, [n, K]."""
    return (z @ directions.T).mul_(spacing)


def _blocks(z: Tensor, directions: Tensor) -> list[slice]:
    """Split the directions into blocks whose projections fit into the cache."""
    size = max(1, _CHUNK // max(1, len(z))) if z.device.type == "cpu" else len(directions)
    return [slice(begin, begin + size) for begin in range(0, len(directions), size)]


class VICReg(Regularizer):
    """Variance and covariance terms of VICReg (arXiv 2105.04906, equations 1 to 4).

    variance = mean over dimensions of relu(1 - sqrt(var + 1e-4)); covariance = sum of squared off-diagonal entries
    of the covariance matrix, divided by D. Ports that divide by D (D - 1) need weights about D times larger. The
    paper's invariance term is the objective's prediction distance here.

    Both are computed from two global moments, so W ranks of n samples give the same value as one process with W n.

    Args:
        variance: weight of the variance term (paper: 25).
        covariance: weight of the covariance term (paper: 1).
    """

    compares_rows = True
    reads = (*Regularizer.reads, "objective.vicreg_variance", "objective.vicreg_covariance")

    def __init__(self, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        self.variance, self.covariance = variance, covariance

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.objective.vicreg_variance, settings.objective.vicreg_covariance)

    def forward(self, embeddings: Tensor, step: int = 0) -> Tensor:
        """Return a scalar for embeddings [n, D], computed in fp32; `step` is ignored.

        A single embedding over all ranks (the last batch of an epoch can be that small) gives 0 and no gradient.
        """
        return self.over_views([embeddings], step)

    def over_views(self, views: Sequence[Tensor], step: int = 0) -> Tensor:
        """Return a scalar for several views of the same examples, each [n, D]: the weighted mean of their variance
        terms, as in the authors' code, plus the weighted sum of their covariance terms, as in equation 6.
        """
        terms = [self._terms(view) for view in views]
        spread = torch.stack([variance for variance, _ in terms]).mean()
        return self.variance * spread + self.covariance * torch.stack([term for _, term in terms]).sum()

    def _terms(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the variance and the covariance term of one view."""
        with torch.autocast(embeddings.device.type, enabled=False):
            count = float(sum_over_ranks(embeddings.new_tensor(float(len(embeddings)), dtype=torch.float32)))
            if count < 2:
                nothing = embeddings.float().sum() * 0.0
                return nothing, nothing
            covariance = self._covariance(embeddings.float(), count)
            variances = covariance.diagonal()
            spread = torch.relu(1.0 - (variances + 1e-4).sqrt()).mean()
            off_diagonal = (covariance.square().sum() - variances.square().sum()) / len(variances)
            return spread, off_diagonal

    def _covariance(self, x: Tensor, count: float) -> Tensor:
        """Return the unbiased covariance [D, D] over all ranks, in two passes so that a large mean costs no digits."""
        centred = x - sum_over_ranks(x.sum(0)) / count
        return sum_over_ranks(centred.T @ centred) / (count - 1)


def over_views(regularizer: Callable[[Tensor, int], Tensor], views: Sequence[Tensor], step: int) -> Tensor:
    """Return a regularizer's value for several views, each [n, D]: by its own `over_views`, else the views' mean."""
    if own := getattr(regularizer, "over_views", None):
        return own(views, step)  # type: ignore[no-any-return]
    return torch.stack([regularizer(view, step) for view in views]).mean()


REGULARIZERS: dict[str, type[Regularizer] | None] = {"none": None, "vicreg": VICReg, "sigreg": SIGReg}
"""Built-in regularizers, by the value of `objective.regularizer`."""


def make_regularizer(settings: Settings) -> Regularizer | None:
    """Construct the regularizer that the settings choose (None without one).

    Raises:
        LangJepaError: it has weights or buffers, which nothing would train and no checkpoint would store.
    """
    chosen: type[Regularizer] | None = REGULARIZER.part(settings.objective.regularizer)
    made = None if chosen is None else chosen.of(settings)
    if made is not None and (kept := [*made.state_dict()]):
        raise LangJepaError(
            f"objective.regularizer={settings.objective.regularizer} has weights or buffers ({', '.join(kept)}), which "
            "no checkpoint would keep: a regularizer is a function of the embeddings and the step"
        )
    return made
