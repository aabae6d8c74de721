r"""The exact law of on/off concepts where composites share constituents, by enumeration of each connected component.

A component with n leaves has :math:`2^n` configurations, of weight :math:`\exp(\theta \cdot v) \prod_i \phi_i(k_i)`. Components are
independent of each other.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import networkx as nx
import torch
from torch import Tensor

from testbed.contracts import NotApplicable

if TYPE_CHECKING:
    from generators.assumptions.forest_law import ForestLaw

LARGEST = 16
"""Leaves of a component up to which it is enumerated."""


def components(law: ForestLaw) -> list[Tensor]:
    """Nodes of each connected component, ascending."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(sum(law.forest.sizes)))
    for level, lower in enumerate(law.forest.constituents):
        for i, below in enumerate(lower.tolist()):
            graph.add_edges_from((law.forest.start(level) + i, law.forest.start(level + 1) + j) for j in below)
    return [torch.tensor(sorted(nodes)) for nodes in nx.connected_components(graph)]


def configurations(law: ForestLaw, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """States of a component's nodes, shape (c, m), float64, and their probabilities, shape (c,).

    Raises
    ------
    NotApplicable
        If the component has more than 16 leaves.
    """
    first = law.forest.start(len(law.forest.sizes) - 1)
    place = {int(node): i for i, node in enumerate(nodes)}
    leaves = [place[node] for node in place if node >= first]
    if len(leaves) > LARGEST:
        raise NotApplicable(f"{len(leaves)} leaves hang together through shared constituents: at most {LARGEST} are enumerated")
    states = torch.zeros(2 ** len(leaves), len(nodes), dtype=torch.float64)
    states[:, leaves] = torch.tensor(list(product((0.0, 1.0), repeat=len(leaves))), dtype=torch.float64)
    weight = torch.ones(len(states), dtype=torch.float64)
    for level in reversed(range(len(law.forest.sizes) - 1)):
        start, below = law.forest.start(level), law.forest.start(level + 1)
        for i, lower in enumerate(law.forest.constituents[level].tolist()):
            if start + i in place:
                count = states[:, [place[below + j] for j in lower]].sum(dim=1).long()
                states[:, place[start + i]] = law.holds[level][i, count].double()
                weight = weight * law.phi[level][i, count]
    weight = weight * (states @ law.tilts[nodes]).exp()
    return states, weight / weight.sum()


def enumerated_rates(law: ForestLaw) -> Tensor:
    """How often each node is on, shape (N,)."""
    rates = torch.zeros(sum(law.forest.sizes), dtype=torch.float64)
    for nodes in components(law):
        states, p = configurations(law, nodes)
        rates[nodes] = p @ states
    return rates


def enumerated_pairs(law: ForestLaw) -> list[tuple[Tensor, Tensor]]:
    """Nodes of each component, shape (1, m), and P(both on), shape (1, m, m)."""
    found = []
    for nodes in components(law):
        states, p = configurations(law, nodes)
        found.append((nodes[None], ((states.T * p) @ states)[None]))
    return found


def enumerated_tables(law: ForestLaw, level: int) -> Tensor:
    """Law of every composite's tuple, numbered row-major, shape (n_l, 2^s)."""
    lower = law.forest.constituents[level]
    n, s = lower.shape
    found = torch.zeros(n, 2**s, dtype=torch.float64)
    power = 2.0 ** torch.arange(s - 1, -1, -1, dtype=torch.float64)
    for nodes in components(law):
        inside = [i for i in range(n) if bool((nodes == law.forest.start(level) + i).any())]
        if inside:
            states, p = configurations(law, nodes)
            for i in inside:
                at = torch.searchsorted(nodes, lower[i] + law.forest.start(level + 1))
                found[i].index_add_(0, (states[:, at] @ power).long(), p)
    return found


def enumerated_count(law: ForestLaw, shown: Tensor) -> Tensor:
    """Law of the number of active concepts among the nodes where `shown` is true, shape (m + 1,)."""
    total = torch.ones(1, dtype=torch.float64)
    for nodes in components(law):
        states, p = configurations(law, nodes)
        count = states[:, shown[nodes]].sum(dim=1).long()
        own = torch.zeros(int(shown[nodes].sum()) + 1, dtype=torch.float64).index_add(0, count, p)
        wider = torch.zeros(len(total) + len(own) - 1, dtype=torch.float64)
        for k, share in enumerate(own):
            wider[k : k + len(total)] += share * total
        total = wider
    return total
