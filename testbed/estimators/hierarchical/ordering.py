"""Which view shows which level, from how far each explains each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput
from testbed.numerics.sufficiency import Events, smallest_sufficient

DEEPEST = 12
"""Most views whose order is looked for: the search takes a time that grows with 2 to that power."""
ROWS = 8192
"""Rows that are looked at, the first ones."""
BEAM, WIDEST = 8, 6


def explained_shares(codes: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """How far the codes of each view (row) are functions of those of each other one (column), shape (v, v).

    The share of the code length of all codes of a view that smallest sufficient sets of the other view's codes save.
    """
    v = len(codes)
    if v > DEEPEST:
        raise InvalidInput(f"the order of {v} views is asked for, but at most {DEEPEST} can be ordered: give their order, or fewer views")
    out = np.zeros((v, v))
    events = [Events.of(one[:ROWS]) for one in codes]
    for i in range(v):
        for j in range(v):
            if i != j:
                found = [smallest_sufficient(events[j], y, beam=BEAM, largest=WIDEST) for y in codes[i][:ROWS].T]
                alone = sum(one.alone for one in found)
                out[i, j] = 1 - sum(one.length for one in found) / alone if alone > 0 else 0.0
    return out


def best_order(shares: NDArray[Any]) -> list[int]:
    r"""The order of views, most abstract first, in which each is best explained by the next: the largest
    :math:`\sum_l s_{o(l), o(l+1)} - s_{o(l+1), o(l)}`.

    By dynamic programming over sets of views and their last one.
    """
    v = len(shares)
    gain = shares - shares.T
    best: dict[tuple[int, int], tuple[float, list[int]]] = {(1 << i, i): (0.0, [i]) for i in range(v)}
    for _ in range(v - 1):
        following: dict[tuple[int, int], tuple[float, list[int]]] = {}
        for (used, last), (value, path) in best.items():
            for i in range(v):
                if not used >> i & 1:
                    key = (used | 1 << i, i)
                    if key not in following or value + gain[last, i] > following[key][0]:
                        following[key] = (value + float(gain[last, i]), [*path, i])
        best = following
    return max(best.values())[1]
