r"""Which inequality forbids the requested rates, where the admissible configurations can be listed.

Rates r are those of some law on the configurations, with states :math:`f_c`, iff no linear inequality :math:`a \cdot f_c \le b` that all
configurations satisfy is violated by r (Farkas' lemma): the most violated one per unit of :math:`|a|_1` is a linear program,

.. math:: \max_{a, b} \; a \cdot r - b \quad \text{such that } a \cdot f_c \le b \text{ for all } c, \; |a|_1 \le 1.

If its value is 0, r may still lie on a face, where tilts are infinite: then a and b maximise the mean slack with :math:`a \cdot r = b`.
Constraints are added as they are violated, most of them never.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from generators.selection.randomness import Floats, Ints

TINY, EQUAL = 1e-9, 1e-6
"""Violations below this are rounding; sides that differ by less are called equal."""
ADDED, ROUNDS = 256, 200
"""Constraints that are added at a time, and how often at most."""
EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True)
class Inequality:
    """``weights @ rates <= bound`` for all laws, ``<`` for those that give every admissible configuration weight.

    Attributes
    ----------
    weights : ndarray, shape (p,)
    bound : float
    """

    weights: Floats
    bound: float

    def words(self, names: list[str], rates: Floats) -> str:
        """The inequality with positive weights on both sides, then the values of both sides at the requested rates."""
        left, right = self.weights.clip(min=0), (-self.weights).clip(min=0)
        below, above = max(0.0, -self.bound), max(0.0, self.bound)
        low, high = left @ rates + below, right @ rates + above
        equal = abs(low - high) <= EQUAL
        sides = f"{_side(left, names, below)} {'<' if equal else '<='} {_side(right, names, above)}"
        return f"{sides} : {low:.4g} {'=' if equal else '>'} {high:.4g}"


def violated(states: Floats, wanted: Floats) -> Inequality | None:
    """The inequality that forbids rates, or that they meet with equality; None if they lie inside.

    Parameters
    ----------
    states : ndarray, shape (c, p)
        Distinct or not: every admissible configuration.
    wanted : ndarray, shape (p,)
    """
    states = np.unique(states, axis=0)
    for strict in (False, True):
        found = _program(states, wanted, strict)
        if found is not None:
            return _tidy(states, found)
    return None


def _program(states: Floats, wanted: Floats, face: bool) -> Floats | None:
    """Weights of the most violated inequality; with `face`, of one that is met with equality but not by all configurations."""
    p = len(wanted)
    centre = states.mean(axis=0) if face else wanted
    sign = -1.0 if face else 1.0
    cost = -sign * np.concatenate([centre, -centre, [-1.0]])  # of a+, a-, b; linprog minimises
    rows = np.unique(np.concatenate([states.argmax(axis=0), states.argmin(axis=0), np.arange(min(len(states), ADDED))]))
    for _ in range(ROUNDS):
        f = states[rows]
        matrix = np.hstack([f, -f, -np.ones((len(f), 1))])
        unit = np.concatenate([np.ones(2 * p), [0.0]])[None]
        matrix, right = np.vstack([matrix, unit]), np.concatenate([np.zeros(len(f)), [1.0]])
        if face:
            tight = np.concatenate([-wanted, wanted, [1.0]])[None]
            matrix, right = np.vstack([matrix, tight]), np.concatenate([right, [TINY]])
        box = [(0, 1)] * (2 * p) + [(-p - 1, p + 1)]
        found = linprog(cost, A_ub=matrix, b_ub=right, bounds=box, method="highs", options=EXACT)  # type: ignore[call-overload]
        if not found.success or -found.fun <= (EQUAL if face else TINY):
            return None
        a, b = found.x[:p] - found.x[p : 2 * p], found.x[-1]
        over = states @ a - b
        new: Ints = np.argsort(-over)[:ADDED]
        new = new[over[new] > TINY]
        if not len(new):
            weights: Floats = a
            return weights
        rows = np.union1d(rows, new)
    return None


def _tidy(states: Floats, weights: Floats) -> Inequality:
    """Scaled to whole numbers where they are such, with the bound that the configurations give."""
    scaled = np.where(np.abs(weights) > 1e-7, weights, 0.0)
    scaled = scaled / np.abs(scaled[scaled != 0]).min()
    for factor in (1, 2, 3, 4, 5, 6):
        if np.allclose(factor * scaled, np.rint(factor * scaled), atol=1e-5):
            scaled = np.rint(factor * scaled)
            break
    return Inequality(scaled, float((states @ scaled).max()))


def _side(weights: Floats, names: list[str], constant: float) -> str:
    parts = [name if abs(w - 1) < 1e-9 else f"{w:.4g} {name}" for w, name in zip(weights, names, strict=True) if w > 0]
    parts += [f"{constant:.4g}"] if constant > 1e-12 else []
    return " + ".join(parts) or "0"
