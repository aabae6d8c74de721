r"""The law of concepts with shared constituents, exact by enumeration of each connected component.

A concept that belongs to two composites ties their tuples together, so that messages no longer suffice. Components are independent still;
one with few leaves is a table of :math:`2^{\text{leaves}}` configurations with weights
:math:`\prod_j e^{\theta_j v_j} \prod_i \phi_i(k_i)`, from which rates, tilts, entropies and samples are exact. Larger
ones are left to chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.selection.achievable import check_achievable
from generators.selection.certificate import violated
from generators.selection.chained import Sampled, approximate_tilts, sampled
from generators.selection.forest import Forest
from generators.selection.markov.mixing import Sampler
from generators.selection.messages import Evidence
from generators.selection.rules import Compositions, each
from generators.selection.sharing import components
from testbed.contracts import InvalidInput

LARGEST = 16
"""Leaves of a component up to which its configurations are enumerated."""
TOLERANCE = 1e-8
"""Largest deviation of a realised marginal from the requested one."""
SLOW = 25
"""Steps of Newton's method after which the rates are suspected to be impossible."""


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


def component_laws(
    forest: Forest, composition: Compositions, evidence: Evidence, tilts: Tensor, sampler: Sampler = "auto"
) -> list[Table | Sampled]:
    """The laws of all components: enumerated, or by chains where that takes too long.

    Parameters
    ----------
    forest : Forest
    composition : Composition, or one per composite
    evidence : Evidence
    tilts : Tensor, shape (N,)
    sampler : {"auto", "exact", "markov_chain"}
        Chains for components of more than 16 leaves; for none; for all that have a composite.

    Raises
    ------
    InvalidInput
        If a component is too large for ``"exact"``, or its chains have not mixed (NotMixed) or found nothing (Nothing).
    """
    return [
        sampled(forest, composition, nodes, evidence, tilts)
        if by_chains(forest, nodes, sampler)
        else table(forest, composition, nodes, evidence)
        for nodes in components(forest)
    ]


def by_chains(forest: Forest, nodes: Tensor, sampler: Sampler) -> bool:
    """Whether a component's law is known by chains; see `component_laws`."""
    leaves = int((nodes >= forest.start(len(forest.sizes) - 1)).sum())
    return sampler != "exact" and (leaves > LARGEST or (sampler == "markov_chain" and len(nodes) > leaves))


def enumerated_tilts(forest: Forest, composition: Compositions, requested: Tensor, sampler: Sampler = "auto") -> Tensor:
    """Tilts under which the requested marginals hold (NaN: none requested), shape (N,).

    By Newton's method on each enumerated component, by stochastic approximation on the others (`approximate_tilts`).

    Raises
    ------
    InvalidInput
        If the rates cannot be had; the message names the violated inequality.
    """
    given = requested[~requested.isnan()]
    if not ((given > 0) & (given < 1)).all():
        raise InvalidInput("firing rates must lie strictly between 0 and 1: change rate or composite_rate")
    tilts, none = torch.zeros_like(requested), Evidence.none(len(requested))
    parts = components(forest)
    if any(by_chains(forest, nodes, sampler) for nodes in parts):
        check_achievable(forest, composition, requested)  # necessary wherever constituents are shared, if not sufficient
    for nodes in parts:
        if by_chains(forest, nodes, sampler):
            tilts[nodes] = approximate_tilts(forest, composition, nodes, requested)
        else:
            tilts[nodes] = _newton(forest, table(forest, composition, nodes, none), requested)
    return tilts


def _newton(forest: Forest, one: Table, requested: Tensor) -> Tensor:
    """Tilts of an enumerated component, shape (m,)."""
    asked = ~requested[one.nodes].isnan()
    states, wanted = one.held[:, asked].double(), requested[one.nodes][asked]
    theta, value, gap = wanted.logit(), torch.tensor(torch.inf, dtype=torch.float64), torch.tensor(torch.inf)
    theta[one.nodes[asked] < forest.start(len(forest.sizes) - 1)] = 0.0
    step = torch.zeros_like(theta)
    for turn in range(200):
        # Halve the step until the dual log Z(theta) - theta . r falls.
        for _ in range(40):
            moved = theta + step
            log_weight = one.log_phi + states @ moved
            new = log_weight.logsumexp(dim=0) - moved @ wanted
            if new <= value + 1e-13 * (1 + value.abs()):
                break
            step = step / 2
        theta, value, law = moved, new, log_weight.softmax(dim=0)
        mean = law @ states
        gap = (mean - wanted).abs().max()
        if gap < 1e-3 * TOLERANCE:
            break
        if turn == SLOW:
            _refuse_unachievable(forest, one, asked, wanted)
        spread = (states * law[:, None]).T @ states - mean[:, None] * mean
        # Potentials can force states to be equal, and rates that cannot be had lead to the boundary: no inverse there.
        step = -torch.linalg.pinv(spread, hermitian=True) @ (mean - wanted)
    if not gap < TOLERANCE:
        raise InvalidInput(
            f"the rates requested of the component of node {int(one.nodes[0])} cannot be had under its rules, off by {float(gap):.1g}: "
            "change rate or composite_rate, or raise lone_firing"
        )
    out = torch.zeros(len(one.nodes), dtype=torch.float64)
    out[asked] = theta
    return out


def _refuse_unachievable(forest: Forest, one: Table, asked: Tensor, wanted: Tensor) -> None:
    """Raise InvalidInput if an inequality of the marginal polytope forbids the rates."""
    found = violated(one.held[one.log_phi > -torch.inf][:, asked].double().numpy(), wanted.numpy())
    if found is not None:
        names = [f"rate({_name(forest, node)})" for node in one.nodes[asked].tolist()]
        raise InvalidInput(
            f"the rates requested of the component of node {int(one.nodes[0])} cannot be had under its rules, which want "
            f"{found.words(names, wanted.numpy())} (level.concept): change rate or composite_rate, or raise lone_firing"
        )


def _name(forest: Forest, node: int) -> str:
    """``composite 0.3`` for concept 3 of level 0; leaves without the word."""
    level = max(level for level in range(len(forest.sizes)) if forest.start(level) <= node)
    return f"{'composite ' if level < len(forest.sizes) - 1 else ''}{level}.{node - forest.start(level)}"


def table_rates(tables: Sequence[Table | Sampled], tilts: Tensor) -> Tensor:
    """How often each node is on, shape (N,)."""
    rates = torch.empty_like(tilts)
    for one in tables:
        rates[one.nodes] = one.law(tilts) @ one.states.double()
    return rates


def table_variance(tables: Sequence[Table | Sampled], tilts: Tensor, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes`."""
    total = 0.0
    for one in tables:
        count = one.states[:, torch.isin(one.nodes, nodes)].sum(dim=1).double()
        law = one.law(tilts)
        total += float(law @ count.square() - (law @ count).square())
    return max(0.0, total)


def table_entropies(tables: Sequence[Table | Sampled], tilts: Tensor) -> Tensor:
    """Entropy of each component in nats, shape (components,)."""
    return torch.stack([-torch.xlogy(law, law).sum() for law in (one.law(tilts) for one in tables)])
