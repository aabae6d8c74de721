"""Means, variances and covariances of two tables of the same rows, by sparse products where rows are sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import Rows, SparseRows
from testbed.numerics.discretise import csr

Array = NDArray[Any]


def cross_moments(concepts: Rows, codes: Rows) -> tuple[Array, Array, Array, Array, Array]:
    """Means, variances and covariances of concepts with codes.

    Parameters
    ----------
    concepts : Tensor or SparseRows, shape (n, c)
    codes : Tensor or SparseRows, shape (n, m)

    Returns
    -------
    mean_z, mean_a, var_z, var_a, covariance : array, shapes (c,), (m,), (c,), (m,), (c, m), float64
        Variances have denominator n; one of rounding size is 0, and so are its covariances.
    """
    z, a = _numbers(concepts), _numbers(codes)
    n = z.shape[0]
    (mean_z, var_z), (mean_a, var_a) = _mean_and_variance(z), _mean_and_variance(a)
    cross: Any = z.T @ a
    cross = cross if isinstance(cross, np.ndarray) else cross.toarray()
    covariance = cross / n - mean_z[:, None] * mean_a
    return mean_z, mean_a, var_z, var_a, np.where((var_z[:, None] > 0) & (var_a > 0), covariance, 0.0)


def correlation(var_z: Array, var_a: Array, covariance: Array) -> Array:
    """Correlations from moments, shape (c, m); a constant column has correlation 0 with everything."""
    scale = np.sqrt(var_z)[:, None] * np.sqrt(var_a)
    return np.asarray(np.clip(np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0), -1.0, 1.0))


def _numbers(rows: Rows) -> Any:
    return csr(rows).astype(np.float64) if isinstance(rows, SparseRows) else rows.detach().double().cpu().numpy()


def _mean_and_variance(rows: Any) -> tuple[Array, Array]:
    """Of each column; a variance of rounding size is 0."""
    n = rows.shape[0]
    mean = np.asarray(rows.sum(axis=0)).ravel() / n
    square = np.asarray((rows * rows).sum(axis=0)).ravel() / n  # of a sparse array entry by entry, too
    variance = square - mean**2
    return mean, np.where(variance > 1e-12 * square, variance, 0.0)
