"""Ours: the smallest set of constituents that tells whether a composite is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from testbed.estimators.hierarchical.edge_learner import Bools, EdgeLearner, in_range, small_levels
from testbed.numerics.sufficiency import Events, code_length, interchangeable, smallest_sufficient

WIDEST = 4096
"""Most lower codes of which all pairs are tried."""


@dataclass(kw_only=True, eq=False, repr=False)
class SmallestSufficient(EdgeLearner):
    r"""The constituents of a composite are the smallest set of lower codes that is sufficient for it: whose truth table codes it shortest.

    See `testbed.numerics.sufficiency` for the code length and the search. No set is too small for the search to see, since it starts from
    *all pairs*: in exclusive choice, or with constituents that are often on, no single one need tell anything.

    Deterministic compositions break faithfulness. Tests of conditional independence drop a true constituent that the others make
    redundant in most rows: with AND and little lone firing, B says nearly all that C says. Here a constituent stays as long as the rows in
    which it alone decides shorten the code by more than they cost, be they few: with ``least=0`` some ten rows are enough, and by
    default it takes about 1 % of the composite's code length. Where
    constituents *never* fire alone they are one event, any of them suffices, and no data tell them apart; the smallest set
    then has one of them, and with ``ties="all"`` (default) all others that could stand in its place without a longer code are given too.

    Parameters
    ----------
    effect : float
        Smallest share of what would be unexplained without it that a constituent must save; it matters only where codes have errors.
    least : float
        Smallest share of the composite's own code length that a constituent must save. 0 is right for codes without errors.
    beam : int
        Sets of each size that are widened.
    largest : int
        Most constituents.
    ties : {"all", "one"}
    levels, samples, view
        See `EdgeLearner`.

    Attributes
    ----------
    explained_ : array, shape (m,)
        Share of each code's own code length that its constituents save; 1 for a function of them, 0 without constituents.
    constituents_, levels_, strength_ (nats that the constituent saves), stopped_
        See `EdgeLearner`.
    """

    effect: float = 0.06
    least: float = 0.0125
    beam: int = 20
    largest: int = 10
    ties: str = "all"

    @classmethod
    def small(cls) -> Self:
        return cls(levels=small_levels())

    def check(self) -> None:
        super().check()
        in_range("effect", self.effect, 0, 0.99)
        in_range("least", self.least, 0, 0.99)
        in_range("beam", self.beam, 1, 10_000)
        in_range("largest", self.largest, 1, 16)
        if self.ties not in ("all", "one"):
            from testbed.contracts import InvalidInput

            raise InvalidInput(f"ties must be 'all' or 'one', not {self.ties!r}")

    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        out = np.zeros((upper.shape[1], lower.shape[1]))
        seen = np.arange(lower.shape[1])
        if len(seen) > WIDEST:
            seen = np.sort(np.argsort(-lower.sum(axis=0), kind="stable")[:WIDEST])
            self.stopped_ = f"{lower.shape[1]} lower codes are more than all pairs can be tried of: only the {WIDEST} most frequent were"
        events = Events.of(lower[:, seen])
        for i in range(upper.shape[1]):
            y = upper[:, i]
            found = smallest_sufficient(events, y, beam=self.beam, largest=self.largest, effect=self.effect, least=self.least)
            for j in found.members:
                rest = tuple(k for k in found.members if k != j)
                out[i, seen[j]] = max(code_length(events, y, rest) - found.length, 1e-9)
            if self.ties == "all":
                for j in interchangeable(events, y, found):
                    out[i, seen[j]] = 1e-9
        return out
