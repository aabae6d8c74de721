"""The joint-emission twin of a discrete hierarchy: the selected law told the other way round, from the abstract to the concrete."""

from __future__ import annotations

import math
from typing import Any

import torch

from generators.controls.state_trees import TreeInstance, emitting
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.model import Network, network

KEPT = ("composition", "second", "chance", "fibres")
"""Facts of each level's tables that joint emission has too: which states emit a tuple."""


class JointEmissionStates(DiscreteHierarchy):
    """The same law as `DiscreteHierarchy` with all arrows reversed: a composite's state is drawn first, and then emits its tuple jointly.

    No data can tell it from selection: rows drawn with the same seeds are the very same rows, since reading the upward messages
    downwards *is* joint emission. The truth differs: ``facts["direction"]`` is ``"joint_emission"``, ``facts["direction_class"]`` is
    {selection, joint_emission}, and ``facts["emission/l"]``, shape (S_l, P), holds P(tuple | state) of the states of level l side by side,
    tuples numbered row-major. Potentials, which such a tree does not have, are left out. Constituents cannot be shared: a graph that does
    has no such twin. Doing tells the two apart, see `generators.controls.joint_emission`.
    """

    def draw(self, seed: int) -> JointEmissionStatesInstance:  # type: ignore[override]
        return JointEmissionStatesInstance(super().draw(seed))


class JointEmissionStatesInstance(TreeInstance):
    """A drawn joint-emission tree of states."""

    direction = "joint_emission"
    indistinguishable = ("selection", "joint_emission")

    def network(self) -> Network:
        return network(self.selected.model)  # with selection's own factors, so that rows agree to the bit

    def tables(self) -> dict[str, Any]:
        graph, net = self.selected.model.graph, emitting(network(self.selected.model))
        facts: dict[str, Any] = {key: value for key, value in self.selected.truth.facts.items() if key.split("/")[0] in KEPT and "/" in key}
        for level, (slots, weights) in enumerate(zip(net.slots, net.weights, strict=True)):
            shapes = [graph.shape(level, i) for i in range(graph.sizes[level])]
            table = weights.new_zeros(len(weights), max(map(math.prod, shapes)))
            for i, shape in enumerate(shapes):
                own = net.concept[level] == i
                first = [graph.first(level + 1)[j] for j in graph.constituents[level][i]]
                number = torch.zeros_like(slots[own][:, :, 0])
                for k, size in enumerate(shape):
                    number = number * size + slots[own][:, :, k] - first[k]
                there = weights[own] > 0
                table[own] = table[own].scatter_add(1, torch.where(there, number, 0), torch.where(there, weights[own], 0.0))
            facts[f"emission/{level}"] = table
        return facts
