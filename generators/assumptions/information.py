"""Entropies of joint tables, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from testbed.contracts import InvalidInput


def checked_law(table: Tensor) -> Tensor:
    """A table of probabilities or weights as a law: float64, summing to 1.

    Raises
    ------
    InvalidInput
        If an entry is negative or not finite, or all are 0.
    """
    law = table.detach().cpu().double()
    if law.numel() == 0 or not law.isfinite().all() or (law < 0).any() or law.sum() <= 0:
        raise InvalidInput("a table of probabilities has finite entries of at least 0, not all of them 0")
    return law / law.sum()


def entropy(law: Tensor) -> float:
    r""":math:`-\sum p \log p`."""
    return float(torch.special.entr(law).sum())


def total_correlation(law: Tensor) -> float:
    r"""How far the axes of a joint law are from independent [1]_, :math:`\sum_j H(t_j) - H(t)`, as :math:`KL(p \,\|\, \prod_j p_j)`.

    Parameters
    ----------
    law : Tensor, shape (a_1, ..., a_s), float64

    References
    ----------
    .. [1] Watanabe (1960), Information theoretical analysis of multivariate correlation, IBM Journal.
    """
    product = torch.ones((), dtype=law.dtype)
    for j in range(law.dim()):
        product = product[..., None] * law.sum(dim=[k for k in range(law.dim()) if k != j]) if law.dim() > 1 else law
    return max(0.0, float((torch.special.xlogy(law, law) - torch.special.xlogy(law, product)).sum()))


def total_correlation_gaussian(covariance: Tensor) -> float:
    r"""The same for a Gaussian law, :math:`-\tfrac12 \log \det R` with R its correlation matrix."""
    scale = covariance.double().diagonal().sqrt()
    if not (scale > 0).all():
        raise InvalidInput("a covariance has a positive diagonal: leave constant concepts out")
    return max(0.0, -0.5 * float(torch.logdet(covariance.double() / scale[:, None] / scale)))
