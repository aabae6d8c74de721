"""Labels that a user may know, read from the row table: columns, classes, and rows to fit and to score on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from testbed.contracts import InvalidInput, NotApplicable, Outcome, Rows, SparseRows


def columns(outcome: Outcome, labels: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Columns of the row table, shape (n,) each, their values numbered from 0.

    Raises
    ------
    NotApplicable
        If the row table has not all of them.
    """
    if isinstance(labels, str) or not labels:
        raise InvalidInput(f"labels is {labels!r}: name columns of the row table that are labels, as a list")
    table = outcome.sample.observed.rows
    missing = [name for name in labels if name not in table]
    if missing:
        raise NotApplicable(f"the row table has no column {', '.join(map(repr, missing))}: it has {', '.join(table) or 'none'}")
    return {name: np.unique(table[name].cpu().numpy(), return_inverse=True)[1].reshape(-1) for name in labels}


def frequent(fit: NDArray[np.int64], score: NDArray[np.int64], fewest: int, most: int) -> NDArray[np.int64]:
    """Classes with `fewest` rows or more in both halves, but not all rows of one: the `most` most frequent ones, in ascending order."""
    size = 1 + max(fit.max(initial=-1), score.max(initial=-1))
    here, there = np.bincount(fit, minlength=size), np.bincount(score, minlength=size)
    good = np.flatnonzero((np.minimum(here, there) >= max(1, fewest)) & (here < len(fit)) & (there < len(score)))
    return np.sort(good[np.argsort(-here[good], kind="stable")[:most]])


def one_hot(column: NDArray[np.int64], classes: NDArray[np.int64]) -> Any:
    """Whether each row is of each class, a sparse array of shape (n, classes)."""
    place = np.searchsorted(classes, column).clip(0, max(0, len(classes) - 1))
    rows = np.flatnonzero(classes[place] == column)
    return scipy.sparse.csr_array((np.ones(len(rows)), (rows, place[rows])), shape=(len(column), len(classes)))


def csr(rows: Rows) -> Any:
    """The rows as a sparse array, float64, on the CPU."""
    rows = rows if isinstance(rows, SparseRows) else SparseRows.from_dense(rows)
    entries = (rows.values.double().cpu().numpy(), rows.indices.cpu().numpy(), rows.indptr.cpu().numpy())
    return scipy.sparse.csr_array(entries, shape=rows.shape)
