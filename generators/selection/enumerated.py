r"""The law of concepts with shared constituents, exact by enumeration of each connected component.

A concept that belongs to two composites ties their tuples together, so that messages no longer suffice. Components are independent still;
one with few leaves is a table of :math:`2^{\text{leaves}}` configurations with weights
:math:`\prod_j e^{\theta_j v_j} \prod_i \phi_i(k_i)`, from which rates, tilts, entropies and samples are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from generators.selection.active import alias_table
from generators.selection.forest import Forest
from generators.selection.messages import Evidence
from generators.selection.randomness import Floats, Ints, uniform
from generators.selection.rules import Compositions, each
from generators.selection.sharing import components
from testbed.contracts import InvalidInput

LARGEST = 16
"""Leaves of a component up to which its configurations are enumerated."""
TOLERANCE = 1e-8
"""Largest deviation of a realised marginal from the requested one."""


@dataclass(frozen=True)
class Table:
    """All configurations of a component.

    Attributes
    ----------
    nodes : Tensor, shape (m,)
    states : Tensor, shape (c, m), bool
    held : Tensor, shape (c, m), bool
        What the tilts weigh: whether each composite's rule holds, which is its state unless that is forced before selection, and each
        leaf's state, unless it is forced, which leaves it no base law.
    log_phi : Tensor, shape (c,), float64
        Log of the product of all potentials but the tilts; -inf where the evidence or a potential forbids it.
    """

    nodes: Tensor
    states: Tensor
    held: Tensor
    log_phi: Tensor

    def law(self, tilts: Tensor) -> Tensor:
        """Probability of each configuration, shape (c,); NaN where the evidence is impossible."""
        return (self.log_phi + self.held.double() @ tilts[self.nodes]).softmax(dim=0)


def table(forest: Forest, composition: Compositions, nodes: Tensor, evidence: Evidence) -> Table:
    """Enumerate the component that has these nodes.

    Raises
    ------
    InvalidInput
        If it has too many leaves.
    """
    first = forest.start(len(forest.sizes) - 1)
    leaves = nodes[nodes >= first]
    if len(leaves) > LARGEST:
        raise InvalidInput(
            f"{len(leaves)} leaves hang together through shared constituents, but at most {LARGEST} can be enumerated: "
            "lower shared or branching, or give levels more composites"
        )
    place = {int(node): i for i, node in enumerate(nodes)}
    states = torch.zeros(2 ** len(leaves), len(nodes), dtype=torch.bool)
    bits = torch.arange(len(states))
    for i, leaf in enumerate(leaves.tolist()):
        states[:, place[leaf]] = (bits >> i) & 1 == 1
    held, log_phi = states.clone(), torch.zeros(len(states), dtype=torch.float64)
    for leaf in leaves[evidence.cut[leaves] >= 0].tolist():
        log_phi[states[:, place[leaf]] != bool(evidence.cut[leaf])] = -torch.inf
        held[:, place[leaf]] = False
    for level in reversed(range(len(forest.sizes) - 1)):
        every = each(composition, level, forest.sizes[level])
        for i, below in enumerate((forest.constituents[level] + forest.start(level + 1)).tolist()):
            node = forest.start(level) + i
            if node in place:
                count = states[:, [place[j] for j in below]].sum(dim=1)
                held[:, place[node]] = every[i].holds()[count]
                forced = int(evidence.cut[node])
                states[:, place[node]] = held[:, place[node]] if forced < 0 else bool(forced)
                log_phi += every[i].potential().log()[count]
    for node in nodes[evidence.clamp[nodes] >= 0].tolist():
        log_phi[states[:, place[node]] != bool(evidence.clamp[node])] = -torch.inf
    return Table(nodes, states, held, log_phi)


def enumerate_all(forest: Forest, composition: Compositions, evidence: Evidence) -> list[Table]:
    """The tables of all components."""
    return [table(forest, composition, nodes, evidence) for nodes in components(forest)]


def enumerated_tilts(forest: Forest, composition: Compositions, requested: Tensor) -> Tensor:
    """Tilts under which the requested marginals hold (NaN: none requested), by Newton's method on each component, shape (N,).

    Raises
    ------
    InvalidInput
        If the rates cannot be had.
    """
    given = requested[~requested.isnan()]
    if not ((given > 0) & (given < 1)).all():
        raise InvalidInput("firing rates must lie strictly between 0 and 1: change rate or composite_rate")
    tilts = torch.zeros_like(requested)
    for one in enumerate_all(forest, composition, Evidence.none(len(requested))):
        asked = ~requested[one.nodes].isnan()
        features, wanted = one.held[:, asked].double(), requested[one.nodes][asked]
        theta, value, gap = wanted.logit(), torch.tensor(torch.inf, dtype=torch.float64), torch.tensor(torch.inf)
        theta[one.nodes[asked] < forest.start(len(forest.sizes) - 1)] = 0.0
        step = torch.zeros_like(theta)
        for _ in range(200):
            # Halve the step until the dual log Z(theta) - theta . r falls.
            for _ in range(40):
                moved = theta + step
                log_weight = one.log_phi + features @ moved
                new = log_weight.logsumexp(dim=0) - moved @ wanted
                if new <= value + 1e-13 * (1 + value.abs()):
                    break
                step = step / 2
            theta, value, law = moved, new, log_weight.softmax(dim=0)
            mean = law @ features
            gap = (mean - wanted).abs().max()
            if gap < 1e-3 * TOLERANCE:
                break
            spread = (features * law[:, None]).T @ features - mean[:, None] * mean
            # Potentials can force states to be equal, and rates that cannot be had lead to the boundary: no inverse there.
            step = -torch.linalg.pinv(spread, hermitian=True) @ (mean - wanted)
        if not gap < TOLERANCE:
            raise InvalidInput(
                f"the rates requested of the component of node {int(one.nodes[0])} cannot be had under its rules, off by {float(gap):.1g}: "
                "change rate or composite_rate, or raise lone_firing"
            )
        tilts[one.nodes[asked]] = theta
    return tilts


def table_rates(tables: list[Table], tilts: Tensor) -> Tensor:
    """How often each node is on, shape (N,)."""
    rates = torch.empty_like(tilts)
    for one in tables:
        rates[one.nodes] = one.law(tilts) @ one.states.double()
    return rates


def table_variance(tables: list[Table], tilts: Tensor, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes`."""
    total = 0.0
    for one in tables:
        count = one.states[:, torch.isin(one.nodes, nodes)].sum(dim=1).double()
        law = one.law(tilts)
        total += float(law @ count.square() - (law @ count).square())
    return max(0.0, total)


def table_entropies(tables: list[Table], tilts: Tensor) -> Tensor:
    """Entropy of each component in nats, shape (components,)."""
    return torch.stack([-torch.xlogy(law, law).sum() for law in (one.law(tilts) for one in tables)])


class Configurations:
    """What is looked up when active components are drawn: the configurations that are not all off, in one alias table per component."""

    def __init__(self, tables: list[Table], tilts: Tensor) -> None:
        self.active = np.zeros(len(tables))
        keeps, aliases, counts, nodes = [], [], [], []
        for i, one in enumerate(tables):
            law, some = one.law(tilts), one.states.any(dim=1)
            possible = some & (law > 0)
            self.active[i] = min(1.0, float(law[possible].sum())) if (law[~some] > 0).any() else 1.0
            keep, alias = alias_table(law[possible].numpy()) if possible.any() else (np.ones(1), np.zeros(1, np.int64))
            states = one.states[possible] if possible.any() else one.states[:0].new_zeros(1, len(one.nodes))
            keeps.append(keep)
            aliases.append(alias)
            counts.append(states.sum(dim=1).numpy())
            nodes.append(one.nodes[states.nonzero()[:, 1]].numpy())
        self._first = np.concatenate([[0], np.cumsum([len(keep) for keep in keeps])])
        self._keep, self._alias = np.concatenate(keeps), np.concatenate(aliases)
        self._begin = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        self._nodes = np.concatenate(nodes)

    def draw(self, start: Ints, trees: Ints, seed: int) -> tuple[Ints, Ints]:
        """Nodes that are on: row i has ``nodes[begin[i]:begin[i + 1]]``, ascending."""
        found: tuple[Ints, Ints] = _draw(start, trees, seed, self._first, self._keep, self._alias, self._begin, self._nodes)
        return found


@numba.njit(cache=True)
def _draw(start: Ints, trees: Ints, seed: int, first: Ints, keep: Floats, alias: Ints, configuration: Ints, members: Ints) -> Any:
    state = np.array([seed], np.uint64)
    n = len(start) - 1
    chosen = np.empty(len(trees), np.int64)
    size = 0
    for entry in range(len(trees)):
        tree = trees[entry]
        cells = first[tree + 1] - first[tree]
        u = uniform(state) * cells
        cell = min(int(u), cells - 1)
        if u - cell >= keep[first[tree] + cell]:
            cell = alias[first[tree] + cell]
        chosen[entry] = first[tree] + cell
        size += configuration[chosen[entry] + 1] - configuration[chosen[entry]]
    begin = np.zeros(n + 1, np.int64)
    nodes = np.empty(size, np.int64)
    size = 0
    for row in range(n):
        for entry in range(start[row], start[row + 1]):
            for i in range(configuration[chosen[entry]], configuration[chosen[entry] + 1]):
                k = size - 1
                while k >= begin[row] and nodes[k] > members[i]:  # ascending, by insertion
                    nodes[k + 1] = nodes[k]
                    k -= 1
                nodes[k + 1] = members[i]
                size += 1
        begin[row + 1] = size
    return begin, nodes
