"""An order in which the concepts of a graph with shared constituents can be fixed and summed over, few being open at a time.

A concept is open from when its state is fixed until all composites that need it are there. What an elimination costs is not the number
of configurations of all concepts but that of the open ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.law import TooLarge, Unreachable
from generators.selection.discrete.model import Model

LARGEST = 2**20
"""Most configurations of open concepts that are held at a time."""

Concept = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One step; rows are sorted by `target`.

    Attributes
    ----------
    source, target : Tensor, shape (R,), int64
        Configuration of the open concepts before and after.
    factor : Tensor, shape (R,), float64
    added : tuple of (int, int, Tensor of shape (R,), int64)
        Level and concept that the step fixes, and its state, numbered over the level.
    count : int
        Configurations after the step.
    """

    source: Tensor
    target: Tensor
    factor: Tensor
    added: tuple[tuple[int, int, Tensor], ...]
    count: int

    def to(self, device: str) -> Self:
        added = tuple((level, i, state.to(device)) for level, i, state in self.added)
        return replace(self, source=self.source.to(device), target=self.target.to(device), factor=self.factor.to(device), added=added)


def steps(model: Model, keep: frozenset[Concept] = frozenset()) -> list[Step]:
    """Steps of an elimination, in which those in `keep` stay open; without any, nothing is open in the end.

    Raises
    ------
    TooLarge
        If more than `LARGEST` configurations would be open at a time.
    """
    graph = model.graph
    roots = frozenset((0, i) for i in range(graph.sizes[0])) if model.selection is not None else frozenset()
    table = _Open(model, keep | roots)
    waiting = {(level, i) for level in range(graph.last) for i in range(graph.sizes[level])}
    while waiting:
        ready = [c for c in sorted(waiting) if all(j in table.done or j[0] == graph.last for j in _below(graph, c))]
        best = min(ready, key=lambda c: (table.size_after(c), -c[0], c[1]))
        table.take(best, [j for j in _below(graph, best) if j not in table.done])
        waiting.remove(best)
    for i in range(graph.sizes[graph.last]):
        if (graph.last, i) not in table.done:
            table.take(None, [(graph.last, i)])
    if model.selection is not None:
        states = tuple(table.columns[0, i] for i in range(graph.sizes[0]))
        table.keep = keep
        table.close(torch.arange(len(states[0])), model.selection[states], [])
    return table.steps


class _Open:
    """Configurations of the open concepts while steps are made."""

    def __init__(self, model: Model, keep: frozenset[Concept]) -> None:
        self.model, self.graph, self.keep = model, model.graph, keep
        self.parents: dict[Concept, set[Concept]] = {}
        for level, composites in enumerate(self.graph.constituents):
            for i, lower in enumerate(composites):
                for j in lower:
                    self.parents.setdefault((level + 1, j), set()).add((level, i))
        self.done: set[Concept] = set()
        self.columns: dict[Concept, Tensor] = {}
        self.rows = 1
        self.steps: list[Step] = []

    def still_open(self, concept: Concept, extra: Concept | None = None) -> bool:
        """Whether a concept is needed by a composite that is neither done nor `extra`."""
        return concept in self.keep or bool(self.parents.get(concept, set()) - self.done - {extra})

    def size_after(self, composite: Concept) -> int:
        """Most configurations that could be open after a composite is taken."""
        concepts = {*self.columns, *_below(self.graph, composite), composite}
        size = 1
        for level, i in concepts:
            size *= self.graph.cardinalities[level][i] if self.still_open((level, i), composite) else 1
        return size

    def take(self, composite: Concept | None, leaves: list[Concept]) -> None:
        """Fix leaves, and a composite of known constituents."""
        source, factor = torch.arange(self.rows), torch.ones(self.rows, dtype=torch.float64)
        for level, i in leaves:
            count = self.graph.cardinalities[level][i]
            if len(source) * count > LARGEST:
                raise TooLarge(
                    f"this graph with shared constituents takes {len(source) * count} configurations of open concepts at leaf {i}, more "
                    f"than {LARGEST}: share fewer constituents, lower states, or use a forest, which is exact at any size"
                )
            again = torch.arange(len(source)).repeat_interleave(count)
            source, factor = self._select(again, source, factor)
            self.columns[level, i] = torch.arange(count).repeat(len(source) // count)
            factor = factor * self._unary(level, i)
            self.done.add((level, i))
        added = list(leaves)
        if composite is not None:
            source, factor = self._compose(composite, source, factor)
            added.append(composite)
        self.close(source, factor, added)

    def _compose(self, composite: Concept, source: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        level, i = composite
        code = torch.zeros(len(source), dtype=torch.int64)
        for j, count in zip(_below(self.graph, composite), self.graph.shape(level, i), strict=True):
            code = code * count + self.columns[j]
        tuples, state, weight = self.model.rules[level][i].rows()
        order = tuples.argsort(stable=True)
        tuples, state, weight = tuples[order], state[order], weight[order]
        start, stop = torch.searchsorted(tuples, code), torch.searchsorted(tuples, code, right=True)
        matches = stop - start  # none if the tuple is not admissible, two if it can stand for two states
        again = torch.arange(len(code)).repeat_interleave(matches)
        place = torch.arange(len(again)) - (matches.cumsum(0) - matches)[again] + start[again]
        source, factor = self._select(again, source, factor)
        self.columns[composite] = state[place]
        self.done.add(composite)
        return source, factor * weight[place] * self._unary(level, i)

    def close(self, source: Tensor, factor: Tensor, added: Iterable[Concept]) -> None:
        """Finish a step: sum over what is no longer needed."""
        if not bool((factor > 0).any()):
            raise Unreachable("no configuration survives selection (acceptance 0): change the setting, the potentials or the root law")
        kept = (factor > 0).nonzero()[:, 0]
        source, factor = self._select(kept, source, factor)
        states = [(level, i, self.columns[level, i] + self.graph.first(level)[i]) for level, i in added]
        self.columns = {c: column for c, column in self.columns.items() if self.still_open(c)}
        target = torch.zeros(len(source), dtype=torch.int64)
        for (level, i), column in self.columns.items():
            _, target = torch.unique(target * self.graph.cardinalities[level][i] + column, return_inverse=True)
        self.rows = int(target.max()) + 1
        order = target.argsort(stable=True)
        self.steps.append(Step(source[order], target[order], factor[order], tuple((k, i, s[order]) for k, i, s in states), self.rows))
        one = torch.zeros(self.rows, dtype=torch.int64).scatter_(0, target, torch.arange(len(target)))
        self.columns = {c: column[one] for c, column in self.columns.items()}

    def _select(self, rows: Tensor, source: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        self.columns = {c: column[rows] for c, column in self.columns.items()}
        return source[rows], factor[rows]

    def _unary(self, level: int, i: int) -> Tensor:
        return self.model.unary[level][self.graph.first(level)[i] + self.columns[level, i]]


def _below(graph: Graph, composite: Concept) -> list[Concept]:
    level, i = composite
    return [(level + 1, j) for j in graph.constituents[level][i]]
