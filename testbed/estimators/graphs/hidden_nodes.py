"""Hidden causes that a search found, as composites: their levels, constituents, and codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.pags import ARROW, TAIL, arrows_of


def heights_of(ends: NDArray[np.int8], hidden: int) -> NDArray[np.int64]:
    """How many steps each node is above the columns: a hidden node one more than the highest hidden node that hangs on columns below it."""
    height = np.zeros(len(ends), dtype=np.int64)
    causes: NDArray[np.bool_] = np.logical_and(ends == ARROW, ends.T == TAIL)
    height[:hidden] = 1
    touches = np.asarray((ends[:hidden, hidden:] > 0).any(axis=1))
    for _ in range(hidden):
        for i in range(hidden):
            below = np.flatnonzero(causes[i, :hidden])
            if len(below) and not touches[i]:
                height[i] = min(int(height[below].max()) + 1, hidden)
    return height


def composed_of(ends: NDArray[np.int8], heights: NDArray[np.int64], ordered: bool) -> list[list[int]]:
    """Of each node: below it what it is adjacent to; beside it what points to it."""
    arrows = arrows_of(ends)
    below = (ends > 0) & (heights[:, None] < heights[None, :])
    beside = arrows & (heights[:, None] == heights[None, :])
    if ordered:
        beside[heights > 0] = False
    return [np.flatnonzero(one).tolist() for one in (below | beside).T]


def readout_of(x: NDArray[np.float64], constituents: list[list[int]], hidden: int) -> NDArray[np.float64]:
    """First principal component of the standardised columns below each hidden node, shape (h, p); positive on the whole."""
    weights = np.zeros((hidden, x.shape[1]))
    scale = x.std(axis=0)
    for i in range(hidden):
        reached, new = {i}, [i]
        while new:
            new = [j for k in new if k < hidden for j in constituents[k] if j not in reached]
            reached.update(new)
        columns = [j - hidden for j in sorted(reached) if j >= hidden]
        if not columns:
            continue
        direction = np.linalg.svd((x[:, columns] - x[:, columns].mean(axis=0)) / scale[columns], full_matrices=False)[2][0]
        weights[i, columns] = direction * (1.0 if direction.sum() >= 0 else -1.0) / scale[columns]
    return weights
