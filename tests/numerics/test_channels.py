"""Noise on tuples: taken out, and its rate."""

import numpy as np
import pytest

from testbed.numerics.channels import admissible, noise_rate, refined_rate, symmetric, through, without_noise


def meant(n):
    """Six of 25 tuples."""
    table = np.zeros((5, 5))
    table[[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 2]] = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1]) * n
    return table


def test_expected_counts_give_back_what_was_meant():
    table, channels = meant(1000), [symmetric(5, 0.05)] * 2
    found = without_noise(through(table, channels), channels, table > 0, rounds=300)
    assert found == pytest.approx(table, abs=0.05)
    assert found.sum() == pytest.approx(1000, rel=1e-3)


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_rate_is_that_of_the_channel_and_more_rows_do_not_hurt(noise):
    for n in (10_000, 1_000_000):
        seen = np.random.default_rng(0).poisson(through(meant(n), [symmetric(5, noise)] * 2)).astype(float)
        rate = refined_rate([seen], noise_rate([seen]), 0.01)
        assert rate == pytest.approx(noise, rel=0.15 if n == 10_000 else 0.02)
        assert ((meant(n) > 0) == admissible(seen, [symmetric(5, rate)] * 2, 0.01)).all()


def test_nothing_rare_is_no_noise():
    assert noise_rate([np.full((4, 4), 100.0)]) == 0.0
    assert refined_rate([np.full((4, 4), 100.0)], 0.0, 0.01) == 0.0
