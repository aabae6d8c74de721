"""Constraint-based edges between adjacent levels: tests of conditional independence with an effect size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput
from testbed.estimators.hierarchical.edge_learner import Bools, EdgeLearner, in_range, small_levels
from testbed.numerics.independence import G2, FisherZ, IndependenceTest

TESTS: Mapping[str, type[FisherZ] | type[G2]] = {"fisher_z": FisherZ, "g2": G2}
MOST = 16
"""Neighbours, the most dependent ones, that sets to condition on are taken from."""


@dataclass(kw_only=True, eq=False, repr=False)
class AdjacentTests(EdgeLearner):
    """A lower code is a constituent unless it is independent of the composite given some others that still are candidates, in the manner
    of PC [1]_ but of one level and the next only.

    At a fixed level of significance and many rows everything depends on everything, so that dependence counts only above an effect size.
    Where a composition is deterministic, a constituent that is nearly implied by others is dropped: faithfulness fails there.

    Parameters
    ----------
    test : {"fisher_z", "g2"}
    alpha : float
    effect : float
        Largest dependence that counts as none, as a (partial) correlation.
    max_depth : int
        Largest sets to condition on.
    levels, samples, view
        See `EdgeLearner`.

    References
    ----------
    .. [1] Colombo & Maathuis (2014), Order-independent constraint-based causal structure learning, JMLR 15.
    """

    test: Literal["fisher_z", "g2"] = "fisher_z"
    alpha: float = 0.01
    effect: float = 0.1
    max_depth: int = 2

    @classmethod
    def small(cls) -> Self:
        return cls(levels=small_levels())

    def check(self) -> None:
        super().check()
        if self.test not in TESTS:
            raise InvalidInput(f"test is {self.test!r}: it must be one of {', '.join(map(repr, TESTS))}")
        in_range("alpha", self.alpha, 1e-300, 1)
        in_range("effect", self.effect, 0, 1)
        in_range("max_depth", self.max_depth, 0, 6)

    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        out = np.zeros((upper.shape[1], lower.shape[1]))
        x = np.concatenate([lower, upper], axis=1).astype(np.float64)
        kept = _distinct(x)
        m = lower.shape[1]
        below, above = np.flatnonzero(kept < m), np.flatnonzero(kept >= m)
        if not len(below) or not len(above):
            return out
        test = TESTS[self.test](x[:, kept], self.alpha, self.effect)
        for y in above:
            neighbours = self._neighbours(test, int(y), below)
            out[kept[y] - m, kept[neighbours]] = 1.0
        return out

    def _neighbours(self, test: IndependenceTest, y: int, below: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lower codes that no set of others makes independent of y."""
        left, margin = below, _margins(test, y, (), below)
        for depth in range(self.max_depth + 1):
            if depth:
                order = left[np.argsort(margin[np.searchsorted(below, left)], kind="stable")][:MOST]
                worst = np.full(len(left), -np.inf)
                for given in combinations(order.tolist(), depth):
                    others = np.flatnonzero(~np.isin(left, given))
                    if len(others):
                        worst[others] = np.maximum(worst[others], _margins(test, y, given, left[others]))
                left = left[worst <= 0]
            else:
                left = left[margin <= 0]
            if len(left) <= depth + 1:
                break
        return left


def _margins(test: IndependenceTest, y: int, given: tuple[int, ...], others: NDArray[np.int64]) -> NDArray[Any]:
    """How independent y is of each of `others`, given a set; 1 for those that the set makes constant."""
    try:
        return np.asarray(test.margin(np.array([y]), np.array([given], dtype=np.int64).reshape(1, len(given)), others[None])[0])
    except InvalidInput:  # singular: one of them is a function of the set
        out = np.ones(len(others))
        for k, j in enumerate(others):
            try:
                out[k] = test.margin(np.array([y]), np.array([given], dtype=np.int64).reshape(1, len(given)), np.array([[j]]))[0, 0]
            except InvalidInput:
                continue
        return out


def _distinct(x: NDArray[Any]) -> NDArray[np.int64]:
    """Columns that vary and are no copy of an earlier one."""
    varies = np.flatnonzero(x.min(axis=0) < x.max(axis=0))
    _, first = np.unique(np.packbits(x[:, varies] > 0, axis=0), axis=1, return_index=True)
    return np.sort(varies[first])
