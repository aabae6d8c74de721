"""The networks of a variational autoencoder: what they are at first, and what they keep."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.estimators.nonlinear.networks import decoded, encoded, flowed, jacobian, new_weights, reframed


def networks(d, m, seed, flow=False):
    """Weights with all that is 0 at first drawn at random, and rows."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(64, d, generator=g)
    p = new_weights(x, m, 2, 8, g, flow)
    return {name: w + 0.3 * torch.randn(w.shape, generator=g) if not w.any() else w for name, w in p.items()}, x


@settings(max_examples=25, deadline=None)
@given(d=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_flow_is_undone_by_its_inverse(d, seed):
    p, x = networks(d, 1, seed, flow=True)
    y = flowed(p, x)
    assert (y - x).abs().amax(dim=0).min() > 0, "a coordinate that no coupling moves"
    torch.testing.assert_close(flowed(p, y, back=True), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("flow", [False, True])
def test_at_first_both_encoders_are_principal_scores(flow):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(500, 6, generator=g) * torch.arange(1.0, 7.0)
    u = encoded(new_weights(x, 2, 2, 8, g, flow), x - x.mean(dim=0))
    torch.testing.assert_close(u.T.cov(), torch.eye(2), rtol=1e-3, atol=1e-3)
    assert torch.stack([u[:, 0], x[:, 5]]).corrcoef()[0, 1].abs() > 0.99


@pytest.mark.parametrize("flow", [False, True])
def test_another_frame_is_the_same_autoencoder(flow):
    p, x = networks(5, 3, 1, flow)
    forward = torch.randn(3, 3, generator=torch.Generator().manual_seed(2)) + 2 * torch.eye(3)
    shift = torch.tensor([1.0, -2.0, 0.5])
    turned = reframed(p, shift, forward, torch.linalg.inv(forward))
    torch.testing.assert_close(encoded(turned, x), (encoded(p, x) - shift) @ forward.T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoded(turned, encoded(turned, x)), decoded(p, encoded(p, x)), rtol=1e-3, atol=1e-3)


def test_the_jacobian_is_that_of_the_decoder():
    p, x = networks(5, 3, 0)
    s = encoded(p, x)[:4]
    found = jacobian(p, s)
    for row in range(4):
        exact = torch.autograd.functional.jacobian(lambda one: decoded(p, one[None])[0], s[row])
        torch.testing.assert_close(found[row], exact, rtol=1e-4, atol=1e-5)
