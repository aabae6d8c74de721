r"""Composition tables g and potentials phi of single composites.

Tuples of constituents' states are numbered in row-major order (the last constituent varies fastest): t = 0 ... P - 1 with P the
product of the constituents' numbers of states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, seed_of

LARGEST = 2**20
"""Most tuples of one composite: its table is written out."""
ATTEMPTS = 20
"""Random tables that are tried until every constituent's every state is in an admissible tuple, before one is made so."""
LEAST = 1e-6
"""Smallest potential of an admissible tuple."""


@dataclass(frozen=True)
class Rule:
    r"""One composite's composition and potential.

    .. math:: V = g(t, \varepsilon) = \begin{cases} \mathrm{second}[t] & \varepsilon = 1 \text{ (probability chance)} \\
              \mathrm{states}[t] & \text{else} \end{cases}

    Attributes
    ----------
    states : Tensor, shape (P,), int64
        g, defined for every tuple, admissible or not.
    potential : Tensor, shape (P,), float64
        :math:`\phi(t)` in [0, 1]; tuples with potential 0 are not admissible.
    second : Tensor, shape (P,), int64
        The other state that a tuple can stand for; equal to `states` where rules are deterministic.
    chance : float
        Probability of `second`.
    """

    states: Tensor
    potential: Tensor
    second: Tensor
    chance: float = 0.0

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Pairs of an admissible tuple and a state it stands for, with :math:`\phi(t)\, P(v \mid t)`; shapes (R,)."""
        tuples = self.potential.nonzero()[:, 0]
        weight = self.potential[tuples]
        if not self.chance:
            return tuples, self.states[tuples], weight
        state, other = self.states[tuples], self.second[tuples]
        split = state != other
        first = torch.where(split, weight * (1 - self.chance), weight)
        return torch.cat([tuples, tuples[split]]), torch.cat([state, other[split]]), torch.cat([first, weight[split] * self.chance])

    def fibres(self, cardinality: int) -> Tensor:
        """Number of admissible tuples per state, shape (v,): its synonyms."""
        return self.states[self.potential > 0].bincount(minlength=cardinality)


def check_rule(rule: Rule, shape: tuple[int, ...], cardinality: int, where: str) -> None:
    """Raise InvalidInput unless a rule is a table of these dimensions."""
    count = math.prod(shape)
    if any(tuple(t.shape) != (count,) for t in (rule.states, rule.potential, rule.second)):
        raise InvalidInput(f"the table of {where} has {len(rule.states)} tuples, but its constituents have {count}")
    for states in (rule.states, rule.second):
        if states.is_floating_point() or int(states.min()) < 0 or int(states.max()) >= cardinality:
            raise InvalidInput(f"the table of {where} gives states outside 0 to {cardinality - 1}: change it, or states")
    phi = rule.potential
    if not (phi.isfinite().all() and phi.min() >= 0 and phi.max() <= 1 and phi.max() > 0 and 0 <= rule.chance <= 1):
        raise InvalidInput(f"potentials and chance of {where} must lie in [0, 1], not all potentials 0: acceptance would be 0")


def draw_rule(
    shape: tuple[int, ...],
    cardinality: int,
    synonyms: list[int],
    preference: float,
    ambiguity: float,
    seed: int,
    where: tuple[int, ...],
) -> Rule:
    r"""A random table in which state v has ``synonyms[v % len(synonyms)]`` admissible tuples.

    Tuples in random order are dealt to the states in turn, those that are not admissible too, so that with equal synonyms their
    number moves the potential and leaves g alone. Orders are drawn anew until every state of every constituent is in an admissible tuple;
    where chance does not bring that about (few synonyms), the order begins with a random set of tuples that covers all states.

    Parameters
    ----------
    shape : tuple of int
        Numbers of states of the constituents.
    cardinality : int
        v, of the composite.
    synonyms : list of int
        m, per state.
    preference : float
        :math:`\phi(t) = u_t^{\mathrm{preference}}` on admissible tuples, :math:`u_t` uniform on (0, 1]; 0 makes synonyms equal.
    ambiguity : float
        Probability with which a tuple stands for a second state, drawn for each tuple.
    seed : int
    where : tuple of int
        Level and composite, for the seed and for messages.

    Raises
    ------
    InvalidInput
        If the table cannot exist, is too large, or leaves states unreachable.
    """
    count = math.prod(shape)
    name = f"composite {where[1]} of level {where[0]}"
    quota = torch.tensor([synonyms[v % len(synonyms)] for v in range(cardinality)])
    wanted = int(quota.sum())
    if count > LARGEST:
        raise InvalidInput(f"{name} has {count} tuples of constituents' states, more than {LARGEST}: lower states or branching")
    if int(quota.min()) < 1:
        raise InvalidInput(f"synonyms must be at least 1, not {synonyms}: a state without a tuple is unreachable")
    if wanted > count:
        raise InvalidInput(
            f"{name} needs {wanted} distinct tuples (its {cardinality} states times their synonyms, m v), but its constituents have only "
            f"{count} (v^s): lower synonyms or states, or raise branching"
        )
    if wanted < max(shape):
        raise InvalidInput(
            f"{name} has {wanted} admissible tuples, but a constituent has {max(shape)} states, some of them unreachable therefore: "
            "raise synonyms, or lower the states of the next level"
        )
    order = _covering_order(count, wanted, shape, seed, where)
    states = torch.empty(count, dtype=torch.int64)
    states[order] = dealt(quota, count)
    u = 1 - torch.rand(count, generator=torch.Generator().manual_seed(seed_of("preference", seed, *where)), dtype=torch.float64)
    potential = torch.zeros(count, dtype=torch.float64)
    potential[order[:wanted]] = (u[order[:wanted]] ** preference).clamp_min(LEAST)
    other = torch.rand(count, generator=torch.Generator().manual_seed(seed_of("second", seed, *where)), dtype=torch.float64)
    second = (states + 1 + (other * (cardinality - 1)).long()) % cardinality
    return Rule(states, potential, second if ambiguity else states, ambiguity)


def dealt(quota: Tensor, count: int) -> Tensor:
    """States of `count` places, dealt in turn: first as many of each as its quota, shape (v,), says, then whatever is left."""
    rounds = torch.arange(int(quota.max()))[:, None] < quota
    return torch.cat([rounds.nonzero()[:, 1], torch.arange(count - int(quota.sum())) % len(quota)])


def twinned(rule: Rule, shape: tuple[int, ...], k: int) -> Rule:
    """The same table with the slice of constituent k's last state but one copied to its last: the two are exact twins then."""

    def copied(values: Tensor) -> Tensor:
        table = values.reshape(shape).movedim(k, 0).clone()
        table[-1] = table[-2]
        return table.movedim(0, k).flatten()

    return replace(rule, states=copied(rule.states), potential=copied(rule.potential), second=copied(rule.second))


def _covering_order(count: int, wanted: int, shape: tuple[int, ...], seed: int, where: tuple[int, ...]) -> Tensor:
    """All tuples in random order, every state of every constituent being among the first `wanted`, shape (P,)."""
    for attempt in range(ATTEMPTS):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed_of("rule", seed, *where, attempt)))
        if all(len(torch.unique(column)) == k for column, k in zip(torch.unravel_index(order[:wanted], shape), shape, strict=True)):
            return order
    generator = torch.Generator().manual_seed(seed_of("cover", seed, *where))
    cover = torch.zeros(max(shape), dtype=torch.int64)
    for k in shape:
        cycles = torch.arange(max(shape)) % k
        cover = cover * k + torch.randperm(k, generator=generator)[cycles[torch.randperm(max(shape), generator=generator)]]
    # Distinct, since the constituent with the most states has each once.
    return torch.cat([cover, order[~torch.isin(order, cover)]])
