"""Which concepts a discrete composite is composed of, and how many states each concept has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from testbed.contracts import InvalidInput, seed_of

PerLevel = Sequence[tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class Graph:
    """Concepts of levels 0 ... L; the constituents of a level's composites are concepts of the next one, so that no cycle can be written.

    The states of a level are numbered one concept after the other: state v of concept i is ``first(level)[i] + v``.

    Attributes
    ----------
    cardinalities : tuple of tuple of int
        ``cardinalities[l][i]`` is the number of states of concept i of level l.
    constituents : tuple of tuple of tuple of int
        ``constituents[l][i]`` are the concepts of level l + 1 that concept i of level l < L is composed of; any number of them.
    """

    cardinalities: tuple[tuple[int, ...], ...]
    constituents: tuple[tuple[tuple[int, ...], ...], ...]

    def __post_init__(self) -> None:
        if not self.cardinalities or not all(self.cardinalities) or len(self.constituents) != len(self.cardinalities) - 1:
            raise InvalidInput(
                f"the graph is empty or incomplete: {len(self.cardinalities)} levels of {list(map(len, self.cardinalities))} concepts and "
                f"{len(self.constituents)} levels of composites: give every level a concept and every level but the last its composites"
            )
        if min(min(level) for level in self.cardinalities) < 1:
            raise InvalidInput(f"every concept needs at least 1 state, not {list(map(list, self.cardinalities))}: change states")
        for level, composites in enumerate(self.constituents):
            if len(composites) != self.sizes[level]:
                raise InvalidInput(f"level {level} has {self.sizes[level]} concepts, but lists constituents of {len(composites)}")
            for i, lower in enumerate(composites):
                if not lower or len(set(lower)) < len(lower) or not all(0 <= j < self.sizes[level + 1] for j in lower):
                    raise InvalidInput(
                        f"composite {i} of level {level} has constituents {list(lower)}: give distinct concepts of level {level + 1}, "
                        f"numbered 0 to {self.sizes[level + 1] - 1}, at least one"
                    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Concepts per level."""
        return tuple(map(len, self.cardinalities))

    @property
    def last(self) -> int:
        """L, the number of the most concrete level."""
        return len(self.cardinalities) - 1

    def first(self, level: int) -> list[int]:
        """Number of the first state of every concept of `level`."""
        return [0, *accumulate(self.cardinalities[level])][:-1]

    def states(self, level: int) -> int:
        """Number of states of all concepts of `level` together."""
        return sum(self.cardinalities[level])

    def roots(self, level: int) -> list[int]:
        """Concepts of `level` that belong to no composite."""
        taken = {j for lower in self.constituents[level - 1] for j in lower} if level else set()
        return [i for i in range(self.sizes[level]) if i not in taken]

    @property
    def is_forest(self) -> bool:
        """Whether no concept belongs to two composites."""
        return all(len(taken) == len(set(taken)) for taken in ([j for lower in level for j in lower] for level in self.constituents))

    def shape(self, level: int, i: int) -> tuple[int, ...]:
        """Numbers of states of the constituents of composite i of `level`: the shape of its table."""
        return tuple(self.cardinalities[level + 1][j] for j in self.constituents[level][i])


def draw_constituents(
    roots: int, branching: list[list[int]], concepts: list[int] | None, shuffle: bool, seed: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Assign constituents level by level.

    Parameters
    ----------
    roots : int
        Concepts of level 0.
    branching : list of list of int
        Per level of composites, numbers of constituents, repeated over the composites of the level.
    concepts : list of int or None
        Concepts per level. Fewer than tuples have places: some are shared (every one is used first). More: the rest are free. None: as
        many as there are places.
    shuffle : bool
        Whether tuples are drawn at random among the concepts of the next level, or are neighbours in it.
    seed : int

    Raises
    ------
    InvalidInput
        If a composite has more constituents than the next level has concepts, or a number is below 1.
    """
    if concepts is not None and len(concepts) != len(branching) + 1:
        raise InvalidInput(f"concepts gives {len(concepts)} levels, but depth = {len(branching)} wants {len(branching) + 1}")
    above = roots if concepts is None else concepts[0]
    if min([above, *(concepts or []), *(s for level in branching for s in level)]) < 1:
        raise InvalidInput(f"roots, branching and concepts must be at least 1, not {above}, {branching} and {concepts}")
    out = []
    for level, pattern in enumerate(branching):
        arity = [pattern[i % len(pattern)] for i in range(above)]
        below = sum(arity) if concepts is None else concepts[level + 1]
        if max(arity) > below:
            raise InvalidInput(
                f"a composite of level {level} needs {max(arity)} constituents, but level {level + 1} has {below} concepts: "
                "lower branching, or raise concepts"
            )
        generator = torch.Generator().manual_seed(seed_of("constituents", seed, level))
        queue = torch.randperm(below, generator=generator).tolist() if shuffle else list(range(below))
        composites = []
        for s in arity:
            chosen: list[int] = []
            while len(chosen) < s:
                fresh = next((j for j in queue if j not in chosen), None)
                if fresh is None:
                    queue += torch.randperm(below, generator=generator).tolist()
                else:
                    queue.remove(fresh)
                    chosen.append(fresh)
            composites.append(tuple(chosen))
        out.append(tuple(composites))
        above = below
    return tuple(out)


def per_level(value: int | Sequence[int | Sequence[int]], levels: int, name: str) -> list[list[int]]:
    """A number, one per level, or a list per level, as a list per level.

    Raises
    ------
    InvalidInput
        If there are not as many entries as levels, or one is not an integer.
    """
    entries = [value] * levels if isinstance(value, int) else list(value)
    if len(entries) != levels:
        raise InvalidInput(f"{name} must be a number, or a list with one entry for each of {levels} levels, not {value}")
    out = [[entry] if isinstance(entry, int) else list(entry) for entry in entries]
    if not all(level and all(isinstance(v, int) for v in level) for level in out):
        raise InvalidInput(f"{name} must hold whole numbers, not {value}")
    return out
