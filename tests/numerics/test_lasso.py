"""Lasso paths and linear readouts against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, Ridge

from testbed.numerics.lasso_kernel import lasso_paths
from testbed.numerics.linear_readout import RIDGE, explained_out_of_sample


def data(n=400, m=12, t=3, seed=0):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, m)) + r.normal(size=(n, 1))
    x = (x - x.mean(0)) / x.std(0)
    y = x[:, :t] @ r.normal(size=(t, t)) + 0.3 * r.normal(size=(n, t))
    return x, y - y.mean(0)


def test_paths_are_those_of_scikit_learn():
    x, y = data()
    gram, cross = x.T @ x / len(x), np.ascontiguousarray(y.T @ x / len(x))
    shares = np.array([1.0, 0.3, 0.01])
    weights = np.zeros((3, 3, 12))
    lasso_paths(gram, cross, shares, 1000, 1e-10, weights)
    assert not weights[0].any()
    for t in range(3):
        for step in (1, 2):
            fit = Lasso(alpha=shares[step] * np.abs(cross[t]).max(), fit_intercept=False, tol=1e-10, max_iter=10000).fit(x, y[:, t])
            assert weights[step, t] == pytest.approx(fit.coef_, abs=1e-6)


def test_a_readout_is_ridge_regression_judged_on_new_rows():
    x, y = data()
    half = 200
    parts = [torch.from_numpy(part) for part in (x[:half], y[:half], x[half:], y[half:])]
    left, total = explained_out_of_sample(*parts)
    scaled = (x - x[:half].mean(0)) / x[:half].std(0)
    fit = Ridge(alpha=RIDGE * half).fit(scaled[:half], y[:half])
    assert left == pytest.approx(((y[half:] - fit.predict(scaled[half:])) ** 2).sum(0))
    assert total == pytest.approx(((y[half:] - y[:half].mean(0)) ** 2).sum(0))
