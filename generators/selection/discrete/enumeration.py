"""The law of a small graph with shared constituents, exact by writing out every configuration that survives selection."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.law import CHUNK, TooLarge, Unreachable
from generators.selection.discrete.lookup import Lookup
from generators.selection.discrete.model import Model

LARGEST = 2**16
"""Most configurations that are held at a time; beyond, elimination is faster."""


class EnumeratedLaw:
    """The law of a model by enumeration; see `Law`.

    Raises
    ------
    InvalidInput
        If there are too many configurations (TooLarge), or none survives selection (Unreachable).
    """

    def __init__(self, model: Model) -> None:
        self.cardinalities = model.graph.cardinalities
        self._first = tuple(torch.tensor(model.graph.first(level)) for level in range(model.graph.last + 1))
        states, weight = configurations(model)
        total = weight.sum()
        if not total > 0:
            raise Unreachable("no configuration survives selection (acceptance 0): change the setting, the potentials or the root law")
        self.log_acceptance = math.log(float(total))
        self.states = states
        self.probability = weight / total
        self._lookup = Lookup.of(self.probability[None])

    def to(self, device: str) -> Self:
        """The same law on a device."""
        other = copy.copy(self)
        other._first = tuple(t.to(device) for t in self._first)
        other.states = [t.to(device) for t in self.states]
        other.probability = self.probability.to(device)
        other._lookup = Lookup(self._lookup.bounds.to(device), self._lookup.end.to(device))
        return other

    def marginals(self) -> list[Tensor]:
        """Probability of every state, shape (S_l,) per level."""
        return [m[0] for m in self._by_state(self.probability[None])]

    def entropies(self) -> list[float]:
        """Joint entropy of levels 0 ... l in nats."""
        out = []
        for level in range(len(self.states)):
            _, place = torch.unique(torch.cat(self.states[: level + 1], dim=1), dim=0, return_inverse=True)
            p = self.probability.new_zeros(int(place.max()) + 1).index_add_(0, place, self.probability)
            out.append(-float(torch.xlogy(p, p).sum()))
        return out

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows, shape (n, n_l), int64, per level."""
        chosen = self._lookup.draw(torch.zeros(n, dtype=torch.int64, device=self.probability.device), generator)
        return [states[chosen] for states in self.states]

    def log_evidence(self, evidence: Mapping[int, Tensor]) -> Tensor:
        """Log of the mean of the evidence's product, shape (n,)."""
        return torch.cat([self._log_joint(part).logsumexp(dim=1) for part in self._chunks(evidence)])

    def posterior(self, evidence: Mapping[int, Tensor]) -> list[Tensor]:
        """Probability of every state given evidence, shape (n, S_l) per level; 0 throughout where evidence is impossible."""
        pieces = []
        for part in self._chunks(evidence):
            log = self._log_joint(part)
            pieces.append(self._by_state(torch.softmax(log, dim=1).nan_to_num(0.0)))
        return [torch.cat(level) for level in zip(*pieces, strict=True)]

    def _log_joint(self, evidence: Mapping[int, Tensor]) -> Tensor:
        """Log of probability times evidence of every configuration, shape (n, C)."""
        out = self.probability.log()[None]
        for level, factor in evidence.items():
            log = factor.log()
            for column in (self.states[level] + self._first[level]).T:
                out = out + log[:, column]
        return out

    def _by_state(self, weights: Tensor) -> list[Tensor]:
        """From weights of configurations, shape (n, C), to sums by state, shape (n, S_l) per level."""
        out = []
        for level, states in enumerate(self.states):
            sums = weights.new_zeros(len(weights), sum(self.cardinalities[level]))
            for column in (states + self._first[level]).T:
                sums.index_add_(1, column, weights)
            out.append(sums)
        return out

    def _chunks(self, evidence: Mapping[int, Tensor]) -> list[dict[int, Tensor]]:
        total, step = len(next(iter(evidence.values()))), max(1, CHUNK // len(self.probability))
        device = self.probability.device
        return [{k: v[i : i + step].to(device) for k, v in evidence.items()} for i in range(0, total, step)]


def configurations(model: Model) -> tuple[list[Tensor], Tensor]:
    """Every configuration of weight above 0, as states of shape (C, n_l) per level, and its weight, shape (C,).

    Leaves are added composite by composite, and whatever follows from them at once, so that what selection forbids is dropped early.

    Raises
    ------
    TooLarge
        If more than `LARGEST` configurations would have to be held at a time.
    """
    graph = model.graph
    table = _Table(model)
    for i in range(graph.sizes[graph.last - 1] if graph.last else 0):
        for j in graph.constituents[graph.last - 1][i]:
            table.add_leaf(j)
        table.add_composites()
    for j in range(graph.sizes[graph.last]):
        table.add_leaf(j)
    weight = table.weight
    columns = [torch.stack([table.known[level, i] for i in range(size)], dim=1) for level, size in enumerate(graph.sizes)]
    if model.selection is not None:
        weight = weight * model.selection[tuple(columns[0].T)]
    keep = weight > 0
    return [c[keep] for c in columns], weight[keep]


class _Table:
    """Partial configurations: columns of the concepts that are known so far."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph: Graph = model.graph
        self.weight = torch.ones(1, dtype=torch.float64)
        self.known: dict[tuple[int, int], Tensor] = {}

    def add_leaf(self, j: int) -> None:
        """Every state of a leaf with every configuration so far."""
        level = self.graph.last
        if (level, j) in self.known:
            return
        count = self.graph.cardinalities[level][j]
        size = len(self.weight) * count
        if size > LARGEST:
            raise TooLarge(
                f"enumerating a graph with shared constituents takes at least {size} configurations at leaf {j}, more than {LARGEST}: "
                "use fewer leaves, states or synonyms, or a forest, which is exact at any size"
            )
        self._take(torch.arange(len(self.weight)).repeat_interleave(count))
        self._add((level, j), torch.arange(count).repeat(size // count))

    def add_composites(self) -> None:
        """All composites whose constituents are known, from concrete to abstract."""
        for level in reversed(range(self.graph.last)):
            for i, lower in enumerate(self.graph.constituents[level]):
                if (level, i) not in self.known and all((level + 1, j) in self.known for j in lower):
                    self._compose(level, i)

    def _compose(self, level: int, i: int) -> None:
        rule, shape = self.model.rules[level][i], self.graph.shape(level, i)
        code = torch.zeros(len(self.weight), dtype=torch.int64)
        for j, count in zip(self.graph.constituents[level][i], shape, strict=True):
            code = code * count + self.known[level + 1, j]
        tuples, state, weight = rule.rows()
        order = tuples.argsort(stable=True)
        tuples, state, weight = tuples[order], state[order], weight[order]
        start, stop = torch.searchsorted(tuples, code), torch.searchsorted(tuples, code, right=True)
        matches = stop - start  # none if the tuple is not admissible, two if it can stand for two states
        row = torch.arange(len(code)).repeat_interleave(matches)
        place = torch.arange(len(row)) - (matches.cumsum(0) - matches)[row] + start[row]
        self._take(row)
        self.weight = self.weight * weight[place]
        self._add((level, i), state[place])

    def _take(self, rows: Tensor) -> None:
        self.weight = self.weight[rows]
        self.known = {concept: column[rows] for concept, column in self.known.items()}

    def _add(self, concept: tuple[int, int], state: Tensor) -> None:
        level, i = concept
        self.known[concept] = state
        self.weight = self.weight * self.model.unary[level][self.graph.first(level)[i] + state]
