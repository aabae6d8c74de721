"""Intervals are the textbook's, and cover what they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.stats import holm, mean_interval, paired_difference, proportion_interval


def test_student_t_on_a_worked_example():
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451051977987 * math.sqrt(2.5 / 5)
    assert (found.mean, found.method) == (3.0, "Student-t")
    assert found.low == pytest.approx(3 - half)
    assert found.high == pytest.approx(3 + half)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=19), st.floats(-100, 100), st.floats(0.1, 10))
def test_intervals_move_and_stretch_with_the_data(values, shift, scale):
    a, b = mean_interval(values), mean_interval([scale * v + shift for v in values])
    tolerance = 1e-6 * (1 + abs(a.high) + abs(a.low)) * scale + 1e-6
    assert b.low == pytest.approx(scale * a.low + shift, abs=tolerance)
    assert a.low <= a.mean <= a.high


@pytest.mark.parametrize("n", [3, 5, 10])
def test_ninety_five_percent_intervals_cover_ninety_five_percent(n):
    rng = np.random.default_rng(n)
    inside = sum(found.low <= 0 <= found.high for found in (mean_interval(rng.normal(size=n)) for _ in range(2000)))
    assert 0.935 <= inside / 2000 <= 0.965


def test_from_twenty_values_on_it_is_the_bootstrap():
    values = np.random.default_rng(0).exponential(size=40)
    found = mean_interval(values)
    assert found.method == "bootstrap"
    assert found.low < found.mean < found.high
    assert found == mean_interval(values)


def test_one_value_has_no_interval_and_equal_values_have_a_point():
    one = mean_interval([0.3])
    assert (one.mean, one.n) == (0.3, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    same = mean_interval([0.5] * 4)
    assert (same.low, same.high) == (0.5, 0.5)
    for wrong in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="finite values"):
            mean_interval(wrong)


def test_pairing_removes_what_instances_share():
    rng = np.random.default_rng(1)
    hard = rng.normal(scale=10, size=6)
    a = {i: hard[i] + 0.5 + 0.01 * rng.normal() for i in range(6)}
    b = {i: hard[i] + 0.01 * rng.normal() for i in range(5)}
    found = paired_difference(a, b)
    assert found.n == 5
    assert found.low > 0.4
    with pytest.raises(ValueError, match="share no instance"):
        paired_difference({1: 0.0}, {2: 0.0})


def test_proportions_are_exact():
    found = proportion_interval(0, 10)
    assert found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    with pytest.raises(ValueError, match="not a proportion"):
        proportion_interval(3, 2)


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
