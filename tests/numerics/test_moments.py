"""Streaming moments: any cut of the rows gives the same, and a large mean costs no digits."""

from functools import reduce

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.numerics.moments import Moments


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_moments_of_pieces_merge_to_those_of_the_whole(sizes, seed):
    x = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    merged = reduce(Moments.merge, map(Moments.of, torch.split(x, sizes)))
    whole = Moments.of(x)
    assert merged.count == len(x)
    torch.testing.assert_close(merged.mean, x.mean(dim=0))
    torch.testing.assert_close(merged.covariance, whole.covariance)


def test_covariance_survives_a_mean_a_billion_deviations_away():
    x = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.cov(x.T, correction=0)
    far = reduce(Moments.merge, map(Moments.of, (x + 1e9).split(100)))
    torch.testing.assert_close(far.covariance, exact, rtol=1e-5, atol=1e-5)


def test_one_row_has_no_spread():
    assert not Moments.of(torch.ones(1, 3)).covariance.any()
