"""Which concepts of a level compose, found from their states; and how many of them each composite has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput
from testbed.estimators.discrete.composing import Settings, compose
from testbed.numerics.joint_emission import conditional, tree_log_likelihood
from testbed.numerics.state_counts import Columns, StateColumns, keys
from testbed.numerics.tuples import Found, Tuple, find_tuples

States = NDArray[np.int64]
Array = NDArray[np.float64]

ROWS = 50_000
"""Rows that the search looks at, the first ones."""


def search(
    columns: StateColumns,
    sizes: Sequence[int],
    arities: Sequence[int],
    channels: list[Array] | None,
    settings: Settings,
    budget: int,
    seed: int,
) -> Found:
    """Tuples of one level. Of several arities, the one under which held-out rows are most likely.

    For that, half of the rows are composed with each arity's tuples, then their composites in the same way, and so on to the top. The law
    of a row is that of each tuple given its composite's state, and of concepts that are in no tuple under their Chow-Liu tree. Two tuples
    taken for one need more parameters for the same law, and parts of tuples lose some of it.

    Parameters
    ----------
    columns, sizes, channels, settings
        As for `compose`.
    arities : sequence of int
    budget : int
        Of `find_tuples`.
    seed : int
    """
    seen = columns.first(ROWS)
    candidates, notes = _candidates(seen, sizes, arities, settings, budget, seed)
    if len(candidates) > 1:
        halves = seen[:, ::2], seen[:, 1::2]
        value = [_value(halves, one, sizes, arities, channels, settings, budget, seed) for one in candidates]
        candidates = [candidates[int(np.argmax(value))]]
    return Found(candidates[0] if candidates else [], notes)


def _candidates(
    seen: Columns, sizes: Sequence[int], arities: Sequence[int], settings: Settings, budget: int, seed: int
) -> tuple[list[list[Tuple]], str]:
    """Tuples by each arity that has any; and what was not looked at."""
    rows = seen.T.astype(np.int64)
    found = [find_tuples(rows, sizes, arity, alpha=settings.alpha, budget=budget, seed=seed) for arity in arities]
    return [one.tuples for one in found if one.tuples], "; ".join(dict.fromkeys(one.stopped for one in found if one.stopped))


def _value(
    halves: tuple[Columns, Columns],
    tuples: list[Tuple],
    sizes: Sequence[int],
    arities: Sequence[int],
    channels: list[Array] | None,
    settings: Settings,
    budget: int,
    seed: int,
) -> float:
    """Mean log-likelihood of the second half's rows under the best hierarchy that begins with these tuples and is fitted to the first."""
    blocks = [list(one) for one in tuples]
    try:
        level = compose(StateColumns(lambda: iter([halves[0]])), blocks, sizes, channels, settings)
    except InvalidInput:  # tables too large
        return -np.inf
    emitted, states = 0.0, []
    for block, shape, table in zip(level.blocks, level.shapes, level.tables, strict=True):
        t, u = (keys(half, block, shape) for half in halves)
        emitted += float(conditional(t, u, table[t], table[u], int(np.prod(shape)), int(table.max()) + 1).mean())
        states.append((table[t], table[u]))
    free = [j for j in range(len(sizes)) if not any(j in block for block in blocks)]
    rest = [(halves[0][j].astype(np.int64), halves[1][j].astype(np.int64)) for j in free]
    best = _by_tree(states + rest)
    if len(states) >= 2 and max(level.sizes) > 1:
        above = np.stack([own[0] for own in states]), np.stack([own[1] for own in states])
        further = _candidates(above[0], level.sizes, arities, settings, budget, seed)[0]
        value = [_value(above, one, level.sizes, arities, level.channels, settings, budget, seed) for one in further]
        best = max([best, *(one + _by_tree(rest) for one in value)])
    return emitted + best


def _by_tree(columns: list[tuple[States, States]]) -> float:
    if not columns:
        return 0.0
    fitted, held = (np.stack([own[k] for own in columns], axis=1) for k in (0, 1))
    return float(tree_log_likelihood(fitted, held).mean())
