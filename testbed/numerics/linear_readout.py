"""Linear prediction of many columns from the same rows, fitted on some rows and judged on others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1e-3
"""Share of a column's variance that is added to it: keeps copies and constant columns solvable."""


def explained_out_of_sample(x: Tensor, y: Tensor, x_new: Tensor, y_new: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Squared errors that a linear readout leaves on new rows, and those that the mean leaves.

    .. math:: \hat y = \bar y + (x - \bar x) (C + \rho I)^{-1} c

    with x in units of its standard deviations, C and c covariances on the fitted rows, :math:`\rho` = `RIDGE`. The mean is that of the
    fitted rows, so that one minus the ratio of the two is 0 for a readout that has learned nothing and below it for one that has
    learned noise.

    Parameters
    ----------
    x, x_new : Tensor, shape (n, m) and (n', m)
    y, y_new : Tensor, shape (n, t) and (n', t)

    Returns
    -------
    left, total : array, shape (t,)
    """
    mean, scale = standardiser(x)
    middle = y.mean(dim=0)
    u, v = (x - mean) * scale, y - middle
    gram = (u.T @ u).double() / len(x)
    cross = (u.T @ v).double() / len(x)
    gram.diagonal().add_(RIDGE)
    weights = torch.cholesky_solve(cross, torch.linalg.cholesky(gram)).to(x.dtype)
    error = (y_new - middle) - ((x_new - mean) * scale) @ weights
    total = (y_new - middle).double().square().sum(dim=0)
    return error.double().square().sum(dim=0).numpy(), np.asarray(total.numpy())


def standardiser(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and reciprocal standard deviations (0 for a constant column) of the columns, shape (m,) each."""
    mean = x.double().mean(dim=0)
    variance = (x.double() - mean).square().mean(dim=0)
    deviation, size = variance.sqrt(), (variance + mean.square()).sqrt()
    scale = torch.where(deviation > 1e-6 * size, 1 / deviation.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return mean.to(x.dtype), scale.to(x.dtype)
