"""Many logistic regressions at once are each the one that scikit-learn finds; cuts are the best there are."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from testbed.numerics.logistic import best_cut, logistic_readouts


def test_each_readout_is_the_one_fitted_alone():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 5, generator=g, dtype=torch.float64) @ torch.randn(5, 5, generator=g, dtype=torch.float64) + 3
    truth = torch.randn(5, 3, generator=g, dtype=torch.float64)
    scores = (x - 3) @ truth + torch.tensor([0.0, -2, 1])
    events = torch.rand(2000, 3, generator=g) < scores.sigmoid()
    weights, intercept, converged = logistic_readouts(x, events, ridge=1e-8, max_iter=200)
    assert converged
    for j in range(3):
        alone = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x.numpy(), events[:, j].numpy())
        torch.testing.assert_close(weights[:, j], torch.from_numpy(alone.coef_[0]), rtol=1e-3, atol=1e-3)
        assert float(intercept[j]) == pytest.approx(alone.intercept_[0], abs=1e-2)


def test_separable_constant_and_missing_events_stay_finite():
    x = torch.linspace(-1, 1, 100)[:, None] * torch.ones(1, 3)  # rank 1
    events = torch.stack([x[:, 0] > 0, torch.zeros(100, dtype=torch.bool), torch.ones(100, dtype=torch.bool)], dim=1)
    weights, intercept, _ = logistic_readouts(x, events, ridge=1e-4, max_iter=100)
    assert weights.isfinite().all()
    assert intercept.isfinite().all()
    scores = x @ weights + intercept
    assert ((scores[:, 0] > 0) == events[:, 0]).all()
    assert (scores[:, 1] < 0).all()
    assert (scores[:, 2] > 0).all()


def test_no_cut_has_a_higher_f1():
    g = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 30, (200, 4), generator=g).double()  # with many ties
    events = torch.rand(200, 4, generator=g) < (scores / 40)
    cut = best_cut(scores, events)
    for j in range(4):
        found = f1_score(events[:, j], scores[:, j] > cut[j])
        assert found == pytest.approx(max(f1_score(events[:, j], scores[:, j] > t - 0.5) for t in range(31)))


def test_where_nothing_happens_nothing_is_called():
    scores = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    assert not (scores > best_cut(scores, torch.zeros(50, 1, dtype=torch.bool))).any()
