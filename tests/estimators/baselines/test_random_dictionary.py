"""The random baseline is random, and as good as its directions allow."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.baselines.random_dictionary import RandomDictionary

X = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)) + 4


def test_directions_follow_from_the_seed_and_not_from_the_data():
    a, b = (RandomDictionary(64, 8).fit(x, seed=1) for x in (X, X.flip(0) * 3))
    assert torch.equal(a.dictionary_, b.dictionary_)
    assert not torch.equal(a.dictionary_, RandomDictionary(64, 8).fit(X, seed=2).dictionary_)
    torch.testing.assert_close(a.dictionary_.norm(dim=1), torch.ones(64))


def test_the_gain_is_the_least_squares_one_so_that_the_mean_is_never_better():
    fitted = RandomDictionary(64, 8).fit(X, seed=1)
    codes = fitted.encode(X)
    assert codes.indptr.diff().max() <= 8

    def error(gain):
        return float((X - X.mean(dim=0) - gain * (fitted.decode(codes) - fitted.bias_)).square().sum())

    assert error(1.0) < error(0.0)
    assert error(1.0) <= min(error(0.99), error(1.01))


def test_more_active_codes_than_codes_are_refused():
    with pytest.raises(InvalidInput, match="n_codes = 4"):
        RandomDictionary(4, 5).fit(X, seed=0)
