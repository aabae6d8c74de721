r"""Which firing rates a forest can have: inequalities of the marginal polytope.

Write a composite's rate as q and its constituents' as r. With :math:`A_i` = P(constituent i on, composite on), :math:`B_i` = P(i on,
composite off) and p = P(some on, composite off), rates are achievable iff some A, B, p satisfy

.. math::
    A_i + B_i = r_i, \quad 0 \le A_i \le q, \quad k_1 q \le \sum A_i \le k_2 q, \quad
    0 \le B_i \le p \le 1 - q, \quad m_1 p \le \sum B_i \le m_2 p,

where the composite is on for :math:`k_1 \dots k_2` active constituents, and off with some on for :math:`m_1 \dots m_2` (p = 0 where
no such tuple has weight): slabs of a cube cut at whole numbers have vertices at 0 and 1. Trees share one state between a composite and
what is above it, so that these local conditions suffice, and each leaves an interval for q, found by two linear programs per level.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_matrix
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.rules import Composition, Compositions, each
from testbed.contracts import InvalidInput

Array = NDArray[np.float64]

EDGE = 1e-8
"""Rates closer to a bound than this lie on it, where tilts are infinite."""
EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}

INEQUALITIES = {
    ("and", True): "(sum of its constituents' rates) - (s - 1) < rate < (smallest of them)",
    ("and", False): "all its constituents fire equally often, and so does it, since lone_firing = 0 lets none fire alone",
    ("k_of_n", True): "k * rate < sum of min(rate, r_i), and sum of max(0, r_i - rate) < (k - 1) * (1 - rate)",
    ("k_of_n", False): "k * (largest r_i) <= sum of r_i, and (largest r_i) <= rate <= (sum of r_i) / k, since lone_firing = 0",
    ("exclusive", True): "rate < sum of r_i, and sum of max(0, r_i - c) < rate, c = min(1 - rate, (sum of r_i - rate) / 2)",
    ("exclusive", False): "rate = (sum of its constituents' rates) < 1, since lone_firing = 0 lets no two fire together",
    ("any", True): "(largest of its constituents' rates) < rate < min(1, sum of them)",
    ("any", False): "(largest of its constituents' rates) < rate < min(1, sum of them)",
}
"""By rule and by whether tuples that are partly on have weight; r_i are the rates of the s constituents."""


def check_achievable(forest: Forest, composition: Compositions, requested: Tensor) -> None:
    """Raise InvalidInput, naming the violated inequality, unless the requested rates lie inside the marginal polytope.

    Parameters
    ----------
    forest : Forest
    composition : Composition, or one per composite
    requested : Tensor, shape (N,), float64
        Rates after selection; NaN where none is requested.
    """
    given = requested[~requested.isnan()]
    if not ((given > 0) & (given < 1)).all():
        worst = given[~((given > 0) & (given < 1))][0]
        raise InvalidInput(f"firing rates must lie strictly between 0 and 1, not be {float(worst):.6g}: change rate or composite_rate")
    last = len(forest.sizes) - 1
    every = [each(composition, level, n) for level, n in enumerate(forest.sizes[:-1])]
    full = all(one.counts_partial is None or _partial(one) for level in every for one in level)
    if full and requested[: forest.start(last)].isnan().all():
        return  # every tuple has weight: independent leaves of any rates, tilted
    rates = [level.numpy() for level in torch.split(requested, list(forest.sizes))]
    low, high = rates[last], rates[last]
    for level in reversed(range(last)):
        lower = forest.constituents[level].numpy()
        least, most = np.empty(forest.sizes[level]), np.empty(forest.sizes[level])
        for one in dict.fromkeys(every[level]):
            which = np.array([i for i, other in enumerate(every[level]) if other == one])
            below = lower[which]
            least[which], most[which] = _interval(one, low[below], high[below], rates[level][which], level, which)
        low, high = least, most


def _partial(composition: Composition) -> bool:
    """Whether tuples that are partly on, with the composite off, have weight."""
    return composition.counts_partial is not None and composition.lone_firing > 0


def _interval(
    composition: Composition, low: Array, high: Array, wanted: Array, level: int, which: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Bounds on the rates of composites `which` of a level, shape (n,) each, from bounds on their constituents' rates, shape (n, s)."""
    partial = _partial(composition)
    bounds = _bounds(composition, partial, low, high)
    if bounds is None:
        i = next(i for i in range(len(low)) if _bounds(composition, partial, low[i : i + 1], high[i : i + 1]) is None)
        raise InvalidInput(
            _sentence(composition, partial, level, int(which[i]), low[i], high[i], None) + ": change rate, zipf or lone_firing"
        )
    least, most = bounds
    asked = ~np.isnan(wanted)
    forced = most - least < EDGE  # the constituents' rates leave one value
    inside = np.where(forced, np.abs(wanted - least) < EDGE, (wanted > least + EDGE) & (wanted < most - EDGE))
    wrong = np.where(asked, ~inside, least > 1 - EDGE)
    if wrong.any():
        i = int(wrong.argmax())
        text = _sentence(composition, partial, level, int(which[i]), low[i], high[i], float(wanted[i]) if asked[i] else None)
        raise InvalidInput(f"{text}, here {least[i]:.6g} < rate < {most[i]:.6g}: change composite_rate, rate or lone_firing")
    return np.where(asked, wanted, least), np.where(asked, wanted, most)


def _bounds(composition: Composition, partial: bool, low: Array, high: Array) -> tuple[Array, Array] | None:
    """Least and greatest rate of each composite, or None if one has none."""
    n, s = low.shape
    (k1, k2), (m1, m2) = composition.counts_on, composition.counts_partial or (0, 0)
    one, eye, q, p = np.ones((1, s)), np.eye(s), np.zeros((1, 2 * s + 2)), np.zeros((1, 2 * s + 2))
    q[0, -2], p[0, -1] = 1, 1
    total_a, total_b = np.hstack([one, 0 * one, [[0, 0]]]), np.hstack([0 * one, one, [[0, 0]]])
    each_a, each_b = np.hstack([eye, 0 * eye, np.zeros((s, 2))]), np.hstack([0 * eye, eye, np.zeros((s, 2))])
    at_most_0 = np.vstack([each_a - q, each_b - p, k1 * q - total_a, total_a - k2 * q, m1 * p - total_b, total_b - m2 * p])
    block = np.vstack([at_most_0, q + p, each_a + each_b, -each_a - each_b])
    matrix = csr_matrix(block_diag([block] * n))
    right = np.hstack([np.zeros((n, len(at_most_0))), np.ones((n, 1)), high, -low]).ravel()
    box = [(0, 1)] * (2 * s + 1) + [(0, 1 if partial else 0)]
    cost = np.tile(q[0], n)
    ends = []
    for sign in (1, -1):
        found = linprog(sign * cost, A_ub=matrix, b_ub=right, bounds=box * n, method="highs", options=EXACT)  # type: ignore[call-overload]
        if not found.success:
            return None
        ends.append(found.x.reshape(n, -1)[:, -2])
    return ends[0], ends[1]


def _sentence(composition: Composition, partial: bool, level: int, index: int, low: Array, high: Array, wanted: float | None) -> str:
    between = ", ".join(f"{a:.6g}" if b - a < EDGE else f"{a:.6g} to {b:.6g}" for a, b in zip(low, high, strict=True))
    asked = "" if wanted is None else f" at rate {wanted:.6g}"
    return (
        f"composite {index} of level {level} cannot fire{asked} with constituents that fire at ({between}): "
        f"rule {composition.rule!r} (s = {composition.size}, k = {composition.k}) wants {INEQUALITIES[composition.rule, partial]}"
    )
