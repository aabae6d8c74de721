"""Tuples found from the rows alone."""

from itertools import combinations

import numpy as np
import pytest

from testbed.numerics.tuples import find_tuples, scores, shuffles, total_correlation


def parity(n, seed, order=(0, 1, 2, 3, 4, 5)):
    """Two triples, each of which has an even sum: all pairs are independent."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 2, (n, 6))
    x[:, 2], x[:, 5] = x[:, 0] ^ x[:, 1], x[:, 3] ^ x[:, 4]
    return x[:, list(order)]


def test_triples_with_an_even_sum_are_found_though_pairs_are_independent():
    x = parity(500, 0, (0, 3, 1, 4, 2, 5))
    assert find_tuples(x, [2] * 6, 3, alpha=0.01, budget=100, seed=0).tuples == [(0, 2, 4), (1, 3, 5)]
    pairs = list(combinations(range(6), 2))
    assert scores(pairs, x, shuffles(x, 0), [2] * 6, total_correlation)[1].max() < 5


def test_total_correlation_of_an_even_sum_is_one_bit():
    sets = [(0, 1, 2), (0, 1, 3)]
    x = parity(20_000, 1)
    value, z = scores(sets, x, shuffles(x, 0), [2] * 6, total_correlation)
    assert value == pytest.approx([np.log(2), 0], abs=0.002)
    assert z[0] > 100 > 5 > abs(z[1])


def test_triples_without_total_correlation_are_found_by_their_dependence_on_each_other():
    """Sums modulo 3 of the two triples are never equal: each triple by itself is uniform."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 3, (20_000, 6))
    x = x[(x[:, [0, 2, 4]].sum(axis=1) + 0) % 3 != (x[:, [1, 3, 5]] ** 2).sum(axis=1) % 3]
    value, _ = scores([(0, 2, 4)], x, shuffles(x, 0), [3] * 6, total_correlation)
    found = find_tuples(x, [3] * 6, 3, alpha=0.01, budget=100, seed=0)
    assert found.tuples == [(0, 2, 4), (1, 3, 5)]
    assert abs(value[0]) < 0.05


def test_independent_columns_make_no_tuple():
    found = [find_tuples(np.random.default_rng(s).integers(0, 4, (800, 8)), [4] * 8, 2, alpha=0.01, budget=100, seed=s) for s in range(20)]
    assert sum(bool(one.tuples) for one in found) <= 2


def test_a_budget_that_does_not_suffice_is_told():
    found = find_tuples(parity(300, 0), [2] * 6, 3, alpha=0.01, budget=5, seed=0)
    assert "5 of 20 sets" in found.stopped
