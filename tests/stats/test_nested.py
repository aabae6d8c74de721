"""Sources of noise are told apart: known variances come back, and intervals cover what they speak of."""

import math

import numpy as np
import pytest

from testbed.stats import mean_interval, nested_bootstrap, variance_components


def drawn(rng, instances=6, seeds=3, rows=10, sd=(1.0, 0.5, 2.0)):
    """Scores with independent normal noise of instances, fits, and rows."""
    out = {}
    for i in range(instances):
        a = sd[0] * rng.normal()
        fits = seeds[i % len(seeds)] if isinstance(seeds, tuple) else seeds
        out[i] = {
            k: list(a + sd[1] * rng.normal() + sd[2] * rng.normal(size=rows + (i if isinstance(seeds, tuple) else 0))) for k in range(fits)
        }
    return out


@pytest.mark.parametrize("seeds", [3, (1, 2, 5)])
def test_moments_are_unbiased_for_equal_and_unequal_numbers(seeds):
    rng = np.random.default_rng(0)
    sd = (2.0, 1.0, 1.5)
    found = [variance_components(drawn(rng, 12, seeds, 4, sd)) for _ in range(1500)]
    assert np.mean([f.row for f in found]) == pytest.approx(1.5**2, rel=0.03)
    assert np.mean([f.fit_seed for f in found]) == pytest.approx(1.0, rel=0.06)  # hardly ever cut off at 0
    assert np.mean([f.instance for f in found]) == pytest.approx(4.0, rel=0.06)


def test_balanced_components_are_those_of_the_analysis_of_variance():
    scores = {"a": {0: 1.0, 1: 3.0}, "b": {0: 6.0, 1: 8.0}, "c": {0: 5.0, 1: 4.0}}
    found = variance_components(scores)
    within = (2 + 2 + 0.5) / 3
    between = 2 * np.var([2.0, 7.0, 4.5], ddof=1)
    assert found.fit_seed == pytest.approx(within)
    assert found.instance == pytest.approx((between - within) / 2)
    assert (found.row, found.truncated) == (0.0, ())
    assert found.error(3, 2) == pytest.approx(np.std([2.0, 7.0, 4.5], ddof=1) / math.sqrt(3))


def test_a_negative_variance_is_cut_off_and_named():
    found = variance_components({0: {0: -1.0, 1: 1.0}, 1: {0: 1.0, 1: -1.0}})
    assert (found.instance, found.truncated) == (0.0, ("instance",))
    assert found.fit_seed == pytest.approx(2.0)


def test_one_fit_each_cannot_tell_instances_from_fits():
    with pytest.raises(ValueError, match="2 fits of one of them"):
        variance_components({0: {0: 1.0}, 1: {0: 2.0}})
    with pytest.raises(ValueError, match="finite values"):
        variance_components({0: {0: math.nan, 1: 1.0}, 1: {0: 2.0}})


def test_instances_as_clusters_give_the_interval_of_their_means():
    scores = drawn(np.random.default_rng(1))
    plain = mean_interval([float(np.mean([np.mean(rows) for rows in fits.values()])) for fits in scores.values()])
    found = nested_bootstrap(scores, resamples=20_000)
    assert found.mean == pytest.approx(plain.mean)
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.03)
    assert found.n == 6


@pytest.mark.parametrize(
    ("vary", "noisy"), [(("instance",), (1.0, 0.7, 0.0)), (("fit_seed",), (0.0, 1.0, 0.0)), (("row",), (0.0, 0.0, 1.0))]
)
def test_intervals_cover_what_they_speak_of(vary, noisy):
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        found = nested_bootstrap(drawn(rng, 4, 3, 6, noisy), vary, shared_rows=False, resamples=500)
        inside += found.low <= 0 <= found.high
    assert inside / 400 == pytest.approx(0.95, abs=0.035)


def test_only_the_noise_that_varies_shows():
    rng = np.random.default_rng(3)
    scores = drawn(rng, 5, 3, 8, (10.0, 1.0, 0.0))
    width = {vary: (f := nested_bootstrap(scores, (vary,), shared_rows=False)).high - f.low for vary in ("instance", "fit_seed", "row")}
    assert width["row"] == pytest.approx(0.0, abs=1e-9)
    assert width["fit_seed"] < 0.3 * width["instance"]
    means = [[np.mean(rows) for rows in fits.values()] for fits in scores.values()]
    error = math.sqrt(sum(np.var(m, ddof=1) / 3 for m in means)) / 5
    found = nested_bootstrap(scores, ("fit_seed",), resamples=20_000)
    assert (found.high - found.low) / 2 == pytest.approx(2.228 * error, rel=0.03)  # 10 degrees of freedom


def test_nesting_everything_counts_lower_noise_twice():
    scores = drawn(np.random.default_rng(4), 8, 3, 5, (0.0, 1.0, 0.0))
    clusters, everything = nested_bootstrap(scores), nested_bootstrap(scores, ("instance", "fit_seed", "row"))
    assert everything.high - everything.low > 1.2 * (clusters.high - clusters.low)


def test_shared_rows_are_drawn_together():
    rng = np.random.default_rng(5)
    scores = {}
    for i in range(4):
        rows = rng.normal(size=50)
        scores[i] = {k: list(rows) for k in range(3)}  # the fits agree row by row: three say no more than one
    together, apart = nested_bootstrap(scores, ("row",)), nested_bootstrap(scores, ("row",), shared_rows=False)
    assert together.high - together.low == pytest.approx(math.sqrt(3) * (apart.high - apart.low), rel=0.1)
    scores[0][0] = [0.0]
    with pytest.raises(ValueError, match="shared_rows=False"):
        nested_bootstrap(scores, ("row",))


def test_a_single_thing_does_not_vary():
    found = nested_bootstrap({0: {0: 1.0}, 1: {0: 3.0}}, ("fit_seed",))
    assert found.mean == 2.0
    assert math.isnan(found.low)
    with pytest.raises(ValueError, match="sources of noise"):
        nested_bootstrap({0: {0: 1.0}}, ("sample",))
