r"""Which columns of states are selected together, from the rows alone.

The total correlation of columns S is

.. math:: \mathrm{TC}(S) = \sum_{j \in S} H(v_j) - H(v_S) \ge 0,

0 if and only if they are independent. Constituents of one composite have it, even where (as with parity) all smaller sets are
independent. Where there is none either, tuples still depend on *each other* through their composites, and rows in which two tuples are
both repeated are more frequent than their columns' laws say: the collision statistic of two sets together, which the rank of their table
then divides. The law of either statistic without dependence is that of the same columns, each shuffled by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

States = NDArray[np.int64]
Array = NDArray[np.float64]
Tuple = tuple[int, ...]

SHUFFLES = 2
"""Of the columns, for the statistics' law without dependence."""
ROUNDS = 20
"""Of exchanging columns between tuples, at most."""
CELLS = 2**22
"""Of one table, at most."""


@dataclass(frozen=True)
class Found:
    """Tuples of columns, none of which is in two of them; and a sentence if the search did not look at everything."""

    tuples: list[Tuple]
    stopped: str = ""


def find_tuples(states: States, sizes: Sequence[int], arity: int, *, alpha: float, budget: int, seed: int) -> Found:
    """Disjoint sets of `arity` columns that are selected together; columns that depend on nothing stay out.

    The sets of greatest total correlation first, then columns exchanged between two sets while their sum grows. Where none is left that
    is significant, pairs of sets by their collisions.

    Parameters
    ----------
    states : array, shape (n, c)
        Numbered from 0 in each column.
    sizes : sequence of int
        Numbers of states of the columns.
    arity : int
    alpha : float
        Probability, at most, that anything is found where all columns are independent, roughly (Bonferroni).
    budget : int
        Sets (and, again, pairs of sets) to look at, at most.
    seed : int
        Of the shuffles.
    """
    c = states.shape[1]
    if c < arity or max(sizes) ** arity > CELLS:
        return Found([], "" if c < arity else f"tables of {arity} concepts of {max(sizes)} states are too large to be looked at")
    shuffled = shuffles(states, seed)
    sets, stopped = list(combinations(range(c), arity)), ""
    if len(sets) > budget:
        sets = _extended(states, sizes, arity, budget)
        stopped = f"{len(sets):,} of {math.comb(c, arity):,} sets of {arity} concepts were looked at, those around the most dependent pairs"
    value, z = scores(sets, states, shuffled, sizes, total_correlation)
    gain = dict(zip(sets, value.tolist(), strict=True))
    tuples = _greedy(sets, value, z > least_score(sets, sizes, alpha))
    tuples = _exchanged(tuples, gain)
    left = [j for j in range(c) if not any(j in one for one in tuples)]
    if len(left) >= arity and (len(left) >= 2 * arity or tuples):
        more = _by_collisions(states, shuffled, sizes, arity, tuples, left, alpha, budget)
        tuples, stopped = tuples + more.tuples, stopped or more.stopped
    return Found(sorted(tuples), stopped)


def shuffles(states: States, seed: int) -> list[States]:
    """The same columns, each in an order of its own: independent, with the same laws."""
    generator = np.random.default_rng(seed)
    return [np.stack([generator.permutation(column) for column in states.T], axis=1) for _ in range(SHUFFLES)]


def total_correlation(counts: NDArray[np.int64], margins: Sequence[Array], n: int) -> float:
    """In nats, of a table of counts, shape (cells,), whose columns have these margins."""
    inside = float(_plogp(counts / n).sum())
    return inside - sum(float(_plogp(margin).sum()) for margin in margins)


def collisions(counts: NDArray[np.int64], margins: Sequence[Array], n: int) -> float:
    r"""Share of pairs of rows that agree in all columns, over :math:`\prod_j \sum_v p_j(v)^2`, less 1: 0 for independent columns."""
    chance = math.prod(float((margin**2).sum()) for margin in margins)
    agree = float(counts @ (counts - 1.0)) / (n * (n - 1.0))
    return agree / chance - 1.0


def scores(
    sets: Sequence[Tuple], states: States, shuffled: Sequence[States], sizes: Sequence[int], statistic: object
) -> tuple[Array, Array]:
    """Of every set the statistic less its mean over shuffled columns, and that in standard deviations; shapes (number of sets,)."""
    seen = _statistics(sets, states, sizes, statistic)
    null = np.stack([_statistics(sets, one, sizes, statistic) for one in shuffled])
    mean = null.mean(axis=0)
    # Sets of equal sizes share a law; the spread of all is pooled in units of each set's degrees of freedom.
    unit = np.array([math.sqrt(math.prod(sizes[j] for j in one)) for one in sets])
    pooled = float(np.sqrt((((null - mean) / unit) ** 2).sum() / max((len(null) - 1) * len(sets), 1)))
    deviation = np.maximum(pooled, 1e-12) * unit * math.sqrt(1 + 1 / len(null))
    return seen - mean, (seen - mean) / deviation


def least_score(sets: Sequence[Tuple], sizes: Sequence[int], alpha: float) -> Array:
    """Standard deviations above which a set's statistic is significant: both are nearly chi-square, skew where cells are few."""
    df = np.array([max(math.prod(sizes[j] for j in one) - sum(sizes[j] - 1 for j in one) - 1, 1) for one in sets], dtype=np.float64)
    return np.asarray((chi2.isf(alpha / len(sets), df) - df) / np.sqrt(2 * df), dtype=np.float64)


def _statistics(sets: Sequence[Tuple], states: States, sizes: Sequence[int], statistic: object) -> Array:
    n = len(states)
    assert callable(statistic)
    columns = [np.ascontiguousarray(column) for column in states.T]
    margins = [np.bincount(column, minlength=k) / n for column, k in zip(columns, sizes, strict=True)]
    last: Tuple = ()
    out, head = np.empty(len(sets)), columns[0]
    for i, one in enumerate(sets):  # in lexicographic order, so that all but the last column are numbered once
        if one[:-1] != last:
            last, head = one[:-1], columns[one[0]]
            for j in one[1:-1]:
                head = head * sizes[j] + columns[j]
        cells = math.prod(sizes[j] for j in one)
        counts = np.bincount(head * sizes[one[-1]] + columns[one[-1]], minlength=cells)
        out[i] = statistic(counts, [margins[j] for j in one], n)
    return out


def _extended(states: States, sizes: Sequence[int], arity: int, budget: int) -> list[Tuple]:
    """Sets grown from the most dependent pairs by one column at a time, as many as the budget allows."""
    c = states.shape[1]
    sets: list[Tuple] = list(combinations(range(c), 2))
    for size in range(2, arity):
        order = np.argsort(-_statistics(sets, states, sizes, total_correlation), kind="stable")
        grown: set[Tuple] = set()
        for k in order:
            for j in range(c):
                if j not in sets[k]:
                    grown.add(tuple(sorted((*sets[k], j))))
            if len(grown) >= budget // (arity - size):
                break
        sets = sorted(grown)
    return sets[:budget] if arity > 2 else [sets[k] for k in range(min(budget, len(sets)))]


def _greedy(sets: Sequence[Tuple], value: Array, allowed: NDArray[np.bool_]) -> list[Tuple]:
    used: set[int] = set()
    chosen = []
    for k in np.argsort(-value, kind="stable"):
        if allowed[k] and not used & set(sets[k]):
            chosen.append(sets[k])
            used |= set(sets[k])
    return chosen


def _exchanged(tuples: list[Tuple], gain: dict[Tuple, float]) -> list[Tuple]:
    """Columns exchanged between two tuples while the sum of gains grows."""
    tuples = list(tuples)
    for _ in range(ROUNDS):
        changed = False
        for a, b in combinations(range(len(tuples)), 2):
            together = sorted(tuples[a] + tuples[b])
            best = gain[tuples[a]] + gain[tuples[b]]
            for one, other in _halves(together, len(tuples[a])):
                now = gain.get(one, -math.inf) + gain.get(other, -math.inf)
                if now > best + 1e-12:
                    best, tuples[a], tuples[b], changed = now, one, other, True
        if not changed:
            break
    return tuples


def _halves(together: list[int], size: int) -> Iterator[tuple[Tuple, Tuple]]:
    for rest in combinations(together[1:], size - 1):
        one = (together[0], *rest)
        yield one, tuple(j for j in together if j not in one)


def _by_collisions(
    states: States,
    shuffled: Sequence[States],
    sizes: Sequence[int],
    arity: int,
    known: list[Tuple],
    left: list[int],
    alpha: float,
    budget: int,
) -> Found:
    """Sets of the columns left that collide with each other, or with a known tuple, more often than by chance."""
    if max(sizes) ** (2 * arity) > CELLS:
        return Found([], f"tables of {2 * arity} concepts of {max(sizes)} states are too large for tuples without total correlation")
    number = math.comb(len(left), 2 * arity) + len(known) * math.comb(len(left), arity)
    if number > budget:
        return Found([], f"{number:,} pairs of sets of {arity} concepts are too many to look for tuples without total correlation")
    beside = {(*one, *other): (one, other) for one in known for other in combinations(left, arity)}
    both = [*combinations(left, 2 * arity), *beside]
    value, z = scores(both, states, shuffled, sizes, collisions)
    found: list[Tuple] = []
    used: set[int] = set()
    good = z > least_score(both, sizes, alpha)
    for k in np.argsort(-value, kind="stable"):
        if not good[k]:
            continue
        halves = beside[both[k]] if both[k] in beside else _split(states, sizes, both[k], arity)
        for one, partner in (halves, halves[::-1]):
            if one not in known and not used & set(one) and (partner in (*known, *found) or not used & set(partner)):
                found.append(one)
                used |= set(one)
    return Found(found)


def _split(states: States, sizes: Sequence[int], together: Tuple, arity: int) -> tuple[Tuple, Tuple]:
    r"""The halves of these columns whose dependence has the fewest dimensions.

    Through two composites the table of the halves' tuples, less that of independence and each cell in units of its chance, has as few
    singular values as the composites have states (less 1). Their squares sum to the same for every split (columns are independent), so that
    :math:`\sum \sigma^4` is largest where they are fewest.
    """
    n, best = len(states), -math.inf
    chosen = next(_halves(list(together), arity))
    for halves in _halves(list(together), arity):
        shape = [math.prod(sizes[j] for j in half) for half in halves]
        keys = [np.ravel_multi_index(states[:, half].T, [sizes[j] for j in half]) for half in halves]
        table = np.bincount(keys[0] * shape[1] + keys[1], minlength=shape[0] * shape[1]).reshape(shape) / n
        expected = np.outer(table.sum(axis=1), table.sum(axis=0))
        residual = np.where(expected > 0, (table - expected) / np.sqrt(np.where(expected > 0, expected, 1.0)), 0.0)
        fourth = float(((residual @ residual.T) ** 2).sum())
        if fourth > best:
            best, chosen = fourth, halves
    return chosen


def _plogp(p: Array) -> Array:
    return np.asarray(p * np.log(np.where(p > 0, p, 1.0)), dtype=np.float64)
