"""Varimax and promax: the criterion is at a maximum, known structure is found, and oblique factors keep their variance."""

import numpy as np
import pytest
import torch

from testbed.numerics.rotation import promax, varimax


def simple(n=60, m=4, seed=0):
    """Loadings of perfect simple structure: each row has one entry."""
    g = torch.Generator().manual_seed(seed)
    loadings = torch.zeros(n, m, dtype=torch.float64)
    loadings[torch.arange(n), torch.arange(n) % m] = torch.rand(n, generator=g, dtype=torch.float64) + 0.5
    return loadings


def rotation(m, seed=1):
    return torch.linalg.qr(torch.randn(m, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q


def criterion(loadings):
    return float(loadings.square().var(dim=0, correction=0).sum())


def test_simple_structure_is_rotated_back():
    loadings = simple()
    found, converged = varimax(loadings @ rotation(4))
    assert converged
    torch.testing.assert_close(found.T @ found, torch.eye(4, dtype=torch.float64))
    back = (loadings @ rotation(4) @ found).abs()
    assert sorted(map(tuple, (back > 1e-3).T.tolist())) == sorted(map(tuple, (loadings > 0).T.tolist()))


def test_no_rotation_in_a_plane_raises_the_criterion():
    loadings = torch.randn(50, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, _ = varimax(loadings)
    best = criterion(loadings @ found)
    assert best > criterion(loadings)
    for i in range(5):
        for j in range(i):
            for angle in np.linspace(-1.5, 1.5, 31):
                turn = torch.eye(5, dtype=torch.float64)
                turn[i, i] = turn[j, j] = np.cos(angle)
                turn[i, j], turn[j, i] = np.sin(angle), -np.sin(angle)
                assert criterion(loadings @ found @ turn) <= best * (1 + 1e-6)


def test_a_rotation_that_is_not_done_says_so():
    assert not varimax(simple() @ rotation(4), max_iter=1)[1]


@pytest.mark.parametrize("power", [1.5, 4.0])
def test_promax_factors_have_variance_1_and_sharper_loadings(power):
    g = torch.Generator().manual_seed(3)
    mixing = torch.eye(4, dtype=torch.float64) + 0.3 * torch.rand(4, 4, generator=g, dtype=torch.float64)
    loadings = simple() @ mixing  # an oblique truth
    rotated = loadings @ varimax(loadings)[0]
    change = promax(rotated, power)
    covariance = torch.linalg.inv(change.T @ change)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(4, dtype=torch.float64))
    if power == 4:
        small = (rotated @ change).abs().sort(dim=1).values[:, :3].mean()
        assert small < 0.25 * rotated.abs().sort(dim=1).values[:, :3].mean()


def test_promax_leaves_perfect_structure_alone_and_power_1_everything():
    loadings = simple()
    torch.testing.assert_close(promax(loadings, 1.0), torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
    change = promax(loadings, 4.0)
    torch.testing.assert_close(change, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
