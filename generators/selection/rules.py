"""Rules of composition and their potentials. Every rule here is symmetric: only the number of active constituents matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

Rule = Literal["and", "k_of_n", "exclusive", "any"]


@dataclass(frozen=True)
class Composition:
    """When a composite of s constituents is on, and how much selection favours each tuple.

    Attributes
    ----------
    rule : {"and", "k_of_n", "exclusive", "any"}
        On iff all are on; at least k; exactly one; at least one.
    size : int
        s, the number of constituents.
    k : int
        For ``"k_of_n"``.
    all_on : float
        Potential of a tuple for which the rule holds, relative to 1 for the tuple that is all off.
    lone_firing : float
        Potential of the other tuples: partly on, yet the composite is off.
    """

    rule: Rule
    size: int
    k: int
    all_on: float
    lone_firing: float

    def __post_init__(self) -> None:
        if self.rule not in LEAST:
            raise InvalidInput(f"rule {self.rule!r} is not one of {', '.join(map(repr, LEAST))}")
        if self.size < 1:
            raise InvalidInput(f"branching must be at least 1, not {self.size}")
        if self.rule == "k_of_n" and not 1 <= self.k <= self.size:
            raise InvalidInput(f"k must lie between 1 and branching = {self.size} for rule 'k_of_n', not be {self.k}")
        if not 0 < self.all_on < float("inf"):
            raise InvalidInput(f"all_on must be a finite number above 0, not {self.all_on}")
        if not 0 <= self.lone_firing < float("inf"):
            raise InvalidInput(f"lone_firing must be a finite number of at least 0, not {self.lone_firing}")

    @property
    def counts_on(self) -> tuple[int, int]:
        """Least and greatest number of active constituents for which the composite is on."""
        least = {"and": self.size, "k_of_n": self.k, "exclusive": 1, "any": 1}[self.rule]
        return least, 1 if self.rule == "exclusive" else self.size

    @property
    def counts_partial(self) -> tuple[int, int] | None:
        """Least and greatest number of active constituents with the composite off and not all of them off; None if there is none."""
        least, greatest = (2, self.size) if self.rule == "exclusive" else (1, self.counts_on[0] - 1)
        return (least, greatest) if least <= greatest else None

    def holds(self) -> Tensor:
        """Whether the composite is on, by number of active constituents, shape (s + 1,), bool."""
        least, greatest = self.counts_on
        count = torch.arange(self.size + 1)
        return (count >= least) & (count <= greatest)

    def potential(self) -> Tensor:
        """phi by number of active constituents, shape (s + 1,), float64, up to a common factor."""
        phi = torch.full((self.size + 1,), self.lone_firing, dtype=torch.float64)
        phi[self.holds()] = self.all_on
        phi[0] = 1.0
        return phi


LEAST: dict[str, str] = {
    "and": "all",
    "k_of_n": "at least k",
    "exclusive": "exactly one",
    "any": "at least one",
}
"""In words: how many constituents of an active composite are active."""
