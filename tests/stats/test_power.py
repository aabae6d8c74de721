"""Numbers of instances are the textbook's, and do what they promise."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from testbed.stats import seeds_needed
from testbed.stats.power import power_of


def pilot(spread, n=5):
    """n differences with exactly this standard deviation."""
    x = np.arange(n) - (n - 1) / 2
    return x / x.std(ddof=1) * spread


@pytest.mark.parametrize(("effect", "wanted"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_cohens_small_medium_and_large_effects(effect, wanted):
    """Paired t-test, power .8, alpha .05: 199, 34 and 15 pairs (G*Power 3)."""
    assert seeds_needed(pilot(1.0), effect).n == wanted
    assert seeds_needed(pilot(1.0), -effect).n == wanted
    assert seeds_needed(pilot(0.01), effect / 100).n == wanted


@pytest.mark.parametrize("n", [3, 10, 60])
@pytest.mark.parametrize("effect", [0.1, 0.5, 2.0])
def test_power_agrees_with_statsmodels(n, effect):
    assert power_of(n, effect) == pytest.approx(TTestPower().power(effect, n, 0.05), abs=1e-5)


def test_power_is_what_simulation_shows():
    found = seeds_needed(pilot(1.0), 0.7)
    x = np.random.default_rng(0).normal(0.7, 1.0, size=(20_000, found.n))
    assert (stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(power_of(found.n, 0.7), abs=0.01)
    assert power_of(found.n - 1, 0.7) < 0.8 <= power_of(found.n, 0.7)


def test_cautious_number_keeps_its_promise_for_four_pilots_of_five():
    rng = np.random.default_rng(1)
    kept = [power_of(seeds_needed(rng.normal(size=5), 0.5).cautious, 0.5) >= 0.8 for _ in range(200)]
    assert np.mean(kept) == pytest.approx(0.8, abs=0.09)


def test_huge_effects_need_two_or_three_instances_and_more_caution_never_fewer():
    assert seeds_needed(pilot(1.0), 1e4).n == 2
    for effect in (3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0):
        found = seeds_needed(pilot(1.0), effect)
        assert 2 <= found.n <= found.cautious <= 10
    powers = [power_of(3, effect) for effect in np.linspace(0, 40, 50)]
    assert powers == sorted(powers)


def test_what_cannot_be_answered_is_refused():
    for wrong, words in (
        ({"pilot": [0.1, 0.2], "difference": 0.1}, "at least 3 instances"),
        ({"pilot": [0.1, 0.1, 0.1], "difference": 0.1}, "all equal"),
        ({"pilot": [0.1, 0.2, 0.4], "difference": 0.0}, "cannot be shown"),
        ({"pilot": [0.1, 0.2, 0.4], "difference": 0.1, "power": 1.0}, "power"),
        ({"pilot": [0.1, 0.2, 0.4], "difference": 1e-9}, "more than 100,000"),
    ):
        with pytest.raises(ValueError, match=words):
            seeds_needed(**wrong)
