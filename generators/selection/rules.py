"""Rules of composition and their potentials. Every rule here is symmetric: only the number of active constituents matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, seed_of

Rule = Literal["and", "k_of_n", "exclusive", "any"]
T = TypeVar("T")


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


Compositions: TypeAlias = "Composition | Sequence[Sequence[Composition]]"
"""One composition for all composites, or one for each: level by level, concept by concept."""


def each(composition: Compositions, level: int, count: int) -> list[Composition]:
    """The composition of every composite of a level that has `count` of them."""
    return [composition] * count if isinstance(composition, Composition) else list(composition[level])


def weights(composition: Compositions, level: int, count: int) -> tuple[Tensor, Tensor]:
    """`holds` and `potential` of every composite of a level, shape (n_l, s + 1) each."""
    every = each(composition, level, count)
    found = {one: (one.holds(), one.potential()) for one in set(every)}
    return torch.stack([found[one][0] for one in every]), torch.stack([found[one][1] for one in every])


def draw_compositions(
    sizes: tuple[int, ...],
    branching: list[int],
    rule: Rule | list[Rule],
    k: int,
    all_on: float | list[float],
    lone_firing: float | list[float],
    seed: int,
) -> tuple[tuple[Composition, ...], ...]:
    """The composition of every composite, by level: where several rules are given, each composite draws one of them."""
    rules: list[Rule] = list(rule) if isinstance(rule, list | tuple) else [rule]
    if not rules:
        raise InvalidInput("rule is an empty list: name at least one rule")
    above = per_level("all_on", all_on, len(sizes) - 1)
    partial = per_level("lone_firing", lone_firing, len(sizes) - 1)
    out = []
    for one in rules:
        Composition(one, max(branching, default=k), k, 1.0, 1.0)  # a rule that does not exist is refused where nothing is composed, too
    for level, size in enumerate(sizes[:-1]):
        kinds = [Composition(one, branching[level], k, above[level], partial[level]) for one in rules]
        generator = torch.Generator().manual_seed(seed_of("rules", seed, level))
        which = torch.rand(max(0, size), generator=generator, dtype=torch.float64) * len(kinds)
        out.append(tuple(kinds[int(i)] for i in which.tolist()))
    return tuple(out)


def per_level(name: str, value: T | Sequence[T], composites: int) -> list[T]:
    """One value per level of composites, of which there are `composites`."""
    if not isinstance(value, list | tuple):
        return [cast(T, value)] * composites
    if len(value) != composites:
        raise InvalidInput(f"{name} gives {len(value)} values, but there are {composites} levels of composites: one each")
    return list(value)


LEAST: dict[str, str] = {
    "and": "all",
    "k_of_n": "at least k",
    "exclusive": "exactly one",
    "any": "at least one",
}
"""In words: how many constituents of an active composite are active."""
