"""Random data points are points of the data, and refused where there are not enough."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.baselines.random_data_points import RandomDataPoints
from testbed.numerics.matching import cosine

X = torch.randn(500, 16, generator=torch.Generator().manual_seed(0)) + 4


def test_every_atom_is_another_row_about_the_mean():
    fitted = RandomDataPoints(64, 8).fit(X, seed=1)
    nearest = cosine(X - X.mean(dim=0), fitted.dictionary_).max(dim=0)
    assert (nearest.values > 0.99999).all()
    assert len(nearest.indices.unique()) == 64
    assert fitted.encode(X).indptr.diff().max() <= 8
    assert not torch.equal(fitted.dictionary_, RandomDataPoints(64, 8).fit(X, seed=2).dictionary_)


def test_rows_at_the_mean_are_no_directions_and_too_few_rows_are_refused():
    x = torch.cat([X[:10] - X[:10].mean(dim=0), torch.zeros(30, 16)])
    RandomDataPoints(10, 2).fit(x, seed=0)
    with pytest.raises(InvalidInput, match="10 of 40 rows differ from the mean, but n_codes = 11"):
        RandomDataPoints(11, 2).fit(x, seed=0)
    with pytest.raises(InvalidInput, match="0 of 9 rows"):
        RandomDataPoints(1, 1).fit(torch.full((9, 3), 0.1), seed=0)
