"""Compiled loop of non-negative matching pursuit on the CPU: one row at a time, on correlations and the Gram matrix.

A row's data enter once, as correlations with all atoms; after that a step costs one pass over a few rows of the Gram matrix [1]_. All
atoms have norm 1 (or 0). `testbed.numerics.pursuit` holds the torch counterpart that the tests compare it with.

References
----------
.. [1] Rubinstein, Zibulevsky & Elad (2008), Efficient implementation of the K-SVD algorithm using batch orthogonal matching pursuit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "reassoc"}
RIDGE = 1e-6
"""Keeps nearly parallel atoms solvable; its bias is far below float32's own rounding of the data."""
ROUNDING = 1e-6
"""Share of a row's norm below which a correlation is taken for rounding."""


@njit(cache=True, nogil=True, fastmath=FAST)
def residual_correlations(alpha: Array, gram: Array, active: Array, values: Array, t: int, out: Array) -> None:
    r""":math:`c = D x - G_{\cdot S} a_S` for one row, four atoms per pass; `alpha` is :math:`D x`."""
    m = len(alpha)
    for j in range(m):
        out[j] = alpha[j]
    p = 0
    while p + 4 <= t:
        g0, g1, g2, g3 = gram[active[p]], gram[active[p + 1]], gram[active[p + 2]], gram[active[p + 3]]
        a0, a1 = out.dtype.type(values[p]), out.dtype.type(values[p + 1])
        a2, a3 = out.dtype.type(values[p + 2]), out.dtype.type(values[p + 3])
        for j in range(m):
            out[j] -= a0 * g0[j] + a1 * g1[j] + a2 * g2[j] + a3 * g3[j]
        p += 4
    while p < t:
        g0 = gram[active[p]]
        a0 = out.dtype.type(values[p])
        for j in range(m):
            out[j] -= a0 * g0[j]
        p += 1


@njit(cache=True, nogil=True, fastmath=FAST)
def largest(values: Array) -> tuple[int, float]:
    """Place and value of the largest entry, the first of equal ones."""
    top = values[0]
    for j in range(len(values)):
        top = values[j] if values[j] > top else top
    place = 0
    while values[place] != top:
        place += 1
    return place, top


@njit(cache=True, nogil=True)
def extend(factor: Array, local: Array, t: int) -> None:
    """Row t of the Cholesky factor of `local` + RIDGE, from the rows before it."""
    for i in range(t):
        total = local[t, i]
        for p in range(i):
            total -= factor[t, p] * factor[i, p]
        factor[t, i] = total / factor[i, i]
    square = local[t, t] + RIDGE
    for p in range(t):
        square -= factor[t, p] * factor[t, p]
    factor[t, t] = math.sqrt(max(square, 0.1 * RIDGE))


@njit(cache=True, nogil=True)
def substitute(factor: Array, target: Array, t: int, out: Array) -> None:
    """Solve with the leading t rows of a Cholesky factor."""
    for i in range(t):
        total = target[i]
        for p in range(i):
            total -= factor[i, p] * out[p]
        out[i] = total / factor[i, i]
    for i in range(t - 1, -1, -1):
        total = out[i]
        for p in range(i + 1, t):
            total -= factor[p, i] * out[p]
        out[i] = total / factor[i, i]


@njit(cache=True, nogil=True)
def without_negatives(
    local: Array, target: Array, t: int, values: Array, keep: Array, small: Array, factor: Array, part: Array, out: Array
) -> None:
    """Drop what came out negative and refit the rest, until nothing does; `values` holds the first solution and takes the last one."""
    kept = 0
    for i in range(t):
        keep[kept] = i
        kept += 1 if values[i] > 0 else 0
    while True:
        for i in range(kept):
            for p in range(i + 1):
                small[i, p] = local[keep[i], keep[p]]
            extend(factor, small, i)
            part[i] = target[keep[i]]
        substitute(factor, part, kept, out)
        for i in range(t):
            values[i] = 0.0
        left = 0
        for i in range(kept):
            if out[i] > 0:
                values[keep[i]] = out[i]
                keep[left] = keep[i]
                left += 1
        if left == kept:
            return
        kept = left


@njit(cache=True, nogil=True)
def write_sorted(active: Array, values: Array, t: int, columns: Array, kept: Array) -> int:
    """Entries that are not 0, by ascending column; gives their number."""
    count = 0
    for p in range(t):
        if values[p] > 0:
            at = count
            while at > 0 and columns[at - 1] > active[p]:
                columns[at] = columns[at - 1]
                kept[at] = kept[at - 1]
                at -= 1
            columns[at] = active[p]
            kept[at] = values[p]
            count += 1
    return count


@njit(cache=True, nogil=True)
def pursue(alpha: Array, gram: Array, norm: Array, steps: int, threshold: float, columns: Array, kept: Array, counts: Array) -> None:
    """Non-negative orthogonal matching pursuit of each row; see `testbed.numerics.pursuit`.

    `alpha` (n, m) holds correlations, `norm` (n,) the rows' norms; `columns`, `kept`, shape (n, steps), and `counts`, shape (n,), take
    the result.
    """
    n, m = alpha.shape
    correlation = np.empty(m, alpha.dtype)
    active, keep = np.empty(steps, np.int64), np.empty(steps + 1, np.int64)
    local, factor = np.empty((steps, steps), np.float64), np.empty((steps, steps), np.float64)
    small, other = np.empty((steps, steps), np.float64), np.empty((steps, steps), np.float64)
    target, part = np.empty(steps, np.float64), np.empty(steps, np.float64)
    values, out = np.empty(steps, np.float64), np.empty(steps, np.float64)
    for i in range(n):
        t = 0
        correlation[:] = alpha[i]
        while t < steps:
            for p in range(t):
                correlation[active[p]] = -1e30
            atom, best = largest(correlation)
            if best < threshold or best <= ROUNDING * norm[i]:
                break
            active[t] = atom
            target[t] = alpha[i, atom]
            for p in range(t + 1):
                local[t, p] = gram[active[p], atom]
                local[p, t] = local[t, p]
            extend(factor, local, t)
            t += 1
            substitute(factor, target, t, values)
            negative = False
            for p in range(t):
                negative = negative or values[p] < 0
            if negative:
                without_negatives(local, target, t, values, keep, small, other, part, out)
            if t < steps:
                residual_correlations(alpha[i], gram, active, values, t, correlation)
        counts[i] = write_sorted(active, values, t, columns[i], kept[i])
