"""When codes are on: two parts are told apart, one part is left whole, and nothing depends on units."""

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.firing import firing, two_parts


def numbers(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
def test_two_normal_parts_are_cut_between_their_means(share):
    g = numbers()
    low, high = np.abs(g.normal(0.5, 0.1, 5000)), g.normal(2, 0.2, int(5000 * share))
    assert low.max() < two_parts(np.concatenate([low, high])) < high.min()


@pytest.mark.parametrize("law", ["normal", "uniform", "half normal", "log-normal", "exponential"])
def test_one_part_is_left_whole(law):
    g = numbers()
    draw = {
        "normal": lambda: g.normal(5, 1, 20_000),
        "uniform": lambda: g.uniform(0, 1, 20_000),
        "half normal": lambda: np.abs(g.normal(size=20_000)),
        "log-normal": lambda: g.lognormal(0, 0.25, 20_000),
        "exponential": lambda: g.exponential(size=200_000),  # gains .326, just less than what is asked for
    }[law]()
    assert two_parts(draw) == 0


@pytest.mark.parametrize("values", [np.ones(100), np.array([]), np.arange(1, 10.0), np.repeat([1.0, 1.0 + 1e-9], 50)])
def test_too_few_or_equal_values_have_one_part(values):
    assert two_parts(values) == 0


def test_sparse_codes_rest_at_0_and_dense_ones_at_their_median_below_their_long_tail():
    g = numbers()
    on = g.random(4000) < 0.1
    sparse = np.where(on, g.uniform(1, 2, 4000), 0)
    noisy = np.where(on, g.normal(3, 0.3, 4000), np.maximum(0, g.normal(0, 0.3, 4000)))
    dense = 7 - np.where(on, g.normal(3, 0.3, 4000), g.normal(0, 0.2, 4000))
    rule = firing(torch.tensor(np.stack([sparse, noisy, dense], 1)))
    assert rule.direction.tolist() == [0, 0, -1]
    assert rule.threshold[0] == 0
    assert rule.rest[2] == pytest.approx(7, abs=0.05)
    found = rule(torch.tensor(np.stack([sparse, noisy, dense], 1))).dense()
    assert (found == torch.tensor(on)[:, None]).double().mean() > 0.999


def test_units_and_signs_and_storage_change_nothing():
    g = torch.Generator().manual_seed(0)
    codes = torch.randn(3000, 6, generator=g, dtype=torch.float64).exp() * (torch.rand(3000, 6, generator=g) < torch.linspace(0.1, 1, 6))
    on = firing(codes)(codes).dense()
    scaled = codes * torch.tensor([1e-6, -3.0, 2.0, -1e5, 7.0, -2.0], dtype=torch.float64)
    assert torch.equal(firing(scaled)(scaled).dense(), on)
    sparse = SparseRows.from_dense(codes)
    assert torch.equal(firing(sparse)(sparse).dense(), on)
    rare = SparseRows.from_dense(codes[:, :3])  # none rests elsewhere: entries are filtered without making rows dense
    assert torch.equal(firing(rare)(rare).dense(), on[:, :3])


def test_dead_and_constant_codes_are_never_on_and_other_codes_are_refused():
    codes = torch.stack([torch.zeros(50), torch.full((50,), -2.0)], dim=1)
    rule = firing(codes)
    assert not rule(codes).dense().any()
    with pytest.raises(InvalidInput, match="3 codes, but thresholds for 2"):
        rule(torch.zeros(4, 3))
