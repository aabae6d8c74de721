"""Drawing the configurations of enumerated components: one alias table each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from torch import Tensor

from generators.selection.active import alias_table
from generators.selection.chained import Sampled
from generators.selection.enumerated import Table
from generators.selection.randomness import Floats, Ints, uniform


class Configurations:
    """What is looked up when active components are drawn: the configurations that are not all off, in one alias table per component.

    Components that chains know are left alone: they are never active here.
    """

    def __init__(self, tables: Sequence[Table | Sampled], tilts: Tensor) -> None:
        self.active = np.zeros(len(tables))
        keeps, aliases, counts, nodes = [], [], [], []
        for i, one in enumerate(tables):
            law, some = one.law(tilts), one.states.any(dim=1)
            possible = some & (law > 0)
            if isinstance(one, Sampled):
                possible = possible & False
            else:
                self.active[i] = min(1.0, float(law[possible].sum())) if (law[~some] > 0).any() else 1.0
            keep, alias = alias_table(law[possible].numpy()) if possible.any() else (np.ones(1), np.zeros(1, np.int64))
            states = one.states[possible] if possible.any() else one.states[:0].new_zeros(1, len(one.nodes))
            keeps.append(keep)
            aliases.append(alias)
            counts.append(states.sum(dim=1).numpy())
            nodes.append(one.nodes[states.nonzero()[:, 1]].numpy())
        self._first = np.concatenate([[0], np.cumsum([len(keep) for keep in keeps])])
        self._keep, self._alias = np.concatenate(keeps), np.concatenate(aliases)
        self._begin = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        self._nodes = np.concatenate(nodes)

    def draw(self, start: Ints, trees: Ints, seed: int) -> tuple[Ints, Ints]:
        """Nodes that are on: row i has ``nodes[begin[i]:begin[i + 1]]``, ascending."""
        found: tuple[Ints, Ints] = _draw(start, trees, seed, self._first, self._keep, self._alias, self._begin, self._nodes)
        return found


@numba.njit(cache=True)
def _draw(start: Ints, trees: Ints, seed: int, first: Ints, keep: Floats, alias: Ints, configuration: Ints, members: Ints) -> Any:
    state = np.array([seed], np.uint64)
    n = len(start) - 1
    chosen = np.empty(len(trees), np.int64)
    size = 0
    for entry in range(len(trees)):
        tree = trees[entry]
        cells = first[tree + 1] - first[tree]
        u = uniform(state) * cells
        cell = min(int(u), cells - 1)
        if u - cell >= keep[first[tree] + cell]:
            cell = alias[first[tree] + cell]
        chosen[entry] = first[tree] + cell
        size += configuration[chosen[entry] + 1] - configuration[chosen[entry]]
    begin = np.zeros(n + 1, np.int64)
    nodes = np.empty(size, np.int64)
    size = 0
    for row in range(n):
        for entry in range(start[row], start[row + 1]):
            for i in range(configuration[chosen[entry]], configuration[chosen[entry] + 1]):
                k = size - 1
                while k >= begin[row] and nodes[k] > members[i]:  # ascending, by insertion
                    nodes[k + 1] = nodes[k]
                    k -= 1
                nodes[k + 1] = members[i]
                size += 1
        begin[row + 1] = size
    return begin, nodes
