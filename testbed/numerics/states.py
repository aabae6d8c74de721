"""Columns of states: contingency tables, adjusted indices, relabellings. All of it up to the names of states."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import expected_mutual_information

from testbed.contracts import BLOCK, NotApplicable, Rows, SparseRows

States: TypeAlias = NDArray[np.int64]


FEW = 64
"""Values that are not whole numbers are states as long as a column has no more different ones."""


def states_of(rows: Rows, columns: NDArray[np.int64] | None = None) -> States:
    """The states in some columns (in all, by default), shape (n, number of columns); a row that stores nothing is in state 0.

    Whole numbers are states under their own names. Columns of other numbers have as many states as different values, in their order.

    Raises
    ------
    NotApplicable
        If a column holds numbers that are not whole, and more than 64 different ones.
    """
    at = torch.as_tensor(np.arange(rows.shape[1]) if columns is None else columns)
    if isinstance(rows, SparseRows):
        blocks = [rows[i : i + BLOCK].dense()[:, at.to(rows.indices.device)].cpu().numpy() for i in range(0, len(rows), BLOCK)]
        values = np.concatenate([np.empty((0, len(at))), *blocks])
    else:
        values = rows[:, at.to(rows.device)].cpu().numpy()
    if not np.issubdtype(values.dtype, np.floating):
        return np.asarray(values, dtype=np.int64)
    whole = np.array([bool((column == np.rint(column)).all()) for column in values.T], dtype=bool)
    states = np.where(whole, values, 0).astype(np.int64)
    for j in np.flatnonzero(~whole):
        # Most columns of real numbers are told by their beginning, without a sort of all rows.
        if len(np.unique(values[: 4 * FEW, j])) > FEW or len(np.unique(values[:, j])) > FEW:
            raise NotApplicable(f"codes are real numbers, not states: code {j} takes more than {FEW} values that are not whole")
        states[:, j] = np.unique(values[:, j], return_inverse=True)[1]
    return states


def compact(states: States) -> tuple[States, NDArray[np.int64]]:
    """The same columns with their states numbered from 0 without gaps, shape (n, m), and how many each has, shape (m,)."""
    states = np.asfortranarray(states)  # columns are read one at a time
    out = np.empty_like(states)
    counts = np.zeros(states.shape[1], dtype=np.int64)
    for j, column in enumerate(states.T):
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if high - low > 4 * len(column):
            names, out[:, j] = np.unique(column, return_inverse=True)
            counts[j] = len(names)
        else:  # the same without a sort
            occurs = np.bincount(column - low, minlength=1) > 0
            out[:, j] = (np.cumsum(occurs) - 1)[column - low]
            counts[j] = occurs.sum()
    return out, counts


def contingency(a: States, b: States) -> NDArray[np.int64]:
    """Rows in each pair of states, shape (states of a, states of b); both numbered from 0, shape (n,)."""
    width = int(b.max(initial=0)) + 1
    height = int(a.max(initial=0)) + 1
    return np.bincount(a * width + b, minlength=height * width).reshape(height, width)


def state_similarity(a: States, b: States) -> NDArray[np.float64]:
    r"""Mutual information of every column of a with every column of b, adjusted for chance and normalised, shape (c, m).

    .. math:: \frac{I - b}{(H(a) + H(b)) / 2 - b}, \qquad b = \frac{(k_a - 1)(k_b - 1)}{2n}

    at least 0, where b is the bias of I in n rows to first order (Miller 1955). It is for matching, where every pair is looked at; the
    exact adjustment of `adjusted_mutual_information` takes a pair as long as this takes thousands. A constant column has 0 with everything.
    """
    (a, of_a), (b, of_b) = compact(a), compact(b)
    n, from_a, from_b = len(a), np.cumsum([0, *of_a]), np.cumsum([0, *of_b])
    if not n or not a.shape[1] or not b.shape[1]:
        return np.zeros((a.shape[1], b.shape[1]))
    total = np.zeros((from_a[-1], from_b[-1]), dtype=np.float32)
    for start in range(0, n, BLOCK):  # exact: whole numbers below 2**24
        total += _one_hot(a[start : start + BLOCK] + from_a[:-1], int(from_a[-1])).T @ _one_hot(
            b[start : start + BLOCK] + from_b[:-1], int(from_b[-1])
        )
    p = total.astype(np.float64) / n
    joint = -_sums(_plogp(p), from_a, from_b)  # (c, m) entropies
    one_a = -np.add.reduceat(_plogp(np.bincount((a + from_a[:-1]).ravel(), minlength=from_a[-1]) / n), from_a[:-1])
    one_b = -np.add.reduceat(_plogp(np.bincount((b + from_b[:-1]).ravel(), minlength=from_b[-1]) / n), from_b[:-1])
    bias = np.outer(of_a - 1, of_b - 1) / (2 * n)
    mean = (one_a[:, None] + one_b[None]) / 2
    adjusted = (one_a[:, None] + one_b[None] - joint - bias) / np.maximum(mean - bias, np.finfo(float).tiny)
    usable = (one_a[:, None] > 0) & (one_b[None] > 0) & (mean > bias)
    return np.where(usable, np.clip(adjusted, 0.0, 1.0), 0.0)


def adjusted_rand(table: NDArray[np.int64]) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985) of the two partitions of a contingency table; 1 where both have a single part."""
    n = table.sum()
    cells, rows, columns = ((x * (x - 1.0)).sum() for x in (table, table.sum(axis=1), table.sum(axis=0)))
    if n < 2:
        return 0.0
    expected = rows * columns / (n * (n - 1.0))
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((cells - expected) / (most - expected))


def adjusted_mutual_information(table: NDArray[np.int64]) -> float:
    """Mutual information adjusted for chance (Vinh, Epps & Bailey 2010), normalised by the arithmetic mean of entropies."""
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    n = int(table.sum())
    if table.shape[0] <= 1 and table.shape[1] <= 1:
        return float(n > 0)
    p = table / n
    rows, columns = (-float(_plogp(p.sum(axis=axis)).sum()) for axis in (1, 0))
    information = rows + columns + float(_plogp(p).sum())
    expected = float(expected_mutual_information(np.ascontiguousarray(table, dtype=np.int64), n))
    below = (rows + columns) / 2 - expected
    if abs(below) < 1e-12:  # chance leaves nothing to be found, as where every row has a state of its own
        return float(table.shape[0] == table.shape[1] == np.count_nonzero(table))
    return min(float((information - expected) / below), 1.0)


def relabelling(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row that each column stands for, one to one, so that most rows agree; -1 where it stands for none, shape (columns,)."""
    row, column = linear_sum_assignment(table, maximize=True)
    name = np.full(table.shape[1], -1, dtype=np.int64)
    agree = table[row, column] > 0
    name[column[agree]] = row[agree]
    return name


def _one_hot(states: States, width: int) -> NDArray[np.float32]:
    out = np.zeros((len(states), width), dtype=np.float32)
    np.put_along_axis(out, states, 1.0, axis=1)
    return out


def _plogp(p: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(p * np.log(np.where(p > 0, p, 1.0)), dtype=np.float64)


def _sums(x: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of blocks between consecutive starts, shape (len(rows) - 1, len(columns) - 1)."""
    return np.asarray(np.add.reduceat(np.add.reduceat(x, rows[:-1], axis=0), columns[:-1], axis=1))
