"""Sampling a forest of continuous concepts top-down, and composing given values bottom-up."""

from __future__ import annotations

import torch
from torch import Tensor

from generators.selection.continuous.graph import Nodes, World
from generators.selection.continuous.laws import Point
from testbed.contracts import Setting


def draw(world: World, nodes: Nodes, forced: Setting, n: int, generator: torch.Generator) -> list[Tensor]:
    """Draw n rows from the selected law, top-down.

    Every concept has uniform numbers of its own, whatever else is fixed: two laws drawn with one seed differ only where they must.

    Parameters
    ----------
    world : World
    nodes : tuple of tuple of Node
        From `upward`, on the generator's device.
    forced : mapping of (level, concept) to float
        Composites cut off from their tuple.
    n : int
    generator : torch.Generator

    Returns
    -------
    list of Tensor, shape (n, n_l), float64
    """
    device, forest = generator.device, world.forest
    values = [torch.full((size, n), torch.nan, dtype=torch.float64, device=device) for size in forest.sizes]
    for level, row in enumerate(nodes):
        links = len(row[0].links)
        u = torch.rand(len(row), 1 + 2 * links, n, generator=generator, device=device, dtype=torch.float64)
        roots = set(forest.roots(level).tolist())
        for i, node in enumerate(row):
            if i in roots or isinstance(node.up, Point):
                values[level][i] = node.up.value if isinstance(node.up, Point) else node.up.quantile(u[i, 0])
            if not links:
                continue
            r = values[level][i]
            if (level, i) in forced:
                r = torch.full_like(r, node.own.value) if isinstance(node.own, Point) else node.own.quantile(u[i, 0])
            lower, signs = forest.constituents[level][i].tolist(), world.couplings[level][i].signs
            for k in reversed(range(links)):
                r, t = node.links[k].split(r, u[i, 1 + 2 * k : 3 + 2 * k])
                values[level + 1][lower[k + 1]] = signs[k + 1] * t
            values[level + 1][lower[0]] = signs[0] * r
    return [v.T for v in values]


def recompose(world: World, values: list[Tensor], kept: Setting, setting: Setting) -> list[Tensor]:
    """Set concepts by force after selection: only what is composed of them changes.

    Parameters
    ----------
    world : World
    values : list of Tensor, shape (n, n_l)
    kept : mapping of (level, concept) to float
        Composites that are cut off from their tuple already.
    setting : mapping of (level, concept) to float

    Returns
    -------
    list of Tensor, shape (n, n_l)
    """
    values = [v.clone() for v in values]
    changed: set[int] = set()
    for level in reversed(range(len(values))):
        now = set()
        if level < len(world.forest.constituents):
            for i, lower in enumerate(world.forest.constituents[level].tolist()):
                if changed & set(lower) and (level, i) not in kept:
                    values[level][:, i] = world.couplings[level][i].compose(values[level + 1][:, lower])[0]
                    now.add(i)
        for (where, i), value in setting.items():
            if where == level:
                values[level][:, i] = value
                now.add(i)
        changed = now
    return values
