"""Compiled loops of the exact assignment: candidates of a dense matrix, shortest augmenting paths among them, and what they miss.

Weights and duals are whole numbers below 2**52 held in float64, so that sums and comparisons are exact and none needs a tolerance.
`testbed.numerics.assignment` says what the numbers mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
MAXIMUM = {"nnan", "nsz"}
"""What lets a maximum run on vector registers: order of comparison does not matter. Sums keep theirs."""


@njit(cache=True, nogil=True, fastmath=MAXIMUM)
def _largest_gain(row: Array, floor: float, scale: float, v: Array) -> float:
    top = 0.0
    for j in range(len(row)):
        top = max(top, np.rint((np.float64(row[j]) - floor) * scale) - v[j])
    return top


@njit(cache=True, nogil=True)
def violations(values: Array, floor: float, scale: float, u: Array, v: Array, column: Array, weight: Array, count: Array) -> int:
    """Pairs of the whole matrix with :math:`w_{ij} > u_i + v_j`; returns how many were written down.

    Per row the worst one of each of q runs of columns: spread out, because where all rows want the same columns the few worst pairs
    of a row are next to each other in what they say.

    Parameters
    ----------
    values : array, shape (c, m)
    floor, scale : float
        A weight is the whole number next to (value - floor) * scale.
    u : array, shape (c,)
    v : array, shape (m,)
    column, weight : array, shape (c, q)
        Filled per row with the first ``count[i]`` pairs.
    count : array, shape (c,)
    """
    c, m = values.shape
    q = column.shape[1]
    total = 0
    for i in range(c):
        row = values[i]
        count[i] = 0
        if _largest_gain(row, floor, scale, v) <= u[i]:
            continue
        for run in range(q):
            first, last = run * m // q, (run + 1) * m // q
            if first == last or _largest_gain(row[first:last], floor, scale, v[first:last]) <= u[i]:
                continue
            worst = u[i]
            for j in range(first, last):
                w = np.rint((np.float64(row[j]) - floor) * scale)
                if w - v[j] > worst:
                    worst, column[i, count[i]], weight[i, count[i]] = w - v[j], j, w
            count[i] += 1
        total += count[i]
    return total


@njit(cache=True, nogil=True)
def best_of_rows(values: Array, most: int) -> tuple[Array, Array]:
    """Columns of the `most` largest entries of each row, and how many there are (fewer in a short row)."""
    c, m = values.shape
    column, held = np.empty((c, most), np.int32), np.empty(c, np.int32)
    kept = np.empty(most, values.dtype)
    for i in range(c):
        n, p, least = 0, 0, -np.inf
        for j in range(m):
            x = values[i, j]
            if x <= least:
                continue
            if n < most:
                p = n
                n += 1
            kept[p], column[i, p] = x, j
            if n == most:
                p = 0
                for q in range(1, most):
                    if kept[q] < kept[p]:
                        p = q
                least = kept[p]
        held[i] = n
    return column, held


@njit(cache=True, nogil=True)
def best_of_columns(values: Array, most: int) -> tuple[Array, Array]:
    """Rows of the `most` largest entries of each column, and how many there are (fewer in a short column), in one pass along the rows."""
    c, m = values.shape
    row, held = np.empty((m, most), np.int32), np.zeros(m, np.int32)
    kept = np.empty((m, most), values.dtype)
    least = np.full(m, -np.inf)
    place = np.zeros(m, np.int32)
    for i in range(c):
        for j in range(m):
            x = values[i, j]
            if x <= least[j]:
                continue
            p = place[j]
            if held[j] < most:
                p = held[j]
                held[j] += 1
            kept[j, p], row[j, p] = x, i
            if held[j] == most:
                p = 0
                for q in range(1, most):
                    if kept[j, q] < kept[j, p]:
                        p = q
                place[j], least[j] = p, kept[j, p]
    return row, held


@njit(cache=True, nogil=True)
def extended(indptr: Array, column: Array, weight: Array, count: Array, new_column: Array, new_weight: Array) -> tuple[Array, Array, Array]:
    """Candidates by row with ``count[i]`` more at the end of row i."""
    c = len(indptr) - 1
    start = np.zeros(c + 1, np.int64)
    for i in range(c):
        start[i + 1] = start[i] + (indptr[i + 1] - indptr[i]) + count[i]
    columns, weights = np.empty(start[c], np.int32), np.empty(start[c])
    for i in range(c):
        t = start[i]
        for e in range(indptr[i], indptr[i + 1]):
            columns[t], weights[t] = column[e], weight[e]
            t += 1
        for e in range(count[i]):
            columns[t], weights[t] = new_column[i, e], new_weight[i, e]
            t += 1
    return start, columns, weights


@njit(cache=True, nogil=True)
def transposed(indptr: Array, column: Array, weight: Array, m: int) -> tuple[Array, Array, Array]:
    """The same candidates by column."""
    start = np.zeros(m + 1, np.int64)
    for e in range(len(column)):
        start[column[e] + 1] += 1
    for j in range(m):
        start[j + 1] += start[j]
    at = start[:m].copy()
    rows, weights = np.empty(len(column), np.int32), np.empty(len(column))
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            t = at[column[e]]
            at[column[e]] += 1
            rows[t], weights[t] = i, weight[e]
    return start, rows, weights


@njit(cache=True, nogil=True)
def loosen(indptr: Array, column: Array, weight: Array, u: Array, v: Array, of_row: Array, of_column: Array) -> None:
    """Raise each u to what its row's candidates ask for, and take apart the pairs that are then no longer tight."""
    for i in range(len(u)):
        own = -1.0
        for e in range(indptr[i], indptr[i + 1]):
            gain = weight[e] - v[column[e]]
            u[i] = max(u[i], gain)
            if column[e] == of_row[i]:
                own = gain
        if of_row[i] >= 0 and own < u[i]:
            of_column[of_row[i]] = -1
            of_row[i] = -1


@njit(cache=True, nogil=True)
def reduce_rows(indptr: Array, column: Array, weight: Array, u: Array, v: Array, of_row: Array, of_column: Array, steps: int) -> None:
    """Augmenting row reduction: a free row takes its best column and raises its price by the gain over the second best."""
    c = len(u)
    queue = np.empty(c, np.int64)
    head, size = 0, 0
    for i in range(c):
        if of_row[i] < 0 and u[i] > 0:
            queue[size] = i
            size += 1
    while size and steps:
        steps -= 1
        i = queue[head]
        head = (head + 1) % c
        size -= 1
        best, second, j1 = 0.0, 0.0, -1
        for e in range(indptr[i], indptr[i + 1]):
            gain = weight[e] - v[column[e]]
            if gain > best:
                best, second, j1 = gain, best, column[e]
            elif gain > second:
                second = gain
        u[i] = second
        if j1 < 0:
            continue
        i1 = of_column[j1]
        if i1 >= 0 and best == second:  # a tie: taking the column away would raise no price
            continue
        v[j1] += best - second
        of_row[i], of_column[j1] = j1, i
        if i1 >= 0:
            of_row[i1] = -1
            queue[(head + size) % c] = i1
            size += 1


@njit(cache=True, nogil=True)
def _lift(heap: Array, at: Array, key: Array, p: int) -> None:
    """Move the entry at place p of a binary heap up to where it belongs."""
    node = heap[p]
    while p > 0:
        parent = (p - 1) >> 1
        if key[heap[parent]] <= key[node]:
            break
        heap[p] = heap[parent]
        at[heap[p]] = p
        p = parent
    heap[p] = node
    at[node] = p


@njit(cache=True, nogil=True)
def _drop_first(heap: Array, at: Array, key: Array, size: int) -> None:
    """Take the first of `size` entries out of a binary heap."""
    node = heap[size - 1]
    last = size - 1
    p = 0
    while True:
        child = 2 * p + 1
        if child >= last:
            break
        if child + 1 < last and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        if key[heap[child]] >= key[node]:
            break
        heap[p] = heap[child]
        at[heap[p]] = p
        p = child
    heap[p] = node
    at[node] = p


@njit(cache=True, nogil=True)
def settle(indptr: Array, column: Array, weight: Array, u: Array, v: Array, of_row: Array, of_column: Array) -> None:
    """Match every free row whose price u is not 0, or bring its price to 0, along shortest augmenting paths (Dijkstra).

    A path ends in a free column, or in a row that is left without a column for a price of 0. Called with rows and columns exchanged it
    does the same for the columns. Prices stay feasible on the candidates, and pairs tight.
    """
    c, m = len(u), len(v)
    distance, before = np.empty(m), np.empty(m, np.int64)
    seen, done = np.full(m, -1, np.int64), np.full(m, -1, np.int64)
    heap, at = np.empty(m, np.int64), np.empty(m, np.int64)
    popped, reached = np.empty(m + 1, np.int64), np.empty(m + 1)
    for source in range(c):
        if of_row[source] >= 0 or u[source] <= 0:
            continue
        size, n_popped = 0, 0
        i, length = source, 0.0
        end, end_row, end_column = np.inf, -1, -1
        while True:
            if length + u[i] < end:
                end, end_row, end_column = length + u[i], i, -1
            for e in range(indptr[i], indptr[i + 1]):
                j = column[e]
                if done[j] == source:
                    continue
                reach = length + (u[i] + v[j] - weight[e])
                if reach >= end or (seen[j] == source and reach >= distance[j]):
                    continue
                distance[j], before[j] = reach, i
                if of_column[j] < 0:
                    seen[j] = source
                    end, end_row, end_column = reach, -1, j
                elif seen[j] == source:
                    _lift(heap, at, distance, at[j])
                else:
                    seen[j] = source
                    heap[size] = j
                    size += 1
                    _lift(heap, at, distance, size - 1)
            if size == 0 or distance[heap[0]] >= end:
                break
            j = heap[0]
            _drop_first(heap, at, distance, size)
            size -= 1
            done[j] = source
            popped[n_popped], reached[n_popped] = j, distance[j]
            n_popped += 1
            i, length = of_column[j], distance[j]
        u[source] -= end
        for p in range(n_popped):
            v[popped[p]] += end - reached[p]
            u[of_column[popped[p]]] -= end - reached[p]
        j = end_column
        if end_row >= 0:
            if end_row == source:
                continue
            j = of_row[end_row]
            of_row[end_row] = -1
        while True:
            i = before[j]
            of_column[j] = i
            j, of_row[i] = of_row[i], j
            if i == source:
                break
