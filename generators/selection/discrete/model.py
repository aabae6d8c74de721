"""A discrete hierarchy in full: graph, tables, base laws and selection; and the arrays that messages run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.tables import Rule, check_rule
from testbed.contracts import InvalidInput


@dataclass(frozen=True)
class Model:
    r"""Everything that fixes the law :math:`p(v) \propto \prod_j \mu_{L,j}(v_{L,j}) \prod_{l,i} \phi_{l,i}(t_{l,i})\, \phi_S(v_0)`.

    Attributes
    ----------
    graph : Graph
    rules : tuple of tuple of Rule
        Per level l < L and composite.
    unary : tuple of Tensor, shape (states of the level,), float64
        Factor of each state: the base law :math:`\mu_{L,j}` on level L, :math:`\phi_S` on level 0, 1 elsewhere unless conditioned.
    selection : Tensor or None, shape (v_1, v_2, ...)
        A joint :math:`\phi_S` of all concepts of level 0, where it does not factorise (graphs with shared constituents).
    """

    graph: Graph
    rules: tuple[tuple[Rule, ...], ...]
    unary: tuple[Tensor, ...]
    selection: Tensor | None = None

    def __post_init__(self) -> None:
        graph = self.graph
        if len(self.rules) != graph.last or len(self.unary) != graph.last + 1:
            raise InvalidInput(f"{len(self.rules)} levels of tables and {len(self.unary)} of laws for {graph.last + 1} levels: give all")
        for level, rules in enumerate(self.rules):
            if len(rules) != graph.sizes[level]:
                raise InvalidInput(f"level {level} has {graph.sizes[level]} composites but {len(rules)} tables: give one each")
            for i, rule in enumerate(rules):
                check_rule(rule, graph.shape(level, i), graph.cardinalities[level][i], f"composite {i} of level {level}")
        factors = [*self.unary] if self.selection is None else [*self.unary, self.selection]
        for level, factor in enumerate(self.unary):
            if tuple(factor.shape) != (graph.states(level),):
                raise InvalidInput(f"level {level} has {graph.states(level)} states but a law of shape {tuple(factor.shape)}")
        if self.selection is not None and (tuple(self.selection.shape) != graph.cardinalities[0] or graph.is_forest):
            raise InvalidInput("a joint selection needs shared constituents and one entry per configuration of level 0")
        if not all(bool(((f >= 0) & f.isfinite()).all()) for f in factors):
            raise InvalidInput("laws and potentials must be finite and at least 0")


@dataclass(frozen=True)
class Network:
    """A model as padded arrays, one per level, over which messages are vectorised.

    Attributes
    ----------
    slots : tuple of Tensor, shape (S_l, M_l, s_l), int64
        For every state of level l its tuples, as states of level l + 1; ``S_{l+1}``, one past the last, where there is no constituent.
    weights : tuple of Tensor, shape (S_l, M_l), float64
        phi(t) P(v | t); 0 where there is no tuple.
    unary : tuple of Tensor, shape (S_l,), float64
    first : tuple of Tensor, shape (n_l,), int64
        First state of every concept.
    concept : tuple of Tensor, shape (S_l,), int64
        Concept of every state.
    roots : tuple of Tensor, shape (r_l,), int64
        Concepts that belong to no composite.
    width : tuple of int
        Number of states that every concept of the level has; 0 where they differ.
    """

    slots: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    unary: tuple[Tensor, ...]
    first: tuple[Tensor, ...]
    concept: tuple[Tensor, ...]
    roots: tuple[Tensor, ...]
    width: tuple[int, ...]

    def to(self, device: str) -> Self:
        arrays = {name: tuple(t.to(device) for t in group) for name, group in vars(self).items() if name != "width"}
        return replace(self, **arrays)


def network(model: Model) -> Network:
    """The arrays of a model."""
    graph = model.graph
    first = tuple(torch.tensor(graph.first(level)) for level in range(graph.last + 1))
    concept = tuple(torch.arange(len(c)).repeat_interleave(torch.tensor(c)) for c in graph.cardinalities)
    roots = tuple(torch.tensor(graph.roots(level), dtype=torch.int64) for level in range(graph.last + 1))
    width = tuple(c[0] if len(set(c)) == 1 else 0 for c in graph.cardinalities)
    layers = [_layer(graph, level, model.rules[level]) for level in range(graph.last)]
    return Network(tuple(s for s, _ in layers), tuple(w for _, w in layers), model.unary, first, concept, roots, width)


def _layer(graph: Graph, level: int, rules: Sequence[Rule]) -> tuple[Tensor, Tensor]:
    """Slots and weights of one level."""
    states, none = graph.states(level), graph.states(level + 1)
    widest = max(map(len, graph.constituents[level]))
    own, below = graph.first(level), graph.first(level + 1)
    rows, heads, weights = [], [], []
    for i, rule in enumerate(rules):
        tuples, state, weight = rule.rows()
        columns = torch.unravel_index(tuples, graph.shape(level, i))
        slots = torch.full((len(tuples), widest), none)
        for k, (j, column) in enumerate(zip(graph.constituents[level][i], columns, strict=True)):
            slots[:, k] = column + below[j]
        rows.append(slots)
        heads.append(state + own[i])
        weights.append(weight)
    head = torch.cat(heads)
    order = head.argsort(stable=True)
    head, row, weight = head[order], torch.cat(rows)[order], torch.cat(weights)[order]
    count = head.bincount(minlength=states)
    place = torch.arange(len(head)) - (count.cumsum(0) - count)[head]
    padded = torch.full((states, int(count.max()), widest), none)
    padded[head, place] = row
    factor = torch.zeros(states, int(count.max()), dtype=torch.float64)
    factor[head, place] = weight
    return padded, factor
