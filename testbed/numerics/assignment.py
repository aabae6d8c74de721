"""Exact assignment on large dense matrices: solved on few candidates, certified on all entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput
from testbed.numerics.assignment_kernel import (
    best_of_columns,
    best_of_rows,
    extended,
    loosen,
    reduce_rows,
    settle,
    transposed,
    violations,
)

Array = NDArray[Any]
BITS = 51
"""Weights are whole numbers up to 2**BITS: a sum of two is still exact in float64, and rounding to them is that of float64 itself."""
BY_ROW, BY_COLUMN, AT_RANDOM, PER_ROUND = 16, 8, 16, 32
"""Candidates to begin with: the largest of each row and of each column, and random ones per row; then at most so many more per row."""
SOME = 256
"""Rows that tell how much the entries of a column differ."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Matched pairs, and what proves that no other assignment is better.

    Attributes
    ----------
    row, column : array, shape (min(c, m),), int64
        Matched pairs, by row.
    total : float
        Sum of the matched entries.
    row_price, column_price : array, shape (c,) and (m,)
        Prices with :math:`u_i + v_j \\ge s_{ij} - \\min s` for all pairs, that sum to the total less min(c, m) min s.
    candidates, rounds : int
        How many pairs were looked at in the end, and how often they were checked against all.
    """

    row: Array
    column: Array
    total: float
    row_price: Array
    column_price: Array
    candidates: int
    rounds: int


def assign(similarity: Array) -> Assignment:
    r"""The assignment of rows to columns, one to one, with the largest sum; exact.

    With :math:`w_{ij} = s_{ij} - \min s \ge 0` the problem is, by linear programming duality, to find a matching and prices
    :math:`u, v \ge 0` with

    .. math:: u_i + v_j \ge w_{ij} \text{ for all pairs}, \quad u_i + v_j = w_{ij} \text{ for matched ones}, \quad
        u_i = 0,\ v_j = 0 \text{ for unmatched ones.}

    Such prices prove that the matching is optimal; what it leaves unmatched on both sides has weight 0 and is paired in order. They are
    sought on a few candidates per row by shortest augmenting paths [1]_, then held against *all* entries; those that violate the
    first condition become candidates and the search goes on from the prices it has [2]_, until there are none. Random candidates
    beside the largest ones keep prices sensible where all rows want the same columns.

    Weights are rounded to multiples of :math:`2^{-51}` of the (power of 2 next to the) range of s, an error of the size of float64's
    own; on the rounded weights all arithmetic is exact, ties included.

    Parameters
    ----------
    similarity : array, shape (c, m)
        Finite; it is neither changed nor copied.

    Returns
    -------
    Assignment

    Raises
    ------
    InvalidInput
        If an entry is NaN or infinite.

    References
    ----------
    .. [1] Jonker & Volgenant (1987), A shortest augmenting path algorithm for dense and sparse linear assignment problems.
    .. [2] Volgenant (1996), Linear and semi-assignment problems: a core oriented approach.
    """
    c, m = similarity.shape
    if not c or not m:
        return _finished(similarity, 0.0, 1.0, np.full(c, -1), np.full(m, -1), np.zeros(c), np.zeros(m), 0, 0)
    low, high = float(similarity.min()), float(similarity.max())
    if not np.isfinite(high - low):
        raise InvalidInput("similarities hold NaN or infinity, or differ by more than a number can hold: nothing can be matched by them")
    scale = 2.0 ** min(BITS - np.frexp(high - low)[1], 1000) if high > low else 1.0  # 2**1024 is infinite: 1e-300 is 0
    indptr, column, weight = _first_candidates(similarity, low, scale)
    u, v = np.zeros(c), _first_prices(similarity, scale)
    of_row, of_column = np.full(c, -1, np.int64), np.full(m, -1, np.int64)
    more = (np.empty((c, PER_ROUND), np.int32), np.empty((c, PER_ROUND)), np.empty(c, np.int64))
    rounds = 0
    while True:
        rounds += 1
        loosen(indptr, column, weight, u, v, of_row, of_column)
        reduce_rows(indptr, column, weight, u, v, of_row, of_column, 4 * c)
        settle(indptr, column, weight, u, v, of_row, of_column)
        settle(*transposed(indptr, column, weight, m), v, u, of_column, of_row)
        if not violations(similarity, low, scale, u, v, *more):
            break
        indptr, column, weight = extended(indptr, column, weight, more[2], more[0], more[1])
    return _finished(similarity, low, scale, of_row, of_column, u, v, len(column), rounds)


def _first_prices(similarity: Array, scale: float) -> Array:
    """Column means above that of the last column that can be matched: prices to begin with, where some columns suit every row better."""
    c, m = similarity.shape
    mean = similarity.mean(axis=0, dtype=np.float64)
    within = similarity[:: -(-c // SOME)].var(axis=0, dtype=np.float64).mean()
    if mean.var() <= 4 * within / c:  # no more than chance: prices of 0 are closer to the end
        return np.zeros(m)
    last = np.partition(mean, m - min(c, m))[m - min(c, m)]
    prices: Array = np.rint(np.maximum(mean - last, 0) * scale)
    return prices


def _first_candidates(similarity: Array, low: float, scale: float) -> tuple[Array, Array, Array]:
    """Row pointers, columns and weights of the candidates to begin with."""
    c, m = similarity.shape
    column, count = best_of_rows(similarity, BY_ROW)
    held = np.arange(BY_ROW) < count[:, None]
    keys = [(column + np.arange(c)[:, None] * m)[held]]
    row, count = best_of_columns(similarity, BY_COLUMN)
    held = np.arange(BY_COLUMN) < count[:, None]
    keys.append((row.astype(np.int64) * m + np.arange(m)[:, None])[held])
    keys.append(np.random.default_rng(0).integers(m, size=(c, AT_RANDOM)).ravel() + np.arange(c).repeat(AT_RANDOM) * m)
    key = np.unique(np.concatenate(keys))
    at_row, at_column = np.divmod(key, m)
    weights = np.rint((similarity[at_row, at_column].astype(np.float64) - low) * scale)
    used = weights > 0
    indptr = np.concatenate([[0], np.bincount(at_row[used], minlength=c).cumsum()])
    return indptr, at_column[used].astype(np.int32), weights[used]


def _finished(
    similarity: Array, low: float, scale: float, of_row: Array, of_column: Array, u: Array, v: Array, candidates: int, rounds: int
) -> Assignment:
    rows, columns = np.flatnonzero(of_row < 0), np.flatnonzero(of_column < 0)
    both = min(len(rows), len(columns))
    of_row = of_row.copy()
    of_row[rows[:both]] = columns[:both]
    row = np.flatnonzero(of_row >= 0)
    column = of_row[row]
    total = float(similarity[row, column].sum(dtype=np.float64))
    return Assignment(row, column, total, u / scale, v / scale, candidates, rounds)
