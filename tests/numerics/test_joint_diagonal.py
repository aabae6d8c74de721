"""Joint diagonalisation: exact where there is a frame, a descent where there is none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.contracts import InvalidInput
from testbed.numerics.joint_diagonal import joint_diagonal
from testbed.numerics.matching import match


def spread(turn, covariances, weights):
    turned = turn @ covariances @ turn.T
    return float((weights * (turned.diagonal(dim1=1, dim2=2).log().sum(dim=1) - torch.linalg.slogdet(turned)[1])).sum())


@settings(max_examples=15, deadline=None)
@given(m=st.integers(2, 5), environments=st.integers(3, 8), seed=st.integers(0, 10_000))
def test_a_common_frame_is_found_exactly_up_to_order_and_scale(m, environments, seed):
    g = torch.Generator().manual_seed(seed)
    mixing = torch.linalg.qr(torch.randn(m, m, generator=g).double())[0] @ torch.diag(0.5 + torch.rand(m, generator=g).double())
    mixing = mixing + 0.3 * torch.randn(m, m, generator=g).double() / m**0.5
    variances = (1.5 * torch.randn(environments, m, generator=g)).double().exp()
    turn = joint_diagonal(mixing @ torch.diag_embed(variances) @ mixing.T, torch.ones(environments))
    product = (turn @ mixing).abs()
    product = product / product.amax(dim=1, keepdim=True)
    rows, columns = match(product)
    assert sorted(columns.tolist()) == list(range(m))
    assert float(product[rows, columns].min()) == pytest.approx(1)
    product[rows, columns] = 0
    assert float(product.max()) < 1e-3
    torch.testing.assert_close(turn.norm(dim=1), torch.ones(m).double())


def test_without_a_common_frame_it_is_the_nearest_one():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 50, 4, generator=g).double() * torch.tensor([1.0, 2, 3, 4]) @ torch.randn(4, 4, generator=g).double()
    c, weights = rows.transpose(1, 2) @ rows / 50, torch.ones(6).double() / 6
    given = c.clone()
    turn = joint_diagonal(c, weights)
    assert torch.equal(c, given)
    best = spread(turn, c, weights)
    assert best < spread(torch.eye(4).double(), c, weights)
    for _ in range(50):
        assert spread(turn + 0.01 * torch.randn(4, 4, generator=g), c, weights) > best


def test_where_all_environments_are_alike_it_ends_with_a_diagonal():
    c = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).expand(3, 2, 2)
    turn = joint_diagonal(c, torch.ones(3))
    assert abs(float((turn @ c[0] @ turn.T)[0, 1])) < 1e-6


def test_a_singular_covariance_is_refused():
    with pytest.raises(InvalidInput, match="more rows than codes"):
        joint_diagonal(torch.ones(2, 2, 2), torch.ones(2))
