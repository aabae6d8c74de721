"""From values to a few states each: what tables of counts are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from testbed.contracts import InvalidInput, Rows, SparseRows

Array = NDArray[Any]

LABELS, OFTEN = 32, 5
"""Number of values, at most, and rows per value, at least, for which values are taken for labels."""
MANY = 40
"""Cuts from which on a search is faster than comparing with each."""


@dataclass(frozen=True, slots=True)
class States:
    """Columns that take a few states each.

    Attributes
    ----------
    table : scipy.sparse.csr_array, shape (n, columns), int16
        The state of each entry; what is not stored is in state 0.
    n_states : array, shape (columns,), int64
        How many states each column has; 1 for a constant one.
    """

    table: Any
    n_states: Array

    def __len__(self) -> int:
        return int(self.table.shape[0])

    def counts(self) -> Array:
        """Rows in each state of each column, shape (columns, largest number of states), int64."""
        n, columns = self.table.shape
        out = np.zeros((columns, int(self.n_states.max(initial=1))), np.int64)
        np.add.at(out, (self.table.indices, self.table.data), 1)
        out[:, 0] = n - out[:, 1:].sum(axis=1)
        return out


def discretise(rows: Rows, *, bins: int, on_bins: int, categories: bool = False) -> States:
    r"""Give every column a few states, by a rule that looks at the column alone.

    A column that is exactly 0 on a share :math:`1 / \mathrm{bins}` of the rows or more is *off* there, in state 0; the rest, its on part,
    is cut into `on_bins` parts of equal counts. So a concept that is on in one row of a hundred keeps its states, where bins of equal
    width or equal counts of the whole column would put all of it into one. Any other column is cut into `bins` parts of equal counts. A
    part with no more values than states gives each value one, and so does a part whose values are plainly labels: `LABELS` at most,
    each coming `OFTEN` times on average. A column whose sum is negative is turned first, so that scale and sign
    change nothing, nor does any increasing map that leaves 0 where it is.

    Parameters
    ----------
    rows : Tensor or SparseRows, shape (n, columns)
    bins : int
        States of a column that does not rest at 0, at most.
    on_bins : int
        States of the on part of one that does, at most.
    categories : bool
        The values are labels already: each is a state of its own, however many there are.

    Raises
    ------
    InvalidInput
        If `bins` is less than 2 or `on_bins` less than 1.
    """
    if bins < 2 or on_bins < 1:
        raise InvalidInput(f"bins is {bins} and on_bins {on_bins}: at least 2 and 1 are wanted, else nothing is told apart")
    n, columns = rows.shape
    n_states = np.ones(columns, np.int64)
    if isinstance(rows, SparseRows):
        table = csr(rows).tocsc()
        table.eliminate_zeros()
        data = np.zeros(table.nnz, np.int16)
        filled: list[tuple[int, Array]] = []  # columns that do not rest at 0, whole
        for j in range(columns):
            part = slice(table.indptr[j], table.indptr[j + 1])
            values = table.data[part]
            if categories or n - len(values) >= n / bins:
                data[part], n_states[j] = _on_states(values, n, len(values) if categories else on_bins)
            else:
                whole = np.zeros(n, values.dtype)
                whole[table.indices[part]] = values
                states, n_states[j] = _states(whole, bins)
                filled.append((j, states))
        table = scipy.sparse.csc_array((data, table.indices, table.indptr), shape=table.shape)
        if filled:
            extra = scipy.sparse.lil_array((columns, n), dtype=np.int16)
            for j, states in filled:
                extra[[j], :] = states[None]
            table = table + extra.tocsr().T.tocsc()
        return States(_without_zeros(table.tocsr()), n_states)
    turned = np.ascontiguousarray(rows.detach().cpu().numpy().T)
    out = np.zeros((columns, n), np.int16)
    for j, column in enumerate(turned):
        on = column != 0
        if categories or n - np.count_nonzero(on) >= n / bins:
            out[j, on], n_states[j] = _on_states(column[on], n, n if categories else on_bins)
        else:
            out[j], n_states[j] = _states(column, bins)
    by_row = np.ascontiguousarray(out.T)
    used = by_row != 0
    indptr = np.concatenate([[0], used.sum(axis=1).cumsum()])
    indices = np.broadcast_to(np.arange(columns, dtype=np.int32), used.shape)[used]
    return States(scipy.sparse.csr_array((by_row[used], indices, indptr), shape=(n, columns)), n_states)


def beside(pieces: list[States]) -> States:
    """Columns of several tables side by side."""
    if len(pieces) == 1:
        return pieces[0]
    return States(scipy.sparse.hstack([piece.table for piece in pieces], format="csr"), np.concatenate([p.n_states for p in pieces]))


def csr(rows: Rows) -> Any:
    """The rows as a scipy.sparse.csr_array, shape (n, m)."""
    if not isinstance(rows, SparseRows):
        return scipy.sparse.csr_array(rows.detach().cpu().numpy())
    index = np.int32 if max(len(rows.values), *rows.shape) < 2**31 else np.int64
    parts = (rows.values.detach().cpu().numpy(), rows.indices.cpu().numpy().astype(index), rows.indptr.cpu().numpy().astype(index))
    return scipy.sparse.csr_array(parts, shape=rows.shape)


def take(rows: Rows, index: Array) -> Rows:
    """The rows with these numbers, ascending."""
    if not isinstance(rows, SparseRows):
        return rows[torch.from_numpy(index).to(rows.device)]
    part = csr(rows)[index]
    indptr, indices = torch.from_numpy(part.indptr.astype(np.int64)), torch.from_numpy(part.indices.astype(np.int64))
    return SparseRows(indptr, indices, torch.from_numpy(part.data), part.shape)


def _on_states(values: Array, n: int, k: int) -> tuple[Array, int]:
    """States 1 ... of an on part, and the number of states with off (state 0, if any row is off)."""
    states, count = _states(values, max(k, 1))
    if len(values) == n:
        return states, count  # never off: nothing is in state 0 but the lowest part
    return states + np.int16(1), count + 1 if len(values) else 1


def _states(values: Array, k: int) -> tuple[Array, int]:
    """States 0 ... of values cut into k parts of equal counts, at most, and how many there are."""
    if not len(values):
        return np.zeros(0, np.int16), 0
    if values.sum(dtype=np.float64) < 0:
        values = -values
    order = np.sort(values)
    steps = np.flatnonzero(order[1:] > order[:-1]) + 1  # a cut may lie before these places
    if len(steps) >= max(k, min(LABELS, len(order) // OFTEN)):
        # The place nearest to each quantile: several quantiles inside one value that has many rows leave it one state.
        wanted = np.arange(1, k) * len(order) / k
        right = np.searchsorted(steps, wanted).clip(1, len(steps) - 1)
        steps = np.unique(np.where(wanted - steps[right - 1] <= steps[right] - wanted, steps[right - 1], steps[right]))
    cuts = order[steps - 1]  # the largest value below each cut
    if len(cuts) > MANY:
        return np.searchsorted(cuts, values, side="left").astype(np.int16), len(cuts) + 1
    states = np.zeros(len(values), np.int16)
    for cut in cuts:  # faster than a search, where there are few
        states += values > cut
    return states, len(cuts) + 1


def _without_zeros(table: Any) -> Any:
    table.eliminate_zeros()
    table.sort_indices()
    return table
