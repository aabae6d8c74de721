"""Means and covariances of rows, dense or sparse, in float64 and on the CPU; memory does not grow with the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from testbed.contracts import BLOCK, InvalidInput, Rows, SparseRows

MOSTLY_ZERO = 1 / 8
"""Share of entries other than 0 up to which dense rows are worth compressing."""


def compressed(rows: Rows) -> Rows:
    """Rows that are mostly zero as SparseRows; others, and those that are sparse already, as they are."""
    if isinstance(rows, SparseRows):
        return rows
    used = sum(int(rows[i : i + BLOCK].count_nonzero()) for i in range(0, len(rows), BLOCK))
    if used > MOSTLY_ZERO * rows.numel():
        return rows
    return SparseRows.cat([SparseRows.from_dense(rows[i : i + BLOCK]) for i in range(0, max(1, len(rows)), BLOCK)])


def sparse_array(rows: SparseRows) -> Any:
    """The same rows as a sparse array of scipy, float64, shape (n, m)."""
    small = np.int32 if max(len(rows.values), *rows.shape) < 2**31 else np.int64
    indices, indptr = (t.cpu().numpy().astype(small, copy=False) for t in (rows.indices, rows.indptr))
    return scipy.sparse.csr_array((rows.values.detach().double().cpu().numpy(), indices, indptr), shape=rows.shape)


def mean(rows: Rows) -> Tensor:
    """Mean of each column, shape (m,)."""
    if isinstance(rows, SparseRows):
        values = rows.values.double().cpu()
        return values.new_zeros(rows.shape[1]).index_add_(0, rows.indices.cpu(), values) / len(rows)
    blocks = (rows[i : i + BLOCK].double().sum(dim=0).cpu() for i in range(0, len(rows), BLOCK))
    return sum(blocks, torch.zeros(rows.shape[1], dtype=torch.float64)) / len(rows)


def variance(rows: Rows) -> Tensor:
    """Variance of each column, denominator n, shape (m,); 0 where it is of the size of rounding errors."""
    middle = mean(rows)
    if isinstance(rows, SparseRows):
        values, column = rows.values.double().cpu(), rows.indices.cpu()
        spread = torch.zeros_like(middle).index_add_(0, column, (values - middle[column]).square())
        zeros = len(rows) - column.bincount(minlength=rows.shape[1])
        found = (spread + zeros * middle.square()) / len(rows)
    else:
        blocks = ((rows[i : i + BLOCK].double().cpu() - middle).square().sum(dim=0) for i in range(0, len(rows), BLOCK))
        found = sum(blocks, torch.zeros_like(middle)) / len(rows)
    # As in `matching`: a deviation of 1e-7 of the column's size is a constant column, and dividing by it would invent a correlation.
    return torch.where(found > 1e-14 * (found + middle.square()), found, 0.0)


def covariance(x: Rows, y: Rows) -> Tensor:
    r"""Covariance :math:`\frac1n \sum_t (x_t - \bar x)(y_t - \bar y)^\top` of every column of x with every column of y.

    Parameters
    ----------
    x : Tensor or SparseRows, shape (n, c)
    y : Tensor or SparseRows, shape (n, m)

    Returns
    -------
    Tensor, shape (c, m)

    Raises
    ------
    InvalidInput
        If the rows differ in number.
    """
    if len(x) != len(y):
        raise InvalidInput(f"there are {len(x)} rows and {len(y)}: take the same sample")
    n, mean_x, mean_y = len(x), mean(x), mean(y)
    if isinstance(x, SparseRows) and isinstance(y, SparseRows):
        total = torch.from_numpy((sparse_array(x).T @ sparse_array(y)).toarray())
        return total / n - torch.outer(mean_x, mean_y)
    total = mean_x.new_zeros(len(mean_x), len(mean_y))
    for start in range(0, n, BLOCK):
        total += _product(x[start : start + BLOCK], y[start : start + BLOCK], mean_x, mean_y)
    return total / n


def correlation(x: Rows, y: Rows) -> Tensor:
    """Pearson correlation of every column of x with every column of y, signed, shape (c, m); 0 where a column is constant."""
    scale_x, scale_y = (torch.where(v > 0, v.rsqrt(), 0.0) for v in (variance(x), variance(y)))
    return (covariance(x, y) * scale_x[:, None] * scale_y).clamp(-1.0, 1.0)


def _product(x: Rows, y: Rows, mean_x: Tensor, mean_y: Tensor) -> Tensor:
    """Sum over the rows of a block of centred x times centred y, where x, y or both are dense."""
    if isinstance(x, SparseRows):
        return _product(y, x, mean_y, mean_x).T
    centred = x.double().cpu() - mean_x
    if not isinstance(y, SparseRows):
        return centred.T @ (y.double().cpu() - mean_y)
    product = torch.from_numpy((sparse_array(y).T @ centred.numpy()).T)
    return product - torch.outer(centred.sum(dim=0), mean_y)
