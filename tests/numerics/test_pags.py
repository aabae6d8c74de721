"""FCI with an oracle: the marks that ancestry gives, all that are common to a Markov class, and no other."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from testbed.numerics.independence import DSeparation, FisherZ
from testbed.numerics.pags import ARROW, CIRCLE, TAIL, arrows_of, pag, without_hidden_separators
from testbed.numerics.skeletons import skeleton


def world(seed: int, p: int, hidden: int, selected: int, density: float = 0.45) -> DSeparation:
    """A random DAG over p seen and some hidden nodes in random order; each of the selected nodes is an effect of two of them."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(p + hidden)
    edges = order[np.argwhere(np.triu(generator.random((p + hidden, p + hidden)) < density, 1))].tolist()
    for k in range(selected):
        edges += [(j, p + hidden + k) for j in generator.choice(p + hidden, size=2, replace=False).tolist()]
    nodes = p + hidden + selected
    return DSeparation(np.array(edges, dtype=np.int64).reshape(-1, 2), nodes, p, range(p + hidden, nodes))


def independences(test: DSeparation) -> np.ndarray:
    """Answers to all questions, in a fixed order."""
    out = []
    for x, y, given in questions(test.variables):
        out.append(test.margin(np.full(len(given), x), given, np.full((len(given), 1), y))[:, 0] > 0)
    return np.concatenate(out)


def questions(p: int) -> list[tuple[int, int, np.ndarray]]:
    return [
        (x, y, np.array(list(combinations(sorted({*range(p)} - {x, y}), d)), dtype=np.int64).reshape(-1, d) if d else np.zeros((1, 0), int))
        for x, y in combinations(range(p), 2)
        for d in range(p - 1)
    ]


def by_ancestry(test: DSeparation) -> np.ndarray:
    """The MAG by its definition: adjacent if nothing separates, a tail at ancestors of the other end or of the selection."""
    p = test.variables
    apart = np.zeros((p, p), dtype=bool)
    for x, y, given in questions(p):
        apart[x, y] |= (test.margin(np.full(len(given), x), given, np.full((len(given), 1), y)) > 0).any()
    chosen = test.below[:p][:, test.selected].any(axis=1)
    ancestor = (test.below[:p, :p] > 0) | chosen[:, None]
    marks = np.where(ancestor.T, TAIL, ARROW)
    marks[apart | apart.T | np.eye(p, dtype=bool)] = 0
    return marks


def search(test: DSeparation) -> np.ndarray:
    return pag(without_hidden_separators(test, skeleton(test), None, 10**7))


@pytest.mark.parametrize(("hidden", "selected"), [(0, 0), (0, 2), (2, 0), (1, 1), (2, 2)])
def test_marks_are_those_of_ancestry(hidden: int, selected: int) -> None:
    marked = 0
    for seed in range(25):
        test = world(seed, 6, hidden, selected)
        marks, truth = search(test), by_ancestry(test)
        assert ((marks > 0) == (truth > 0)).all()
        known = marks > CIRCLE
        assert (marks[known] == truth[known]).all()
        marked += known.sum()
    assert marked


def is_ancestral(marks: np.ndarray) -> bool:
    """No cycle, no arrowhead at an ancestor, none at an end of an undirected edge."""
    directed = (marks == ARROW) & (marks.T == TAIL)
    reach = np.linalg.matrix_power(np.eye(len(marks), dtype=int) + directed, len(marks)) > 0
    np.fill_diagonal(reach, False)
    if (reach & reach.T).any() or ((marks == ARROW) & (marks.T == ARROW) & reach).any():
        return False
    return not (((marks == TAIL) & (marks.T == TAIL)).any(axis=0) & (marks == ARROW).any(axis=0)).any()


def canonical(marks: np.ndarray) -> DSeparation:
    """A DAG with the independences of a MAG: a hidden cause per bidirected edge, a selected effect per undirected one."""
    p = len(marks)
    edges = np.argwhere((marks == ARROW) & (marks.T == TAIL)).tolist()
    nodes, selected = p, []
    for i, j in np.argwhere(np.triu((marks == marks.T) & (marks > 0))).tolist():
        if marks[i, j] == ARROW:
            edges += [(nodes, i), (nodes, j)]
        else:
            edges += [(i, nodes), (j, nodes)]
            selected.append(nodes)
        nodes += 1
    return DSeparation(np.array(edges, dtype=np.int64).reshape(-1, 2), nodes, p, selected)


def common_marks(test: DSeparation) -> np.ndarray:
    """The marks on which all MAGs with these independences agree, by enumeration."""
    truth, wanted = by_ancestry(test), independences(test)
    pairs = np.argwhere(np.triu(truth > 0)).tolist()
    seen: dict[tuple[int, int], set[int]] = {(i, j): set() for a, b in pairs for i, j in ((a, b), (b, a))}
    for ends in product(((ARROW, ARROW), (ARROW, TAIL), (TAIL, ARROW), (TAIL, TAIL)), repeat=len(pairs)):
        marks = np.zeros_like(truth)
        for (i, j), (at_j, at_i) in zip(pairs, ends, strict=True):
            marks[i, j], marks[j, i] = at_j, at_i
        if is_ancestral(marks) and (independences(canonical(marks)) == wanted).all():
            for i, j in seen:
                seen[i, j].add(int(marks[i, j]))
    common = np.zeros_like(truth)
    for (i, j), values in seen.items():
        common[i, j] = values.pop() if len(values) == 1 else CIRCLE
    return common


@pytest.mark.parametrize("seed", [0, 1, 3, 6, 9, 10, 13, 19])
def test_marks_are_all_that_the_markov_class_has_in_common(seed: int) -> None:
    test = world(seed, 5, seed % 3, seed // 3 % 3, 0.4)
    assert (search(test) == common_marks(test)).all()


def undirected(pairs: list[tuple[int, int]], p: int) -> DSeparation:
    """Selection on pairs: an undirected graph."""
    edges = [(j, p + s) for s, pair in enumerate(pairs) for j in pair]
    return DSeparation(np.array(edges), p + len(pairs), p, range(p, p + len(pairs)))


def test_selection_shows_on_a_circle_without_chord_and_nowhere_else() -> None:
    square = search(undirected([(0, 1), (1, 2), (2, 3), (3, 0)], 4))
    assert (square[square > 0] == TAIL).all()
    chorded = search(undirected([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], 4))
    assert (chorded[chorded > 0] == CIRCLE).all()
    longer = search(undirected([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (4, 5)], 6))
    assert longer[5, 4] == TAIL  # rule 6: the column outside the circle hangs on one that selection acts on
    assert longer[4, 5] == CIRCLE


def test_forests_that_are_selected_throughout_stay_undetermined() -> None:
    marks = search(DSeparation.of_selection([(2, 3), (4, 5), (6, 7), (), (), (), (), ()], None, [(0, 1)]))
    assert (marks[marks > 0] == CIRCLE).all()


def test_a_pair_that_only_nodes_beyond_its_neighbours_separate() -> None:
    # Hidden 5 -> 0, 2 and 6 -> 1, 3; observed 4 -> 2 -> 1 and 4 -> 3 -> 0. Only {2, 3, 4} separates 0 and 1: 2 and 3 stop the chains
    # and open, as colliders, the way over 4, which is a neighbour of neither.
    edges = [(5, 0), (5, 2), (6, 1), (6, 3), (4, 2), (4, 3), (2, 1), (3, 0)]
    test = DSeparation(np.array(edges), 7, 5)
    plain = skeleton(test)
    assert plain.adjacent[0, 1]
    found = without_hidden_separators(test, plain, None, 10**6)
    assert not found.adjacent[0, 1]
    assert found.separators[0, 1] == (2, 3, 4)
    assert found.tests > plain.tests
    assert "budget" in without_hidden_separators(test, plain, None, plain.tests + 1).stopped


def test_columns_in_another_order_give_the_same_marks_in_that_order() -> None:
    generator = np.random.default_rng(5)
    weight = np.triu(generator.random((15, 15)) < 0.25, 1) * generator.uniform(0.3, 0.9, (15, 15))
    x = generator.standard_normal((300, 15)) @ np.linalg.inv(np.eye(15) - weight)
    mix = generator.permutation(15)

    def marks(values: np.ndarray) -> np.ndarray:
        test = FisherZ(values, 0.05)
        return pag(without_hidden_separators(test, skeleton(test), 2, 10**6))

    assert (marks(x)[np.ix_(mix, mix)] == marks(x[:, mix])).all()


def test_levels_make_tails_at_the_concrete_end() -> None:
    chain = skeleton(DSeparation(np.array([[0, 1], [1, 2]]), 3))
    marks = pag(chain, np.array([1, 0, 1]))
    assert marks[1, 0] == marks[1, 2] == TAIL
    assert (arrows_of(marks, np.array([1, 0, 1])) == np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0]])).all()


def test_causal_learn_finds_the_same_adjacencies_and_without_selection_nearly_always_the_same_marks() -> None:
    theirs = pytest.importorskip("causallearn.search.ConstraintBased.FCI").fci
    cit: Any = pytest.importorskip("causallearn.utils.cit")
    from testbed.estimators.graphs.causal_learn import _marks, _quiet

    class Oracle(cit.CIT_Base):  # type: ignore[misc]
        method = "oracle"
        test: DSeparation

        def __call__(self, x: int, y: int, given: Any = None) -> float:
            inside = np.array(sorted(given or ()), dtype=np.int64)[None]
            return float(self.test.margin(np.array([x]), inside, np.array([[y]]))[0, 0] > 0)

    cit.register_ci_test("oracle", Oracle)
    same = 0
    for seed in range(40):
        Oracle.test = world(seed, 6, seed % 3, 2 * (seed % 2))
        with _quiet():
            graph, _ = theirs(np.zeros((50, 6)), "oracle", 0.5, show_progress=False)
        marks, ours = _marks(np.asarray(graph.graph)), search(Oracle.test)
        assert ((marks > 0) == (ours > 0)).all()
        same += seed % 2 == 0 and bool((marks == ours).all())
    assert same >= 18  # of 20; under selection it also marks what other graphs of the same law contradict
