"""A specification with one of its dials turned, as a generator: what a suite sweeps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Self

from generators.assumptions.dials import find
from generators.assumptions.table import assumption_table
from generators.controls.nonstationary import NonstationaryConcepts
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Generator, Instance, InvalidInput, Sample

FAMILIES: Mapping[str, type[Generator]] = {
    "sparse": SparseConcepts,
    "continuous": ContinuousHierarchy,
    "discrete": DiscreteHierarchy,
    "auxiliary": NonstationaryConcepts,
}
"""Named here, and not looked up, so that a stored result depends on their source."""


class Dialed(Generator):
    """A specification of the dial's family with that dial turned: one assumption of theorems broken, and nothing that it does not speak of.

    Parameters
    ----------
    dial : str
        See `generators.assumptions.dials`.
    params : dict or None
        Of the specification: those of sparse concepts, continuous or discrete hierarchies, or nonstationary concepts. None is all defaults.
    amount : float
        From 0, as it is, to 1, broken.
    """

    def __init__(self, dial: str = "selection", params: dict[str, Any] | None = None, amount: float = 0.0) -> None:
        self.dial = dial
        self.params = params
        self.amount = amount

    @classmethod
    def small(cls) -> Dialed:
        return cls(params={"levels": [2, 6], "views": "per_level", "dimension": 16}, amount=0.5)

    def specification(self, amount: float) -> Generator:
        """The specification with the dial at `amount`.

        Raises
        ------
        InvalidInput
            If there is no such dial, its family has no such parameter, or the amount is outside [0, 1].
        """
        dial = find(self.dial)
        family = FAMILIES[dial.family]
        unknown = [name for name in self.params or {} if name not in family.parameter_names()]
        if unknown:
            raise InvalidInput(f"dial {dial.name!r} is for {family.__name__}, which has no parameter {unknown[0]!r}: leave it out")
        return dial.turn(family(**(self.params or {})), amount)

    def draw(self, seed: int) -> DialedInstance:
        """The instance that the turned specification draws with this seed."""
        return DialedInstance(self, seed, self.specification(self.amount).draw(seed))


class DialedInstance(Instance):
    """Rows and truth of the turned specification's instance, and margins at every amount of its dial.

    Parameters
    ----------
    source : Dialed
    seed : int
    drawn : Instance
    """

    def __init__(self, source: Dialed, seed: int, drawn: Instance) -> None:
        self.source, self.seed, self.drawn = source, seed, drawn
        dial = find(source.dial)
        self.breaks, self.moves = dial.breaks, dial.moves
        self.truth, self.device = drawn.truth, drawn.device

    def to(self, device: str) -> Self:
        other = copy.copy(self)
        other.drawn = self.drawn.to(device)
        other.truth, other.device = other.drawn.truth, device
        return other

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        return self.drawn.chunks(seed, part, start)

    def margins(self, amount: float) -> dict[str, tuple[bool, float]]:
        """Whether each assumption holds at `amount` and its margin, of the instance with the same seed."""
        rows = assumption_table(self.source.specification(amount).draw(self.seed))
        return {row.assumption: (row.verdict == "holds", row.margin) for row in rows if row.margin is not None}
