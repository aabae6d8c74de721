"""The law of a world's states, by messages in a forest and by enumeration where constituents are shared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from generators.selection.active import Activity
from generators.selection.descent import descent, draw_nodes
from generators.selection.enumerated import Configurations, enumerate_all, table_entropies, table_rates, table_variance
from generators.selection.messages import entropies, marginals, pass_up, variance_of_count
from generators.selection.randomness import Ints
from generators.selection.sharing import components
from generators.selection.world import World


def is_possible(world: World) -> bool:
    """Whether the states that are given can be had together."""
    if world.forest.shared:
        return all(bool(one.law(world.tilts).isfinite().all()) for one in enumerate_all(world.forest, world.compositions, world.evidence))
    return bool(pass_up(world.forest, world.compositions, world.tilts, world.evidence)[1].isfinite().all())


def selected_rates(world: World) -> Tensor:
    """How often each node is on after selection, before anything is forced, shape (N,)."""
    if world.forest.shared:
        return table_rates(enumerate_all(world.forest, world.compositions, world.evidence), world.tilts)
    return marginals(world.forest, world.compositions, world.tilts, world.evidence)


def count_variance(world: World, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes`, trees being independent."""
    if world.forest.shared:
        return table_variance(enumerate_all(world.forest, world.compositions, world.evidence), world.tilts, nodes)
    return max(0.0, variance_of_count(world.forest, world.compositions, world.tilts, nodes, world.evidence))


def tree_entropies(world: World) -> Tensor:
    """Entropy of each tree (component, where constituents are shared) in nats, shape (T,)."""
    if world.forest.shared:
        return table_entropies(enumerate_all(world.forest, world.compositions, world.evidence), world.tilts)
    return entropies(world.forest, world.compositions, world.tilts)


def tree_of_node(world: World) -> Tensor:
    """Number of each node's tree or component, shape (N,)."""
    if not world.forest.shared:
        return world.forest.root_of_node()
    out = torch.empty(len(world.tilts), dtype=torch.int64)
    for i, nodes in enumerate(components(world.forest)):
        out[nodes] = i
    return out


class States:
    """Draws states, at a cost that grows with the active ones.

    Attributes
    ----------
    active : ndarray, shape (T,)
        P(not all off) of each tree or component.
    constituents : ndarray, shape (C, s)
        Nodes that each composite is composed of, -1 beyond their number.
    """

    def __init__(self, world: World) -> None:
        self._tables: Configurations | None = None
        if world.forest.shared:
            self._tables = Configurations(enumerate_all(world.forest, world.compositions, world.evidence), world.tilts)
            self.active, self.constituents = self._tables.active, _padded(world)
        else:
            self._descent = descent(world.forest, world.compositions, world.tilts, world.evidence)
            self.active, self.constituents = self._descent.active, self._descent.constituents
        self._activity = Activity(self.active, world.loadings.numpy() if world.loadings.shape[1] else None)

    def draw(self, n: int, activity: int, states: int) -> tuple[Ints, Ints]:
        """Nodes that are on in n rows, from two seeds: row i has ``nodes[begin[i]:begin[i + 1]]``, ascending."""
        start, trees = self._activity.draw(n, activity)
        if self._tables is not None:
            return self._tables.draw(start, trees, states)
        return draw_nodes(self._descent, start, trees, states)


def _padded(world: World) -> Ints:
    lowers = world.forest.constituents
    widest = max(lower.shape[1] for lower in lowers)
    out = [
        np.pad((lower + world.forest.start(i + 1)).numpy(), ((0, 0), (0, widest - lower.shape[1])), constant_values=-1)
        for i, lower in enumerate(lowers)
    ]
    return np.concatenate(out)
