r"""What a row says about every state of a found forest, by messages: exact, all rows at once.

Every composite i has laws :math:`p(t \mid v)` of its tuples; leaves are seen through channels :math:`C_j[o, u]`. Upward

.. math:: \lambda_j(u) = C_j[x_j, u], \qquad \lambda_i(v) = \sum_t p(t \mid v) \prod_{j \in i} \lambda_j(t_j),

and downward, from the laws of concepts that are in no tuple, the posterior of each constituent from that of its tuple (Pearl 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.int64]
Array = NDArray[np.float64]

TINY = 1e-300


@dataclass(frozen=True)
class Emission:
    """What a composite's states emit.

    Attributes
    ----------
    constituents : tuple of int
        Columns of the level below.
    tuples : array, shape (T, s)
        States of the constituents.
    law : array, shape (T, K)
        p(t | v): columns sum to 1.
    """

    constituents: tuple[int, ...]
    tuples: States
    law: Array


def posteriors(
    seen: States, channels: Sequence[Array], levels: Sequence[Sequence[Emission]], roots: Sequence[Sequence[Array]]
) -> list[list[Array]]:
    """P(state | row) of every concept, per level from the leaves up; shapes (n, K).

    Parameters
    ----------
    seen : array, shape (n, d)
        States of leaves as they are observed.
    channels : sequence of array, shape (k, k)
        Of each leaf, p(seen as o | is u) at [o, u].
    levels : sequence of sequence of Emission
        Composites per level, the lowest first.
    roots : sequence of sequence of array, shape (K,)
        Per level from the leaves up, each concept's own law: what is believed of those that are in no tuple.
    """
    up = [[channel[seen[:, j]] for j, channel in enumerate(channels)]]
    tuples: list[list[Array]] = []
    for composites in levels:
        below = up[-1]
        weight = []
        for one in composites:
            p = below[one.constituents[0]][:, one.tuples[:, 0]]
            for j, states in zip(one.constituents[1:], one.tuples.T[1:], strict=True):
                p = p * below[j][:, states]
            weight.append(p)
        tuples.append(weight)
        up.append([_scaled(p @ one.law) for p, one in zip(weight, composites, strict=True)])
    out: list[list[Array]] = [[_normal(p * law) for p, law in zip(level, own, strict=True)] for level, own in zip(up, roots, strict=True)]
    for height in range(len(levels), 0, -1):
        for i, one in enumerate(levels[height - 1]):
            down = out[height][i] / np.maximum(up[height][i], TINY)
            of_tuple = tuples[height - 1][i] * (down @ one.law.T)
            for j, states in zip(one.constituents, one.tuples.T, strict=True):
                table = np.zeros((len(states), up[height - 1][j].shape[1]))
                table[np.arange(len(states)), states] = 1.0
                out[height - 1][j] = _normal(of_tuple @ table)
    return out


def _scaled(p: Array) -> Array:
    out: Array = p / np.maximum(p.max(axis=1, keepdims=True), TINY)
    return out


def _normal(p: Array) -> Array:
    out: Array = p / np.maximum(p.sum(axis=1, keepdims=True), TINY)
    return out
