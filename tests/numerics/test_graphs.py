"""Graphs of compositions: closures, leaves, distances, the selected MAG, matching."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.contracts import InvalidInput
from testbed.numerics import graphs
from testbed.numerics.graphs import (
    closure,
    constituents_of,
    edges_of,
    is_acyclic,
    labels_of_codes,
    leaf_sets,
    one_to_one,
    overlap,
    random_edges,
    relabelled,
    robinson_foulds,
    selected_mag,
    set_similarity,
    structural_hamming_distance,
    undirected,
)

TREE = ((1, 2), (3, 4), (5, 6), (), (), (), ())  # 0 above 1 and 2, those above two leaves each


@st.composite
def hierarchies(draw, nodes=8):
    """Tuples of constituents with larger numbers: acyclic."""
    return tuple(tuple(sorted(draw(st.sets(st.integers(i + 1, nodes - 1), max_size=3)))) if i < nodes - 1 else () for i in range(nodes))


def matrix(edges, nodes):
    out = np.zeros((nodes, nodes), dtype=np.int8)
    out[edges[:, 0], edges[:, 1]] = 1
    return out


def pairs(edges):
    return set(map(tuple, edges.tolist()))


def test_edges_and_constituents_are_each_others_inverse():
    edges = edges_of(TREE)
    assert pairs(edges) == {(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)}
    assert constituents_of(edges, 7) == TREE
    assert edges_of(((), ())).shape == (0, 2)


def test_closure_of_a_tree_and_of_a_cycle():
    below = closure(edges_of(TREE), 7).toarray()
    assert [int(x) for x in below.sum(axis=0)] == [6, 2, 2, 0, 0, 0, 0]
    assert is_acyclic(edges_of(TREE), 7)
    assert not is_acyclic(edges_of(((1,), (2,), (0,))), 3)


@given(hierarchies())
@settings(max_examples=30, deadline=None)
def test_closure_is_the_sum_of_powers(constituents):
    step = matrix(edges_of(constituents), 8).astype(int)
    reach = sum(np.linalg.matrix_power(step, k) for k in range(1, 9)) > 0
    assert (closure(edges_of(constituents), 8).toarray().astype(bool) == reach).all()


def test_leaf_sets():
    assert leaf_sets(TREE)[:4] == [frozenset({3, 4, 5, 6}), frozenset({3, 4}), frozenset({5, 6}), frozenset({3})]


@given(hierarchies(), hierarchies())
@settings(max_examples=30, deadline=None)
def test_hamming_distance_agrees_with_gadjid(a, b):
    gadjid = pytest.importorskip("gadjid")
    true, found = edges_of(a), edges_of(b)
    assert structural_hamming_distance(true, found) == gadjid.shd(matrix(true, 8), matrix(found, 8))[1]


@given(hierarchies(), hierarchies())
@settings(max_examples=15, deadline=None)
def test_hamming_distance_agrees_with_causal_learn_where_no_edge_is_reversed(a, b):
    pytest.importorskip("causallearn")
    from causallearn.graph.Dag import Dag
    from causallearn.graph.GraphNode import GraphNode
    from causallearn.graph.SHD import SHD

    def dag(constituents):
        nodes = [GraphNode(str(i)) for i in range(8)]
        made = Dag(nodes)
        for j, i in edges_of(constituents).tolist():
            made.add_directed_edge(nodes[j], nodes[i])
        return made

    assert structural_hamming_distance(edges_of(a), edges_of(b)) == SHD(dag(a), dag(b)).get_shd()


def test_a_reversed_edge_counts_once():
    assert structural_hamming_distance(np.array([[0, 1]]), np.array([[1, 0]])) == 1
    assert structural_hamming_distance(np.array([[0, 1]]), np.array([[0, 1], [1, 0]])) == 1
    assert overlap(np.array([[0, 1]]), np.array([[1, 0]])) == 0
    assert pairs(undirected(np.array([[1, 0], [0, 1]]))) == {(0, 1)}


def test_robinson_foulds_of_two_quartets():
    """((a,b),(c,d)) and ((a,c),(b,d)) share the root alone."""
    ab, cd, ac, bd, whole = map(frozenset, ("ab", "cd", "ac", "bd", "abcd"))
    assert robinson_foulds([ab, cd, whole], [ac, bd, whole]) == (4, 6)
    assert robinson_foulds([ab, cd, whole], [whole, cd, ab, frozenset("a")]) == (0, 6)


def test_the_selected_mag_joins_constituents_of_one_composite():
    both, free = selected_mag(TREE)
    assert pairs(both) == {(1, 2), (1, 3), (1, 4), (3, 4), (2, 5), (2, 6), (5, 6)}
    assert pairs(free) == {(1, 0), (2, 0)}  # the top is an effect alone, unless phi_S weighs it
    everything, nothing = selected_mag(TREE, jointly=[[0]])
    assert pairs(everything) == pairs(both) | {(0, 1), (0, 2)}
    assert len(nothing) == 0
    joint, _ = selected_mag(((2,), (3,), (), ()), jointly=[[0, 1]])
    assert pairs(joint) == {(0, 1), (0, 2), (1, 3)}


def test_what_is_not_selected_upon_keeps_its_arrows():
    """Selection on 1's tuple alone: 3 and 4 are ancestors of it, nobody else is."""
    both, free = selected_mag(TREE, [False, True, False, False, False, False, False])
    assert pairs(both) == {(3, 4)}
    assert pairs(free) == {(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)}
    nothing, arrows = selected_mag(TREE, [False] * 7)
    assert len(nothing) == 0
    assert pairs(arrows) == pairs(edges_of(TREE))
    # A potential above makes composites below it colliders that are ancestors of selection.
    assert pairs(selected_mag(TREE, [True] + [False] * 6)[0]) == pairs(selected_mag(TREE)[0])
    with pytest.raises(InvalidInput, match="one each"):
        selected_mag(TREE, [True])


def test_the_selected_mag_is_what_d_separation_given_selection_says():
    """Pairs that no set of other nodes separates, by search over all sets, in the DAG with one selection node per tuple."""
    from itertools import combinations

    import networkx as nx

    for constituents, weighed in ((TREE, [True] * 7), (TREE, [False, True, *[False] * 5]), (((2, 3), (3, 4), (), (), ()), [True] * 5)):
        n = len(constituents)
        dag = nx.DiGraph()
        dag.add_nodes_from(range(n))
        dag.add_edges_from(map(tuple, edges_of(constituents).tolist()))
        chosen = [("s", i) for i in range(n) if weighed[i] and constituents[i]]
        dag.add_edges_from((j, s) for s in chosen for j in constituents[s[1]])
        adjacent = set()
        for a, b in combinations(range(n), 2):
            rest = [k for k in range(n) if k not in (a, b)]
            sets = (set(z) | set(chosen) for size in range(len(rest) + 1) for z in combinations(rest, size))
            if not any(nx.is_d_separator(dag, {a}, {b}, z) for z in sets):
                adjacent.add((a, b))
        both, free = selected_mag(constituents, weighed)
        assert pairs(both) | pairs(undirected(free)) == adjacent


def test_matching_maximises_the_sum_and_leaves_out_what_is_not_similar():
    similarity = np.array([[0.9, 0.8, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.3]])
    assert one_to_one(similarity).tolist() == [1, 0, 2]
    assert one_to_one(similarity, 0.5).tolist() == [1, 0, -1]
    assert one_to_one(np.zeros((2, 0))).tolist() == [-1, -1]


def test_codes_take_the_names_of_concepts():
    label = labels_of_codes(np.array([2, -1]), 3)
    assert label.tolist() == [2, 3, 0]
    assert relabelled(np.array([[0, 2]]), label).tolist() == [[2, 0]]


def test_jaccard_of_sets():
    sets = [frozenset({1, 2}), frozenset({3}), frozenset()]
    found = set_similarity(sets, [frozenset({2, 3}), frozenset()])
    assert found.ravel() == pytest.approx([1 / 3, 0, 1 / 2, 0, 0, 0])


def test_random_edges_keep_their_number_between_levels():
    levels = [0, 1, 1, 2, 2, 2, 2]
    edges = edges_of(TREE)
    drawn = random_edges(edges, levels, np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == len(edges)
    of = np.array(levels)

    def between(e):
        return sorted(map(tuple, of[e].tolist()))

    assert between(drawn) == between(edges)
    loops = random_edges(np.array([[0, 1], [1, 0]]), [0, 0], np.random.default_rng(0))
    assert pairs(loops) == {(0, 1), (1, 0)}
    assert len(random_edges(graphs.edges_of(((), ())), [0, 0], np.random.default_rng(0))) == 0
