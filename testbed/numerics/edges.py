"""Simple ways to find composition edges between the codes of adjacent levels: what a graph method has to beat.

Each lower code becomes a constituent of the one upper code that it scores highest with, if that score could not be luck. Neither the number
of constituents nor a threshold is read off a truth. The price is stated: a constituent that two composites share keeps only one of them,
and everything that one selection ties together scores high with everything else in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from scipy.special import ndtri

from testbed.contracts import Codes, InvalidInput, SparseRows, Structure
from testbed.numerics.firing import firing
from testbed.numerics.matching import cross_correlation

LEVEL = 0.01
"""Chance of any false edge between two levels whose codes are all independent (Bonferroni over pairs)."""

Finder = Callable[[Codes, Codes], NDArray[np.int64]]
"""From activities (n, m_1) and (n, m_2) of two adjacent levels to the upper code of each lower one, -1 for none, shape (m_2,)."""


def by_correlation(upper: Codes, lower: Codes) -> NDArray[np.int64]:
    """Largest absolute correlation r; luck while |artanh r| sqrt(n - 3) is below the normal quantile (Fisher's z)."""
    r = cross_correlation(upper, lower).cpu().numpy()  # (m_1, m_2)
    z = np.arctanh(np.minimum(r, 1 - 1e-12)) * np.sqrt(max(len(upper) - 3, 0))
    return _best(r, z > _quantile(r.size))


def by_conditional_probability(upper: Codes, lower: Codes) -> NDArray[np.int64]:
    """Largest P(upper is on | lower is on), where that is no luck: a composite that is always on gets nobody."""
    both, above, below, n = _counts(upper, lower)
    return _best(both / np.maximum(below, 1), _surprising(both, above, below, n))


def by_pmi(upper: Codes, lower: Codes) -> NDArray[np.int64]:
    """Largest pointwise mutual information log P(both) / (P(upper) P(lower)) of being on, where that is no luck; it favours rare codes."""
    both, above, below, n = _counts(upper, lower)
    ratio = both * n / np.maximum(above[:, None] * below, 1)
    return _best(ratio, _surprising(both, above, below, n))


def by_clustering(upper: Codes, lower: Codes) -> NDArray[np.int64]:
    """Average-linkage clusters of lower codes by 1 - |r|, as many as there are upper codes, each given to the one it correlates with."""
    m_1, m_2 = upper.shape[1], lower.shape[1]
    if m_2 < 2:
        return by_correlation(upper, lower)
    distance = 1 - cross_correlation(lower, lower).cpu().numpy()
    np.fill_diagonal(distance, 0.0)
    cluster = fcluster(linkage(squareform(distance, checks=False), "average"), t=m_1, criterion="maxclust") - 1
    member = np.eye(cluster.max() + 1)[cluster]  # (m_2, clusters)
    mean = cross_correlation(upper, lower).cpu().numpy() @ member / member.sum(axis=0)
    row, column = linear_sum_assignment(mean, maximize=True)
    owner = np.full(mean.shape[1], -1, dtype=np.int64)
    owner[column] = np.where(mean[row, column] > 0, row, -1)
    return np.asarray(owner[cluster], dtype=np.int64)


FINDERS: Mapping[str, Finder] = {
    "correlation": by_correlation,
    "P(higher | lower)": by_conditional_probability,
    "PMI": by_pmi,
    "clustering": by_clustering,
}
"""The baselines by name."""


def structure_by(finder: Finder, codes: Codes, levels: Sequence[int]) -> Structure:
    """The graph that a baseline finds among codes whose levels are given, shape (m,); a level below 0 leaves a code out.

    Codes of consecutive levels that occur are adjacent, whatever their numbers.

    Raises
    ------
    InvalidInput
        If there is not one level for each code.
    """
    level = np.asarray(levels, dtype=np.int64)
    if len(level) != codes.shape[1]:
        raise InvalidInput(f"there are {codes.shape[1]} codes, but {len(level)} levels: give one for each code")
    constituents: list[list[int]] = [[] for _ in level]
    there = np.unique(level[level >= 0])
    for above, below in pairwise(there.tolist()):
        upper, lower = np.flatnonzero(level == above), np.flatnonzero(level == below)
        owner = finder(columns(codes, upper), columns(codes, lower))
        for j, i in zip(lower[owner >= 0], upper[owner[owner >= 0]], strict=True):
            constituents[i].append(int(j))
    return Structure(tuple(np.maximum(level, 0).tolist()), tuple(map(tuple, constituents)))


def columns(codes: Codes, at: NDArray[np.int64]) -> Codes:
    """Some columns of codes, in the order asked for, shape (n, len(at))."""
    if not isinstance(codes, SparseRows):
        return codes[:, torch.as_tensor(at, device=codes.device)]
    place = torch.full((codes.shape[1],), -1, dtype=torch.int64, device=codes.indices.device)
    place[torch.as_tensor(at, device=place.device)] = torch.arange(len(at), device=place.device)
    kept = place[codes.indices] >= 0
    return SparseRows.from_entries(codes.row_of_entry()[kept], place[codes.indices[kept]], codes.values[kept], (len(codes), len(at)))


def _best(score: NDArray[Any], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    masked = np.where(allowed, score, -np.inf)
    best = masked.argmax(axis=0)
    return np.where(allowed[best, np.arange(score.shape[1])], best, -1).astype(np.int64)


def _quantile(pairs: int) -> float:
    return float(-ndtri(LEVEL / (2 * max(pairs, 1))))


def _surprising(both: NDArray[Any], above: NDArray[Any], below: NDArray[Any], n: int) -> NDArray[np.bool_]:
    """Pairs on together more often than independent ones of the same rates (hypergeometric mean and variance, normal quantile)."""
    mean = above[:, None] * below / n
    variance = mean * (n - above[:, None]) * (n - below) / (n * max(n - 1, 1))
    return np.asarray((variance > 0) & (both - mean > _quantile(both.size) * np.sqrt(variance)))


def _counts(upper: Codes, lower: Codes) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
    """Rows with both on, shape (m_1, m_2), with each upper code on, each lower code on, and rows."""
    a, b = (_events(firing(codes)(codes)) for codes in (upper, lower))
    return (a.T @ b).toarray(), np.asarray(a.sum(axis=0)), np.asarray(b.sum(axis=0)), len(upper)


def _events(on: SparseRows) -> Any:
    one = np.ones(len(on.values))
    return scipy.sparse.csr_array((one, on.indices.cpu().numpy(), on.indptr.cpu().numpy()), shape=on.shape)
