"""What a dial is: from 0 (a specification as it is) to 1 (an assumption broken); and what turning it moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generators.assumptions.breaking import checked_amount
from generators.assumptions.table import Row, assumption_table
from testbed.contracts import Generator, InvalidInput

Params = Mapping[str, Any]
Family = Literal["sparse", "continuous", "discrete", "auxiliary"]


@dataclass(frozen=True)
class Dial:
    """A way to break one assumption of a specification, step by step.

    Attributes
    ----------
    name : str
    breaks : tuple of str
        Assumptions that hold at 0 and fail at 1, on specifications where they can hold.
    moves : tuple of str
        Others whose margins move with it, since they speak of the same arrays. All the rest must stay as they are.
    start : mapping
        Parameters that the dial fixes at every amount, so that its ends are comparable.
    turned : callable
        From parameters and an amount to the parameters that it changes.
    says : str
    family : {"sparse", "continuous", "discrete", "auxiliary"}
        Of specifications that have the parameters it turns.
    """

    name: str
    breaks: tuple[str, ...]
    moves: tuple[str, ...]
    start: Params
    turned: Callable[[Params, float], dict[str, Any]]
    says: str
    family: Family = "sparse"

    def params(self, params: Params, amount: float) -> dict[str, Any]:
        """The parameters of a specification with this dial turned by `amount`.

        Raises
        ------
        InvalidInput
            If the amount is outside [0, 1], or a parameter is one that the dial cannot turn.
        """
        a = checked_amount(amount)
        base = {**params, **self.start}
        if not base.keys() <= params.keys():
            raise InvalidInput(f"dial {self.name!r} turns {self.family} specifications, which have {', '.join(self.start)}")
        return {**base, **self.turned(base, a)}

    def turn(self, generator: Generator, amount: float) -> Generator:
        """A new specification with the dial turned."""
        return type(generator)(**self.params(generator.get_params(), amount))

    def sweep(self, generator: Generator, amounts: Iterable[float], seed: int) -> dict[float, list[Row]]:
        """The table of the instance with this seed at every amount."""
        return {amount: assumption_table(self.turn(generator, amount).draw(seed)) for amount in amounts}


def moved(before: list[Row], after: list[Row], tolerance: float = 1e-6) -> set[str]:
    """Assumptions whose verdict changed, or whose margin did by more than `tolerance`, absolute and relative to the larger one."""
    names = set()
    for old, new in zip(before, after, strict=True):
        same = old.verdict == new.verdict
        if same and old.margin is not None and new.margin is not None:
            same = math.isclose(old.margin, new.margin, rel_tol=tolerance, abs_tol=tolerance)
        if not same:
            names.add(new.assumption)
    return names


def number(params: Params, name: str) -> float:
    """The one number that a specification has under this name, or InvalidInput."""
    if name not in params:
        raise InvalidInput(f"this dial turns {name}, which the specification does not have: choose a dial of its family")
    value = params[name]
    if isinstance(value, list | tuple):
        raise InvalidInput(f"this dial turns one {name} for all levels, not {value}: give a number")
    return float(value)
