"""Couplings: invertible, with the Jacobian that they state; linear and orthogonal at strength 0."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.selection.continuous.couplings import Coupling, coupling_of, draw_couplings
from testbed.contracts import InvalidInput


def tuples(s, seed, n=50):
    return 3 * torch.randn(n, s, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(s=st.integers(2, 4), strength=st.floats(0, 3), seed=st.integers(0, 1000))
def test_the_coupling_is_a_bijection_of_tuples(s, strength, seed):
    (coupling,) = draw_couplings(1, s, "random", strength, seed, 0)
    t = tuples(s, seed)
    v, e = coupling.compose(t)
    assert e.shape == (50, s - 1)
    torch.testing.assert_close(coupling.decompose(v, e), t, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("strength", [0.0, 0.7, 2.0])
def test_the_determinant_is_the_jacobians(strength):
    (coupling,) = draw_couplings(1, 3, "random", strength, 1, 0)
    t = tuples(3, 0)

    def whole(row):
        v, e = coupling.compose(row)
        return torch.cat([v[None], e])

    jacobian = torch.func.vmap(torch.func.jacrev(whole))(t)
    torch.testing.assert_close(coupling.log_det(t), torch.linalg.slogdet(jacobian).logabsdet)


def test_at_strength_0_it_is_orthogonal_with_the_weights_as_first_row():
    (coupling,) = draw_couplings(1, 4, "random", 0.0, 3, 0)
    v, e = coupling.compose(torch.eye(4, dtype=torch.float64))
    T = torch.cat([v[:, None], e], dim=1).T
    torch.testing.assert_close(T @ T.T, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(T[0], coupling.weights())


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_any_direction_can_be_the_gradient_at_0(strength):
    a = torch.tensor([0.5, -1.0, 2.0, -0.1], dtype=torch.float64)
    coupling = coupling_of(a, (strength,) * 3)
    gradient = torch.func.grad(lambda t: coupling.compose(t)[0])(torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(gradient, a / a.norm())
    torch.testing.assert_close(gradient, coupling.weights())


def test_a_bent_chain_is_monotone_in_each_constituent_and_no_sum():
    coupling = Coupling((1.0, -1.0, 1.0), (0.6, 0.9), (0.5, 1.5))
    t = tuples(3, 2)
    gradient = torch.func.vmap(torch.func.grad(lambda row: coupling.compose(row)[0]))(t)
    assert (gradient * torch.tensor([1.0, -1.0, 1.0]) > 0).all()
    hessian = torch.func.vmap(torch.func.hessian(lambda row: coupling.compose(row)[0]))(t)
    assert hessian[:, 0, 1].abs().median() > 0.01


def test_equal_weights_are_equal_and_a_dial_moves_nothing_but_itself():
    (coupling,) = draw_couplings(1, 3, "equal", 0.5, 0, 0)
    torch.testing.assert_close(coupling.weights(), torch.full((3,), 3**-0.5, dtype=torch.float64))
    weak, strong = (draw_couplings(2, 3, "random", s, 0, 0) for s in (0.1, 0.2))
    for a, b in zip(weak, strong, strict=True):
        assert (a.signs, a.angles) == (b.signs, b.angles)
        assert tuple(2 * tau for tau in a.strengths) == pytest.approx(b.strengths)


def test_bad_couplings_are_refused():
    for arguments, words in (
        ((1, 1, "equal", 0.0), "branching"),
        ((1, 3, "skewed", 0.0), "weights"),
        ((1, 3, "equal", -1.0), "nonlinearity"),
    ):
        with pytest.raises(InvalidInput, match=words):
            draw_couplings(*arguments, 0, 0)
