"""Graphs over latent and measured variables: published ones, layered ones that rank constraints identify, and the ranks they imply."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from testbed.contracts import InvalidInput

PUBLISHED = {
    "measurement": "L1>X1 X2 L2 L3; L2>X3 X4 L4; L3>X5 X6 X7 L4; L4>X8 X9; X5>X10 X11 X12",
    "tree": ("X1>L1 X2 L2; L1>X3 L3 X4; X2>X5 L4 X6; L2>X7 X8 X9; L3>X10 X11 X12; L4>X13 X14 X15; X8>X16 X17 X18"),
    "hierarchy": ("L1 L2>L3 L4 X1 X2 X3 L5 X4 X5; L3 L4 X1>X6 X7 X8 X9 X10 X11; X2>X12 X13; X3>X14; L5>X15 X16; X4 X5>X17"),
}
"""Graphs that the authors of RLCD simulate from; variables whose name begins with L are latent, and ``A B>C D`` are four edges."""


@dataclass(frozen=True)
class LatentGraph:
    """A directed acyclic graph.

    Attributes
    ----------
    latent, measured : tuple of str
        Latent variables level by level, causes first, and measured ones in the order of the view.
    edges : tuple of (str, str)
        From cause to effect.
    level : mapping of str to int
        Of each latent: the length of the longest chain of latents that ends in it, minus 1.
    covers : tuple of tuple of str
        Sets of latents that share all their children, as far as the graph was built from such sets.
    """

    latent: tuple[str, ...]
    measured: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    level: dict[str, int]
    covers: tuple[tuple[str, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.latent + self.measured


def graph_of(edges: Iterable[tuple[str, str]], covers: Sequence[Sequence[str]] = ()) -> LatentGraph:
    """Sort a graph's variables; InvalidInput if it has a cycle."""
    edges = tuple(edges)
    whole: nx.DiGraph[str] = nx.DiGraph(edges)
    if not nx.is_directed_acyclic_graph(whole):
        raise InvalidInput("a latent graph has no cycles: drop an edge of the cycle")
    level: dict[str, int] = {}
    for name in nx.topological_sort(whole.subgraph([v for v in whole if v.startswith("L")])):
        above = [level[cause] for cause in whole.predecessors(name) if cause.startswith("L")]
        level[name] = max(above, default=-1) + 1
    latent = sorted(level, key=lambda name: (level[name], int(name[1:])))
    measured = sorted((v for v in whole if v.startswith("X")), key=lambda name: int(name[1:]))
    return LatentGraph(tuple(latent), tuple(measured), edges, level, tuple(map(tuple, covers)))


def published(name: str) -> LatentGraph:
    """One of the published graphs, by its key in `PUBLISHED`."""
    edges = []
    for clause in PUBLISHED[name].split(";"):
        causes, _, effects = clause.partition(">")
        edges += [(cause, effect) for effect in effects.split() for cause in causes.split()]
    return graph_of(edges)


def layered(covers: Sequence[Sequence[int]], spare: int = 0) -> LatentGraph:
    """Covers of latents in layers, each cover's latents sharing all their children, and the leaves measured.

    A cover of k latents gets enough measured children of its own to have k + 1 pure children and 2 k + 2 neighbours (its parents' latents
    count), so that ranks of the measured covariance can tell it from a smaller one; `spare` more on top.

    Parameters
    ----------
    covers : sequence of sequence of int
        Sizes of the covers of each layer; those of a layer are dealt to the covers above in equal runs.
    spare : int

    Raises
    ------
    InvalidInput
        If there is no cover, or a size is below 1, or a layer has fewer covers than the one above.
    """
    if not covers or any(not layer or min(layer) < 1 for layer in covers) or spare < 0:
        raise InvalidInput(f"covers need at least one layer of sizes of at least 1, and spare at least 0, not {covers} and {spare}")
    if any(len(lower) < len(upper) for upper, lower in itertools.pairwise(covers)):
        raise InvalidInput(f"a layer has at least as many covers as the one above it, but {covers} does not: add covers below")
    names: list[list[list[str]]] = []
    count = 0
    for layer in covers:
        names.append([[f"L{count + sum(layer[:i]) + j + 1}" for j in range(size)] for i, size in enumerate(layer)])
        count += sum(layer)
    edges: list[tuple[str, str]] = []
    measured = 0
    for depth, named in enumerate(names):
        below = names[depth + 1] if depth + 1 < len(names) else []
        above = names[depth - 1] if depth else []
        for i, cover in enumerate(named):
            children = [name for j, lower in enumerate(below) if j * len(named) // len(below) == i for name in lower]
            parents = len(above[i * len(above) // len(named)]) if above else 0
            missing = max(len(cover) + 1, 2 * len(cover) + 2 - parents) - len(children)
            for _ in range(max(0, missing) + spare):
                measured += 1
                children.append(f"X{measured}")
            edges += [(cause, effect) for effect in children for cause in cover]
    return graph_of(edges, [cover for layer in names for cover in layer])


def generic_rank(edges: Iterable[tuple[str, str]], first: Iterable[str], second: Iterable[str]) -> int:
    """Rank of the covariance of two sets of variables in almost every linear model of a graph.

    The least number of variables, counted once on either side, that all treks between the sets pass (trek separation [1]_), found as a
    maximum flow through a copy of the graph that goes up to causes and one that goes down to effects.

    References
    ----------
    .. [1] Sullivant, Talaska & Draisma (2010), Trek separation for Gaussian graphical models, theorem 2.8.
    """
    flow: nx.DiGraph[tuple[str, str, str] | str] = nx.DiGraph()
    edges = tuple(edges)
    for v in {*(v for edge in edges for v in edge), *first, *second}:
        for side in ("up", "down"):
            flow.add_edge((side, v, "in"), (side, v, "out"), capacity=1)
        flow.add_edge(("up", v, "out"), ("down", v, "in"))
    for cause, effect in edges:
        flow.add_edge(("up", effect, "out"), ("up", cause, "in"))
        flow.add_edge(("down", cause, "out"), ("down", effect, "in"))
    flow.add_edges_from(("from", ("up", v, "in")) for v in first)
    flow.add_edges_from((("down", v, "out"), "to") for v in second)
    return int(nx.maximum_flow_value(flow, "from", "to"))
