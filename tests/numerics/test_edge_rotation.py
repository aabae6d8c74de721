"""Frames with few edges: known minima, invariances, and the threshold."""

import numpy as np
import pytest
import torch

from testbed.numerics.edge_rotation import fewest_edges, profile, smallest_codes, strong


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(m=5, d=30, seen=2, seed=0, correlated=True):
    """Moments of a linear sparse decoder in whitened codes, and W of the concepts, whose correlations are not 0."""
    g = generator(seed)
    support = torch.rand(d, m, generator=g).argsort(dim=1) < seen
    loadings = support * (0.5 + torch.rand(d, m, generator=g)) * (torch.randint(2, (d, m), generator=g) * 2 - 1)
    turn = torch.eye(m) + (0.2 * torch.randn(m, m, generator=g) if correlated else 0)
    turn = torch.nn.functional.normalize(turn, dim=1)
    rows = loadings @ turn  # x = loadings s, s = W u
    return torch.einsum("ia,ib->iab", rows, rows), turn, loadings


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_sparse_frame_is_found_though_its_codes_are_correlated(power):
    moments, turn, loadings = problem()
    frame = fewest_edges(moments, generator(), starts=32, power=power)
    overlap = (frame.turn @ torch.linalg.inv(turn)).abs()  # a signed permutation, up to scale
    assert (overlap.max(dim=1).values / overlap.sum(dim=1)).min() > 0.97
    found = profile(moments, frame.turn)[:, overlap.argmax(dim=0)]
    torch.testing.assert_close(found, loadings.abs(), rtol=0.02, atol=0.02)
    torch.testing.assert_close(frame.turn.norm(dim=1), torch.ones(5))


def test_an_orthogonal_frame_cannot_have_correlated_codes():
    moments, turn, _ = problem(correlated=False)
    frame = fewest_edges(moments, generator(), starts=32, oblique=False)
    torch.testing.assert_close(frame.turn @ frame.turn.T, torch.eye(5), rtol=1e-4, atol=1e-4)
    assert (frame.turn @ turn.T).abs().max(dim=1).values.min() > 0.97
    skew, turn, _ = problem()
    assert fewest_edges(skew, generator(), 32, oblique=False).losses[0] > fewest_edges(skew, generator(), 32).losses[0] * 1.05


def test_the_best_start_wins_and_ends_are_in_order():
    losses = fewest_edges(problem(seen=3)[0], generator(), starts=16).losses
    assert torch.equal(losses, losses.sort().values)
    assert len(losses) == 8


def test_a_profile_is_the_jacobian_in_the_new_frame():
    g = generator(1)
    slopes, turn = torch.randn(40, 6, 3, generator=g), torch.nn.functional.normalize(torch.randn(3, 3, generator=g), dim=1)
    moments = torch.einsum("nia,nib->iab", slopes, slopes) / 40
    expected = (slopes @ torch.linalg.inv(turn)).square().mean(dim=0).sqrt()
    torch.testing.assert_close(profile(moments, turn), expected, rtol=1e-4, atol=1e-4)


def test_sparse_codes_are_found_by_their_size():
    rng = np.random.default_rng(0)
    s = torch.tensor(rng.laplace(size=(4000, 4)) / np.sqrt(2), dtype=torch.float32)
    mixed = torch.linalg.qr(torch.randn(4, 4, generator=generator(2)))[0]
    found = smallest_codes(s @ mixed.T, generator())
    assert (found.turn @ mixed).abs().max(dim=1).values.min() > 0.98
    assert torch.equal(found.losses, found.losses.sort().values)


def test_two_groups_of_strengths_are_split_between():
    strength = torch.tensor([[1.0, 0.9, 0.02], [0.01, 1.2, 0.8]])
    assert torch.equal(strong(strength), strength > 0.5)
    assert torch.equal(strong(7 * strength), strong(strength))
    assert not strong(torch.zeros(2, 3)).any()
    assert strong(torch.ones(2, 3)).all()
