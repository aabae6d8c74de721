"""Information distances of columns, which add up along the paths of a tree, and their standard errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.independence import correlations

Float = NDArray[np.float64]

BEYOND = 4.0
"""Standard errors by which a correlation must differ from none for its distance to be used."""
FAR = 12.0
"""Longest distance: a correlation of e^-12 is none."""


def gaussian_distances(values: NDArray[np.float64]) -> Float:
    r"""Information distances :math:`-\log |\rho_{ij}|` of the columns, shape (p, p): additive along the paths of a Gaussian tree."""
    with np.errstate(divide="ignore"):
        out = np.minimum(-np.log(np.abs(correlations(values))), FAR)
    np.fill_diagonal(out, 0.0)
    return np.asarray(out)


def association(states: NDArray[np.int64]) -> Float:
    r"""Singular values of :math:`D_i^{-1/2} P_{ij} D_j^{-1/2}` after the first, which is 1: canonical correlations of columns of states.

    P is the joint table of two columns and D are their marginals. Shape (p, p, K - 1), K the smallest number of states of a column.
    """
    n, p = states.shape
    widths = (states.max(axis=0) + 1).tolist()
    kept = min(widths)
    out = np.ones((p, p, kept - 1))
    for i in range(p):
        for j in range(i):
            table = np.bincount(states[:, i] * widths[j] + states[:, j], minlength=widths[i] * widths[j]).reshape(widths[i], widths[j]) / n
            root = np.sqrt(np.outer(table.sum(axis=1), table.sum(axis=0)))
            sigma = np.linalg.svd(np.divide(table, root, out=np.zeros_like(table), where=root > 0), compute_uv=False)
            out[i, j] = out[j, i] = sigma[1:kept]
    return out


def states_that_show(sigma: Float, n: int) -> int:
    """Number of hidden states that pairs bear out: canonical correlations of every column with its best partner above noise."""
    best = np.where(np.eye(len(sigma), dtype=bool)[:, :, None], 0.0, sigma).max(axis=1)  # (p, K - 1)
    return max(2, 1 + int((best.min(axis=0) > BEYOND / np.sqrt(n)).sum()))


def discrete_distances(sigma: Float, kept: int) -> Float:
    r"""Information distances of columns of states, shape (p, p), additive along the paths of a tree whose hidden nodes have `kept` states.

    .. math:: d_{ij} = -\sum_{k = 2}^{K} \log \sigma_k

    of the canonical correlations that `association` gives; for columns of K states it is :math:`-\log |\det P_{ij}| / \sqrt{\det D_i
    \det D_j}` (Choi et al., equation 12), for more of them the pseudo-determinant (Anandkumar et al. 2011, Spectral methods for learning
    multivariate latent tree structure, section 3).
    """
    out = np.minimum(-np.log(np.maximum(sigma[:, :, : kept - 1], 1e-300)).sum(axis=2), FAR)
    np.fill_diagonal(out, 0.0)
    return np.asarray(out)


def standard_errors(sigma: Float, n: int) -> Float:
    r"""Of sums of logarithms of (canonical) correlations, in large samples: :math:`\sqrt{\sum_k (1 - \sigma_k^2)^2 / (n \sigma_k^2)}`."""
    return np.asarray(np.sqrt((((1 - sigma**2) / np.maximum(sigma, 1e-6)) ** 2).sum(axis=2) / n))
