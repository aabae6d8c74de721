"""The law of a world's states: by messages in a forest; where constituents are shared, by enumeration or else by chains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from generators.selection.active import Activity
from generators.selection.chained import Sampled
from generators.selection.configurations import Configurations
from generators.selection.descent import descent, draw_nodes
from generators.selection.enumerated import Table, by_chains, component_laws, table_entropies, table_rates, table_variance
from generators.selection.forest import Forest
from generators.selection.markov.annealing import Nothing
from generators.selection.markov.mixing import Sampler
from generators.selection.messages import entropies, marginals, pass_up, variance_of_count
from generators.selection.randomness import Ints
from generators.selection.sharing import components
from generators.selection.world import World
from testbed.contracts import InvalidInput, seed_of


def laws(world: World) -> list[Table | Sampled]:
    """The law of every component of a world with shared constituents.

    Raises
    ------
    InvalidInput
        If chains are needed and have not mixed, or trees are correlated there.
    """
    if world.loadings.shape[1]:
        refuse_chains(world.forest, world.sampler)
    return component_laws(world.forest, world.compositions, world.evidence, world.tilts, world.sampler)


def refuse_chains(forest: Forest, sampler: Sampler) -> None:
    """Raise InvalidInput where chains sample a component: correlation needs to know how often each is active."""
    if forest.shared and any(by_chains(forest, nodes, sampler) for nodes in components(forest)):
        raise InvalidInput(
            "correlation ties components by the probability that they are active, which is not known exactly where chains sample one: "
            "set correlation to 0, or lower shared"
        )


def sampled_components(world: World) -> list[Sampled]:
    """The components whose law is known by chains only."""
    return [one for one in laws(world) if isinstance(one, Sampled)] if world.forest.shared else []


def is_possible(world: World) -> bool:
    """Whether the states that are given can be had together."""
    if world.forest.shared:
        try:
            return all(bool(one.law(world.tilts).isfinite().all()) for one in laws(world))
        except Nothing:
            return False
    return bool(pass_up(world.forest, world.compositions, world.tilts, world.evidence)[1].isfinite().all())


def selected_rates(world: World) -> Tensor:
    """How often each node is on after selection, before anything is forced, shape (N,)."""
    if world.forest.shared:
        return table_rates(laws(world), world.tilts)
    return marginals(world.forest, world.compositions, world.tilts, world.evidence)


def count_variance(world: World, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes`, trees being independent."""
    if world.forest.shared:
        return table_variance(laws(world), world.tilts, nodes)
    return max(0.0, variance_of_count(world.forest, world.compositions, world.tilts, nodes, world.evidence))


def tree_entropies(world: World) -> Tensor:
    """Entropy of each tree (component, where constituents are shared) in nats, shape (T,)."""
    if world.forest.shared:
        return table_entropies(laws(world), world.tilts)
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
        P(not all off) of each tree or component; 0 where chains sample it.
    constituents : ndarray, shape (C, s)
        Nodes that each composite is composed of, -1 beyond their number.
    """

    def __init__(self, world: World) -> None:
        self._tables: Configurations | None = None
        self._sampled = sampled_components(world)
        if world.forest.shared:
            self._tables = Configurations(laws(world), world.tilts)
            self.active, self.constituents = self._tables.active, _padded(world)
        else:
            self._descent = descent(world.forest, world.compositions, world.tilts, world.evidence)
            self.active, self.constituents = self._descent.active, self._descent.constituents
        self._activity = Activity(self.active, world.loadings.numpy() if world.loadings.shape[1] else None)

    def draw(self, n: int, activity: int, states: int) -> tuple[Ints, Ints]:
        """Nodes that are on in n rows, from two seeds: row i has ``nodes[begin[i]:begin[i + 1]]``, ascending."""
        start, trees = self._activity.draw(n, activity)
        if self._tables is not None:
            begin, nodes = self._tables.draw(start, trees, states)
            return self._with_sampled(n, begin, nodes, states) if self._sampled else (begin, nodes)
        return draw_nodes(self._descent, start, trees, states)

    def _with_sampled(self, n: int, begin: Ints, nodes: Ints, seed: int) -> tuple[Ints, Ints]:
        """Rows to which the concepts are added that chains draw."""
        found = [one.draw(n, seed_of("chains", seed, i)) for i, one in enumerate(self._sampled)]
        row = np.concatenate([np.repeat(np.arange(n), np.diff(begin)), *(r for r, _ in found)])
        nodes = np.concatenate([nodes, *(nodes for _, nodes in found)])
        order = np.lexsort((nodes, row))
        return np.concatenate([[0], np.bincount(row, minlength=n).cumsum()]), nodes[order]


def _padded(world: World) -> Ints:
    lowers = world.forest.constituents
    widest = max(lower.shape[1] for lower in lowers)
    out = [
        np.pad((lower + world.forest.start(i + 1)).numpy(), ((0, 0), (0, widest - lower.shape[1])), constant_values=-1)
        for i, lower in enumerate(lowers)
    ]
    return np.concatenate(out)
