"""What turning a dial does to the margins of assumptions."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

from evaluators.calibration import checked_codes
from testbed.contracts import Dialable, Evaluator, InvalidInput, NotApplicable, Outcome, Scores

SAME = 1e-6
"""Margins that differ by less, absolutely or relative to the larger, are one margin."""


class DialMargins(Evaluator):
    """Margins of every assumption of theorems as a dial is turned; codes play no part.

    The headline is the number of assumptions outside those that the dial speaks of whose verdict or margin moved at any amount: 0 is as
    it should be. Parts: ``outside`` is how many of those there are to move; ``NAME at AMOUNT`` is a margin at the first and last amount,
    and ``NAME holds at AMOUNT`` is 1 or 0, for what the dial breaks. The report draws all margins over all amounts (details ``dial``).

    Parameters
    ----------
    amounts : list of float, or None
        In increasing order, from [0, 1]; None is 0, 0.25, 0.5, 0.75, 1.
    """

    direction = "lower"
    equivalence = "any change of the codes: they are not looked at"
    invariances = ("affine", "relabelling")
    ceiling: ClassVar[float] = 0.0

    def __init__(self, amounts: list[float] | None = None) -> None:
        self.amounts = amounts

    @classmethod
    def small(cls) -> Self:
        return cls([0.0, 1.0])

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Turn the dial of the outcome's instance.

        Raises
        ------
        NotApplicable
            If the instance has no dial.
        InvalidInput
            If codes are not finite, or amounts are fewer than two, or not increasing.
        """
        amounts = [0.0, 0.25, 0.5, 0.75, 1.0] if self.amounts is None else self.amounts
        if len(amounts) < 2 or sorted(set(amounts)) != list(amounts):
            raise InvalidInput(f"amounts are two or more, in increasing order, not {amounts}")
        checked_codes(outcome)  # margins do not depend on codes, but broken ones are an error everywhere
        instance: object = outcome.instance
        if not isinstance(instance, Dialable):
            raise NotApplicable("the instance has no dial: generator `dialed` gives it one")
        tables = [dict(instance.margins(amount)) for amount in amounts]
        names = list(dict.fromkeys(name for table in tables for name in table))
        outside = [name for name in names if name not in (*instance.breaks, *instance.moves)]
        stray = [name for name in outside if any(not _same(tables[0].get(name), table.get(name)) for table in tables[1:])]
        parts = {"outside": float(len(outside))}
        for name in instance.breaks:
            for amount, table in ((amounts[0], tables[0]), (amounts[-1], tables[-1])):
                if name in table:
                    parts |= {f"{name} at {amount:g}": table[name][1], f"{name} holds at {amount:g}": float(table[name][0])}
        lines = {name: [table[name][1] if name in table else None for table in tables] for name in names}
        details: dict[str, Any] = {"amounts": list(amounts), "margins": lines, "breaks": list(instance.breaks), "outside": outside}
        return Scores(float(len(stray)), parts, details={"dial": {**details, "stray": stray}})


def _same(before: tuple[bool, float] | None, after: tuple[bool, float] | None) -> bool:
    if before is None or after is None:
        return before == after
    return before[0] == after[0] and math.isclose(before[1], after[1], rel_tol=SAME, abs_tol=SAME)
