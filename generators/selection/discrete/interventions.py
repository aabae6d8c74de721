r"""The three interventions, as changes of a model.

*Condition* multiplies a state factor by an indicator. *Do, then select* replaces a leaf's base law by a point, or a composite's g by a
constant: its constituents stay weighed by their :math:`\phi`, which is a factor of the tuple and not of g. *Select, then do* leaves the
law alone and rewrites rows: only what is composed of the concept changes, by g on the new tuple with the rule's own :math:`\varepsilon`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.law import Law, joint
from generators.selection.discrete.model import Model
from generators.selection.discrete.tables import Rule
from testbed.contracts import InvalidInput, Setting

LARGEST_TABLE = 2**12
"""Most entries of the joint table from which marginals after a select-then-do are computed."""

States = dict[tuple[int, int], int]


def checked(graph: Graph, setting: Setting) -> States:
    """A setting as states.

    Raises
    ------
    InvalidInput
        If it is empty, or names a concept or a state that is not there.
    """
    if not setting:
        raise InvalidInput("a setting must give at least one concept a state, as {(level, concept): state}")
    out: States = {}
    for (level, i), value in setting.items():
        if not (0 <= level <= graph.last and 0 <= i < graph.sizes[level]):
            raise InvalidInput(f"there is no concept {i} of level {level}: levels have {list(graph.sizes)} concepts")
        if not 0 <= value < graph.cardinalities[level][i] or value != int(value):
            raise InvalidInput(f"concept {i} of level {level} has states 0 to {graph.cardinalities[level][i] - 1}, not {value}")
        out[level, i] = int(value)
    return out


def condition(model: Model, states: States) -> Model:
    """The model whose law is the given one conditioned on the states."""
    unary = list(model.unary)
    for (level, i), v in states.items():
        unary[level] = unary[level] * _indicator(model.graph, level, i, v)
    return replace(model, unary=tuple(unary))


def do_then_select(model: Model, states: States) -> Model:
    """The model in which the concepts are set by force before selection."""
    unary, rules = list(model.unary), [list(level) for level in model.rules]
    for (level, i), v in states.items():
        if level == model.graph.last:
            own = _own(model.graph, level, i)
            unary[level] = unary[level].clone()
            unary[level][own] = _indicator(model.graph, level, i, v)[own]
        else:
            old = rules[level][i]
            constant = torch.full_like(old.states, v)
            rules[level][i] = Rule(constant, old.potential, constant)
    return replace(model, unary=tuple(unary), rules=tuple(map(tuple, rules)))


def force(model: Model, states: States, rows: list[Tensor]) -> list[Tensor]:
    """Rows of the selected law with concepts set by force, and everything that is composed of them recomputed.

    Parameters
    ----------
    model : Model
    states : mapping of (level, concept) to state
    rows : list of Tensor, shape (n, n_l), int64
    """
    out = [level.clone() for level in rows]
    moved: set[tuple[int, int]] = set()
    for level in reversed(range(model.graph.last + 1)):
        for i in range(model.graph.sizes[level]):
            if (level, i) in states:
                out[level][:, i] = states[level, i]
                moved.add((level, i))
            elif level < model.graph.last and any((level + 1, j) in moved for j in model.graph.constituents[level][i]):
                out[level][:, i] = _recomposed(model, level, i, rows, out)
                moved.add((level, i))
    return out


def moves(graph: Graph, states: Mapping[tuple[int, int], int]) -> set[tuple[int, int]]:
    """The concepts that are set and those composed of them."""
    moved = set(states)
    for level in reversed(range(graph.last)):
        moved |= {(level, i) for i, lower in enumerate(graph.constituents[level]) if any((level + 1, j) in moved for j in lower)}
    return moved


def moved_marginals(model: Model, law: Law, states: States) -> dict[tuple[int, int], Tensor]:
    """Exact marginals of the concepts that a select-then-do sets or changes, by the joint law of what the changed composites look at.

    Changed composites are left out where that table would have more than `LARGEST_TABLE` entries, or a changed rule is stochastic.
    """
    graph = model.graph
    out = {(level, i): torch.eye(graph.cardinalities[level][i], dtype=torch.float64)[v] for (level, i), v in states.items()}
    moved = moves(graph, states)
    changed = sorted(moved - set(states), reverse=True)  # from concrete to abstract
    beside = sorted({(level + 1, j) for level, i in changed for j in graph.constituents[level][i]} - moved)
    shape = tuple(graph.cardinalities[level][i] for level, i in beside)
    if math.prod(shape) > LARGEST_TABLE or any(model.rules[level][i].chance for level, i in changed):
        return out
    weight = joint(law, beside).flatten() if beside else torch.ones(1, dtype=torch.float64)
    columns = dict(zip(beside, torch.unravel_index(torch.arange(len(weight)), shape), strict=True)) if beside else {}
    columns |= {concept: torch.full((len(weight),), v) for concept, v in states.items()}
    for level, i in changed:
        code = torch.zeros(len(weight), dtype=torch.int64)
        for j, count in zip(graph.constituents[level][i], graph.shape(level, i), strict=True):
            code = code * count + columns[level + 1, j]
        columns[level, i] = model.rules[level][i].states[code]
        out[level, i] = torch.zeros(graph.cardinalities[level][i], dtype=torch.float64).index_add_(0, columns[level, i], weight)
    return out


def drawn_marginals(model: Model, rows: list[Tensor], states: States) -> dict[tuple[int, int], Tensor]:
    """Marginals of the concepts that a select-then-do sets or changes, as shares of rows of the selected law, shape (n, n_l) per level."""
    after = force(model, states, rows)
    counts = model.graph.cardinalities
    return {
        (level, i): after[level][:, i].bincount(minlength=counts[level][i]).double() / len(after[level])
        for level, i in moves(model.graph, states)
    }


def _recomposed(model: Model, level: int, i: int, before: list[Tensor], after: list[Tensor]) -> Tensor:
    """g of the new tuple; where the old tuple stood for its second state, so does the new one (the same eps)."""
    rule = model.rules[level][i]
    old, new = (_code(model.graph, level, i, rows[level + 1]) for rows in (before, after))
    states, second = rule.states.to(old.device), rule.second.to(old.device)
    eps = before[level][:, i] != states[old]
    return torch.where(eps, second[new], states[new])


def _code(graph: Graph, level: int, i: int, below: Tensor) -> Tensor:
    """Numbers of the tuples of a composite in rows of the level below it, shape (n,)."""
    code = torch.zeros(len(below), dtype=torch.int64, device=below.device)
    for j, count in zip(graph.constituents[level][i], graph.shape(level, i), strict=True):
        code = code * count + below[:, j]
    return code


def _own(graph: Graph, level: int, i: int) -> slice:
    first = graph.first(level)[i]
    return slice(first, first + graph.cardinalities[level][i])


def _indicator(graph: Graph, level: int, i: int, state: int) -> Tensor:
    """1 for every state of the level but the concept's others, shape (S_l,)."""
    out = torch.ones(graph.states(level), dtype=torch.float64)
    out[_own(graph, level, i)] = 0
    out[graph.first(level)[i] + state] = 1
    return out
