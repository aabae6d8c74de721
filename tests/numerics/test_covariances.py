"""Covariances of dense and sparse rows: numpy's, whichever form they come in."""

import numpy as np
import pytest
import torch

from testbed.contracts import BLOCK, InvalidInput, SparseRows
from testbed.numerics.covariances import compressed, correlation, covariance, mean, variance


def rows(n, m, seed, rate=0.2, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, m, generator=g) * (torch.rand(n, m, generator=g) < rate)).double() + shift


def forms(x):
    return [x, SparseRows.from_dense(x)]


@pytest.mark.parametrize("n", [1, 7, 500, 2 * BLOCK + 3])
def test_moments_are_numpys_in_every_form(n):
    x, y = rows(n, 4, 0), rows(n, 3, 1, shift=2.0)
    expected = np.cov(np.hstack([x, y]).T, bias=True)[:4, 4:] if n > 1 else np.zeros((4, 3))
    for left in forms(x):
        np.testing.assert_allclose(mean(left), x.mean(dim=0), atol=1e-12)
        np.testing.assert_allclose(variance(left), x.var(dim=0, correction=0), atol=1e-12)
        for right in forms(y):
            np.testing.assert_allclose(covariance(left, right), expected, atol=1e-12)


def test_correlation_is_signed_and_0_for_a_constant_column():
    x = rows(400, 2, 2)
    y = torch.cat([-3 * x, torch.full((400, 1), 7.0)], dim=1)
    for left in forms(x):
        for right in forms(y):
            found = correlation(left, right)
            np.testing.assert_allclose(found[:, :2].diagonal(), -1.0, atol=1e-12)
            assert not found[:, 2].any()


def test_a_mean_far_from_0_costs_no_digits():
    x = rows(1000, 3, 3, rate=1.0)
    np.testing.assert_allclose(covariance(x + 1e6, x + 1e6), covariance(x, x), rtol=1e-8, atol=1e-9)


def test_rows_that_are_mostly_zero_are_compressed_and_others_are_not():
    few, many = rows(BLOCK + 50, 6, 4, rate=0.05), rows(100, 6, 4, rate=0.9)
    found = compressed(few)
    assert isinstance(found, SparseRows)
    assert torch.equal(found.dense(), few)
    assert compressed(many) is many
    assert compressed(found) is found


def test_other_numbers_of_rows_are_refused():
    with pytest.raises(InvalidInput, match="3 rows and 4"):
        covariance(torch.zeros(3, 1), torch.zeros(4, 1))
