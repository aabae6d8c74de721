"""What checking an assumption gives, and what an assumption is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.contracts import Instance, NotApplicable

TOLERANCE = 1e-9
"""A margin must be larger than this to count: what is exactly 0 on paper is 1e-16 in floating point."""


@dataclass(frozen=True)
class Finding:
    """Whether an assumption holds, by how much, and what decides it.

    Attributes
    ----------
    holds : bool
    margin : float
        How far from failing, in the assumption's own unit: above 0 iff it holds; 0 on the border or where failing has no degree.
    witness : mapping
        JSON: the pair, column or state that decides.
    """

    holds: bool
    margin: float
    witness: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, margin: float, tolerance: float = TOLERANCE, **witness: Any) -> Finding:
        """The finding whose margin is this one: it holds iff the margin exceeds `tolerance`."""
        if math.isnan(margin):
            raise NotApplicable("the margin is not a number: the arrays hold NaN")
        return cls(margin > tolerance, float(margin) if abs(margin) > tolerance else 0.0, witness)


def worst(findings: Mapping[str, Finding]) -> Finding:
    """The finding with the smallest margin, its witness told where it was made; NotApplicable if there is none to judge."""
    if not findings:
        raise NotApplicable("the instance has nothing that this assumption speaks of")
    where = min(findings, key=lambda name: (findings[name].holds, findings[name].margin))
    chosen = findings[where]
    return Finding(chosen.holds, chosen.margin, {"where": where, **chosen.witness})


def everywhere(decide: Callable[[Any], Finding]) -> Callable[[Mapping[str, Any]], Finding]:
    """`decide` at every place that a reader found, and the worst finding.

    It fails if it fails anywhere; else it cannot be told if it cannot be told somewhere.
    """

    def decided(places: Mapping[str, Any]) -> Finding:
        findings, untold = {}, []
        for name, value in places.items():
            try:
                findings[name] = decide(value)
            except NotApplicable as reason:
                untold.append(f"{name}: {reason}")
        if untold and all(finding.holds for finding in findings.values()):
            raise NotApplicable(untold[0])
        return worst(findings)

    return decided


@dataclass(frozen=True)
class Assumption:
    """A condition that can be checked on a drawn instance.

    Attributes
    ----------
    name : str
    says : str
        The condition, in a sentence.
    unit : str
        What the margin counts.
    source : str
    read : callable
        From an instance to what the condition speaks of; raises NotApplicable, with a sentence, where the truth does not hold that.
    decide : callable
        From what was read to a Finding; raises NotApplicable where it cannot be told (only a bound is known).
    """

    name: str
    says: str
    unit: str
    source: str
    read: Callable[[Instance], Any]
    decide: Callable[[Any], Finding]

    def applies(self, instance: Instance) -> bool:
        """Whether the truth of this instance holds what the condition speaks of."""
        try:
            self.read(instance)
        except NotApplicable:
            return False
        return True

    def check(self, instance: Instance) -> Finding:
        """Check the condition on an instance.

        Raises
        ------
        NotApplicable
            If the truth lacks what is needed, or only bounds are known and they leave it open.
        """
        return self.decide(self.read(instance))
