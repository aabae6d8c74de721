"""Ranks: scipy's, whatever the ties, and sparse columns stay sparse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from testbed.contracts import SparseRows
from testbed.numerics.covariances import correlation
from testbed.numerics.ranks import centred_ranks


def tied(n, m, seed, rate=0.3):
    g = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, m, generator=g)).round() * (torch.rand(n, m, generator=g) < rate)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_ranks_are_scipys_up_to_a_constant_of_the_column(n, m, seed):
    x = tied(n, m, seed)
    expected = rankdata(x.numpy(), axis=0)
    for found in (centred_ranks(x).double().numpy(), centred_ranks(SparseRows.from_dense(x)).dense().double().numpy()):
        np.testing.assert_array_equal(found - found[:1], expected - expected[:1])


def test_zeros_of_sparse_rows_stay_zeros_and_a_stored_zero_is_one_of_them():
    x = tied(200, 4, 0)
    whole = SparseRows.from_dense(torch.ones_like(x))
    stored = SparseRows(whole.indptr, whole.indices, x.flatten(), whole.shape)
    ranks = centred_ranks(SparseRows.from_dense(x))
    assert torch.equal(ranks.dense() == 0, x == 0)
    assert torch.equal(centred_ranks(stored).dense(), ranks.dense())


def test_correlations_of_ranks_are_spearmans():
    x, y = tied(300, 3, 1), tied(300, 4, 2) + tied(300, 1, 1)
    expected = np.array([[spearmanr(a, b).statistic for b in y.T.numpy()] for a in x.T.numpy()])
    for left in (x, SparseRows.from_dense(x)):
        for right in (y, SparseRows.from_dense(y)):
            np.testing.assert_allclose(correlation(centred_ranks(left), centred_ranks(right)), expected, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_constant_column_has_no_ranks_to_correlate(value):
    x, constant = tied(50, 2, 3), torch.full((50, 1), value)
    for rows in (constant, SparseRows.from_dense(constant)):
        assert not correlation(centred_ranks(x), centred_ranks(rows)).any()
