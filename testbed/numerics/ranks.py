"""Ranks of columns, for rank correlation; of sparse columns without writing out their zeros."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Rows, SparseRows

COLUMNS = 128
"""Dense columns ranked at once, so that the extra memory is that of few columns."""


def centred_ranks(rows: Rows) -> Rows:
    r"""Average ranks of each column, less a constant of the column.

    Equal values share the mean of the ranks that they would have [1]_. The constant is the mean rank :math:`(n + 1) / 2` of a dense
    column, and of a sparse one the rank that its zeros share: with q negative entries and u zeros, :math:`q + (u + 1) / 2`. So zeros stay
    zeros, and a sparse column costs as much as it has entries. Correlations do not see the constant.

    Parameters
    ----------
    rows : Tensor or SparseRows, shape (n, m), finite
        An entry of SparseRows that is stored as 0 is a zero like all others.

    Returns
    -------
    Tensor or SparseRows, shape (n, m)
        As `rows`; float32 where it holds these numbers exactly (n below 4 million), else float64.

    References
    ----------
    .. [1] Kendall (1945), The treatment of ties in ranking problems, Biometrika 33.
    """
    dtype = torch.float32 if len(rows) < 2**22 else torch.float64  # half-integers below 2**23 are exact in float32
    return _sparse(rows, dtype) if isinstance(rows, SparseRows) else _dense(rows, dtype)


def _sparse(rows: SparseRows, dtype: torch.dtype) -> SparseRows:
    n, m = rows.shape
    values, column = rows.values.detach().cpu().numpy(), rows.indices.cpu().numpy()
    order = np.lexsort((values, column))
    values, column = values[order], column[order]
    start = np.searchsorted(column, np.arange(m))
    zeros = n - np.bincount(column[values != 0], minlength=m)
    rank = _averaged(np.arange(len(values)) - start[column] + 1.0, _first_of_ties(values, column))
    # Written out, the zeros of a column come after its negative entries: those not stored push the positive ones up.
    negative = np.bincount(column[values < 0], minlength=m)
    stored = np.bincount(column[values == 0], minlength=m)
    rank += (values > 0) * (zeros - stored)[column]
    rank -= (negative + (zeros + 1) / 2)[column]
    rank[values == 0] = 0.0
    out = np.empty_like(rank)
    out[order] = rank
    return SparseRows(rows.indptr, rows.indices, torch.from_numpy(out).to(rows.values.device, dtype), rows.shape)


def _dense(rows: Tensor, dtype: torch.dtype) -> Tensor:
    n, m = rows.shape
    out = torch.empty(n, m, dtype=dtype)
    for first in range(0, m, COLUMNS):
        values = rows[:, first : first + COLUMNS].detach().cpu().T.contiguous().numpy()  # (columns, n)
        for j, one in enumerate(values, first):
            order = np.argsort(one)
            rank = np.empty(n)
            rank[order] = _averaged(np.arange(1.0, n + 1), _first_of_ties(one[order]))
            out[:, j] = torch.from_numpy(rank - (n + 1) / 2)
    return out.to(rows.device)


def _first_of_ties(*keys: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which of the sorted entries differ from the one before in any key."""
    new = np.ones(len(keys[0]), bool)
    if len(new) > 1:
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return new


def _averaged(rank: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Ranks of sorted entries, those of each run of ties replaced by their mean."""
    starts = np.flatnonzero(first)
    if len(starts) == len(rank):
        return rank
    ends = np.append(starts[1:], len(rank)) - 1
    return np.repeat((rank[starts] + rank[ends]) / 2, ends - starts + 1)
