"""Bottlenecks of sets of columns: closed forms of Gaussian vectors."""

import math

import pytest
import torch

from testbed.numerics.bottlenecks import (
    Expansion,
    canonical,
    dependence,
    expand,
    inverse_root,
    residual_dependence,
    terms_of,
    whole_dependence,
)

N = 20_000


def normal(n, p, seed=0):
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_monomials_are_singles_products_and_cubes():
    z = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    assert terms_of([1, 0]) == [(0,), (1,), (0, 0), (0, 1), (1, 1), (0, 0, 0), (1, 1, 1)]
    assert expand(z, terms_of([0, 1])).tolist() == [[2, 3, 4, 6, 9, 8, 27]]


def test_the_inverse_root_whitens_and_leaves_null_directions_out():
    x = normal(500, 4)
    covariance = x.T @ x / 500
    root = inverse_root(covariance)
    assert torch.allclose(root @ covariance @ root, torch.eye(4, dtype=torch.float64), atol=1e-10)
    flat = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert torch.allclose(inverse_root(flat), flat)


def test_canonical_correlations_do_not_change_under_linear_maps_of_either_side():
    x = normal(2_000, 5)
    x[:, 3] += x[:, 0]
    a = torch.block_diag(normal(2, 2, 1), normal(3, 3, 2))
    f, g = torch.arange(2), torch.arange(2, 5)
    plain, mapped = (canonical((y.T @ y) / len(y), f, g).correlations for y in (x, x @ a))
    assert torch.allclose(plain, mapped, atol=1e-8)


def test_dependence_of_two_gaussian_columns_is_half_their_squared_correlation():
    rho = 0.3
    moments = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    assert dependence(moments, torch.tensor([0]), torch.tensor([1]), 10**9) == pytest.approx(rho**2 / 2, abs=1e-8)


def test_independent_columns_have_no_dependence_on_average():
    found = [whole_dependence(Expansion(normal(4_000, 4, seed)), [0, 1]) for seed in range(20)]
    sd = math.sqrt(2 * 7 * 4) / (2 * 4_000)
    assert abs(sum(found) / 20) < 4 * sd / math.sqrt(20) * 2
    assert max(map(abs, found)) < 8 * sd


def selected(seed=0):
    """Six Gaussian leaves, each three tied by their sum, and the two sums tied to each other: precision I + 2 11' within, 0.9 across."""
    ones = torch.ones(3, 3, dtype=torch.float64)
    precision = torch.eye(6, dtype=torch.float64) + torch.kron(torch.tensor([[2.0, 0.9], [0.9, 2.0]], dtype=torch.float64), ones)
    x = normal(N, 6, seed) @ torch.linalg.cholesky(torch.linalg.inv(precision)).T
    return Expansion(x / x.std(dim=0))


def test_a_tuple_and_parts_of_it_have_a_bottleneck_and_mixed_sets_have_none():
    table = selected()
    sd = math.sqrt(2 * 12 * 6) / N
    assert abs(residual_dependence(table, [0, 1, 2])) < 4 * sd
    assert abs(residual_dependence(table, [3, 5])) < 4 * sd
    assert residual_dependence(table, [0, 1, 3]) > 20 * sd
    assert residual_dependence(table, [0, 3]) > 20 * sd


def test_residual_dependence_is_that_of_the_other_canonical_pairs():
    # In Gaussian vectors the second linear pair is left, with all its Hermite orders: tested on pairs of plain correlations .5 and .3.
    x = normal(N, 4, 3)
    x[:, 2] = 0.5 * x[:, 0] + math.sqrt(0.75) * x[:, 2]
    x[:, 3] = 0.3 * x[:, 1] + math.sqrt(0.91) * x[:, 3]
    found = residual_dependence(Expansion(x), [0, 1])
    assert found == pytest.approx((0.3**2 + 0.3**4) / 2, abs=0.006)


def test_many_columns_are_expanded_without_products():
    table = Expansion(normal(200, 40))
    assert len(table.terms) == 120
    assert len(table.inside([3, 7])) == 6
    assert len(table.outside([3, 7])) == 76
