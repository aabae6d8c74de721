"""Ridge from moments: least squares, scikit-learn, and what generalised cross-validation is for."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score

from testbed.numerics.ridge import PENALTIES, Joint, ridge


def data(n, m, c, noise, seed=0, shift=1.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, m, generator=g, dtype=torch.float64) + shift
    y = x @ torch.randn(m, c, generator=torch.Generator().manual_seed(99), dtype=torch.float64) - 2
    return x, y + noise * torch.randn(n, c, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("intercept", [True, False])
def test_with_many_rows_it_is_least_squares_and_r2_is_sklearns(intercept):
    (x, y), (x_new, y_new) = data(3000, 5, 3, 0.5), data(1000, 5, 3, 0.5, seed=1)
    model = LinearRegression(fit_intercept=intercept).fit(x, y)
    found = ridge(Joint.of(x, y), intercept=intercept)
    np.testing.assert_allclose(found.weights, model.coef_.T, atol=2e-3)
    expected = r2_score(y_new, model.predict(x_new.numpy()), multioutput="raw_values")
    np.testing.assert_allclose(found.r2(Joint.of(x_new, y_new)), expected, atol=1e-4)


def test_the_penalty_is_the_one_that_sklearns_cross_validation_by_eigenvalues_prefers():
    """Leave-one-out and generalised cross-validation agree where all rows have about the same leverage."""
    x, y = data(400, 40, 1, 8.0)
    unit = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    model = RidgeCV(alphas=[len(x) * p for p in PENALTIES]).fit(unit, y[:, 0])
    found = ridge(Joint.of(x, y)).weights[:, 0] * x.std(dim=0, correction=0)
    np.testing.assert_allclose(found, model.coef_, atol=1e-6)


def test_r2_from_moments_is_r2_of_the_predictions():
    (x, y), (x_new, y_new) = data(60, 20, 2, 3.0), data(50, 20, 2, 3.0, seed=2)
    found = ridge(Joint.of(x, y))
    expected = r2_score(y_new, x_new @ found.weights + found.intercept, multioutput="raw_values")
    np.testing.assert_allclose(found.r2(Joint.of(x_new, y_new)), expected, atol=1e-10)


def test_noise_explains_a_share_m_over_n_in_sample_and_nothing_held_out():
    g = torch.Generator().manual_seed(0)
    n, m = 500, 410
    x, y = torch.randn(2 * n, m, generator=g), torch.randn(2 * n, 20, generator=g)
    in_sample = LinearRegression().fit(x[:n], y[:n]).score(x[:n], y[:n])
    assert in_sample == pytest.approx(m / n, abs=0.03)
    held_out = ridge(Joint.of(x[:n], y[:n])).r2(Joint.of(x[n:], y[n:]))
    assert -0.05 < held_out.mean() < 0.01


def test_more_predictors_than_rows_constant_ones_and_copies_are_no_trouble():
    x, y = data(100, 8, 2, 0.0)
    wide = torch.cat([x, x, torch.full((100, 3), 5.0, dtype=torch.float64), torch.randn(100, 300).double() * 1e-3], dim=1)
    found = ridge(Joint.of(wide[:50], y[:50])).r2(Joint.of(wide[50:], y[50:]))
    assert found.isfinite().all()
    copies = ridge(Joint.of(wide[:50, :19], y[:50])).r2(Joint.of(wide[50:, :19], y[50:]))
    np.testing.assert_allclose(copies, 1.0, atol=1e-6)


def test_without_predictors_the_mean_is_predicted_and_a_constant_target_counts_0():
    x, y = data(200, 3, 2, 1.0)
    y[:, 1] = 4.0
    nothing = ridge(Joint.of(x[:100, :0], y[:100])).r2(Joint.of(x[100:, :0], y[100:]))
    assert -0.1 < nothing[0] <= 0
    assert nothing[1] == 0
    assert ridge(Joint.of(x, y)).r2(Joint.of(x, y))[1] == 0


def test_a_prediction_worse_than_the_mean_is_negative():
    x, y = data(200, 3, 1, 0.1)
    assert ridge(Joint.of(x, y)).r2(Joint.of(x, -y))[0] < -1
