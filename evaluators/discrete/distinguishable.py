r"""How many states of each concept data can tell apart: its distinct context laws, computed from the truth.

With :math:`\mu` the laws without what is above, :math:`\mu_i(v) = \sum_{g(t) = v} \phi(t) \prod_j \mu_j(t_j)`, a tuple has probability

.. math:: p(t) = \phi(t) \prod_j \mu_j(t_j) \, \frac{p(g(t))}{\mu_i(g(t))}.

Two states of a constituent have one context law iff their siblings have one law given them, and the composite's states that follow with the
same siblings are themselves not told apart. Level 0 is invisible unless it is shown: all its states are one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluators.calibration import truth_of
from evaluators.discrete.matching import shows_level_0
from testbed.contracts import Outcome, Truth
from testbed.numerics.matching import dense

Array = NDArray[np.float64]
Classes = NDArray[np.int64]

SAME = 1e-6
"""Total variation below which laws are equal but for rounding."""


def distinguishable_counts(outcome: Outcome) -> dict[int, list[int]] | None:
    """Per level, of each concept; None where the truth does not tell (shared constituents, stochastic tables, no tables)."""
    truth = truth_of(outcome)
    last = len(truth.levels) - 1
    facts = truth.facts
    tables = [f"{name}/{level}" for name in ("composition", "potential", "chance") for level in range(last)]
    if not {*tables, *(f"marginals/{level}" for level in range(last + 1)), "leaf_law"} <= set(facts):
        return None
    marginals = [dense(facts[f"marginals/{level}"]).double().numpy() for level in range(last + 1)]
    inside = [j for level in range(last) for one in truth.constituents[level] for j in [(level, k) for k in one]]
    stochastic = any(bool((facts[f"chance/{level}"] > 0).any()) for level in range(last))
    if stochastic or len(set(inside)) < len(inside) or not all(np.isfinite(p).all() for p in marginals):
        return None
    laws = _upward(truth, last)
    seen = shows_level_0(outcome)
    classes: list[list[Classes]] = [[np.arange(k) if seen else np.zeros(k, np.int64) for k in truth.levels[0].cardinalities]]
    for level in range(last):
        below = [np.zeros(k, np.int64) for k in truth.levels[level + 1].cardinalities]
        for i, lower in enumerate(truth.constituents[level]):
            if lower:
                p = _tuple_law(truth, level, i, laws, marginals[level][i])
                above = classes[level][i][_states(truth, level, i)]
                for k, j in enumerate(lower):
                    below[j] = _classes(p, above, k)
        classes.append(below)
    return {
        level: [
            len(set(own[marginals[level][i][: len(own)] > 0].tolist())) if level < last else len(own)
            for i, own in enumerate(classes[level])
        ]
        for level in range(last + 1)
    }


def _upward(truth: Truth, last: int) -> list[list[Array]]:
    leaf = dense(truth.facts["leaf_law"]).double().numpy()
    laws: list[list[Array]] = [[] for _ in range(last)] + [[row[:k] for row, k in zip(leaf, truth.levels[last].cardinalities, strict=True)]]
    for level in range(last - 1, -1, -1):
        for i, k in enumerate(truth.levels[level].cardinalities):
            weight = _weights(truth, level, i, laws)
            laws[level].append(np.bincount(_states(truth, level, i).ravel(), weight.ravel(), k).astype(np.float64))
    return laws


def _shape(truth: Truth, level: int, i: int) -> tuple[int, ...]:
    return tuple(truth.levels[level + 1].cardinalities[j] for j in truth.constituents[level][i])


def _states(truth: Truth, level: int, i: int) -> Classes:
    shape = _shape(truth, level, i)
    states: Classes = dense(truth.facts[f"composition/{level}"])[i, : int(np.prod(shape))].numpy().reshape(shape)
    return states


def _weights(truth: Truth, level: int, i: int, laws: list[list[Array]]) -> Array:
    shape = _shape(truth, level, i)
    out: Array = dense(truth.facts[f"potential/{level}"])[i, : int(np.prod(shape))].double().numpy().reshape(shape).copy()
    for axis, j in enumerate(truth.constituents[level][i]):
        out *= laws[level + 1][j].reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return out


def _tuple_law(truth: Truth, level: int, i: int, laws: list[list[Array]], marginal: Array) -> Array:
    own = laws[level][i]
    message = np.where(own > 0, marginal[: len(own)] / np.where(own > 0, own, 1.0), 0.0)
    out: Array = _weights(truth, level, i, laws) * message[_states(truth, level, i)]
    return out


def _classes(p: Array, above: Classes, k: int) -> Classes:
    """Class of each state of constituent k: states with one law of siblings and of the composite's class beside them."""
    split = np.stack([np.where(above == c, p, 0.0) for c in range(int(above.max()) + 1)])
    rows = np.moveaxis(split, k + 1, 0).reshape(p.shape[k], -1)
    rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300)
    out = np.arange(len(rows))
    for u in range(len(rows)):
        near = np.flatnonzero(np.abs(rows[: u + 1] - rows[u]).sum(axis=1) / 2 < SAME)
        out[u] = out[near[0]]
    return out
