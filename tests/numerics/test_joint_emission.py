"""Likelihood under joint emission, and Chow-Liu trees."""

import numpy as np
import pytest

from testbed.numerics.joint_emission import conditional, log_likelihood, tree_log_likelihood, tree_of_pairs


def chain(n, seed):
    generator = np.random.default_rng(seed)
    a = generator.integers(0, 3, n)
    columns = [a]
    for _ in range(3):
        flip = generator.random(n) < 0.2
        columns.append(np.where(flip, generator.integers(0, 3, n), columns[-1]))
    return np.stack(columns, axis=1)


def test_laws_sum_to_one_over_all_that_could_be():
    x = np.array([0, 0, 2])
    held = np.arange(4)
    assert np.exp(conditional(x, held, None, None, 4, 1)).sum() == pytest.approx(1)
    given = np.array([0, 1, 1])
    assert np.exp(conditional(x, held, given, np.ones(4, int), 4, 2)).sum() == pytest.approx(1)


def test_a_state_that_is_a_function_of_its_tuple_costs_nothing_in_the_limit():
    """log p(v) + log p(t | v) is log p(t), whatever v is, up to smoothing."""
    x = chain(20_000, 0)[:, :2]
    codes = [np.column_stack([(x.sum(axis=1) % k), x]) for k in (1, 2, 3)]
    values = [log_likelihood(c[:10_000], c[10_000:], [(1, 2), (), ()]).mean() for c in codes]
    assert values[1:] == pytest.approx([values[0]] * 2, abs=2e-3)


def test_the_tree_of_a_chain_is_the_chain():
    order = tree_of_pairs(chain(5000, 0)[:, [2, 0, 3, 1]])
    edges = {frozenset(pair) for pair in order if pair[1] >= 0}
    assert edges == {frozenset(p) for p in ((1, 3), (3, 0), (0, 2))}


def test_a_tree_is_likelier_than_independence():
    x = chain(4000, 1)
    alone = sum(conditional(x[:2000, j], x[2000:, j], None, None, 3, 1) for j in range(4))
    assert tree_log_likelihood(x[:2000], x[2000:]).mean() > alone.mean() + 1
