"""Columns of observed numbers as states: whole numbers as they are, real ones cut into parts of equal counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Data, InvalidInput
from testbed.numerics.batches import chunks, rows

States = NDArray[np.int64]

MOST_STATES = 1024
"""Different values of a column, at most."""


def cuts_of(data: Data, view: str | None, bins: int | None, samples: int) -> list[list[float]]:
    """Per column, where it is cut into `bins` parts of equal counts; whole numbers, and few values, stay what they are.

    [] each where `bins` is None.
    """
    if bins is None:
        return [[] for _ in range(next(chunks(data, view, limit=samples)).shape[1])]
    shares = np.arange(1, bins) / bins
    x = rows(data, view, limit=min(samples, 16 * BLOCK)).double().cpu().numpy()
    cuts = []
    for column in x.T:
        own = np.unique(column)
        if len(own) <= bins or (len(own) <= MOST_STATES and (own == np.round(own)).all()):
            cuts.append(((own[1:] + own[:-1]) / 2).tolist())
            continue
        inner = np.unique(np.quantile(column, shares, method="higher"))
        cuts.append(inner[inner > column.min()].tolist() or [float(np.nextafter(column.min(), np.inf))])
    return cuts


def values_of(data: Data, view: str | None, cuts: list[list[float]], bins: int | None, samples: int) -> list[list[float]]:
    """Values of the states of each column, in one pass: those that occur, or the mean of each part.

    Raises
    ------
    InvalidInput
        If a column is constant, holds numbers that are not whole (and is not cut) or too many, or there are fewer rows than states.
    """
    found: list[Any] = [np.zeros(0) for _ in cuts]
    sums = [np.zeros((2, len(at) + 1)) for at in cuts]
    n = 0
    for chunk in chunks(data, view, limit=samples):
        x, n = chunk.double().cpu().numpy(), n + len(chunk)
        for j, column in enumerate(x.T):
            if bins is not None:
                part = np.searchsorted(cuts[j], column, side="right")
                sums[j] += [np.bincount(part, w, len(sums[j][0])) for w in (column, np.ones(len(column)))]
                continue
            found[j] = np.union1d(found[j], _occurring(column, j))
            if len(found[j]) > MOST_STATES:
                raise InvalidInput(f"column {j} holds more than {MOST_STATES} values, too many for states: give another view, or set bins")
    if bins is not None:
        found = [s[0] / np.maximum(s[1], 1) if (s[1] > 0).all() else s[0][:0] for s in sums]
    for j, values in enumerate(found):
        if len(values) < 2:
            raise InvalidInput(f"column {j} is constant: leave it out, since it has one state and says nothing of the others")
    most = max(map(len, found))
    if n < most:
        raise InvalidInput(f"{n} rows are fewer than the {most} states of a column: give more rows")
    return [values.tolist() for values in found]


def states_in(x: Tensor, values: list[list[float]], cuts: list[list[float]], bins: int | None) -> States:
    """States of leaves, shape (n, d); a value that was not there in the fit gets the state of the nearest that was."""
    array = x.double().cpu().numpy()
    out = np.empty(array.shape, np.int64)
    for j, own in enumerate(values):
        low = int(own[0])
        if bins is None and own == list(range(low, low + len(own))):  # consecutive numbers need no search
            out[:, j] = np.clip(np.floor(array[:, j] + 0.5), low, low + len(own) - 1) - low
            continue
        at = np.array(cuts[j]) if bins is not None else (np.array(own[1:]) + np.array(own[:-1])) / 2
        out[:, j] = np.searchsorted(at, array[:, j], side="right")
    return out


def _occurring(column: Any, j: int) -> Any:
    """Whole numbers that occur."""
    if (column != np.round(column)).any():
        number = column[column != np.round(column)][0]
        raise InvalidInput(f"column {j} holds {number:g}, but states are whole numbers: give a view of tokens, or set bins")
    low, high = float(column.min()), float(column.max())
    if high - low <= 4 * MOST_STATES:  # the same without a sort
        return np.flatnonzero(np.bincount((column - low).astype(np.int64))) + low
    return np.unique(column)
