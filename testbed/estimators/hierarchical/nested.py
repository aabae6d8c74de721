"""Any graph search as a learner of edges between levels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from testbed.contracts import Estimator, seed_of
from testbed.estimators.graphs.causal_learn import HIDDEN
from testbed.estimators.hierarchical.edge_learner import EdgeLearner, adjacent
from testbed.numerics.matching import cross_correlation, dense

ALIKE = 0.1
"""Absolute correlation that a hidden node and an upper code have at least to be one."""
Tuples = list[list[int]]
Bools = NDArray[np.bool_]


def learned(learner: Estimator, on: Bools, levels: NDArray[np.int64], seed: int) -> tuple[Tuples, str]:
    """Constituents of each code, one level down, and why a search ended early ("" if it was through).

    Learners of this folder, and searches that take ``levels``, are fitted on all codes side by side; what searches join
    otherwise than a level and the next is left out. A search that makes hidden nodes (GIN, RLCD, latent trees) sees the lower level alone:
    its nodes are the upper codes that they correlate with most, one to one, and all codes below a node are its constituents.
    Searches refuse constant columns and copies, so they do not get them.

    Parameters
    ----------
    learner : Estimator
        Fresh; it is fitted.
    on : array of bool, shape (n, m)
    levels : array, shape (m,)
    seed : int
    """
    kept = np.arange(len(levels)) if isinstance(learner, EdgeLearner) else distinct(on)
    out: Tuples = [[] for _ in levels]
    if len(kept) < 2:
        return out, ""
    if finds_hidden(learner):
        return _by_hidden(learner, on, levels, kept, seed)
    learner.set_params(levels=levels[kept].tolist()).fit(torch.from_numpy(on[:, kept]).float(), seed=seed)
    below = {level: set(lower.tolist()) for level, lower in next_below(levels)}
    for i, tuple_ in zip(kept.tolist(), learner.constituents_, strict=True):  # type: ignore[attr-defined]
        out[i] = sorted(int(kept[j]) for j in tuple_ if int(kept[j]) in below.get(int(levels[i]), ()))
    return out, str(getattr(learner, "stopped_", ""))


def finds_hidden(learner: Estimator) -> bool:
    """Whether a search makes nodes of its own, beyond the columns."""
    return "levels" not in learner.parameter_names() or getattr(learner, "method", "") in HIDDEN


def _by_hidden(learner: Estimator, on: Bools, levels: NDArray[np.int64], kept: NDArray[np.int64], seed: int) -> tuple[Tuples, str]:
    out: Tuples = [[] for _ in levels]
    stopped = ""
    for at, (upper, lower) in enumerate(adjacent(levels)):
        upper, lower = upper[np.isin(upper, kept)], lower[np.isin(lower, kept)]
        if len(lower) < 2 or not len(upper):
            continue
        model: Any = learner.clone()
        x = torch.from_numpy(on[:, lower]).float()
        model.fit(x, seed=seed_of("edges", seed, at))
        stopped = stopped or str(getattr(model, "stopped_", ""))
        hidden = len(model.constituents_) - len(lower)
        if hidden < 1:
            continue
        codes = dense(model.encode(x))[:, :hidden]
        same = cross_correlation(torch.from_numpy(on[:, upper]).float(), codes).cpu().numpy()
        for a, b in zip(*linear_sum_assignment(-same), strict=True):
            if same[a, b] >= ALIKE:
                out[int(upper[a])] = [int(lower[j - hidden]) for j in sorted(down(model.constituents_, int(b))) if j >= hidden]
    return out, stopped


def down(constituents: Tuples, of: int) -> set[int]:
    """A code and all that it is composed of, down to the lowest level."""
    seen, left = {of}, [of]
    while left:
        for j in constituents[left.pop()]:
            if j not in seen:
                seen.add(j)
                left.append(j)
    return seen


def next_below(levels: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each level but the last, and the columns of the next lower one."""
    for upper, lower in adjacent(levels):
        yield int(levels[upper[0]]), lower


def distinct(on: Bools) -> NDArray[np.int64]:
    """Columns that vary and are no copy, nor the negative, of an earlier one."""
    varies = np.flatnonzero(on.any(axis=0) & ~on.all(axis=0))
    flipped = on[:, varies] ^ on[0, varies]
    _, first = np.unique(np.packbits(flipped, axis=0), axis=1, return_index=True)
    return np.sort(varies[first])
