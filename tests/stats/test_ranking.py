"""Rankings are Friedman's and Nemenyi's, over instances."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from testbed.stats import critical_difference

# AUC of C4.5, with m, with cf, with both, on 14 data sets: Demsar (2006), table 6.
DEMSAR = {
    "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.94, 0.619, 0.972, 0.957],
    "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
    "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
}


def scores(table=DEMSAR):
    return {name: dict(enumerate(values)) for name, values in table.items()}


def test_demsars_example():
    """Mean ranks 3.143, 2.000, 2.893, 1.964; critical difference 1.25 (q = 2.569): section 3.2.2."""
    found = critical_difference(scores())
    assert found.ranks == pytest.approx({"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}, abs=1e-3)
    assert next(iter(found.ranks)) == "C4.5+m+cf"
    assert found.n == 14
    assert found.difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.p == pytest.approx(stats.friedmanchisquare(*DEMSAR.values()).pvalue)
    # At .10 the critical difference is 1.12 and C4.5 is told apart from both with m: the paper's own conclusion.
    loose = critical_difference(scores(), alpha=0.10)
    assert loose.difference == pytest.approx(1.12, abs=0.005)
    assert loose.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


def test_nemenyi_p_values_cross_alpha_at_the_critical_difference():
    found = critical_difference(scores())
    for (a, b), p in found.p_values.items():
        assert (p < found.alpha) == (abs(found.ranks[a] - found.ranks[b]) > found.difference)


def test_n_is_instances_not_trials():
    rng = np.random.default_rng(0)
    once = {name: {i: rng.normal() for i in range(8)} for name in "abc"}
    thrice = {name: {i: [v - 1, v, v + 1] for i, v in by.items()} for name, by in once.items()}
    assert critical_difference(thrice).n == 8
    assert critical_difference(thrice).ranks == critical_difference(once).ranks
    rows = [
        {"estimator": name, "instance": i, "value": v, "fit_seed": s}
        for name, by in thrice.items()
        for i, values in by.items()
        for s, v in enumerate(values)
    ]
    table = critical_difference(pd.DataFrame(rows))
    assert table.ranks == pytest.approx(critical_difference(once).ranks)
    assert table.p == pytest.approx(critical_difference(once).p)


@pytest.mark.parametrize("method", ["nemenyi", "conover", "wilcoxon"])
def test_far_apart_methods_are_told_apart_and_equal_ones_are_not(method):
    rng = np.random.default_rng(1)
    table = {name: dict(enumerate(shift + 0.1 * rng.normal(size=20))) for name, shift in (("low", 0), ("high", 2), ("twin", 2))}
    found = critical_difference(table, method=method)
    assert set(map(frozenset, found.groups)) == {frozenset({"high", "twin"})}
    lower = critical_difference(table, method=method, direction="lower")
    assert next(iter(lower.ranks)) == "low"
    assert all(0 <= p <= 1 for p in found.p_values.values())


def test_without_any_difference_all_are_one_group():
    rng = np.random.default_rng(3)
    table = {name: dict(enumerate(rng.normal(size=10))) for name in "abcd"}
    assert critical_difference(table).groups == (tuple(critical_difference(table).ranks),)
    same = {name: dict.fromkeys(range(5), 1.0) for name in "abc"}
    found = critical_difference(same)
    assert found.p == 1.0
    assert set(found.groups[0]) == set("abc")


def test_five_instances_show_nothing_by_signed_ranks():
    table = {name: {i: rank + 0.01 * i for i in range(5)} for rank, name in enumerate("abc")}
    assert critical_difference(table, method="wilcoxon").groups[0] == ("c", "b", "a")
    assert critical_difference(table).groups != (("c", "b", "a"),)  # Nemenyi's test needs fewer


def test_instances_that_lack_a_method_are_dropped_and_counted():
    table = scores()
    del table["C4.5"][3]
    found = critical_difference(table)
    assert (found.n, found.dropped) == (13, 1)


def test_too_little_is_refused():
    for wrong in ({"a": {1: 0.0, 2: 0.1}, "b": {1: 0.0, 2: 0.2}}, {name: {1: 0.0} for name in "abc"}):
        with pytest.raises(ValueError, match="3 methods and 2 instances"):
            critical_difference(wrong)
    with pytest.raises(ValueError, match="no post-hoc test"):
        critical_difference(scores(), method="tukey")
    with pytest.raises(ValueError, match="higher or lower"):
        critical_difference(scores(), direction="none")
