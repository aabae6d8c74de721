"""Compiled loops over pairs of sparse rows: the products of entries that stand in the same row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def add_products(total: Array, z_indptr: Array, z_column: Array, z_value: Array, a_indptr: Array, a_column: Array, a_value: Array) -> None:
    """Add Z'A to `total`, shape (c, m), one column of Z after the other, so that one row of `total` at a time is written to."""
    c = total.shape[0]
    start = np.zeros(c + 1, np.int64)
    for e in range(len(z_column)):
        start[z_column[e] + 1] += 1
    for i in range(c):
        start[i + 1] += start[i]
    at, row, value = start[:c].copy(), np.empty(len(z_column), np.int64), np.empty(len(z_column))
    for t in range(len(z_indptr) - 1):
        for e in range(z_indptr[t], z_indptr[t + 1]):
            p = at[z_column[e]]
            at[z_column[e]] += 1
            row[p], value[p] = t, z_value[e]
    for i in range(c):
        out = total[i]
        for p in range(start[i], start[i + 1]):
            for f in range(a_indptr[row[p]], a_indptr[row[p] + 1]):
                out[a_column[f]] += value[p] * a_value[f]


@njit(cache=True, nogil=True)
def add_matched_products(
    total: Array,
    pair: Array,
    code: Array,
    z_indptr: Array,
    z_column: Array,
    z_value: Array,
    a_indptr: Array,
    a_column: Array,
    a_value: Array,
) -> None:
    """Add to ``total[p]`` the sum over rows of z times a for the concept with ``pair[i] = p`` (-1: in no pair) and code ``code[p]``."""
    m = 0
    for f in range(len(a_column)):
        m = max(m, a_column[f] + 1)
    for p in range(len(code)):
        m = max(m, code[p] + 1)
    held = np.zeros(m)
    for t in range(len(z_indptr) - 1):
        for f in range(a_indptr[t], a_indptr[t + 1]):
            held[a_column[f]] += a_value[f]
        for e in range(z_indptr[t], z_indptr[t + 1]):
            p = pair[z_column[e]]
            if p >= 0:
                total[p] += z_value[e] * held[code[p]]
        for f in range(a_indptr[t], a_indptr[t + 1]):
            held[a_column[f]] = 0.0
