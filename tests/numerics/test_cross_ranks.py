"""Canonical correlations and ranks, against closed forms, statsmodels' CCA by another route, and theory."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import linalg, stats

from testbed.contracts import InvalidInput
from testbed.numerics.cross_ranks import RankTest
from testbed.numerics.independence import squared_partial_correlations


def factors(n: int = 3000, seed: int = 0) -> np.ndarray:
    """Six columns of one hidden cause each, columns 0 to 2 and 3 to 5; the causes are correlated."""
    generator = np.random.default_rng(seed)
    first = generator.standard_normal(n)
    second = 0.6 * first + 0.8 * generator.standard_normal(n)
    return np.stack([first] * 3 + [second] * 3, axis=1) + 0.7 * generator.standard_normal((n, 6))


def test_canonical_correlations_are_sines_and_cosines_of_subspaces() -> None:
    x = factors(200)
    test = RankTest(x)
    a, b = np.array([[0, 1, 3], [2, 4, 5]]), np.array([[2, 4], [0, 3]])
    centred = x - x.mean(axis=0)
    for t in range(2):
        angles = linalg.subspace_angles(centred[:, a[t]], centred[:, b[t]])
        assert test.canonical_correlations(a, b)[t] == pytest.approx(np.sort(np.cos(angles))[::-1])


def test_one_column_each_is_a_partial_correlation() -> None:
    x = factors(150)
    test = RankTest(x)
    x0, given, others = np.array([0, 4]), np.array([[1, 3], [2, 0]]), np.array([[2], [5]])
    rho = test.canonical_correlations(x0[:, None], others, given)[:, 0]
    assert rho**2 == pytest.approx(squared_partial_correlations(test.correlations, x0, given, others)[:, 0])


def test_p_is_bartletts() -> None:
    x = factors(100)
    test = RankTest(x)
    a, b = np.array([[0, 1, 2]]), np.array([[3, 4]])
    rho = test.canonical_correlations(a, b)[0]
    for r in range(2):
        statistic = -(100 - 1 - 3) * np.log1p(-(rho[r:] ** 2)).sum()
        assert test.p_values(a, b)[0, r] == pytest.approx(stats.chi2.sf(statistic, (3 - r) * (2 - r)))


def test_p_is_uniform_under_the_rank() -> None:
    p = [RankTest(factors(400, seed)).p_values(np.array([[0, 1, 2]]), np.array([[3, 4, 5]]))[0] for seed in range(300)]
    assert stats.kstest(np.array(p)[:, 1], "uniform").pvalue > 0.01
    assert np.array(p)[:, 0].max() < 1e-6


def test_quartets_of_a_tree_have_rank_one_across_an_edge_and_two_along_it() -> None:
    test = RankTest(factors(20_000))
    pairs = [(pair, tuple(sorted({0, 1, 3, 4} - set(pair)))) for pair in combinations((0, 1, 3, 4), 2) if 0 in pair]
    ranks = test.ranks(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]), alpha=1e-3)
    assert dict(zip([a for a, _ in pairs], ranks.tolist(), strict=True)) == {(0, 1): 1, (0, 3): 2, (0, 4): 2}


def test_what_separates_leaves_no_rank() -> None:
    generator = np.random.default_rng(1)
    cause = generator.standard_normal((2000, 2))
    x = np.concatenate([cause, cause @ generator.standard_normal((2, 4)) + generator.standard_normal((2000, 4))], axis=1)
    test = RankTest(x)
    a, b = np.array([[2, 3]]), np.array([[4, 5]])
    assert test.ranks(a, b).tolist() == [2]
    assert test.ranks(a, b, np.array([[0, 1]])).tolist() == [0]
    assert test.ranks(a, b, np.array([[0]])).tolist() == [1]


def test_a_batch_is_its_questions_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    test = RankTest(factors(200))
    sets = np.array(list(combinations(range(6), 4)))
    a, b = sets[:, :2], sets[:, 2:]
    whole = test.p_values(a, b)
    monkeypatch.setattr("testbed.numerics.cross_ranks.NUMBERS", 40)
    assert np.array_equal(test.p_values(a, b), whole)


def test_bad_input_is_one_sentence() -> None:
    x = factors(30)
    with pytest.raises(InvalidInput, match="more than 3 rows"):
        RankTest(x[:3]).p_values(np.array([[0, 1]]), np.array([[2, 3]]))
    x[:, 5] = x[:, 0] + x[:, 1]
    with pytest.raises(InvalidInput, match="linear function"):
        RankTest(x).canonical_correlations(np.array([[0, 1, 5]]), np.array([[2, 3]]))
