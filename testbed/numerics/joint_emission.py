r"""Likelihood of columns of states under a forest in which each composite's state emits its tuple jointly.

.. math:: p(z) = \prod_{r\ \text{in no tuple}} p(z_r) \prod_{i\ \text{composite}} p(t_i \mid z_i),

:math:`t_i` being the states of i's constituents. Where composites are functions of their tuples, that is a law of the leaves; a hierarchy
under selection has this form exactly, with the joint-emission tree that has its law. Two states merged cost what they told of
their tuples' contexts; a state split in two costs laws fitted to fewer rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.int64]
Array = NDArray[np.float64]


def log_likelihood(fitted: States, held: States, constituents: Sequence[Sequence[int]]) -> Array:
    """Of each held-out row, in nats, shape (n',).

    Laws are those of the fitted rows, smoothed by one row spread over all that could be (Perks 1947): never 0.

    Parameters
    ----------
    fitted, held : array, shape (n, m), (n', m)
        States, numbered from 0.
    constituents : sequence of sequence of int
        Of each column, those that it is composed of.
    """
    sizes = [int(max(fitted[:, j].max(initial=0), held[:, j].max(initial=0))) + 1 for j in range(held.shape[1])]
    inside = {j for one in constituents for j in one}
    out = np.zeros(len(held))
    for i, one in enumerate(constituents):
        if i not in inside:
            out += conditional(fitted[:, i], held[:, i], None, None, sizes[i], 1)
        if one:
            shape = [sizes[j] for j in one]
            t, u = (np.ravel_multi_index([x[:, j] for j in one], shape) for x in (fitted, held))
            out += conditional(t, u, fitted[:, i], held[:, i], int(np.prod(shape)), sizes[i])
    return out


def conditional(fitted: States, held: States, given: States | None, given_held: States | None, values: int, states: int) -> Array:
    """log p(held | given_held) of each row, laws being those of `fitted` given `given`, smoothed; shape (n',)."""
    if given is None or given_held is None:
        given, given_held = np.zeros(len(fitted), np.int64), np.zeros(len(held), np.int64)
    keys, counts = np.unique(given * values + fitted, return_counts=True)  # few of all pairs occur
    total = np.bincount(given, minlength=states)
    wanted = given_held * values + held
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    seen = np.where(keys[at] == wanted, counts[at], 0)
    out: Array = np.log(seen + 1 / values) - np.log(total[given_held] + 1.0)
    return out


def tree_of_pairs(states: States) -> list[tuple[int, int]]:
    """The tree of greatest mutual information among columns (Chow & Liu 1968): (column, the one it hangs on), the root's first, with -1."""
    m = states.shape[1]
    information = np.zeros((m, m))
    for a in range(m):
        for b in range(a):
            information[a, b] = information[b, a] = _information(states[:, a], states[:, b])
    order, hangs = [(0, -1)], {0}
    while len(hangs) < m:
        rest = [j for j in range(m) if j not in hangs]
        inside = sorted(hangs)
        block = information[np.ix_(rest, inside)]
        j, k = np.unravel_index(int(block.argmax()), block.shape)
        order.append((rest[j], inside[k]))
        hangs.add(rest[j])
    return order


def tree_log_likelihood(fitted: States, held: States) -> Array:
    """Of each held-out row under the Chow-Liu tree of the fitted ones, in nats, shape (n',)."""
    sizes = [int(max(fitted[:, j].max(), held[:, j].max())) + 1 for j in range(held.shape[1])]
    out = np.zeros(len(held))
    for j, above in tree_of_pairs(fitted):
        if above < 0:
            out += conditional(fitted[:, j], held[:, j], None, None, sizes[j], 1)
        else:
            out += conditional(fitted[:, j], held[:, j], fitted[:, above], held[:, above], sizes[j], sizes[above])
    return out


def _information(a: States, b: States) -> float:
    """Mutual information in nats, less its bias to first order."""
    joint = np.bincount(a * (int(b.max()) + 1) + b).astype(np.float64)
    n = len(a)
    one, other = np.bincount(a).astype(float), np.bincount(b).astype(float)
    cells = [x[x > 0] for x in (joint, one, other)]
    entropy = [float(np.log(n) - (x * np.log(x)).sum() / n) for x in cells]
    return entropy[1] + entropy[2] - entropy[0] - (len(cells[1]) - 1) * (len(cells[2]) - 1) / (2 * n)
