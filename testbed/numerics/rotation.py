"""Rotations to simple structure: few large entries, the rest near 0."""

from __future__ import annotations

import torch
from torch import Tensor


def varimax(loadings: Tensor, *, max_iter: int = 500, tol: float = 1e-8) -> tuple[Tensor, bool]:
    r"""The orthogonal matrix that maximises the variance of squared entries within columns [1]_.

    .. math:: \max_R \sum_j \Big[ \frac1n \sum_i \lambda_{ij}^4 - \Big( \frac1n \sum_i \lambda_{ij}^2 \Big)^2 \Big], \qquad \lambda = L R

    by repeated projection of the gradient on the orthogonal matrices [2]_, from the identity.

    Parameters
    ----------
    loadings : Tensor, shape (n, m)
        L. Rows are taken as they are (no Kaiser normalisation).
    max_iter : int
    tol : float
        Relative gain of the gradient's nuclear norm below which it ends.

    Returns
    -------
    rotation : Tensor, shape (m, m)
    converged : bool

    References
    ----------
    .. [1] Kaiser (1958), The varimax criterion for analytic rotation in factor analysis.
    .. [2] Jennrich (2001), A simple general procedure for orthogonal rotation.
    """
    n, m = loadings.shape
    rotation = torch.eye(m, dtype=loadings.dtype, device=loadings.device)
    before = 0.0
    for _ in range(max_iter):
        rotated = loadings @ rotation
        slope = loadings.T @ (rotated**3 - rotated * (rotated.square().sum(dim=0) / n))
        u, s, vh = torch.linalg.svd(slope)
        rotation = u @ vh
        size = float(s.sum())
        if size <= before * (1 + tol):
            return rotation, True
        before = size
    return rotation, False


def promax(rotated: Tensor, power: float = 4.0) -> Tensor:
    r"""The oblique change of a varimax solution that comes closest to its own entries raised to a power [1]_.

    .. math:: P_{ij} = |\lambda_{ij}|^{\kappa} \operatorname{sign} \lambda_{ij}, \qquad
              U = (\lambda^\top \lambda)^{-1} \lambda^\top P, \qquad T = U \operatorname{diag}((U^\top U)^{-1})^{1/2}

    so that factors :math:`T^{-1} f` have variance 1 where f have the unit covariance.

    Parameters
    ----------
    rotated : Tensor, shape (n, m)
        :math:`\lambda`, of full column rank.
    power : float
        :math:`\kappa`; 1 changes nothing.

    Returns
    -------
    Tensor, shape (m, m)
        T: pattern loadings are :math:`\lambda T`.

    References
    ----------
    .. [1] Hendrickson & White (1964), Promax: a quick method for rotation to oblique simple structure.
    """
    # Columns of one scale: the power would else weigh them by their size.
    scaled = rotated / rotated.square().mean(dim=0).sqrt()
    target = scaled.sign() * scaled.abs() ** power
    change = torch.linalg.lstsq(rotated, target).solution
    inverse = torch.linalg.inv(change.T @ change)
    oblique: Tensor = change * inverse.diagonal().sqrt()
    return oblique
