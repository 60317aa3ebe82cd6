"""Terms on the un-normalised embeddings that keep them from collapsing.

A regularizer is called with the local embeddings [N, D] and the optimizer step, and returns a scalar that is the same
on all ranks: the value for the batch of all ranks together. Gradient accumulation does not enlarge the batch that it
sees.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from lang_jepa.errors import LangJepaError
from lang_jepa.objectives.reduction import sum_over_ranks
from lang_jepa.objectives.sigreg import Regularizer, SIGReg
from lang_jepa.settings.encoder import Settings
from lang_jepa.settings.parts import REGULARIZER

__all__ = ["REGULARIZERS", "Regularizer", "SIGReg", "VICReg", "make_regularizer", "over_views"]


class VICReg(Regularizer):
    """Variance and covariance terms of VICReg (arXiv 2105.04906, equations 1 to 4).

    variance = mean over dimensions of relu(1 - sqrt(var + 1e-4)); covariance = sum of squared off-diagonal entries
    of the covariance matrix, divided by D. Ports that divide by D (D - 1) need weights about D times larger. The
    invariance term is the objective's prediction distance.

    Both are computed from two global moments, so W ranks of n samples give what one process with W n samples gives.

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
        """Scalar for embeddings [N, D], the same at every step; computed in fp32.

        One embedding over all ranks (the rest of an epoch may be that short) has no covariance: 0, and no gradient.
        """
        return self.over_views([embeddings], step)

    def over_views(self, views: Sequence[Tensor], step: int = 0) -> Tensor:
        """Scalar for several views of the same examples, each [N, D]: the mean of their variance terms, as in the
        authors' code, plus the sum of their covariance terms, as in equation 6.
        """
        terms = [self._terms(view) for view in views]
        spread = torch.stack([variance for variance, _ in terms]).mean()
        return self.variance * spread + self.covariance * torch.stack([term for _, term in terms]).sum()

    def _terms(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and covariance term of one view."""
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
        """Unbiased covariance [D, D] over all ranks' rows, in two passes so that a large mean costs no digits."""
        centred = x - sum_over_ranks(x.sum(0)) / count
        return sum_over_ranks(centred.T @ centred) / (count - 1)


def over_views(regularizer: Callable[[Tensor, int], Tensor], views: Sequence[Tensor], step: int) -> Tensor:
    """A regularizer's value for several views, each [N, D]: by its own method of this name, else the views' mean."""
    if own := getattr(regularizer, "over_views", None):
        return own(views, step)  # type: ignore[no-any-return]
    return torch.stack([regularizer(view, step) for view in views]).mean()


REGULARIZERS: dict[str, type[Regularizer] | None] = {"none": None, "vicreg": VICReg, "sigreg": SIGReg}
"""Built-in regularizers by `objective.regularizer`."""


def make_regularizer(settings: Settings) -> Regularizer | None:
    """The regularizer that the settings choose, if any.

    Raises:
        LangJepaError: it has weights or buffers, which nothing would train and no checkpoint keep.
    """
    chosen: type[Regularizer] | None = REGULARIZER.part(settings.objective.regularizer)
    made = None if chosen is None else chosen.of(settings)
    if made is not None and (kept := [*made.state_dict()]):
        raise LangJepaError(
            f"objective.regularizer={settings.objective.regularizer} has weights or buffers ({', '.join(kept)}), which "
            "no checkpoint would keep: a regularizer is a function of the embeddings and the step"
        )
    return made
