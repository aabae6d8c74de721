"""Compiled coordinate descent for many lasso regressions on the same rows, along a path of penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True, fastmath={"nnan", "ninf", "nsz", "arcp", "contract", "reassoc"})
def lasso_paths(gram: Array, cross: Array, shares: Array, sweeps: int, tolerance: float, weights: Array) -> None:
    r"""Minimise :math:`\frac12 w^\top C w - c^\top w + \lambda \|w\|_1` for every target and penalty.

    A coordinate's step is :math:`w_j = S(c_j - \sum_{k \ne j} C_{jk} w_k, \lambda) / C_{jj}` with S the soft threshold. After a sweep over
    all coordinates those that are not 0 are swept until they rest, then all again, `sweeps` sweeps in all at most.

    Parameters
    ----------
    gram : array, shape (m, m)
        C; a coordinate with nothing on the diagonal stays 0.
    cross : array, shape (t, m)
        c of each target.
    shares : array, shape (l,), descending
        Penalties as shares of the smallest one at which all weights are 0.
    sweeps : int
    tolerance : float
        Largest step at which a target is taken for solved.
    weights : array, shape (l, t, m)
        Filled.
    """
    m = len(gram)
    zero = gram.dtype.type(0)
    for t in range(len(cross)):
        w = np.zeros(m, gram.dtype)
        slope = cross[t].copy()
        top = zero
        for j in range(m):
            top = max(top, abs(slope[j]))
        for step in range(len(shares)):
            penalty = gram.dtype.type(shares[step] * top)
            everywhere = True
            for _ in range(sweeps):
                largest = zero
                for j in range(m):
                    size = gram[j, j]
                    if size <= zero or (w[j] == zero and not everywhere):
                        continue
                    pull = slope[j] + size * w[j]
                    new = zero
                    if pull > penalty:
                        new = (pull - penalty) / size
                    elif pull < -penalty:
                        new = (pull + penalty) / size
                    move = new - w[j]
                    if move != zero:
                        w[j] = new
                        line = gram[j]
                        for k in range(m):
                            slope[k] -= move * line[k]
                        largest = max(largest, abs(move))
                if largest <= tolerance:
                    if everywhere:
                        break
                    everywhere = True
                else:
                    everywhere = False
            weights[step, t] = w
