"""The k largest entries of each row, as sparse rows: on the CPU by a compiled kernel, elsewhere by torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import InvalidInput

Array = NDArray[Any]

LANES = 128
"""Columns that share a running maximum, at least (or 8 k): the first pass is one maximum per lane, the second looks at few lanes."""
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "reassoc"}


def lanes(k: int, m: int) -> int:
    """Number of lanes for rows of m columns, of which k are kept: a power of two, so that the compiler makes whole vectors of them."""
    wanted = max(LANES, 8 * k)
    return min(1 << (wanted - 1).bit_length(), m)


@njit(cache=True, nogil=True, fastmath=FAST)
def count_above(values: Array, n: int, bar: float) -> int:
    """How many of the first n values exceed `bar`."""
    bound = values.dtype.type(bar)
    count = np.int32(0)
    for c in range(n):
        count += np.int32(1) if values[c] > bound else np.int32(0)
    return int(count)


@njit(cache=True, nogil=True, fastmath=FAST)
def bar_for(values: Array, n: int, k: int, slack: int, low: float, high: float, most: int) -> float:
    """A bar that k values or more exceed, and at most k + `slack`, by bisection from `low` (which k exceed) and `high` (which fewer do)."""
    for _ in range(most):
        middle = values.dtype.type((low + high) / 2)
        if middle <= low or middle >= high:
            break
        count = count_above(values, n, middle)
        if count < k:
            high = middle
        else:
            low = middle
            if count <= k + slack:
                break
    return low


@njit(cache=True, nogil=True, fastmath=FAST)
def top_k_kernel(values: Array, shift: Array, k: int, width: int, columns: Array, kept: Array, counts: Array) -> None:
    """Write the k largest positive entries of each row of ``values + shift`` to `columns` and `kept`, both (n, k), and their number.

    First the maximum of each of `width` interleaved lanes. A bar that k lanes exceed bounds the k-th largest entry from below: only
    lanes above it are looked at again, and a second bisection among what they hold finds the k-th largest. Of equal entries the one met
    first stays. Entries come in no particular order.
    """
    n, m = values.shape
    peaks = np.empty(width, values.dtype)
    lane = np.empty(width + 1, np.int32)
    found = np.empty(m + 1, values.dtype)
    place = np.empty(m + 1, np.int32)
    whole = m // width * width
    zero = values.dtype.type(0)
    for i in range(n):
        row = values[i]
        for c in range(width):
            peaks[c] = row[c] + shift[c]
        for start in range(width, whole, width):
            # Slices and max, not indices and a branch: only so does the compiler make vectors of it, which is four times as fast.
            part, offset = row[start : start + width], shift[start : start + width]
            for c in range(width):
                peaks[c] = max(part[c] + offset[c], peaks[c])
        rest, offset = row[whole:], shift[whole:]
        for c in range(m - whole):
            peaks[c] = max(rest[c] + offset[c], peaks[c])
        top = zero
        for c in range(width):
            top = max(peaks[c], top)
        floor = zero
        if count_above(peaks, width, zero) > k:
            floor = values.dtype.type(bar_for(peaks, width, k, 1 + k // 4, zero, top, 16))
        held = 0
        for c in range(width):
            lane[held] = c
            held += 1 if peaks[c] > floor else 0
        count = 0
        for p in range(held):
            for j in range(lane[p], m, width):
                v = row[j] + shift[j]
                found[count] = v
                place[count] = j
                count += 1 if v > floor else 0
        bar = floor
        if count > k:
            bar = values.dtype.type(bar_for(found, count, k, 0, floor, top, 200))
        above = count_above(found, count, bar)
        at = 0
        if above <= k:
            for e in range(count):
                if found[e] > bar and at < k:
                    columns[i, at] = place[e]
                    kept[i, at] = found[e]
                    at += 1
        else:
            # Several entries equal the k-th largest, just above the bar; or numbers so far apart (infinite, even) that the bisection
            # gave up: then the bar goes up entry by entry.
            edge = top
            while True:
                edge = top
                for e in range(count):
                    if bar < found[e] < edge:
                        edge = found[e]
                if edge >= top or count_above(found, count, edge) < k:
                    break
                bar = edge
            for e in range(count):
                if found[e] > edge and at < k:
                    columns[i, at] = place[e]
                    kept[i, at] = found[e]
                    at += 1
            for e in range(count):
                if found[e] == edge and at < k:
                    columns[i, at] = place[e]
                    kept[i, at] = found[e]
                    at += 1
        counts[i] = at


def top_k(values: Tensor, k: int, shift: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest positive entries of each row.

    Parameters
    ----------
    values : Tensor, shape (n, m)
    k : int
    shift : Tensor, shape (m,), optional
        Added to every row before it is looked at.

    Returns
    -------
    rows, columns : Tensor of int64, shape (entries,)
    kept : Tensor, shape (entries,)
        Row by row, in no particular order within a row.

    Raises
    ------
    InvalidInput
        If k is not between 1 and m.
    """
    n, m = values.shape
    if not 1 <= k <= m:
        raise InvalidInput(f"k must lie between 1 and the number of columns, {m}, not be {k}")
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        columns, kept, counts = np.empty((n, k), np.int32), np.empty((n, k), values.detach().numpy().dtype), np.empty(n, np.int64)
        offset = np.zeros(m, kept.dtype) if shift is None else shift.detach().numpy()
        top_k_kernel(np.ascontiguousarray(values.detach().numpy()), offset, k, lanes(k, m), columns, kept, counts)
        used = np.arange(k)[None, :] < counts[:, None]
        rows = np.repeat(np.arange(n), counts)
        return torch.from_numpy(rows), torch.from_numpy(columns[used].astype(np.int64)), torch.from_numpy(kept[used])
    best, index = (values if shift is None else values + shift).topk(k, dim=1)
    used_ = best > 0
    return used_.nonzero()[:, 0], index[used_], best[used_]
