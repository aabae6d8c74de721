"""The two-sample test: its definition, its level, its power."""

import itertools

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.numerics.mmd import fourier_features, kernel, two_sample_test


def normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_the_statistic_is_the_unbiased_sum_over_pairs():
    x, y = normal(7, 2, 0), normal(5, 2, 1)
    pooled = torch.cat([x, y])
    k = kernel(pooled / pooled.std(dim=0))
    first, second = range(7), range(7, 12)
    wanted = (
        sum(k[i, j] for i, j in itertools.permutations(first, 2)) / 42 + sum(k[i, j] for i, j in itertools.permutations(second, 2)) / 20
    )
    wanted -= 2 * sum(k[i, j] for i in first for j in second) / 35
    assert two_sample_test(x, y, permutations=1).mmd2 == pytest.approx(float(wanted))


@pytest.mark.parametrize("features", [None, 16])
def test_p_values_of_equal_laws_are_uniform(features):
    """100 tests: the mean of their p-values lies within four standard errors of 1/2, and 5 % reject at 5 %, up to chance."""
    samples = [(normal(40, 2, 2 * s), normal(60, 2, 2 * s + 1)) for s in range(100)]
    p = torch.tensor([two_sample_test(x, y, permutations=99, features=features).p_value for x, y in samples])
    assert abs(float(p.mean()) - 0.5) < 4 * (1 / 12 / 100) ** 0.5
    assert int((p <= 0.05).sum()) <= 14  # binomial(100, .05): P(> 14) = 1e-4


def test_features_approximate_the_kernel_and_give_the_unbiased_sum_over_pairs():
    rows = normal(200, 3, 0)
    features = fourier_features(rows, 4096, torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(features @ features.T, kernel(rows), rtol=0, atol=0.1)
    x, y = normal(30, 2, 0), normal(20, 2, 1)
    pooled = torch.cat([x, y])
    few = fourier_features(pooled / pooled.std(dim=0), 8, torch.Generator().manual_seed(3)).double()
    k = few @ few.T
    off = ~torch.eye(50, dtype=torch.bool)
    wanted = (k * off)[:30, :30].sum() / 870 + (k * off)[30:, 30:].sum() / 380 - 2 * k[:30, 30:].mean()
    assert two_sample_test(x, y, permutations=1, seed=3, features=8).mmd2 == pytest.approx(float(wanted), abs=1e-6)


@pytest.mark.parametrize("features", [None, 64])
@pytest.mark.parametrize("what", ["shift", "scale", "dependence"])
def test_other_laws_are_told_apart(what, features):
    x, y = normal(600, 2, 0), normal(600, 2, 1)
    if what == "shift":
        y = y + 0.3
    elif what == "scale":
        y = 1.4 * y
    else:  # the same marginals
        y[:, 1] = 0.7 * y[:, 0] + 0.51**0.5 * y[:, 1]
    assert two_sample_test(x, y, permutations=499, features=features).p_value == 2e-3
    assert two_sample_test(x, normal(600, 2, 2), permutations=499, features=features).p_value > 2e-3


def test_columns_that_do_not_vary_are_left_out_and_units_do_not_matter():
    x, y = normal(50, 2, 0), normal(50, 2, 1)
    plain = two_sample_test(x, y)
    wider = [torch.cat([1000 * z[:, :1], z[:, 1:], torch.full((50, 1), 3.0)], dim=1) for z in (x, y)]
    assert two_sample_test(*wider).mmd2 == pytest.approx(plain.mmd2)


def test_what_is_no_sample_is_refused():
    x = normal(10, 2, 0)
    for a, b in ((x, x[:1]), (x, normal(10, 3, 1)), (x[0], x)):
        with pytest.raises(InvalidInput, match="at least 2 rows"):
            two_sample_test(a, b)
    with pytest.raises(InvalidInput, match="finite"):
        two_sample_test(x, x * torch.nan)
    with pytest.raises(InvalidInput, match="all the same"):
        kernel(torch.ones(5, 2))
