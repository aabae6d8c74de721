"""Sparse regression of each composite on the level below, with stability selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from testbed.contracts import InvalidInput
from testbed.estimators.hierarchical.edge_learner import Bools, EdgeLearner, in_range, small_levels
from testbed.numerics.lasso_kernel import lasso_paths

SHARES = np.geomspace(1.0, 1e-3, 40)
"""Penalties, as shares of the smallest one at which nothing is chosen."""
STEPS = 15
"""Proximal steps per penalty of the logistic path, which is warm-started."""
LOGISTIC_ROWS = 2048
"""Rows of each half, at most, that the logistic path sees."""


@dataclass(kw_only=True, eq=False, repr=False)
class RegressionEdges(EdgeLearner):
    r"""Lower codes that a lasso (linear or logistic) of the composite chooses on most halves of the rows: stability selection [1]_.

    On each half the penalty is lowered until q lower codes are chosen, with :math:`q = \sqrt{(2 \pi - 1) m E}`: then at most E of m lower
    codes are chosen wrongly, on average, for each composite (theorem 1 there, under exchangeability). Nothing is tuned on a truth. What is
    linear in the constituents is found; an exclusive choice of two that fire together as often as alone is not.

    Parameters
    ----------
    loss : {"linear", "logistic"}
    halves : int
        Random halves of the rows.
    share : float
        :math:`\pi`, the share of halves on which a code must be chosen.
    errors : float
        E.
    levels, samples, view
        See `EdgeLearner`; ``strength_`` is the share of halves.

    References
    ----------
    .. [1] Meinshausen & Buhlmann (2010), Stability selection, Journal of the Royal Statistical Society B 72.
    """

    loss: Literal["linear", "logistic"] = "linear"
    halves: int = 20
    share: float = 0.75
    errors: float = 1.0

    @classmethod
    def small(cls) -> Self:
        return cls(levels=small_levels(), halves=4)

    def check(self) -> None:
        super().check()
        if self.loss not in ("linear", "logistic"):
            raise InvalidInput(f"loss must be 'linear' or 'logistic', not {self.loss!r}")
        in_range("halves", self.halves, 2, 1000)
        in_range("share", self.share, 0.51, 1)
        in_range("errors", self.errors, 1e-6, 1e6)

    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        m = lower.shape[1]
        most = max(1, int(np.sqrt((2 * self.share - 1) * m * self.errors)))
        generator = np.random.default_rng(seed)
        chosen = np.zeros((upper.shape[1], m))
        size = len(upper) // 2 if self.loss == "linear" else min(len(upper) // 2, LOGISTIC_ROWS)
        for _ in range(self.halves):
            half = generator.permutation(len(upper))[:size]
            x, y = lower[half].astype(np.float32), upper[half].astype(np.float32)
            chosen += first_chosen(linear_path(x, y) if self.loss == "linear" else logistic_path(x, y, most), most)
        chosen /= self.halves
        return np.where(chosen >= self.share, chosen, 0.0)


def first_chosen(weights: NDArray[Any], most: int) -> NDArray[np.bool_]:
    """Of paths of weights, shape (l, u, m), the supports at the last penalty with at most `most` of them, shape (u, m)."""
    support = weights != 0
    few = support.sum(axis=2) <= most  # (l, u)
    last = np.where(few.all(axis=0), len(few) - 1, np.maximum(few.argmin(axis=0) - 1, 0))
    return np.asarray(support[last, np.arange(support.shape[1])])


def standardised(x: NDArray[Any]) -> NDArray[Any]:
    """Columns of mean 0 and variance 1; 0 where they do not vary."""
    off = x - x.mean(axis=0)
    scale = off.std(axis=0)
    return np.asarray(off / np.where(scale > 1e-6, scale, np.inf), dtype=np.float64)


def linear_path(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Lasso weights of each column of y on the standardised columns of x, by penalty, shape (l, u, m)."""
    z, target = standardised(x), standardised(y)
    weights = np.zeros((len(SHARES), y.shape[1], x.shape[1]))
    lasso_paths(z.T @ z / len(z), target.T @ z / len(z), SHARES, 200, 1e-4, weights)
    return weights


def logistic_path(x: NDArray[Any], y: NDArray[Any], most: int) -> NDArray[Any]:
    r"""L1-penalised logistic weights of all columns of y together, by penalty, shape (l, u, m): accelerated proximal steps [1]_.

    The path ends where every column has more than `most` of them.

    References
    ----------
    .. [1] Beck & Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear inverse problems.
    """
    z = standardised(x).astype(np.float32)
    n, m, u = len(z), x.shape[1], y.shape[1]
    rate = np.clip(y.mean(axis=0), 0.5 / n, 1 - 0.5 / n)
    top = np.abs((y - rate).T @ z / n).max(axis=1, keepdims=True)  # (u, 1)
    step = 4 / max(float(np.linalg.eigvalsh(z.T @ z / n)[-1]), 1e-12)
    w, b = np.zeros((u, m), np.float32), np.log(rate / (1 - rate)).astype(np.float32)
    out: list[NDArray[Any]] = []
    for share in SHARES[::2]:
        ahead, before, t = w, w, 1.0
        for _ in range(STEPS):
            slope = (expit(z @ ahead.T + b) - y).T
            w = ahead - step * (slope @ z) / n
            w = np.sign(w) * np.maximum(np.abs(w) - step * share * top, 0)
            b -= np.float32(4) * slope.mean(axis=1)
            following = (1 + np.sqrt(1 + 4 * t * t)) / 2
            ahead, before, t = w + (t - 1) / following * (w - before), w, following
        out.append(w)
        if ((w != 0).sum(axis=1) > most).all():
            break
    return np.array(out)
