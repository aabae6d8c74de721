"""Blocked Gibbs sampling: the variables of a block are drawn together from their exact law given all others."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from generators.selection.markov.factors import Factors
from generators.selection.randomness import Floats, Ints, uniform

Rows = NDArray[np.int32]
"""States of all nodes, shape (n, nodes)."""


def draw_base(factors: Factors, n: int, seed: int) -> Rows:
    """Rows of the base law: variables independent, composites as they follow."""
    out = np.zeros((n, len(factors.cardinality)), np.int32)
    _draw_base(out, seed, factors.log_base, factors.base)
    compose(factors, out)
    return out


def compose(factors: Factors, rows: Rows) -> None:
    """Set every composite to what follows from the variables, in place."""
    for f in range(len(factors.begin) - 1):
        own = slice(factors.begin[f], factors.begin[f + 1])
        code = rows[:, factors.members[own]].astype(np.int64) @ factors.strides[own]
        rows[:, factors.variables + f] = factors.states[factors.table[f] + code]


def log_weights(factors: Factors, rows: Rows, log_weight: Floats) -> Floats:
    """Log of the product of all composites' weights, shape (n,), by a table of weights laid out like the factors' own."""
    total = np.zeros(len(rows))
    for f in range(len(factors.begin) - 1):
        own = slice(factors.begin[f], factors.begin[f + 1])
        total += log_weight[factors.table[f] + rows[:, factors.members[own]].astype(np.int64) @ factors.strides[own]]
    return total


def sweep(factors: Factors, rows: Rows, log_weight: Floats, count: int, seed: int) -> float:
    """So many sweeps of every row, in place; the share of the blocks' draws that changed something."""
    moved = _sweep(
        rows,
        count,
        seed,
        log_weight,
        factors.cardinality,
        factors.log_base,
        factors.base,
        factors.members,
        factors.strides,
        factors.begin,
        factors.states,
        factors.table,
        factors.block,
        factors.block_begin,
        factors.cone,
        factors.cone_begin,
        factors.chance,
    )
    return float(moved) / max(1.0, len(rows) * count * float(factors.chance.sum()))


@numba.njit(cache=True)
def _draw_base(rows: Rows, seed: int, log_base: Floats, base: Ints) -> None:
    state = np.array([seed], np.uint64)
    for row in range(len(rows)):
        for v in range(len(base) - 1):
            u = uniform(state)
            value, last = -1, 0
            for k in range(base[v], base[v + 1]):
                p = np.exp(log_base[k])
                if p > 0.0:
                    last = k - base[v]
                    if value < 0 and u < p:
                        value = last
                    u -= p
            rows[row, v] = value if value >= 0 else last


@numba.njit(cache=True)
def _sweep(
    rows: Rows,
    count: int,
    seed: int,
    log_weight: Floats,
    cardinality: Ints,
    log_base: Floats,
    base: Ints,
    members: Ints,
    strides: Ints,
    begin: Ints,
    states: Ints,
    table: Ints,
    block: Ints,
    block_begin: Ints,
    cone: Ints,
    cone_begin: Ints,
    chance: Floats,
) -> Any:
    random = np.array([seed], np.uint64)
    variables = len(base) - 1
    most = 1
    for b in range(len(block_begin) - 1):
        candidates = 1
        for i in range(block_begin[b], block_begin[b + 1]):
            candidates *= cardinality[block[i]]
        most = max(most, candidates)
    weight = np.empty(most)
    moved = 0
    for row in range(len(rows)):
        x = rows[row]
        for _ in range(count):
            for b in range(len(block_begin) - 1):
                if chance[b] < 1.0 and uniform(random) >= chance[b]:
                    continue
                candidates, now = 1, 0
                for i in range(block_begin[b], block_begin[b + 1]):
                    candidates *= cardinality[block[i]]
                    now = now * cardinality[block[i]] + x[block[i]]
                peak = -np.inf
                for c in range(candidates):
                    total = _place(x, c, b, cardinality, block, block_begin, log_base, base)
                    for j in range(cone_begin[b], cone_begin[b + 1]):
                        if total == -np.inf:
                            break
                        f = cone[j]
                        code = table[f]
                        for i in range(begin[f], begin[f + 1]):
                            code += strides[i] * x[members[i]]
                        total += log_weight[code]
                        x[variables + f] = states[code]
                    weight[c] = total
                    peak = max(peak, total)
                mass = 0.0
                for c in range(candidates):
                    weight[c] = np.exp(weight[c] - peak)
                    mass += weight[c]
                u = uniform(random) * mass
                chosen, last = -1, now
                for c in range(candidates):
                    if weight[c] > 0.0:
                        last = c
                        u -= weight[c]
                        if u < 0.0:
                            chosen = c
                            break
                if chosen < 0:
                    chosen = last  # what rounding left over
                _place(x, chosen, b, cardinality, block, block_begin, log_base, base)
                for j in range(cone_begin[b], cone_begin[b + 1]):
                    f = cone[j]
                    code = table[f]
                    for i in range(begin[f], begin[f + 1]):
                        code += strides[i] * x[members[i]]
                    x[variables + f] = states[code]
                moved += chosen != now
    return moved


@numba.njit(inline="always")
def _place(x: Any, c: int, b: int, cardinality: Ints, block: Ints, block_begin: Ints, log_base: Floats, base: Ints) -> Any:
    """Give a block its c-th joint value; the log of its base law."""
    total = 0.0
    for i in range(block_begin[b + 1] - 1, block_begin[b] - 1, -1):
        v = block[i]
        value = c % cardinality[v]
        c //= cardinality[v]
        x[v] = value
        total += log_base[base[v] + value]
    return total
