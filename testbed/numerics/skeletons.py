"""Constraint-based search: the stable PC skeleton, orientation by colliders and Meek's rules. What is tested is up to the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from testbed.numerics.independence import IndependenceTest, Index

Matrix = NDArray[np.bool_]

BATCH = 2**16
"""Numbers that a batch of tests holds per variable conditioned on: small enough for a processor's cache."""


@dataclass(frozen=True)
class Skeleton:
    """Which variables are adjacent, and what separates the others.

    Attributes
    ----------
    adjacent : array of bool, shape (p, p)
    separators : mapping of (int, int) to tuple of int
        Of separated pairs, the smaller first, the set with the largest margin of the first size that separates them; a pair that is
        not there is independent given nothing.
    depth : int
        Size of the largest conditioning sets that were tried.
    tests : int
    stopped : str
        Why the search ended before it was through, in a sentence; empty if it was through.
    """

    adjacent: Matrix
    separators: Mapping[tuple[int, int], tuple[int, ...]]
    depth: int
    tests: int
    stopped: str = ""


def skeleton(test: IndependenceTest, max_depth: int | None = None, budget: int = 10**8) -> Skeleton:
    """The skeleton that PC finds [1]_ in its stable variant [2]_, in which the order of variables changes nothing.

    With sets of d = 0, 1, 2, ... variables in turn: a pair (x, y) that is still adjacent is separated if the test calls it independent
    given some d neighbours of x, or of y, other than the two; neighbours are those at the beginning of the round. All sets of all
    nodes with equally many neighbours are tested together.

    Parameters
    ----------
    test : IndependenceTest
    max_depth : int, optional
        Largest conditioning sets.
    budget : int
        Most tests. A round that would exceed it is not begun, so that the result is that of a smaller `max_depth`.

    References
    ----------
    .. [1] Spirtes & Glymour (1991), An algorithm for fast recovery of sparse causal graphs.
    .. [2] Colombo & Maathuis (2014), Order-independent constraint-based causal structure learning, JMLR 15.
    """
    p = test.variables
    adjacent = ~np.eye(p, dtype=bool)
    separators: dict[tuple[int, int], tuple[int, ...]] = {}
    tests, depth = 0, 0
    while True:
        degree = adjacent.sum(axis=1)
        if degree.max(initial=0) <= depth and depth:  # nobody has `depth` neighbours beside the other end
            return Skeleton(adjacent, separators, depth - 1, tests)
        wanted = sum(
            int(count) * comb(int(k), depth) * (int(k) - depth) for k, count in zip(*np.unique(degree, return_counts=True), strict=True)
        )
        stopped = ""
        if max_depth is not None and depth > max_depth:
            stopped = f"max_depth is {max_depth}: pairs that are adjacent were not tested given {depth} variables or more"
        elif tests + wanted > budget:
            stopped = f"{tests:,} tests were done and {wanted:,} more with sets of {depth} are beyond the budget of {budget:,}"
        elif depth > test.deepest:
            stopped = f"there are too few rows to condition on {depth} variables"
        if stopped:
            return Skeleton(adjacent, separators, depth - 1, tests, stopped)
        tests += wanted
        separated, best = _round(test, adjacent, degree, depth) if depth else (_marginal(test), {})
        separators |= best
        adjacent = adjacent & ~separated
        depth += 1


def _marginal(test: IndependenceTest) -> Matrix:
    """Pairs that are independent given nothing, shape (p, p)."""
    p = test.variables
    out = np.zeros((p, p), dtype=bool)
    everyone = np.arange(p)
    step = max(1, BATCH // max(p, 1))
    for start in range(0, p, step):
        x = everyone[start : start + step]
        others = np.broadcast_to(everyone, (len(x), p)).copy()
        others[np.arange(len(x)), x] = (x + 1) % p  # in place of the pair of a variable with itself
        out[x] = test.margin(x, np.zeros((len(x), 0), dtype=np.int64), others) > 0
    np.fill_diagonal(out, False)
    return out | out.T


def _round(
    test: IndependenceTest, adjacent: Matrix, degree: NDArray[np.int64], depth: int
) -> tuple[Matrix, dict[tuple[int, int], tuple[int, ...]]]:
    """Pairs that some set of `depth` neighbours separates, shape (p, p), and for each the set with the largest margin."""
    p = len(adjacent)
    pairs, margins, sets = [], [], []
    for k in np.unique(degree[degree > depth]).tolist():
        nodes = np.flatnonzero(degree == k)
        neighbours = np.nonzero(adjacent[nodes])[1].reshape(len(nodes), k)
        for chosen, rest in _subsets(k, depth, max(1, BATCH // k)):
            step = max(1, BATCH // (len(chosen) * k))
            for start in range(0, len(nodes), step):
                x, around = nodes[start : start + step], neighbours[start : start + step]
                given = around[:, chosen].reshape(-1, depth)  # (nodes x sets, depth)
                others = around[:, rest].reshape(-1, k - depth)
                x = x.repeat(len(chosen))
                margin = test.margin(x, given, others)
                t, j = np.nonzero(margin > 0)
                if len(t):
                    y = others[t, j]
                    keep = _largest(np.minimum(x[t], y) * p + np.maximum(x[t], y), margin[t, j])
                    pairs.append((np.minimum(x[t], y) * p + np.maximum(x[t], y))[keep])
                    margins.append(margin[t, j][keep])
                    sets.append(given[t[keep]])
    separated = np.zeros((p, p), dtype=bool)
    if not pairs:
        return separated, {}
    pair, margin, given = np.concatenate(pairs), np.concatenate(margins), np.concatenate(sets)
    keep = _largest(pair, margin)
    a, b = np.divmod(pair[keep], p)
    separated[a, b] = separated[b, a] = True
    return separated, {(i, j): tuple(one) for i, j, one in zip(a.tolist(), b.tolist(), given[keep].tolist(), strict=True)}


def _largest(pair: Index, margin: NDArray[np.float64]) -> Index:
    """For each pair that occurs the place of its largest margin."""
    order = np.lexsort((-margin, pair))
    first = np.ones(len(order), dtype=bool)
    first[1:] = pair[order[1:]] != pair[order[:-1]]
    return np.asarray(order[first])


def _subsets(k: int, depth: int, step: int) -> Iterator[tuple[Index, Index]]:
    """All subsets of `depth` out of k in pieces: members (s, depth) and the rest (s, k - depth)."""
    every = combinations(range(k), depth)
    while piece := list(islice(every, step)):
        chosen = np.array(piece, dtype=np.int64).reshape(len(piece), depth)
        out = np.ones((len(piece), k), dtype=bool)
        out[np.arange(len(piece))[:, None], chosen] = False
        yield chosen, np.nonzero(out)[1].reshape(len(piece), k - depth)


# ------------------------------------------------------------------------------------------------------------- orientation


def orient(found: Skeleton, levels: NDArray[np.int64] | None = None) -> Matrix:
    """Arrows of the graph that a skeleton and its separators allow, shape (p, p); an edge without direction is an arrow both ways.

    Edges between levels run from the concrete (larger number) to the abstract. Then ends of unshielded triples x - z - y whose z is
    not in the set that separates x and y point to z. Then Meek's rules [1]_ until nothing changes. Where two demands contradict each other,
    which only errors of tests bring about, the edge stays without direction: so the order of variables changes nothing.

    References
    ----------
    .. [1] Meek (1995), Causal inference and causal explanation with background knowledge, UAI.
    """
    adjacent = found.adjacent
    arrows = adjacent.copy()
    fixed = np.zeros_like(adjacent)
    if levels is not None:
        fixed = levels[:, None] != levels[None, :]
        arrows &= levels[:, None] >= levels[None, :]
    demanded = np.zeros_like(adjacent)  # [x, z]: a collider at z
    for z in range(len(adjacent)):
        around = np.flatnonzero(adjacent[z])
        apart = np.triu(~adjacent[np.ix_(around, around)], 1)
        for i, j in zip(*np.nonzero(apart), strict=True):
            x, y = int(around[i]), int(around[j])
            if z not in found.separators.get((x, y), ()):
                demanded[x, z] = demanded[y, z] = True
    return _meek(_point(arrows, demanded & ~fixed), adjacent)


def _point(arrows: Matrix, demanded: Matrix) -> Matrix:
    """Orient what is demanded one way only, of edges that have no direction yet."""
    agreed = demanded & ~demanded.T & arrows & arrows.T
    return arrows & ~agreed.T


def _meek(arrows: Matrix, adjacent: Matrix) -> Matrix:
    while True:
        free = arrows & arrows.T
        directed = arrows & ~arrows.T
        b, c = np.nonzero(free)
        if not len(b):
            return arrows
        into = csr_array(directed.T.astype(np.int64))
        beside = csr_array(adjacent.astype(np.int64))
        demanded = np.zeros_like(arrows)
        # 1: a -> b - c with a and c apart: b -> c, else b were a collider
        demanded[b, c] = into.sum(axis=1)[b] > (into @ beside).toarray()[b, c]
        # 2: b -> a -> c: b -> c, else there were a cycle
        demanded[b, c] |= (into.T @ into.T).toarray()[b, c] > 0
        for i, j in zip(b.tolist(), c.tolist(), strict=True):
            if not demanded[i, j] and (_two_ways(free, directed, adjacent, i, j) or _detour(free, directed, adjacent, i, j)):
                demanded[i, j] = True
        after = _point(arrows, demanded)
        if (after == arrows).all():
            return arrows
        arrows = after


def _two_ways(free: Matrix, directed: Matrix, adjacent: Matrix, b: int, c: int) -> bool:
    """Rule 3: b - x -> c and b - y -> c with x and y apart."""
    between = np.flatnonzero(free[b] & directed[:, c])
    return len(between) > 1 and not adjacent[np.ix_(between, between)][~np.eye(len(between), dtype=bool)].all()


def _detour(free: Matrix, directed: Matrix, adjacent: Matrix, b: int, c: int) -> bool:
    """Rule 4: b - x -> y -> c with x and c apart and b and y adjacent; only what levels fixed makes it necessary."""
    start = free[b] & ~adjacent[:, c]
    start[c] = False
    return bool((directed[np.ix_(start, directed[:, c] & adjacent[b])]).any())
