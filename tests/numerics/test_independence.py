"""Tests of conditional independence against other ways to compute them."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from testbed.contracts import InvalidInput
from testbed.numerics.independence import G2, DSeparation, FisherZ, squared_partial_correlations


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_partial_correlations_are_those_of_the_inverse(depth: int) -> None:
    generator = np.random.default_rng(depth)
    r = np.corrcoef(generator.standard_normal((50, 8)) @ generator.standard_normal((8, 8)), rowvar=False)
    order = generator.permuted(np.tile(np.arange(8), (5, 1)), axis=1)
    x, given, others = order[:, 0], order[:, 1 : 1 + depth], order[:, 1 + depth :]
    found = squared_partial_correlations(r, x, given, others)
    for t in range(5):
        for j, y in enumerate(others[t]):
            inverse = np.linalg.inv(r[np.ix_([x[t], y, *given[t]], [x[t], y, *given[t]])])
            assert found[t, j] == pytest.approx(inverse[0, 1] ** 2 / (inverse[0, 0] * inverse[1, 1]), abs=1e-9)


def test_the_bound_is_where_p_is_alpha() -> None:
    test = FisherZ(np.random.default_rng(0).standard_normal((100, 3)), alpha=0.03)
    z = np.arctanh(test.bound(2)) * np.sqrt(100 - 2 - 3)
    assert 2 * stats.norm.sf(z) == pytest.approx(0.03)


def test_small_effects_are_none_however_many_rows() -> None:
    generator = np.random.default_rng(1)
    x = generator.standard_normal(100_000)
    pair = np.stack([x, 0.05 * x + generator.standard_normal(100_000)], axis=1)
    question = (np.array([0]), np.zeros((1, 0), dtype=np.int64), np.array([[1]]))
    assert FisherZ(pair).margin(*question) < 0
    assert FisherZ(pair, effect=0.1).margin(*question) > 0


def test_g2_is_the_sum_of_likelihood_ratios_over_strata() -> None:
    generator = np.random.default_rng(2)
    states = generator.integers(0, [2, 3, 2, 3], size=(400, 4))
    states[:, 1] = (states[:, 0] + states[:, 1] * (generator.random(400) < 0.9)) % 3
    test = G2(states, alpha=0.0)
    statistic = freedom = 0.0
    for value in range(2):
        rows = states[states[:, 2] == value]
        one = stats.contingency.crosstab(rows[:, 0], rows[:, 1]).count
        result = stats.chi2_contingency(one, correction=False, lambda_="log-likelihood")
        statistic, freedom = statistic + result.statistic, freedom + result.dof
    found = test.margin(np.array([0]), np.array([[2]]), np.array([[1, 3]]))
    assert found[0, 0] == pytest.approx(stats.chi2.sf(statistic, freedom))
    assert G2(states, effect=0.99).margin(np.array([0]), np.array([[2]]), np.array([[1]])) > 0


def test_d_separation_is_that_of_networkx() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        edges = np.argwhere(np.triu(generator.random((7, 7)) < 0.35, 1))
        graph = nx.DiGraph([tuple(edge) for edge in edges.tolist()])
        graph.add_nodes_from(range(7))
        order = generator.permutation(6)  # node 6 is selected upon
        test = DSeparation(edges, 7, 6, [6])
        found = test.margin(order[:1], order[None, 1:3], order[None, 3:])
        for j, y in enumerate(order[3:]):
            assert (found[0, j] > 0) == nx.is_d_separator(graph, {int(order[0])}, {int(y)}, {6, *order[1:3].tolist()})


def test_bad_input_is_one_sentence() -> None:
    x = np.random.default_rng(4).standard_normal((30, 4))
    with pytest.raises(InvalidInput, match="at least 4 rows"):
        FisherZ(x[:3])
    with pytest.raises(InvalidInput, match="column 2 is constant"):
        FisherZ(np.where(np.arange(4) == 2, 0.1, x))
    with pytest.raises(InvalidInput, match="columns 1 and 3 are copies"):
        FisherZ(x[:, [0, 1, 2, 1]])
    x[:, 3] = x[:, 0] + x[:, 1]
    with pytest.raises(InvalidInput, match="linear function of columns"):
        FisherZ(x).margin(np.array([0]), np.array([[1, 2]]), np.array([[3]]))
    with pytest.raises(InvalidInput, match="singular"):
        FisherZ(x).margin(np.array([2]), np.array([[0, 1, 3]]), np.array([[2]]))
    with pytest.raises(InvalidInput, match="at most 64 states"):
        G2(np.random.default_rng(5).standard_normal((100, 2)))
    with pytest.raises(InvalidInput, match="cycle"):
        DSeparation(np.array([[0, 1], [1, 0]]), 2)
