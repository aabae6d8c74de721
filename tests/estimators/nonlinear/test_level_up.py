"""Composites as what their tuples tell of the rest."""

import math

import pytest
import torch

from testbed.estimators.nonlinear.level_up import composites
from testbed.numerics.bottlenecks import Expansion

N = 20_000


def normal(n, p, seed=0):
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def told(rho, seed=0):
    """Three columns whose normalised sum has correlation rho with a fourth."""
    x = normal(N, 4, seed)
    x[:, 3] = rho * x[:, :3].sum(dim=1) / math.sqrt(3) + math.sqrt(1 - rho**2) * x[:, 3]
    return Expansion(x)


@pytest.mark.parametrize("rho", [0.4, 0.7])
def test_the_composite_is_the_sum_and_its_gain_that_of_a_gaussian_pair(rho):
    table = told(rho)
    (one,) = composites(table, [0, 1, 2], "bottleneck", 3, 0.01)
    total = table.z[:, :3].sum(dim=1)
    assert abs(float(torch.corrcoef(torch.stack([one.value(table.z), total]))[0, 1])) > 0.997
    assert one.gain == pytest.approx(-0.5 * math.log(1 - rho**2), rel=0.06)
    assert float(one.value(table.z).std()) == pytest.approx(1.0, abs=0.01)


def test_two_numbers_are_kept_where_the_rest_learns_from_two():
    x = normal(N, 4, 1)
    x[:, 2] = 0.6 * x[:, 0] + 0.8 * x[:, 2]
    x[:, 3] = 0.5 * x[:, 1] + math.sqrt(0.75) * x[:, 3]
    table = Expansion(x)
    assert len(composites(table, [0, 1], "bottleneck", 3, 0.02)) == 2
    assert len(composites(table, [0, 1], "bottleneck", 1, 0.02)) == 1


def test_nothing_is_kept_where_nothing_is_selected():
    assert composites(told(0.0), [0, 1, 2], "bottleneck", 2, 0.005) == []


def test_the_number_need_not_be_linear():
    x = normal(N, 3, 2)
    product = x[:, 0] * x[:, 1]
    x[:, 2] = 0.7 * product + math.sqrt(0.51) * x[:, 2]
    table = Expansion(x)
    (one,) = composites(table, [0, 1], "bottleneck", 2, 0.05)
    assert abs(float(torch.corrcoef(torch.stack([one.value(table.z), product]))[0, 1])) > 0.98


def test_controls_are_one_column_or_the_first_component():
    table = told(0.7)
    (single,) = composites(table, [0, 1, 2], "best_constituent", 2, 0.0)
    assert int((single.weights != 0).sum()) == 1
    x = normal(N, 3, 3)
    x[:, 1] = 0.9 * x[:, 0] + math.sqrt(0.19) * x[:, 1]
    (first,) = composites(Expansion(x), [0, 1], "first_component", 2, 0.0)
    assert float(first.weights.abs().diff().abs()) < 0.05
