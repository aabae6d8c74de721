"""Latent trees from information distances: Chow-Liu tree, recursive grouping, and the two together (Choi et al. 2011).

Nodes 0 to p - 1 are observed, those from p on hidden. A tree is a list of edges (i, j) with i < j and the length of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import nnls
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import squareform

from testbed.numerics.information_distances import BEYOND

Float = NDArray[np.float64]

SHORT = 1e-6
"""Shortest edge, so that a spanning tree can hold it."""


@dataclass(frozen=True)
class Tree:
    """Edges of a tree with hidden nodes.

    Attributes
    ----------
    edges : list of (int, int)
        The smaller node first.
    lengths : list of float
    observed, nodes : int
    """

    edges: list[tuple[int, int]]
    lengths: list[float]
    observed: int
    nodes: int

    def neighbours(self) -> list[list[int]]:
        out: list[list[int]] = [[] for _ in range(self.nodes)]
        for i, j in self.edges:
            out[i].append(j)
            out[j].append(i)
        return out

    def distances(self) -> Float:
        """Sums of lengths along paths, shape (nodes, nodes); infinite between parts that do not hang together."""
        out = np.full((self.nodes, self.nodes), np.inf)
        length = dict(zip(self.edges, self.lengths, strict=True))
        around = self.neighbours()
        for start in range(self.nodes):
            out[start, start] = 0.0
            stack = [start]
            while stack:
                i = stack.pop()
                for j in around[i]:
                    if np.isinf(out[start, j]):
                        out[start, j] = out[start, i] + length[min(i, j), max(i, j)]
                        stack.append(j)
        return out


# ---------------------------------------------------------------------------------------------------------------- grouping


def chow_liu(distances: Float) -> list[tuple[int, int]]:
    """Edges of the minimum spanning tree of information distances, which is the Chow-Liu tree of a Gaussian law."""
    tree = minimum_spanning_tree(np.maximum(distances, SHORT) * ~np.eye(len(distances), dtype=bool)).tocoo()
    return sorted((min(i, j), max(i, j)) for i, j in zip(tree.row.tolist(), tree.col.tolist(), strict=True))


def recursive_grouping(distances: Float, tolerance: float, reach: float = np.inf) -> Tree:
    r"""The latent tree of information distances, by grouping siblings from the leaves on [1]_.

    With :math:`\Phi_{ijk} = d_{ik} - d_{jk}`: i and j hang on one node iff Φ is the same for all k; i is then a leaf on j iff Φ is d_ij,
    and else both are leaves of a hidden node. Families are replaced by their parent until two nodes are left. From samples, equal means
    within `tolerance`, families are groups in which every pair is so (complete linkage), and k beyond `reach` are not asked. A round
    without any family joins the pair nearest to being one.

    References
    ----------
    .. [1] Choi, Tan, Anandkumar & Willsky (2011), Learning latent tree graphical models, JMLR 12, sections 4 and 6.1.
    """
    p = len(distances)
    d = {(i, j): float(distances[i, j]) for i in range(p) for j in range(p)}
    active, edges, lengths, nodes = list(range(p)), list[tuple[int, int]](), list[float](), p

    def join(i: int, j: int, length: float) -> None:
        edges.append((min(i, j), max(i, j)))
        lengths.append(max(length, 0.0))

    while len(active) > 2:
        table = np.array([[d[i, j] for j in active] for i in active])
        spread, mean = _differences(table, reach)
        families = _families(spread, tolerance)
        replaced: dict[int, int] = {}
        for family in families:
            parent = next((j for j in family if all(abs(mean[i, j] - table[i, j]) <= tolerance for i in family if i != j)), None)
            members = [active[i] for i in family]
            if parent is not None:
                head = active[parent]
                for i in members:
                    if i != head:
                        join(i, head, d[i, head])
            else:
                head, nodes = nodes, nodes + 1
                near = {active[i]: max(float(np.mean([(table[i, j] + mean[i, j]) / 2 for j in family if j != i])), 0.0) for i in family}
                for i in members:
                    join(i, head, near[i])
                d[head, head] = 0.0
                others = [k for k in active if k not in members and k not in replaced] + sorted(set(replaced.values()))
                for k in others:
                    d[head, k] = d[k, head] = max(float(np.mean([d[i, k] - near[i] for i in members])), 0.0)
            for i in members:
                replaced[i] = head
        active = sorted({replaced.get(i, i) for i in active})
    if len(active) == 2:
        join(active[0], active[1], d[active[0], active[1]])
    return Tree(edges, lengths, p, nodes)


def _differences(table: Float, reach: float) -> tuple[Float, Float]:
    """Largest less smallest of d_ik - d_jk over other k that are near, and their mean, shape (m, m) each."""
    m = len(table)
    phi = table[:, None, :] - table[None, :, :]  # (i, j, k)
    farther = np.maximum(table[:, None, :], table[None, :, :])
    itself = np.eye(m, dtype=bool)
    other = ~(itself[:, None, :] | itself[None, :, :])
    nearest = np.sort(np.where(other, farther, np.inf), axis=2)[:, :, min(2, m - 3)]
    asked = other & (farther <= np.maximum(nearest, reach)[:, :, None])
    count = np.maximum(asked.sum(axis=2), 1)
    mean = np.where(asked, phi, 0.0).sum(axis=2) / count
    spread = np.where(asked, phi, -np.inf).max(axis=2) - np.where(asked, phi, np.inf).min(axis=2)
    np.fill_diagonal(spread, 0.0)
    return np.maximum(spread, 0.0), mean


def _families(spread: Float, tolerance: float) -> list[list[int]]:
    """Groups of two or more in which each pair spreads little; the nearest pair if there is none."""
    height = linkage(squareform(np.maximum(spread, spread.T), checks=False), "complete")
    label = fcluster(height, max(tolerance, float(height[0, 2])), "distance")
    groups = [np.flatnonzero(label == one).tolist() for one in np.unique(label)]
    return [group for group in groups if len(group) > 1]


def chow_liu_grouping(distances: Float, tolerance: float, reach: float = np.inf) -> Tree:
    """The same tree, by recursive grouping of one inner node of the Chow-Liu tree and its neighbours at a time (CLRG, section 5).

    Neighbourhoods are small and near each other, so that few distances are used and these are the most precise ones.
    """
    p = len(distances)
    around: dict[int, set[int]] = {i: set() for i in range(p)}
    d = {(i, j): float(distances[i, j]) for i in range(p) for j in range(p)}
    length: dict[tuple[int, int], float] = {}

    def join(i: int, j: int, value: float) -> None:
        around[i].add(j)
        around[j].add(i)
        length[i, j] = length[j, i] = value

    for i, j in chow_liu(distances):
        join(i, j, d[i, j])
    for centre in [i for i in range(p) if len(around[i]) > 1]:
        members = sorted({centre} | around[centre])
        part = recursive_grouping(np.array([[d[i, j] for j in members] for i in members]), tolerance, reach)
        name = members + list(range(len(around), len(around) + part.nodes - len(members)))
        for i in around[centre]:
            around[i].discard(centre)
        around[centre] = set()
        outside = {j: a for a, i in enumerate(members) for j in _component(around, i) if j != i}
        around |= {h: set() for h in name[len(members) :]}
        _extend(d, part.distances(), name, len(members), outside)
        for (a, b), value in zip(part.edges, part.lengths, strict=True):
            join(name[a], name[b], value)
    edges = sorted({(min(i, j), max(i, j)) for i in around for j in around[i]})
    return Tree(edges, [length[edge] for edge in edges], p, len(around))


def _component(around: dict[int, set[int]], start: int) -> set[int]:
    seen, stack = {start}, [start]
    while stack:
        new = around[stack.pop()] - seen
        seen |= new
        stack.extend(new)
    return seen


def _extend(d: dict[tuple[int, int], float], inner: Float, name: list[int], members: int, outside: dict[int, int]) -> None:
    """Distances of new hidden nodes: among a neighbourhood along its tree, to a node j outside as the mean of d_ij - d_ih (equation 14).

    That holds for members i from which h lies on the way to the member by which j hangs on the neighbourhood.
    """
    for a in range(members, len(name)):
        h = name[a]
        for b, j in enumerate(name):
            d[h, j] = d[j, h] = float(inner[a, b])
        for j, m in outside.items():
            across = [i for i in range(members) if i != m and inner[i, a] + inner[a, m] <= inner[i, m] + 1e-9]
            d[h, j] = d[j, h] = max(float(np.mean([d[name[i], j] - inner[i, a] for i in across])), 0.0)


# ----------------------------------------------------------------------------------------------------------------- choosing


def best_tree(
    distances: Float, errors: Float, n: int, groupings: Sequence[Callable[[Float, float, float], Tree]], tolerances: Sequence[float]
) -> tuple[Tree, float]:
    r"""Of the trees of several groupings and tolerances the one that explains distances best for its number of edges; its tolerance.

    .. math:: \sum_{i < j} \frac{(d_{ij} - d^T_{ij})^2}{v_{ij}} + |E| \log n

    with lengths refitted by non-negative least squares with weights 1 / v, v being squared standard errors. Pairs whose error is above
    1 / `BEYOND`, which differ from no dependence by less than so many errors, count neither here nor in grouping.

    Parameters
    ----------
    distances, errors : array, shape (p, p)
    n : int
        Rows.
    groupings : sequence of callable
    tolerances : sequence of float
    """
    sure = distances[(errors <= 1 / BEYOND) & ~np.eye(len(distances), dtype=bool)]
    reach = float(sure.max()) if len(sure) else float(np.median(distances))
    best: tuple[float, Tree, float] | None = None
    seen: set[tuple[tuple[int, int], ...]] = set()
    for tolerance, grouping in product(tolerances, groupings):
        tree = contracted(grouping(distances, tolerance, reach))
        if (shape := tuple(tree.edges)) in seen:
            continue
        seen.add(shape)
        tree, misfit = refitted(tree, distances, errors)
        score = misfit + len(tree.edges) * np.log(n)
        if best is None or score < best[0]:
            best = (score, tree, tolerance)
    assert best is not None
    return best[1], best[2]


def refitted(tree: Tree, distances: Float, errors: Float) -> tuple[Tree, float]:
    """The tree with lengths that fit the distances best, and the weighted sum of squares that is left; uncertain pairs left out."""
    i, j = np.triu_indices(tree.observed, 1)
    sure = errors[i, j] <= max(1 / BEYOND, float(np.quantile(errors[i, j], 0.25)))
    i, j = i[sure], j[sure]
    weight = 1 / np.maximum(errors[i, j], 1e-3)
    paths = _paths(tree)
    use = paths[i] ^ paths[j]
    lengths, left = nnls(use * weight[:, None], distances[i, j] * weight, maxiter=50 * max(use.shape[1], 1))
    return Tree(tree.edges, lengths.tolist(), tree.observed, tree.nodes), float(left) ** 2


def _paths(tree: Tree) -> NDArray[np.bool_]:
    """Edges on the way from node 0 to each observed node, shape (p, E): two nodes' way is where these differ."""
    number = {edge: k for k, edge in enumerate(tree.edges)}
    out = np.zeros((tree.nodes, len(tree.edges)), dtype=bool)
    around, seen, stack = tree.neighbours(), {0}, [0]
    while stack:
        i = stack.pop()
        for j in around[i]:
            if j not in seen:
                seen.add(j)
                out[j] = out[i]
                out[j, number[min(i, j), max(i, j)]] = True
                stack.append(j)
    return out[: tree.observed]


def contracted(tree: Tree) -> Tree:
    """Without hidden nodes that have fewer than three neighbours: they are invisible."""
    around = [set(one) for one in tree.neighbours()]
    length = dict(zip(tree.edges, tree.lengths, strict=True))
    alive = set(range(tree.nodes))
    while thin := [h for h in sorted(alive) if h >= tree.observed and len(around[h]) < 3]:
        h = thin[0]
        ends = sorted(around[h])
        total = sum(length.pop((min(h, i), max(h, i))) for i in ends)
        for i in ends:
            around[i].discard(h)
        if len(ends) == 2:
            a, b = ends
            around[a].add(b)
            around[b].add(a)
            length[a, b] = total
        around[h] = set()
        alive.discard(h)
    name = {old: new for new, old in enumerate(sorted(alive))}
    edges = sorted((name[i], name[j]) for i, j in length)
    back = {(name[i], name[j]): value for (i, j), value in length.items()}
    return Tree(edges, [back[edge] for edge in edges], tree.observed, len(alive))
