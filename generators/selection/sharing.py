"""Shared constituents: concepts that belong to two composites, which makes the forest a DAG."""

from __future__ import annotations

import torch
from torch import Tensor

from generators.selection.forest import Forest
from testbed.contracts import InvalidInput, seed_of


def share(forest: Forest, extra: int, seed: int) -> Forest:
    """Give constituents to `extra` further composites of their level, each in the place of one that becomes free.

    Memberships come one by one, so that a larger number keeps those of a smaller one.

    Raises
    ------
    InvalidInput
        If there is no place for so many.
    """
    lowers = [lower.clone() for lower in forest.constituents]
    generator = torch.Generator().manual_seed(seed_of("shared", seed))
    for done in range(extra):
        places = []
        for level, lower in enumerate(lowers):
            count = lower.flatten().bincount(minlength=forest.sizes[level + 1])
            alone = (count[lower] == 1).nonzero().tolist() if len(lower) > 1 else []
            places += [(level, composite, slot) for composite, slot in alone]
        options: list[int] = []
        while places and not options:
            level, composite, slot = places.pop(int(torch.randint(len(places), (1,), generator=generator)))
            here = set(lowers[level][composite].tolist())
            options = sorted(set(lowers[level].flatten().tolist()) - here)
        if not options:
            raise InvalidInput(f"only {done} of {extra} extra memberships have a place: lower shared, or give levels more composites")
        lowers[level][composite, slot] = options[int(torch.randint(len(options), (1,), generator=generator))]
    return Forest(forest.sizes, tuple(lowers))


def components(forest: Forest) -> list[Tensor]:
    """Nodes of each connected component, ascending; components by their first node."""
    parent = list(range(sum(forest.sizes)))

    def top(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for level, lower in enumerate(forest.constituents):
        for composite, below in enumerate((lower + forest.start(level + 1)).tolist(), forest.start(level)):
            for node in below:
                a, b = sorted((top(composite), top(node)))
                parent[b] = a
    groups: dict[int, list[int]] = {}
    for node in range(len(parent)):
        groups.setdefault(top(node), []).append(node)
    return [torch.tensor(nodes) for nodes in groups.values()]
