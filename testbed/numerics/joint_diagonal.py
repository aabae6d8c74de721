"""One frame in which several covariances are diagonal: codes that are uncorrelated in every environment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

SWEEPS = 200
"""Most sweeps over all pairs."""
CONVERGED = 1e-12
"""Decrease of the criterion below which a sweep is the last."""
HALVINGS = 20
"""Of a step that would raise the criterion."""


def joint_diagonal(covariances: Tensor, weights: Tensor) -> Tensor:
    r"""The invertible matrix that makes positive definite matrices as diagonal as they can jointly be [1]_.

    .. math:: \min_W \sum_e w_e \big( \log\det \operatorname{diag}(W C_e W^\top) - \log\det (W C_e W^\top) \big)

    by Newton steps in one pair of rows after the other. For Gaussian sources whose variances depend on the environment this is maximum
    likelihood [2]_; W is unique, up to order and scale of its rows, where no two sources have variances in proportion.

    Parameters
    ----------
    covariances : Tensor, shape (e, m, m)
    weights : Tensor, shape (e,)
        Positive; for maximum likelihood, rows of each environment.

    Returns
    -------
    Tensor, shape (m, m)
        W, whose rows have norm 1.

    Raises
    ------
    InvalidInput
        If a matrix is not positive definite.

    References
    ----------
    .. [1] Pham (2001), Joint approximate diagonalization of positive definite Hermitian matrices, SIAM J. Matrix Anal. Appl. 22(4).
    .. [2] Pham & Cardoso (2001), Blind separation of instantaneous mixtures of nonstationary sources, IEEE Trans. Signal Process. 49(9).
    """
    c = covariances.double().cpu().clone()
    if not bool((torch.linalg.eigvalsh(c)[:, :1] > 0).all()):
        raise InvalidInput("a covariance to be diagonalised is not positive definite: give every environment more rows than codes")
    share = (weights.double() / weights.sum()).cpu()
    m = c.shape[1]
    turn = torch.eye(m, dtype=torch.float64)
    for _ in range(SWEEPS):
        gain = 0.0
        for i in range(m):
            for j in range(i):
                step, decrease = _pair(c[:, i, i], c[:, j, j], c[:, i, j], share)
                both = [i, j]
                c[:, both, :] = step @ c[:, both, :]
                c[:, :, both] = c[:, :, both] @ step.T
                turn[both] = step @ turn[both]
                gain += decrease
        if gain < CONVERGED:
            break
    return torch.nn.functional.normalize(turn, dim=1).to(covariances)


def _pair(first: Tensor, second: Tensor, cross: Tensor, share: Tensor) -> tuple[Tensor, float]:
    """A step for two rows, shape (2, 2), and by how much it lowers the criterion, from their variances and covariances, shape (e,)."""
    p, q = float((share * cross / first).sum()), float((share * cross / second).sum())
    a, b = float((share * second / first).sum()), float((share * first / second).sum())
    determinant = a * b - 1  # of the curvature; 0 where the two variances are in proportion, and then any frame of the two will do
    x, y = ((b * p - q) / determinant, (a * q - p) / determinant) if determinant > 1e-9 else (p / (2 * a), q / (2 * b))
    for _ in range(HALVINGS):
        rest = abs(1 - x * y)
        if rest > 1e-9:
            new_first = first - 2 * x * cross + x * x * second
            new_second = second - 2 * y * cross + y * y * first
            decrease = float((share * (first * second / (new_first * new_second)).log()).sum()) + 2 * math.log(rest)
            if decrease > 0:
                return torch.tensor([[1.0, -x], [-y, 1.0]], dtype=torch.float64), decrease
        x, y = x / 2, y / 2  # Newton's step leads too far where environments are nearly alike
    return torch.eye(2, dtype=torch.float64), 0.0
