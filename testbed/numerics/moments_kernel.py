"""Compiled sums over sparse codes that least squares need: products of codes with codes and with rows, a few entries per row."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def add_products(x: Array, indptr: Array, columns: Array, values: Array, gram: Array, cross: Array, uses: Array, squares: Array) -> None:
    r"""Add :math:`[a, 1]^\top [a, 1]` to `gram`, :math:`[a, 1]^\top x` to `cross`, and per code its uses and sum of squares.

    `x` has shape (n, d), the codes are n sparse rows of m; `gram` has shape (m + 1, m + 1) and `cross` (m + 1, d): the last code is 1.
    """
    n, d = x.shape
    m = len(uses)
    for i in range(n):
        row = x[i]
        first, last = indptr[i], indptr[i + 1]
        for p in range(first, last):
            j = columns[p]
            value = values[p]
            uses[j] += 1
            squares[j] += value * value
            gram[j, m] += value
            gram[m, j] += value
            for q in range(first, last):
                gram[j, columns[q]] += value * values[q]
            into = cross[j]
            for c in range(d):
                into[c] += value * row[c]
        gram[m, m] += 1
        into = cross[m]
        for c in range(d):
            into[c] += row[c]
