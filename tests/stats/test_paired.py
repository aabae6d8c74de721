"""Paired tests are the textbook's, exact where they say so, and reject as often as they say."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from testbed.stats import holm, paired_test

METHODS = ("t", "wilcoxon", "sign", "permutation")


def test_(differences, method):
    return paired_test(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0), method)


test_.__test__ = False


def test_student_s_sleep_data():
    """Student (1908), additional hours of sleep by two drugs: t = 4.0621, p = .002833 (R's t.test)."""
    first = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
    second = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))
    found = paired_test(second, first)
    assert found.statistic == pytest.approx(4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.difference.mean == pytest.approx(1.58)
    assert paired_test(second, first, "sign").p == pytest.approx(2 / 2**9)  # one tie, nine of one sign


def test_exact_tests_of_five_alike_can_show_nothing():
    for method in ("wilcoxon", "sign", "permutation"):
        assert test_([1.0, 2.0, 3.0, 4.0, 5.5], method).p == pytest.approx(2 / 32)


def test_permutations_go_through_all_signs():
    d = np.random.default_rng(0).normal(0.5, 1, size=7)
    means = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=7)]
    assert test_(d, "permutation").p == pytest.approx(np.mean([m >= abs(d.sum()) - 1e-12 for m in means]))


def test_drawn_permutations_agree_with_scipy():
    d = np.random.default_rng(1).normal(0.4, 1, size=30)
    other = stats.permutation_test(
        (d, np.zeros(30)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(2)
    )
    found = test_(d, "permutation")
    assert found.method == "permutation (drawn)"
    assert found.p == pytest.approx(other.pvalue, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [5, 10])
def test_nothing_is_found_more_often_than_five_times_in_a_hundred(method, n):
    rng = np.random.default_rng(n)
    rejected = np.mean([test_(rng.normal(size=n), method).p < 0.05 for _ in range(600)])
    assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("method", METHODS)
def test_only_shared_instances_count_and_order_turns_the_sign(method):
    a, b = {i: float(i) for i in range(9)}, {i: 0.9 * i - 0.5 + 0.1 * (i % 3) for i in range(2, 12)}
    found, turned = paired_test(a, b, method), paired_test(b, a, method)
    assert found.difference.n == 7
    assert found.p == pytest.approx(turned.p)
    assert found.difference.mean == pytest.approx(-turned.difference.mean)


@pytest.mark.parametrize("method", METHODS)
def test_no_difference_at_all_is_no_evidence(method):
    assert test_([0.0] * 6, method).p == 1.0


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ValueError, match="share no instance"):
        paired_test({1: 0.0}, {2: 0.0})
    with pytest.raises(ValueError, match="at least 2 instances"):
        paired_test({1: 0.0}, {1: 1.0})
    with pytest.raises(ValueError, match="finite values"):
        test_([math.nan, 1.0], "sign")
    with pytest.raises(ValueError, match="some spread"):
        test_([1.0, 1.0, 1.0], "t")
    with pytest.raises(ValueError, match="no paired test 'z'"):
        test_([1.0, 2.0], "z")


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([math.nan])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_p_values_and_bonferroni_and_keeps_their_order(p_values):
    found = holm(p_values)
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-12 for p, q in zip(p_values, found, strict=True))
    assert sorted(zip(p_values, found, strict=True)) == sorted(zip(sorted(p_values), sorted(found), strict=True))
