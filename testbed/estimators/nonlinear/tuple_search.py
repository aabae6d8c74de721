r"""Which codes compose: partitions of codes into tuples, each of which speaks to the rest through one number.

Under selection a composite v = g(tuple) is all that the rest knows of its tuple. So a tuple, and each set of codes within it along which g
composes step by step, has a one-dimensional bottleneck: its residual dependence (`testbed.numerics.bottlenecks`) is 0. A set of codes
of two tuples has none, as long as selection acts on the tuples themselves. Pairwise dependence does not tell the two apart: where
composites are tied to each other more tightly than their constituents, codes of different tuples depend more.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from testbed.numerics.bottlenecks import Expansion, residual_dependence, whole_dependence

Tuples = list[list[int]]
Array = NDArray[np.float64]

Partial = tuple[float, float, tuple[tuple[int, ...], ...], tuple[int, ...], int]
"""Least cost of a whole partition that begins so; cost so far; its sets; codes to be placed; codes that may stay free."""

NOISE = 4.0
"""Standard deviations of the chance level: what is below counts as 0."""
FLOOR = 1.5
"""Standard deviations of the chance level that the cost of a merge, a mean of many pairs, is counted from."""
JUMP = 3.0
"""How much more residual dependence a wrong union has than the worst right one, at least."""
ALIKE = 0.7
"""Jumps at least this share of the largest, in logarithms, are as good: the first of them counts."""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    tuples : list of list of int
        Disjoint, in the order of their first code; codes in none are free.
    stopped : str
        A sentence where the budget ended the search early, else "".
    """

    tuples: Tuples
    stopped: str = ""


def chance_spread(table: Expansion, size: int) -> float:
    """Standard deviation of the residual dependence of a set of this size where there is none."""
    f, g = len(table.inside(range(size))), len(table.outside(range(size)))
    return math.sqrt(2 * f * g) / (2 * table.n / 2) / math.sqrt(2)


def dependent(table: Expansion) -> list[int]:
    """Codes that depend on any other: the rest belong to no tuple."""
    least = NOISE * chance_spread(table, 1)
    return [j for j in range(table.p) if whole_dependence(table, [j]) > least]


def of_size(table: Expansion, size: int, budget: int) -> Search:
    """Tuples of one known size: the partition with the least residual dependence in sum.

    All sets of this size are tried where the budget allows; otherwise pairs are, and sets grow from the pairs that go together best.

    Parameters
    ----------
    table : Expansion
    size : int
        Codes per tuple; what is left over when codes are not a multiple of it stays free.
    budget : int
        Sets to try, at most; and steps of the search through partitions.
    """
    codes = dependent(table)
    if len(codes) < size:
        return Search([])
    if math.comb(len(codes), size) > budget:
        return _grown(table, codes, size, budget)
    cost = {chosen: residual_dependence(table, chosen) for chosen in combinations(codes, size)}
    return best_partition(cost, codes, size, budget * 100)


def best_partition(cost: dict[tuple[int, ...], float], codes: Sequence[int], size: int, steps: int) -> Search:
    """As many disjoint sets as fit, of least cost in sum: best-first over partitions, exact unless it stops early.

    A partial partition is bounded below by what it costs plus, for every code still to be placed, its share of the cheapest set it is in.
    """
    share = {j: min(value for chosen, value in cost.items() if j in chosen) / size for j in codes}
    count, spare = divmod(len(codes), size)
    by_code: dict[int, list[tuple[int, ...]]] = {j: sorted((c for c in cost if c[0] == j), key=lambda c: cost[c]) for j in codes}
    start: Partial = (sum(sorted(share.values())[: count * size]), 0.0, (), tuple(codes), spare)
    queue, deepest = [start], start
    for _ in range(steps):
        if not queue:
            break
        _, spent, chosen, left, spare = node = heapq.heappop(queue)
        if len(chosen) > len(deepest[2]):
            deepest = node
        if len(chosen) == count:
            return Search([list(one) for one in chosen])
        first, others = left[0], left[1:]
        free = set(left)
        for one in by_code[first]:
            if set(one) <= free:
                rest = tuple(j for j in left if j not in one)
                need = (count - len(chosen) - 1) * size
                bound = spent + cost[one] + sum(sorted(share[j] for j in rest)[:need])
                heapq.heappush(queue, (bound, spent + cost[one], (*chosen, one), rest, spare))
        if spare:
            need = (count - len(chosen)) * size
            heapq.heappush(queue, (spent + sum(sorted(share[j] for j in others)[:need]), spent, chosen, others, spare - 1))
    sentence = f"the search through partitions stopped after {steps} steps: raise budget, or take the tuples as the best so far"
    return Search(_filled(cost, deepest[2], codes), sentence)


def _filled(cost: dict[tuple[int, ...], float], chosen: tuple[tuple[int, ...], ...], codes: Sequence[int]) -> Tuples:
    """A partial partition completed greedily."""
    made, used = list(chosen), {j for one in chosen for j in one}
    for one in sorted(cost, key=lambda c: cost[c]):
        if not used & set(one):
            made.append(one)
            used |= set(one)
    return sorted(list(one) for one in made)


def _grown(table: Expansion, codes: list[int], size: int, budget: int) -> Search:
    """Sets grown from pairs, least residual dependence first."""
    tried = f"all {math.comb(len(codes), size)} sets of {size} of {len(codes)} codes are more than the budget of {budget}"
    pairs, stopped = pair_costs(table, codes, budget)
    at = {j: k for k, j in enumerate(codes)}
    free, made, left = list(codes), [], budget - len(codes) * (len(codes) - 1) // 2
    while len(free) >= size and not stopped:
        together = [(float(pairs[at[j], at[k]]), j, k) for j, k in combinations(free, 2)]
        tuple_ = list(min(together)[1:])
        while len(tuple_) < size:
            others = sorted((j for j in free if j not in tuple_), key=lambda j: sum(pairs[at[j], at[k]] for k in tuple_))
            if left > 0:
                others = others[:CLOSE]
                left -= len(others)
                tuple_.append(min(others, key=lambda j: residual_dependence(table, [*tuple_, j])))
            else:
                tuple_.append(others[0])
        made.append(sorted(tuple_))
        free = [j for j in free if j not in tuple_]
    return Search(sorted(made), f"{tried}: tuples were grown from pairs" + (f"; {stopped}" if stopped else ""))


CLOSE = 4
"""Codes that are tried as the next one of a tuple that grows."""


def pair_costs(table: Expansion, codes: Sequence[int], budget: int) -> tuple[Array, str]:
    """Residual dependence of every pair, shape (c, c); and a sentence if there are more pairs than the budget allows."""
    c = len(codes)
    out = np.zeros((c, c))
    if c * (c - 1) // 2 > budget:
        return out, f"{c} codes have {c * (c - 1) // 2} pairs, more than the budget of {budget}: no tuple was sought; raise budget"
    for i, j in combinations(range(c), 2):
        out[i, j] = out[j, i] = residual_dependence(table, (codes[i], codes[j]))
    return out, ""


def of_any_size(table: Expansion, budget: int) -> Search:
    """Tuples whose size is not known: codes of which each two have a one-dimensional bottleneck.

    Pairs within a tuple have one where g composes step by step; pairs across have none. Pairs are merged by average linkage of their
    residual dependence, what is below the chance level counting as that level, and the tree is cut where merges begin to cost far more
    than those before, in proportion. Where none costs 3 times as much all dependent codes are one tuple. A union of whole tuples may have
    a bottleneck again, one level up: it is told by its pairs, which have none.
    """
    codes = dependent(table)
    if len(codes) < 2:
        return Search([])
    pairs, stopped = pair_costs(table, codes, budget)
    if stopped:
        return Search([], stopped)
    return Search(_clusters(pairs, codes, FLOOR * chance_spread(table, 2)))


def _clusters(distances: Array, codes: Sequence[int], floor: float) -> Tuples:
    """Clusters of average linkage, cut at its first large jump."""
    if len(codes) < 3:
        return [list(codes)] if distances.max() <= floor else []
    tree = linkage(squareform(np.maximum(distances, floor), checks=False), method="average")
    heights = np.concatenate([[floor], tree[:, 2]])
    jumps = heights[1:] / heights[:-1]
    if jumps.max() < JUMP:
        return [list(codes)]
    best = int((np.log(jumps) >= ALIKE * np.log(jumps.max())).argmax())
    label = fcluster(tree, t=math.sqrt(heights[best] * heights[best + 1]), criterion="distance")
    return _groups(label, codes)


def by_dependence(table: Expansion, size: int | None) -> Search:
    """The control: tuples of codes that depend on each other, pair by pair, as their correlation says.

    Of a known size by merging the pair of sets with the largest mean absolute correlation that still fits; of any size by average linkage,
    cut at the largest jump.
    """
    z = table.z - table.z.mean(dim=0)
    r = (z / z.square().mean(dim=0).sqrt().clamp_min(1e-12)).T
    strength = (r @ r.T / table.n).abs().cpu().numpy()
    if size is None:
        distances = 1 - strength
        np.fill_diagonal(distances, 0.0)
        tree = linkage(squareform(distances, checks=False), method="average")
        best = int(np.diff(tree[:, 2]).argmax()) if len(tree) > 1 else 0
        label = fcluster(tree, t=float(tree[best, 2]), criterion="distance")
        return Search(_groups(label, range(table.p)))
    sets: Tuples = [[j] for j in range(table.p)]
    while True:
        fitting = [(a, b) for a, b in combinations(range(len(sets)), 2) if len(sets[a]) + len(sets[b]) <= size]
        if not fitting:
            return Search(sorted(sorted(one) for one in sets if len(one) == size))
        means = [float(strength[np.ix_(sets[a], sets[b])].mean()) for a, b in fitting]
        a, b = fitting[int(np.argmax(means))]
        sets = [one for k, one in enumerate(sets) if k not in (a, b)] + [sets[a] + sets[b]]


def _groups(label: NDArray[Any], codes: Sequence[int]) -> Tuples:
    """Sets of codes with one label, those of one code left out."""
    made = [[codes[int(k)] for k in np.flatnonzero(label == value)] for value in np.unique(label)]
    return sorted(one for one in made if len(one) > 1)


def standing_out(x: torch.Tensor) -> list[int]:
    """Columns that vary."""
    spread = x.double().std(dim=0, correction=0)
    return (spread > 1e-9 * x.double().abs().amax(dim=0)).nonzero()[:, 0].tolist()
