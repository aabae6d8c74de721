"""The classic hierarchy of states: what is abstract causes what is concrete, and children are independent given their parent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from generators.controls.state_trees import TreeInstance
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.messages import tuple_laws
from generators.selection.discrete.model import Network, network
from generators.selection.discrete.tables import LARGEST
from testbed.contracts import InvalidInput


def child_laws(net: Network) -> list[Tensor]:
    r"""P(state of a constituent | state of its composite) in the selected law, by messages.

    .. math:: P(t_j = u \mid v) = \sum_{t : t_j = u} P(t \mid v), \qquad P(t \mid v) \propto \phi(t) \prod_j \mu_{l+1,j}(t_j)
              \text{ on } g(t) = v.

    Returns
    -------
    list of Tensor, shape (S_l, S_{l+1}), float64
        For each level above the last; constituents side by side, each of them summing to 1, and 0 for concepts that are none.
    """
    _, tuples = tuple_laws(net)
    out = []
    for weights, slots, below in zip(tuples, net.slots, net.concept[1:], strict=True):
        share = weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        table = share.new_zeros(len(share), len(below) + 1)
        for j in range(slots.shape[2]):
            table.scatter_add_(1, slots[:, :, j], share)
        out.append(table[:, :-1])
    return out


class ClassicStates(DiscreteHierarchy):
    """The classic abstract -> concrete hierarchy of states that is closest to a selected one.

    Same parameters, graph, alphabets and view as `DiscreteHierarchy` drawn with the same seed. Level 0 has its selected law; each
    constituent then has the state that it has in the selected law *given its composite's state*, independently of its siblings. So all
    marginals, and all tables of a composite and one of its constituents, are exactly those of the selected law. What cannot be matched:
    siblings' dependence given their composite, 0 here by construction, which is what selection consists of; and with it tables of siblings,
    or across two levels. A tuple can be any, and a composite is no function of it. Constituents cannot be shared.

    Forcing a concept changes what is *below* it and nothing else. The oracle is the most probable state by exact messages: the best
    codes there are, though a composite cannot be read off its leaves without error.

    Source: the comparison in Kong et al. (arXiv 2512.10720) with hierarchies whose abstract concepts are causes.
    """

    def draw(self, seed: int) -> ClassicStatesInstance:  # type: ignore[override]
        return ClassicStatesInstance(super().draw(seed))


class ClassicStatesInstance(TreeInstance):
    """A drawn classic hierarchy of states. Its facts ``child_laws/l``, shape (S_l, S_{l+1}), are those of `child_laws`."""

    direction = "independent_children"
    indistinguishable = ("independent_children",)

    def network(self) -> Network:
        graph = self.selected.model.graph
        net = network(self.selected.model)
        above, _ = tuple_laws(net)
        unary = tuple(
            torch.where(torch.isin(concept, roots), law, 1.0) for law, concept, roots in zip(above, net.concept, net.roots, strict=True)
        )
        slots, weights = [], []
        for level, laws in enumerate(child_laws(net)):
            shapes = [graph.shape(level, i) for i in range(graph.sizes[level])]
            most, arity = max(map(math.prod, shapes)), max(map(len, shapes))
            if most * graph.states(level) > LARGEST:
                raise InvalidInput(
                    f"composites of level {level} have {graph.states(level)} states and up to {most} tuples each, a table of more than "
                    f"{LARGEST} entries: lower states or branching"
                )
            slot = torch.full((graph.states(level), most, arity), graph.states(level + 1))
            weight = torch.zeros(graph.states(level), most, dtype=torch.float64)
            below = graph.first(level + 1)
            for i, (shape, start) in enumerate(zip(shapes, graph.first(level), strict=True)):
                own = slice(start, start + graph.cardinalities[level][i])
                count = math.prod(shape)
                columns = torch.unravel_index(torch.arange(count), shape)
                weight[own, :count] = 1.0
                for k, (j, column) in enumerate(zip(graph.constituents[level][i], columns, strict=True)):
                    slot[own, :count, k] = column + below[j]
                    weight[own, :count] *= laws[own][:, column + below[j]]
            slots.append(slot)
            weights.append(weight)
        return replace(net, slots=tuple(slots), weights=tuple(weights), unary=unary)

    def tables(self) -> dict[str, Any]:
        return {f"child_laws/{level}": table for level, table in enumerate(child_laws(network(self.selected.model)))}
