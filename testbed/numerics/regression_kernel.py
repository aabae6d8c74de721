"""Compiled loops of non-negative regression on the CPU: an active set per row, on correlations and the Gram matrix of unit atoms."""

from __future__ import annotations

import numpy as np
from numba import njit

from testbed.numerics.pursuit_kernel import ROUNDING, Array, largest, residual_correlations, write_sorted

SWEEPS = 10_000
"""Rounds of coordinate descent on an active set, at most."""


@njit(cache=True, nogil=True)
def descend(local: Array, target: Array, penalty: float, t: int, values: Array, tolerance: float) -> None:
    r"""Coordinate descent for :math:`\min_{a \ge 0} \frac12 a^\top G a - (b - \lambda)^\top a` on t atoms, from `values` on."""
    for _ in range(SWEEPS):
        moved = 0.0
        for p in range(t):
            slope = target[p] - penalty
            for q in range(t):
                slope -= local[p, q] * values[q]
            new = max(0.0, values[p] + slope / local[p, p])
            moved = max(moved, abs(new - values[p]))
            values[p] = new
        if moved <= tolerance:
            return


@njit(cache=True, nogil=True)
def regress(
    alpha: Array, gram: Array, norm: Array, steps: int, penalty: float, tolerance: float, columns: Array, kept: Array, counts: Array
) -> None:
    """Non-negative lasso of each row by an active set; see `testbed.numerics.regression`. Arguments as in `pursue`."""
    n, m = alpha.shape
    correlation = np.empty(m, alpha.dtype)
    active = np.empty(steps, np.int64)
    local, target, values = np.empty((steps, steps), np.float64), np.empty(steps, np.float64), np.empty(steps, np.float64)
    for i in range(n):
        t = 0
        close = tolerance * norm[i]
        correlation[:] = alpha[i]
        while True:
            for p in range(t):
                correlation[active[p]] = -1e30
            atom, best = largest(correlation)
            if best <= penalty + close or best <= ROUNDING * norm[i]:
                break
            if t == steps:  # make room: what the fit has put to 0 may go
                left = 0
                for p in range(t):
                    if values[p] > 0:
                        active[left], target[left], values[left] = active[p], target[p], values[p]
                        left += 1
                if left == steps:
                    break
                t = left
                for p in range(t):
                    for q in range(t):
                        local[p, q] = gram[active[p], active[q]]
            active[t] = atom
            target[t] = alpha[i, atom]
            values[t] = 0.0
            for p in range(t + 1):
                local[t, p] = gram[active[p], atom]
                local[p, t] = local[t, p]
            t += 1
            descend(local, target, penalty, t, values, close)
            residual_correlations(alpha[i], gram, active, values, t, correlation)
        counts[i] = write_sorted(active, values, t, columns[i], kept[i])


@njit(cache=True, nogil=True)
def refit(alpha: Array, gram: Array, norm: Array, indptr: Array, columns: Array, values: Array, tolerance: float) -> None:
    """Non-negative least squares of each row on its given entries, in place of `values`."""
    most = 0
    for i in range(len(indptr) - 1):
        most = max(most, indptr[i + 1] - indptr[i])
    local, target, found = np.empty((most, most), np.float64), np.empty(most, np.float64), np.empty(most, np.float64)
    for i in range(len(indptr) - 1):
        start = indptr[i]
        t = indptr[i + 1] - start
        for p in range(t):
            target[p] = alpha[i, columns[start + p]]
            found[p] = values[start + p]
            for q in range(t):
                local[p, q] = gram[columns[start + p], columns[start + q]]
        descend(local, target, 0.0, t, found, tolerance * norm[i])
        for p in range(t):
            values[start + p] = found[p]
