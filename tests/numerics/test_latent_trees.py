"""Known trees come back from their own distances, and from enough rows."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from testbed.numerics.information_distances import gaussian_distances, standard_errors
from testbed.numerics.latent_trees import (
    Tree,
    best_tree,
    chow_liu,
    chow_liu_grouping,
    contracted,
    recursive_grouping,
    refitted,
)

SHAPES = {
    "families": (9, [(0, 9), (1, 9), (2, 9), (3, 10), (4, 10), (5, 10), (6, 11), (7, 11), (8, 11), (9, 12), (10, 12), (11, 12)]),
    "binary": (8, [(i, 8 + i // 2) for i in range(8)] + [(8, 12), (9, 12), (10, 13), (11, 13), (12, 13)]),
    "caterpillar": (8, [(0, 8), (1, 8), (2, 9), (3, 10), (4, 11), (5, 12), (6, 13), (7, 13)] + [(i, i + 1) for i in range(8, 13)]),
    "seen inside": (7, [(0, 1), (0, 2), (2, 3), (2, 4), (0, 7), (5, 7), (6, 7)]),
    "star": (4, [(0, 4), (1, 4), (2, 4), (3, 4)]),
}


def tree_of(shape: str, seed: int) -> Tree:
    p, edges = SHAPES[shape]
    return Tree(edges, np.random.default_rng(seed).uniform(0.2, 0.6, len(edges)).tolist(), p, max(map(max, edges)) + 1)


def splits(tree: Tree) -> set[frozenset[int]]:
    """Of each edge the columns on one side: a tree is known by them."""
    graph, out = nx.Graph(tree.edges), set()
    everyone = frozenset(range(tree.observed))
    for i, j in tree.edges:
        graph.remove_edge(i, j)
        side = frozenset(nx.node_connected_component(graph, i)) & everyone
        graph.add_edge(i, j)
        out.add(side if 0 in side else everyone - side)
    return out


def rows(tree: Tree, n: int, seed: int) -> np.ndarray:
    """Gaussian rows with these information distances, random signs."""
    generator = np.random.default_rng(seed)
    graph = nx.Graph()
    for (i, j), length in zip(tree.edges, tree.lengths, strict=True):
        graph.add_edge(i, j, r=np.exp(-length) * generator.choice([-1, 1]))
    x = generator.standard_normal((n, tree.nodes))
    for i, j in nx.dfs_edges(graph, tree.nodes - 1):
        r = graph[i][j]["r"]
        x[:, j] = r * x[:, i] + np.sqrt(1 - r * r) * x[:, j]
    return x[:, : tree.observed]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("grouping", [recursive_grouping, chow_liu_grouping])
def test_exact_distances_give_the_tree_and_its_lengths(shape: str, grouping: type) -> None:
    for seed in range(5):
        true = tree_of(shape, seed)
        distances = true.distances()[: true.observed, : true.observed]
        found = grouping(distances, 1e-6)
        assert found.nodes == true.nodes
        assert splits(found) == splits(true)
        assert found.distances()[: true.observed, : true.observed] == pytest.approx(distances)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_give_the_tree(shape: str) -> None:
    n, right = 10_000, 0
    for seed in range(5):
        true = tree_of(shape, seed)
        distances = gaussian_distances(rows(true, n, seed))
        errors = standard_errors(np.exp(-distances)[:, :, None], n)
        found, _ = best_tree(distances, errors, n, [recursive_grouping, chow_liu_grouping], (0.02, 0.05, 0.1, 0.2, 0.4))
        right += splits(found) == splits(true)
    assert right >= 4


def test_chow_liu_is_the_spanning_tree_of_largest_mutual_information() -> None:
    x = rows(tree_of("families", 3), 500, 3)
    information = -0.5 * np.log1p(-(np.corrcoef(x, rowvar=False) ** 2) + np.eye(9))
    graph = nx.from_numpy_array(information)
    assert chow_liu(gaussian_distances(x)) == sorted(tuple(sorted(edge)) for edge in nx.maximum_spanning_edges(graph, data=False))


def test_lengths_are_refitted_to_what_they_were() -> None:
    true = tree_of("binary", 1)
    distances = true.distances()[:8, :8]
    found, misfit = refitted(Tree(true.edges, [1.0] * len(true.edges), 8, true.nodes), distances, np.full((8, 8), 0.1))
    assert found.lengths == pytest.approx(true.lengths)
    assert misfit == pytest.approx(0, abs=1e-9)


def test_invisible_nodes_are_left_out() -> None:
    tree = Tree([(0, 3), (3, 4), (4, 5), (1, 5), (2, 5), (5, 6)], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3, 7)
    out = contracted(tree)
    assert out.edges == [(0, 3), (1, 3), (2, 3)]
    assert out.lengths == pytest.approx([0.6, 0.4, 0.5])
