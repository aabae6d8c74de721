"""Intervals are the textbook's, and cover what they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import binom

from testbed.stats import mean_interval, median_interval, paired_difference, proportion_interval
from testbed.stats.intervals import BOOTSTRAP_FROM, RESAMPLES, symmetric_quantiles


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


LAWS = {
    "normal": (lambda g, shape: g.normal(size=shape), 0.0),
    "uniform": (lambda g, shape: g.uniform(size=shape), 0.5),
    "beta 8, 1": (lambda g, shape: g.beta(8, 1, size=shape), 8 / 9),
    "exponential": (lambda g, shape: g.exponential(size=shape), 1.0),
    "log-normal": (lambda g, shape: g.lognormal(size=shape), math.exp(0.5)),
}


def coverage(law, n, samples=4000):
    """Share of intervals that hold the mean, as `mean_interval` computes them, many samples at a time."""
    draw, mean = LAWS[law]
    inside = 0
    for seed in range(samples // 1000):
        x = draw(np.random.default_rng([n, seed]), (1000, n))
        far = np.abs(x.mean(axis=1) - mean) / (x.std(axis=1, ddof=1) / math.sqrt(n))
        inside += (far <= (symmetric_quantiles(x) if n >= BOOTSTRAP_FROM else stats.t.ppf(0.975, n - 1))).sum()
    return inside / samples


@pytest.mark.parametrize("n", [3, 5, 10, 20, 50])
def test_ninety_five_percent_intervals_cover_ninety_five_percent_of_normal_values(n):
    assert 0.93 <= coverage("normal", n) <= 0.97


@pytest.mark.parametrize("law", ["uniform", "beta 8, 1", "exponential"])
@pytest.mark.parametrize("n", [20, 50])
def test_from_twenty_instances_on_they_cover_it_of_skewed_values_too(law, n):
    assert 0.93 <= coverage(law, n) <= 0.97


def test_where_they_fall_short_is_known():
    assert 0.88 < coverage("exponential", 10) < 0.93
    assert 0.88 < coverage("log-normal", 20) < 0.93
    assert 0.80 < coverage("log-normal", 5) < 0.85


@pytest.mark.parametrize("n", [5, 25])
def test_many_samples_at_once_have_the_intervals_of_one(n):
    x = np.random.default_rng(n).exponential(size=(3, n))
    for row, quantile in zip(x, symmetric_quantiles(x), strict=True):
        half = mean_interval(row).high - row.mean()
        wanted = quantile if n >= BOOTSTRAP_FROM else stats.t.ppf(0.975, n - 1)
        assert half == pytest.approx(wanted * row.std(ddof=1) / math.sqrt(n))


def test_bootstrap_is_a_plain_one_resample_by_resample():
    x = np.random.default_rng(0).exponential(size=20)
    shares = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=RESAMPLES)
    t = []
    for counts in shares[:500]:
        again = np.repeat(x, counts)
        t.append(abs(again.mean() - x.mean()) / (again.std(ddof=1) / math.sqrt(20)))
    # 500 of the 4,999 resamples: their quantile is near that of all, and the interval is symmetric about the mean.
    found = mean_interval(x)
    assert (found.high - found.mean) / (x.std(ddof=1) / math.sqrt(20)) == pytest.approx(np.quantile(t, 0.95), rel=0.15)
    assert found.high - found.mean == pytest.approx(found.mean - found.low)


def test_from_twenty_values_on_it_is_the_bootstrap_and_always_the_same():
    values = np.random.default_rng(0).exponential(size=40)
    found = mean_interval(values)
    assert found.method == "bootstrap-t"
    assert found == mean_interval(values)
    many = np.random.default_rng(0).normal(size=3000)  # in chunks
    assert mean_interval(many).high - many.mean() == pytest.approx(1.96 * many.std() / math.sqrt(3000), rel=0.05)


def test_nearly_all_equal_values_fall_back_on_student_t():
    found = mean_interval([1.0] * 29 + [2.0])
    assert found.method == "Student-t"
    assert (1 - 1 / 30) ** 30 > 0.05  # resamples without the odd one are constant
    assert math.isfinite(found.high)


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


@pytest.mark.parametrize("n", [3, 5, 10, 20, 50])
def test_exact_intervals_of_proportions_cover_at_least_what_they_say(n):
    found = [proportion_interval(k, n) for k in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 25):
        inside = sum(binom(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if found[k].low <= p <= found[k].high)
        assert inside >= 0.95 - 1e-9


def test_a_median_lies_between_order_statistics_that_the_binomial_law_gives():
    found = median_interval(list(range(10)))
    assert (found.mean, found.low, found.high) == (4.5, 1, 8)  # the second and the ninth of ten: 97.9 %
    assert math.isnan(median_interval([1.0] * 5).low)
    assert median_interval([3.0, 1, 2, 5, 4, 6]).low == 1
    with pytest.raises(ValueError, match="finite"):
        median_interval([])


def test_order_statistics_cover_the_median_of_a_skewed_law():
    rng = np.random.default_rng(0)
    covered = [found.low <= np.log(2) <= found.high for found in map(median_interval, rng.exponential(size=(2_000, 12)).tolist())]
    assert np.mean(covered) >= 0.95
