"""Non-negative regression in batches: the codes of rows in a known dictionary that an L1 penalty picks, all at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.pursuit import ROWS, check_fit, compiled, filled, joined, unit_rows
from testbed.numerics.regression_kernel import refit, regress

TOLERANCE = 1e-6
"""Share of a row's norm that a code may be off by."""
ITERATIONS = 20_000
"""Proximal steps, at most; nearly parallel atoms need many."""


def nonnegative_lasso(x: Tensor, dictionary: Tensor, *, penalty: float, tolerance: float = TOLERANCE) -> SparseRows:
    r"""Non-negative lasso [1]_ of each row on the atoms.

    .. math:: \min_{a \ge 0} \tfrac12 \|x - a D\|^2 + \lambda \sum_j a_j \|d_j\|

    On the CPU a compiled loop grows an active set by the atom that violates the optimality conditions most and descends on the set's
    coordinates until they hold; elsewhere accelerated proximal gradients with restarts [2]_ end at the same minimum. `penalty` 0 is
    non-negative least squares.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    dictionary : Tensor, shape (m, d)
        Rows of any norm; a row of zeros is never used.
    penalty : float
        :math:`\lambda`: no atom is used that correlates less than this with a row, both atoms of norm 1.
    tolerance : float
        Share of a row's norm that a code may be off by.

    Returns
    -------
    SparseRows, shape (n, m)
        All entries > 0, by ascending column.

    Raises
    ------
    InvalidInput
        If the widths differ or `penalty` is negative.

    References
    ----------
    .. [1] Tibshirani (1996), Regression shrinkage and selection via the lasso.
    .. [2] Beck & Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear inverse problems;
       O'Donoghue & Candes (2015), Adaptive restart for accelerated gradient schemes.
    """
    check_fit(x, dictionary)
    if penalty < 0:
        raise InvalidInput(f"the penalty must be at least 0, not {penalty}")
    unit, norm = unit_rows(dictionary)
    shape = (len(x), len(dictionary))
    if compiled(x, unit):
        indptr, columns, values = _by_active_set(x, unit, penalty, tolerance)
        return SparseRows(indptr, columns, values / norm[columns], shape)
    pieces = [SparseRows.from_dense(_proximal(rows, unit, penalty, tolerance)) for rows in torch.split(x, ROWS)]
    found = SparseRows.cat(pieces) if pieces else SparseRows.from_dense(x.new_zeros(shape))
    return SparseRows(found.indptr, found.indices, found.values / norm[found.indices], shape)


def nonnegative_refit(x: Tensor, dictionary: Tensor, codes: SparseRows, *, tolerance: float = TOLERANCE) -> SparseRows:
    """Non-negative least squares of each row on the atoms that its codes use, which undoes a penalty's shrinkage.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    dictionary : Tensor, shape (m, d)
    codes : SparseRows, shape (n, m), entries > 0
    tolerance : float
        Share of a row's norm that a code may be off by.
    """
    unit, norm = unit_rows(dictionary)
    if compiled(x, unit):
        gram, values = (unit @ unit.T).numpy(), (codes.values * norm[codes.indices]).numpy().copy()
        for start in range(0, len(x), ROWS):
            rows = x[start : start + ROWS]
            first = int(codes.indptr[start])
            indptr = codes.indptr[start : start + len(rows) + 1]
            part = slice(first, int(indptr[-1]))
            columns = codes.indices[part].numpy()
            refit((rows @ unit.T).numpy(), gram, rows.norm(dim=1).numpy(), (indptr - first).numpy(), columns, values[part], tolerance)
        fitted = torch.from_numpy(values)
    else:
        starts = range(0, len(x), ROWS)
        dense = [_proximal(x[i : i + ROWS], unit, 0.0, tolerance, codes[i : i + ROWS].dense() > 0) for i in starts]
        rows = codes.row_of_entry()
        fitted = torch.cat(dense)[rows, codes.indices] if dense else codes.values
    used = fitted > 0
    columns_, rows_ = codes.indices[used], codes.row_of_entry()[used]
    return SparseRows.from_entries(rows_, columns_, fitted[used] / norm[columns_], codes.shape)


def _by_active_set(x: Tensor, unit: Tensor, penalty: float, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    gram = (unit @ unit.T).numpy()
    room = min(len(unit), unit.shape[1] + 1)  # no more than d atoms are needed, and one is on its way in or out
    counts = np.zeros(len(x), np.int64)
    found = []
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        columns, values = np.empty((len(rows), room), np.int64), np.empty((len(rows), room), gram.dtype)
        count = counts[start : start + ROWS]
        regress((rows @ unit.T).numpy(), gram, rows.norm(dim=1).numpy(), room, penalty, tolerance, columns, values, count)
        found.append(filled(columns, values, count))
    return joined(counts, found, x)


def _proximal(x: Tensor, unit: Tensor, penalty: float, tolerance: float, allowed: Tensor | None = None) -> Tensor:
    """Accelerated proximal gradients on all atoms, or on those `allowed` (n, m); shape (n, m)."""
    gram, slope = unit @ unit.T, x @ unit.T - penalty
    if allowed is not None:
        slope = torch.where(allowed, slope, -torch.inf)
    rate = 1 / torch.linalg.matrix_norm(gram, ord=2).clamp_min(torch.finfo(x.dtype).tiny)
    codes = ahead = torch.zeros_like(slope)
    pace = torch.ones_like(slope[:, :1])  # of each row by itself, so that rows do not depend on each other
    close = tolerance * x.norm(dim=1, keepdim=True)
    for _ in range(ITERATIONS):
        new = (ahead + rate * (slope - ahead @ gram)).clamp_min(0)
        restart = ((ahead - new) * (new - codes)).sum(dim=1, keepdim=True) > 0
        pace = torch.where(restart, 1.0, pace)
        following = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        step = new - codes
        ahead = new + (pace - 1) / following * step
        codes, pace = new, following
        if (step.abs() <= 0.01 * close).all():
            break
    return codes
