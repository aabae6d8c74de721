"""Constraint-based search with an oracle finds what theory says; with data what causal-learn finds."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from testbed.numerics.graphs import selected_mag
from testbed.numerics.independence import DSeparation, FisherZ
from testbed.numerics.skeletons import orient, skeleton


def sem(p: int, n: int, degree: float, seed: int) -> np.ndarray:
    """Rows of a linear-Gaussian model on a random DAG with `degree` neighbours on average, columns shuffled."""
    generator = np.random.default_rng(seed)
    there = np.triu(generator.random((p, p)) < degree / (p - 1), 1)
    weight = there * generator.uniform(0.3, 0.9, (p, p)) * generator.choice([-1, 1], (p, p))
    x = generator.standard_normal((n, p))
    for j in range(p):
        x[:, j] += x @ weight[:, j]
    return x[:, generator.permutation(p)]


def colliders(dag: np.ndarray) -> frozenset[tuple[int, int, int]]:
    p = len(dag)
    near = dag | dag.T
    return frozenset((a, c, b) for a, b, c in product(range(p), repeat=3) if a < b and dag[a, c] and dag[b, c] and not near[a, b])


def class_of(dag: np.ndarray) -> np.ndarray:
    """Arrows of all DAGs with the same adjacencies and the same unshielded colliders, by enumeration of orders."""
    near, wanted = dag | dag.T, colliders(dag)
    union = np.zeros_like(dag)
    for order in permutations(range(len(dag))):
        rank = np.argsort(order)
        other = near & (rank[:, None] < rank[None, :])
        if colliders(other) == wanted:
            union |= other
    return union


@pytest.mark.parametrize("seed", range(12))
def test_an_oracle_finds_the_equivalence_class(seed: int) -> None:
    generator = np.random.default_rng(seed)
    dag = np.triu(generator.random((6, 6)) < 0.5, 1)
    mix = generator.permutation(6)
    dag = dag[np.ix_(mix, mix)]
    found = skeleton(DSeparation(np.argwhere(dag), 6))
    assert (found.adjacent == (dag | dag.T)).all()
    assert (orient(found) == class_of(dag)).all()


HIERARCHY = [(3, 4, 5), (5, 6), (), (), (), (), (), (3,)]


@pytest.mark.parametrize("selected", [None, [True, False] + [False] * 6, [False] * 8])
@pytest.mark.parametrize("jointly", [(), [(0, 1)]])
def test_under_selection_the_skeleton_is_that_of_the_mag(selected: list[bool] | None, jointly: list[tuple[int, int]]) -> None:
    undirected, directed = selected_mag(HIERARCHY, selected, jointly)
    target = {tuple(sorted(edge)) for edge in [*undirected.tolist(), *directed.tolist()]}
    found = skeleton(DSeparation.of_selection(HIERARCHY, selected, jointly))
    assert {(a, b) for a, b in np.argwhere(np.triu(found.adjacent)).tolist()} == target
    if not len(directed):
        arrows = orient(found)
        assert (arrows == arrows.T).all()  # nothing orients


@pytest.mark.parametrize(("p", "seed"), [(15, 0), (20, 1), (25, 2), (25, 3)])
def test_the_skeleton_is_that_of_causal_learn(p: int, seed: int) -> None:
    search = pytest.importorskip("causallearn.utils.PCUtils.SkeletonDiscovery")
    cit = pytest.importorskip("causallearn.utils.cit")
    x = sem(p, 500, 4, seed)
    alpha = 0.05
    theirs = search.skeleton_discovery(x, alpha, cit.CIT(x, "fisherz"), stable=True, show_progress=False).G.graph != 0
    assert (skeleton(FisherZ(x, alpha)).adjacent == theirs).all()


def test_columns_in_another_order_give_the_same_graph_in_that_order() -> None:
    x = sem(30, 400, 5, 5)
    mix = np.random.default_rng(6).permutation(30)
    one, other = skeleton(FisherZ(x)), skeleton(FisherZ(x[:, mix]))
    assert (one.adjacent[np.ix_(mix, mix)] == other.adjacent).all()
    assert (orient(one)[np.ix_(mix, mix)] == orient(other)).all()
    assert one.tests == other.tests


def test_levels_direct_edges_and_what_follows_from_them() -> None:
    chain = np.array([[2, 1], [1, 0]])  # 2 -> 1 -> 0: no collider, so nothing orients by itself
    found = skeleton(DSeparation(chain, 3))
    arrows = orient(found)
    assert (arrows == arrows.T).all()
    arrows = orient(found, np.array([0, 0, 1]))
    assert sorted(map(tuple, np.argwhere(arrows).tolist())) == [(1, 0), (2, 1)]


def test_a_budget_ends_the_search_between_rounds_and_says_so() -> None:
    x = sem(30, 400, 5, 7)
    whole = skeleton(FisherZ(x))
    assert not whole.stopped
    short = skeleton(FisherZ(x), budget=whole.tests - 1)
    assert "beyond the budget" in short.stopped
    assert short.tests < whole.tests
    assert (short.adjacent == skeleton(FisherZ(x), max_depth=short.depth).adjacent).all()
    assert "too few rows" in skeleton(FisherZ(np.random.default_rng(0).standard_normal((5, 9)), 0.9)).stopped
