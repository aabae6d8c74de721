"""Forests: which concepts a composite is composed of, when no concept belongs to two composites."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, seed_of


@dataclass(frozen=True)
class Forest:
    """Concepts of L + 1 levels, all composites of a level with equally many constituents one level down.

    Nodes are numbered level by level, level 0 first.

    Attributes
    ----------
    sizes : tuple of int
        Concepts per level.
    constituents : tuple of Tensor, shape (n_l, s), int64
        For each level above the last, the concepts of the next level that each composite is composed of.
    """

    sizes: tuple[int, ...]
    constituents: tuple[Tensor, ...]

    @property
    def shared(self) -> bool:
        """Whether a concept belongs to two composites: then it is a DAG, see `generators.selection.sharing`."""
        return any(len(set(lower.flatten().tolist())) < lower.numel() for lower in self.constituents)

    def roots(self, level: int) -> Tensor:
        """Concepts of `level` that belong to no composite, shape (r,)."""
        free = torch.ones(self.sizes[level], dtype=torch.bool)
        if level:
            free[self.constituents[level - 1].flatten()] = False
        return free.nonzero()[:, 0]

    def start(self, level: int) -> int:
        """Number of the first node of `level`."""
        return sum(self.sizes[:level])

    def trees(self, level: int) -> list[Tensor]:
        """Nodes of the trees rooted at `level`, as concepts of `level`, `level` + 1, ..., shape (r, s**j) each."""
        layers = [self.roots(level)[:, None]]
        for lower in self.constituents[level:]:
            layers.append(lower[layers[-1]].flatten(1))
        return layers

    def root_of_node(self) -> Tensor:
        """For every node the number of its tree, trees counted level by level, shape (N,)."""
        out = torch.empty(sum(self.sizes), dtype=torch.int64)
        first = 0
        for level in range(len(self.sizes)):
            layers = self.trees(level)
            count = len(layers[0])
            for j, layer in enumerate(layers):
                out[layer + self.start(level + j)] = (first + torch.arange(count))[:, None].expand_as(layer)
            first += count
        return out


def draw_forest(sizes: tuple[int, ...], branching: int | tuple[int, ...], seed: int) -> Forest:
    """Assign to each composite `branching` (one number, or one per level) concepts of the next level, at random and without sharing.

    Concepts that no composite needs are free.

    Raises
    ------
    InvalidInput
        If a level has no concept, or fewer than its composites need.
    """
    if not sizes or min(sizes) < 1:
        raise InvalidInput(f"levels must be numbers of concepts of at least 1, from the most abstract down, not {list(sizes)}")
    constituents = []
    each = (branching,) * (len(sizes) - 1) if isinstance(branching, int) else branching
    for level, ((above, below), s) in enumerate(zip(pairwise(sizes), each, strict=True)):
        if above * s > below:
            raise InvalidInput(
                f"{above} composites of level {level} need {above} x branching = {above * s} constituents, but level {level + 1} "
                f"has {below} concepts: enlarge it, or lower branching"
            )
        order = torch.randperm(below, generator=torch.Generator().manual_seed(seed_of("forest", seed, level)))
        constituents.append(order[: above * s].reshape(above, s))
    return Forest(sizes, tuple(constituents))
