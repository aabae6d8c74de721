r"""Rare free concepts under a copula, at a cost that grows with how many are proposed and not with how many there are.

Given the common factors f, concept i has the hazard :math:`\lambda_i(f) = -\log(1 - k_i \Phi(a_i \cdot f + b_i))`, and by Cauchy and
Schwarz :math:`\lambda_i(f) \le \bar\lambda_i(|f|) = -\log(1 - k_i \Phi(|a_i| |f| + b_i))`, which depends on the row through one number.
So bounds are tabled for shells of :math:`|f|`. A row draws how many points fall in all, and for each point a concept in proportion to its
bound; a point is kept with probability :math:`\lambda_i(f) / \bar\lambda_i` (thinning [1]_). Only concepts on which a point falls are
looked at. A row beyond the last shell, one in ten million, asks every rare concept.

References
----------
.. [1] Lewis & Shedler (1979), Simulation of nonhomogeneous Poisson processes by thinning.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chi, poisson

from generators.peers.gated_kernels import GOLDEN, Floats, Ints, Singles, normal_cdf, unit

SHELLS = 64
"""Shells of the length of a row's factors."""
BEYOND = 1e-7
"""Probability that a row lies beyond the last shell."""
MARGIN = 1 + 3e-4
"""Bounds are raised by what single precision and the tabled normal distribution function may add."""
CELL = 64
"""Concepts of like bound that share a cell."""
SLOTS = 6
"""Slots per cell, on average: more of them waste fewer proposals."""
DEAREST = 0.15
"""Concepts whose mean bound exceeds this are cheaper in tiles, where a matrix product finds everyone's argument."""


class RareTables(NamedTuple):
    """What the kernel needs.

    Attributes
    ----------
    edge : ndarray, shape (shells,)
        Upper end of each shell.
    first, distribution : ndarray, shape (shells,) and (shells, width)
        Poisson distribution functions of the number of points, from `first` on.
    slots : ndarray, shape (shells,)
        Number of slots of each shell; all are equally likely.
    slot : ndarray, shape (shells, most slots), int32
        The cell that each belongs to: as many as its bound wants, rounded upwards.
    ceiling : ndarray, shape (shells, cells)
        Rate at which each concept of a cell is proposed, which bounds its hazard.
    concept : ndarray, shape (cells * CELL,)
        Concepts in their cells; -1 for room that is left.
    slope : ndarray, shape (cells * CELL, width), float32
        Of the arguments of Phi, with their offsets where the constant factor stands.
    """

    edge: Floats
    first: Ints
    distribution: Floats
    slots: Ints
    slot: NDArray[np.int32]
    ceiling: Singles
    concept: Ints
    slope: Singles


def dear(slope: Floats, offset: Floats) -> NDArray[np.bool_]:
    """Whether each concept, with slope (n, r) and offset (n,), has too large a bound to be proposed by it, shape (n,)."""
    return _mean_bounds(np.linalg.norm(slope, axis=1), offset, slope.shape[1]) > DEAREST


def _mean_bounds(length: Floats, offset: Floats, rank: int) -> Floats:
    """Hazard bounds averaged over the length of the factors, which bears the chi distribution of `rank` degrees."""
    total = np.zeros(len(length))
    for radius in chi(rank).ppf((np.arange(16) + 0.5) / 16):
        total += _bound(length, offset, 1.0, float(radius))
    return total / 16


def rare_tables(concept: Ints, slope: Singles, keep: Floats, rank: int) -> RareTables:
    """Tables for the concepts given, shape (c,), whose slopes (c, width) have offsets in column `rank`."""
    length, offset = np.linalg.norm(slope[:, :rank].astype(np.float64), axis=1), slope[:, rank].astype(np.float64)
    order = np.argsort(-_mean_bounds(length, offset, rank), kind="stable")
    cells = -(-len(order) // CELL)
    place = np.full(cells * CELL, -1)
    place[: len(order)] = order
    edge = np.linspace(float(chi(rank).ppf(0.01)), float(chi(rank).ppf(1 - BEYOND)), SHELLS)
    real = place >= 0
    ceiling = np.zeros((SHELLS, cells), np.float32)
    for shell, radius in enumerate(edge):
        bound = np.zeros(len(place))
        bound[real] = _bound(length[place[real]], offset[place[real]], keep[place[real]], float(radius)) * MARGIN
        ceiling[shell] = np.nextafter(bound.reshape(cells, CELL).max(axis=1).astype(np.float32), np.float32(np.inf))
    unit_mass = ceiling.sum(axis=1, keepdims=True, dtype=np.float64) / (SLOTS * cells)
    per_cell = np.ceil(ceiling / unit_mass).astype(np.int64)
    slots = per_cell.sum(axis=1)
    slot = np.zeros((SHELLS, slots.max() + 1), np.int32)  # one more, should rounding ever point beyond
    for shell in range(SHELLS):
        slot[shell, : slots[shell]] = np.repeat(np.arange(cells), per_cell[shell])
    total = CELL * slots * unit_mass[:, 0]
    first = np.maximum(0, np.floor(total - 12 * np.sqrt(total) - 30)).astype(np.int64)
    width = int((total + 12 * np.sqrt(total) + 40 - first).max())
    count = poisson.cdf(first[:, None] + np.arange(width), total[:, None])
    count[:, -1] = 1.0
    padded = np.zeros((len(place), slope.shape[1]), np.float32)
    padded[real] = slope[place[real]]
    return RareTables(
        edge=edge,
        first=first,
        distribution=count,
        slots=slots,
        slot=slot,
        ceiling=(per_cell * unit_mass).astype(np.float32),
        concept=np.where(real, concept[place], -1),
        slope=padded,
    )


def _bound(length: Floats, offset: Floats, keep: Any, radius: float) -> Floats:
    found: Floats = -np.log1p(-np.minimum(keep * ndtr(length * radius + offset), 1 - 1e-12))
    return found


@numba.njit(cache=True)
def _propose(shell: int, points: int, state: Any, slots: int, slot: Any, ceiling: Singles, place: Ints, level: Floats) -> Any:
    """Where points fall, and a uniform number below the bound there."""
    for p in range(points):
        state += GOLDEN
        cell = slot[shell, int(unit(state) * slots)]
        state += GOLDEN
        u = unit(state) * CELL
        k = int(u)
        place[p] = cell * CELL + k
        level[p] = (u - k) * ceiling[shell, cell]
    return state


@numba.njit(cache=True, fastmath=True)
def _arguments(f: Singles, row: int, slope: Singles, points: int, place: Ints, argument: Singles) -> None:
    for p in range(points):
        total = np.float32(0.0)
        for r in range(f.shape[1]):
            total += f[row, r] * slope[place[p], r]
        argument[p] = total


@numba.njit(cache=True)
def _promising(points: int, level: Floats, argument: Singles, phi: Floats, place: Ints) -> Any:
    """Move points that may be kept to the front; how many there are. -log(1 - k q) is at most q (1 + q) for q up to 1/2."""
    kept = 0
    for p in range(points):
        q = normal_cdf(argument[p], phi)
        place[kept], level[kept], argument[kept] = place[p], level[p], argument[p]
        kept += q > 0.5 or level[p] < q * (1.0 + q)
    return kept


@numba.njit(cache=True)
def draw_rare(
    f: Singles,
    radius: Floats,
    seed: int,
    tables: RareTables,
    keep: Floats,
    phi: Floats,
    last: Ints,
    begin: Ints,
    concept: Ints,
) -> Any:
    """Rare concepts of each row; whether there was room for them. `f` has a factor that is always 1."""
    edge, first, count, slots, slot, ceiling, member, slope = tables
    state = np.uint64(seed)
    shells, size = len(edge), 0
    low, step = edge[0], (edge[-1] - edge[0]) / (shells - 1)
    room = max(len(member), first.max() + count.shape[1])
    place, level, argument = np.empty(room, np.int64), np.empty(room), np.empty(room, np.float32)
    for row in range(len(f)):
        shell = max(0, int(np.ceil((radius[row] - low) / step + 1e-9)))
        if shell < shells:
            state += GOLDEN
            points = first[shell] + _index(unit(state), count[shell])
            state = _propose(shell, points, state, slots[shell], slot, ceiling, place, level)
        else:  # ask everyone: it fires if an exponential number is below its hazard
            points = len(member)
            for p in range(points):
                state += GOLDEN
                place[p], level[p] = p, -math.log1p(-unit(state))
        _arguments(f, row, slope, points, place, argument)
        points = _promising(points, level, argument, phi, place)
        if size + points > len(concept):
            return False
        for p in range(points):
            i = member[place[p]]
            if i >= 0 and last[i] != row and level[p] < -math.log1p(-keep[i] * normal_cdf(argument[p], phi)):
                last[i] = row
                concept[size] = i
                size += 1
        begin[row + 1] = size
    return True


@numba.njit(cache=True)
def _index(u: float, count: Floats) -> Any:
    """The first count whose distribution function exceeds u."""
    under, over = 0, len(count) - 1
    while under < over:
        middle = (under + over) // 2
        if u < count[middle]:
            over = middle
        else:
            under = middle + 1
    return under
