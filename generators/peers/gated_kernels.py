"""Kernels that draw parent-gated concepts; `generators.peers.gated_sampling` says how, and prepares their tables.

They write into arrays that they are given and return whether these had room: numba counts references to an array that is replaced
inside a loop, which costs more than everything else here.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

TILE = 8
"""Concepts per tile, and tiles per group."""
EDGE, STEPS = 9.0, 512
"""The table of the normal distribution function: from -EDGE to EDGE in steps of 1 / STEPS."""

S11, S27, S30, S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@numba.njit(inline="always")
def unit(z: Any) -> Any:
    """A number in [0, 1) from the state of SplitMix64 (Steele, Lea & Flood 2014), which moves on by GOLDEN."""
    z = (z ^ (z >> S30)) * FIRST
    z = (z ^ (z >> S27)) * SECOND
    return np.int64((z ^ (z >> S31)) >> S11) * (1.0 / 9007199254740992.0)  # signed: a single instruction converts it


@numba.njit(inline="always")
def normal_cdf(a: Any, phi: Any) -> Any:
    """Phi by linear interpolation: relative error below 4e-5 above -9, beyond which it is 0 or 1."""
    t = (a + EDGE) * STEPS
    if t <= 0.0:
        return 0.0
    if t >= len(phi) - 1.0:
        return 1.0
    i = int(t)
    return phi[i] + (t - i) * (phi[i + 1] - phi[i])


@numba.njit(cache=True)
def draw_independent(
    n: int,
    seed: int,
    counts: Floats,
    accept: Floats,
    alias: Ints,
    seldom: Ints,
    often: Ints,
    q: Floats,
    first_child: int,
    exclusive: NDArray[np.bool_],
    win: Floats,
    last: Ints,
    begin: Ints,
    concept: Ints,
    above: Ints,
) -> Any:
    state = np.uint64(seed)
    cells, parents, s, size = len(seldom), len(win), win.shape[1], 0
    for row in range(n):
        points = 0
        if cells:
            state += GOLDEN
            u = unit(state)
            while u >= counts[points]:
                points += 1
        if size + points + len(often) >= len(concept):
            return False
        at = size
        for t in range(len(often)):
            i = often[t]
            concept[size], above[size] = i, -1
            state += GOLDEN
            size += unit(state) < q[i]  # no branch to mispredict: what is not on is overwritten
        for _ in range(points):
            state += GOLDEN
            u = unit(state) * cells
            cell = min(int(u), cells - 1)
            if u - cell >= accept[cell]:
                cell = alias[cell]
            i = seldom[cell]
            concept[size], above[size] = i, -1
            size += last[i] != row
            last[i] = row
        while at < size:
            i = concept[at]
            if i < parents:
                if size + s >= len(concept):
                    return False
                if exclusive[i]:
                    state += GOLDEN
                    u = unit(state)
                    j = 0
                    for k in range(s):
                        j += u >= win[i, k]
                    concept[size], above[size] = first_child + i * s + j, at
                    size += j < s
                else:
                    for j in range(s):
                        concept[size], above[size] = first_child + i * s + j, at
                        state += GOLDEN
                        size += unit(state) < win[i, j]
            at += 1
        begin[row + 1] = size
    return True


@numba.njit(cache=True, fastmath=True)
def _bounds(a: Singles, row: int, hazard: Singles, bound: Singles, group: Singles, largest: Singles) -> None:
    """Bound on the hazards of each tile in a row, and sums over groups of tiles; `largest` is room for half as many numbers as columns."""
    tiles, top = len(bound), len(hazard) - 1
    half = TILE // 2 * tiles
    for c in range(half):
        largest[c] = a[row, c] if a[row, c] > a[row, c + half] else a[row, c + half]
    while half > tiles:
        half //= 2
        for c in range(half):
            largest[c] = largest[c] if largest[c] > largest[c + half] else largest[c + half]
    for b in range(tiles):
        t = (largest[b] + np.float32(EDGE)) * np.float32(STEPS)
        line = np.int32(t if t > np.float32(0.0) else np.float32(0.0)) + 2  # two lines on, since single precision may have rounded down
        bound[b] = hazard[line if line < top else top]
    for g in range(len(group)):
        total = np.float32(0.0)
        for b in range(g * TILE, min((g + 1) * TILE, tiles)):
            total += bound[b]
        group[g] = total


@numba.njit(cache=True, fastmath=True)
def _argument(f: Singles, row: int, slope: Singles, parent: int, child: int) -> Any:
    """Argument of Phi of a child, given the row's factors."""
    total = np.float32(0.0)
    for r in range(f.shape[1]):
        total += f[row, r] * slope[parent, child, r]
    return total


@numba.njit(cache=True)
def draw_copula(
    a: Singles,
    f: Singles,
    seed: int,
    layout: Ints,
    often: Ints,
    keep: Floats,
    first_child: int,
    exclusive: NDArray[np.bool_],
    child_slope: Singles,
    phi: Floats,
    hazard: Singles,
    rare_begin: Ints,
    rare: Ints,
    last: Ints,
    begin: Ints,
    concept: Ints,
    above: Ints,
) -> Any:
    n, parents, s = len(a), len(child_slope), child_slope.shape[1]
    width = len(layout)
    tiles = width // TILE
    state = np.uint64(seed)
    bound = np.empty(tiles, np.float32)
    group = np.empty((tiles + TILE - 1) // TILE, np.float32)
    largest = np.empty(TILE // 2 * tiles, np.float32)
    fired = np.empty(s + 1, np.int64)
    size = 0
    for row in range(n):
        if size + width + len(often) + rare_begin[row + 1] - rare_begin[row] >= len(concept):
            return False
        for t in range(rare_begin[row], rare_begin[row + 1]):
            concept[size], above[size] = rare[t], -1
            size += 1
        at = size
        for t in range(len(often)):
            concept[size], above[size] = often[t], -1
            state += GOLDEN
            size += unit(state) < keep[often[t]] * normal_cdf(a[row, width + t], phi)
        _bounds(a, row, hazard, bound, group, largest)
        passed = 0.0
        state += GOLDEN
        point = -math.log1p(-unit(state))
        for g in range(len(group)):
            if passed + TILE * group[g] < point:
                passed += TILE * group[g]
                continue
            for b in range(g * TILE, min((g + 1) * TILE, tiles)):
                passed += TILE * bound[b]
                while passed > point:
                    state += GOLDEN
                    column = min(int(unit(state) * TILE), TILE - 1) * tiles + b
                    i = layout[column]
                    if i >= 0:
                        q = keep[i] * normal_cdf(a[row, column], phi)
                        state += GOLDEN
                        u = unit(state) * bound[b]
                        # -log(1 - q) is at least q, which settles most.
                        if (u < q or u < -math.log1p(-q)) and last[i] != row:
                            last[i] = row
                            concept[size], above[size] = i, -1
                            size += 1
                    state += GOLDEN
                    point -= math.log1p(-unit(state))
        while at < size:
            i = concept[at]
            if i < parents:
                if size + s >= len(concept):
                    return False
                child = first_child + i * s
                count = 0
                for j in range(s):
                    fired[count] = child + j
                    state += GOLDEN
                    count += unit(state) < keep[child + j] * normal_cdf(_argument(f, row, child_slope, i, j), phi)
                if exclusive[i] and count > 1:
                    state += GOLDEN
                    fired[0] = fired[min(int(unit(state) * count), count - 1)]
                    count = 1
                for j in range(count):
                    concept[size], above[size] = fired[j], at
                    size += 1
            at += 1
        begin[row + 1] = size
    return True
