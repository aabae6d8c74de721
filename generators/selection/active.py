r"""Draw which trees are active in each row, at a cost that grows with their number alone.

Independent trees: points of a Poisson process fall into row r at rate :math:`\Lambda = \sum_t \lambda_t`,
:math:`\lambda_t = -\log(1 - p_t)`, and each picks tree t with probability :math:`\lambda_t / \Lambda` (Walker's alias table [1]_). A tree
is active where at least one point picked it: with probability :math:`1 - e^{-\lambda_t} = p_t`, independently. Trees that are active often
are cheaper to ask one by one.

Correlated trees: tree t is active where :math:`\ell_t \cdot z + \sqrt{1 - |\ell_t|^2}\, \epsilon < \Phi^{-1}(p_t)`, z and
:math:`\epsilon` standard normal (a Gaussian copula of low rank: every :math:`p_t` holds exactly).

References
----------
.. [1] Walker (1977), An efficient method for generating discrete random variables with general distributions.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from generators.selection.randomness import Floats, Ints, uniform

OFTEN = 0.3
"""Trees active more often than this are asked one by one."""

FINEST, ENDS = 1 / 128, 8.0
LINES = np.arange(-ENDS, ENDS + FINEST, FINEST)
PHI, HAZARD = ndtr(LINES), -np.log1p(-ndtr(LINES))
"""Phi and -log(1 - Phi) on a grid. Two lines away they bound a cell and what float32 may make of it."""
GROUP = 16
"""Correlated trees that share one bound."""


@numba.njit(cache=True)
def alias_table(weight: Floats) -> tuple[Floats, Ints]:
    """Walker's table: draw a cell uniformly, keep it with its probability, else take its alias."""
    n = len(weight)
    keep = weight * (n / weight.sum())
    alias = np.arange(n)
    small = np.empty(n, np.int64)
    large = np.empty(n, np.int64)
    s = 0
    t = 0
    for i in range(n):
        if keep[i] < 1.0:
            small[s] = i
            s += 1
        else:
            large[t] = i
            t += 1
    while s > 0 and t > 0:
        s -= 1
        i, j = small[s], large[t - 1]
        alias[i] = j
        keep[j] -= 1.0 - keep[i]
        if keep[j] < 1.0:
            t -= 1
            small[s] = j
            s += 1
    for i in range(s):
        keep[small[i]] = 1.0  # what rounding left over
    return keep, alias


class Activity:
    """Which trees are active, row by row.

    Parameters
    ----------
    probability : ndarray, shape (T,)
    loadings : ndarray, shape (T, R), or None
        Of the copula; None for independent trees.
    """

    def __init__(self, probability: Floats, loadings: Floats | None) -> None:
        self.loadings = loadings
        if loadings is not None:
            scale = np.sqrt(1 - (loadings**2).sum(axis=1))
            threshold = ndtri(probability) / scale
            self.order = np.argsort(-threshold, kind="stable")  # neighbours are alike, so that one bound serves them well
            slope = -(loadings / scale[:, None])[self.order].T
            self.slope = np.ascontiguousarray(np.vstack([slope, threshold[self.order]]), np.float32)  # (R + 1, T)
            return
        self.often = np.flatnonzero(probability > OFTEN)
        self.probability = probability[self.often]
        self.seldom = np.flatnonzero((probability <= OFTEN) & (probability > 0))
        rate = -np.log1p(-probability[self.seldom])
        self.rate = float(rate.sum())
        self.keep, self.alias = alias_table(rate) if len(rate) else (np.ones(0), np.zeros(0, np.int64))

    def draw(self, n: int, seed: int) -> tuple[Ints, Ints]:
        """Active trees of n rows: row i has ``trees[start[i]:start[i + 1]]``, in no order."""
        if self.loadings is not None:
            z = np.ones((n, len(self.slope)), np.float32)
            z[:, :-1] = np.random.Generator(np.random.SFC64(seed)).standard_normal((n, len(self.slope) - 1), np.float32)
            product = (torch.from_numpy(z) @ torch.from_numpy(self.slope)).numpy()
            found: tuple[Ints, Ints] = _correlated(product, self.order, seed, PHI, HAZARD)
            return found
        count = len(self.seldom) + len(self.often)
        room = n * (self.rate + len(self.often)) + 64
        start, trees, fits = _independent(
            n, self.rate, self.keep, self.alias, self.seldom, self.often, self.probability, seed, int(room + 12 * math.sqrt(room)), count
        )
        if not fits:
            raise AssertionError("more points than twelve standard deviations above their mean")  # once in 1e30 blocks
        return start, trees


@numba.njit(cache=True)
def _independent(
    n: int, rate: float, keep: Floats, alias: Ints, seldom: Ints, often: Ints, probability: Floats, seed: int, room: int, count: int
) -> Any:
    state = np.array([seed], np.uint64)
    start = np.zeros(n + 1, np.int64)
    trees = np.empty(room, np.int64)
    last = np.full(len(seldom), -1, np.int64)  # the row in which each tree was last picked
    size, cells = 0, len(seldom)
    time = math.inf if rate == 0.0 else -math.log1p(-uniform(state)) / rate
    for row in range(n):
        for i in range(len(often)):
            if uniform(state) < probability[i]:
                trees[size] = often[i]
                size += 1
        while time < row + 1:
            if size + len(often) >= room:
                return start, trees, False
            u = uniform(state) * cells
            cell = min(int(u), cells - 1)
            if u - cell >= keep[cell]:
                cell = alias[cell]
            if last[cell] != row:
                last[cell] = row
                trees[size] = seldom[cell]
                size += 1
            time -= math.log1p(-uniform(state)) / rate
        start[row + 1] = size
    return start, trees[:size], True


@numba.njit(cache=True, fastmath=True)
def _highest(argument: NDArray[np.float32]) -> Any:
    """Largest entry of each group of a row, shape (n, T) -> (n, ceil(T / GROUP))."""
    n, count = argument.shape
    out = np.empty((n, (count + GROUP - 1) // GROUP), np.float32)
    for row in range(n):
        for group in range(out.shape[1]):
            high = argument[row, group * GROUP]
            for t in range(group * GROUP + 1, min(count, (group + 1) * GROUP)):
                high = max(high, argument[row, t])
            out[row, group] = high
    return out


@numba.njit(inline="always")
def _below(u: float, a: float, phi: Floats) -> Any:
    """Whether u < Phi(a): by the grid where that is enough, exactly where it is not."""
    if -ENDS + 2 * FINEST < a < ENDS - 2 * FINEST:
        line = int((a + ENDS) / FINEST)
        if u < phi[line - 1]:
            return True
        if u >= phi[line + 2]:
            return False
    return u < 0.5 * math.erfc(-a / math.sqrt(2.0))


@numba.njit(cache=True)
def _correlated(argument: NDArray[np.float32], order: Ints, seed: int, phi: Floats, hazard: Floats) -> Any:
    r"""Tree ``order[t]`` is active with probability :math:`\Phi(a_t)`, `argument` a having shape (n, T).

    Candidates come at the hazard of a bound that a group of trees shares, and are kept with probability :math:`\Phi(a_t)` / bound: most
    trees cost no random number.
    """
    n, count = argument.shape
    highest = _highest(argument)
    state = np.array([seed], np.uint64)
    start = np.zeros(n + 1, np.int64)
    trees = np.empty(4 * n + count, np.int64)
    size = 0
    clock = -math.log1p(-uniform(state))
    for row in range(n):
        if size + count > len(trees):
            wider = np.empty(2 * len(trees) + count, np.int64)
            wider[:size] = trees[:size]
            trees = wider
        for group in range(highest.shape[1]):
            high = highest[row, group]
            rate, bound = math.inf, 1.0
            if high < ENDS - 2 * FINEST:
                line = max(0, int((high + ENDS) / FINEST)) + 2
                rate, bound = hazard[line], phi[line]
            t, last = group * GROUP, min(count, (group + 1) * GROUP)
            while True:
                if t >= last or clock >= (last - t) * rate:
                    clock -= (last - t) * rate if t < last else 0.0
                    break
                t = min(last - 1, t + int(clock / rate))
                if _below(uniform(state) * bound, argument[row, t], phi):
                    trees[size] = order[t]
                    size += 1
                clock = -math.log1p(-uniform(state))
                t += 1
        start[row + 1] = size
    return start, trees[:size]
