"""Base laws and tabulated densities: closed forms, quantiles, moments."""

import math

import pytest
import torch
from scipy import stats

from generators.selection.continuous.laws import LAWS, Density, base_density, spread_nodes
from testbed.contracts import InvalidInput

EXACT = {
    "gaussian": stats.norm(),
    "laplace": stats.laplace(scale=1 / math.sqrt(2)),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "student": stats.t(5, scale=math.sqrt(0.6)),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_base_law_is_its_closed_form_with_mean_0_and_variance_1(law):
    density = base_density(law, 5.0, 512)
    mean, deviation = density.mean_and_deviation()
    assert mean == pytest.approx(0, abs=1e-12)
    assert deviation == pytest.approx(1, abs=5e-4)
    x = torch.linspace(-1.7, 1.7, 777, dtype=torch.float64)
    torch.testing.assert_close(density.at(x), torch.from_numpy(EXACT[law].pdf(x.numpy())), rtol=1e-3, atol=0)
    u = torch.linspace(0.001, 0.999, 501, dtype=torch.float64)
    torch.testing.assert_close(density.quantile(u), torch.from_numpy(EXACT[law].ppf(u.numpy())), rtol=1e-3, atol=1e-3)


def test_the_tables_error_falls_with_the_square_of_the_cells():
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    exact = torch.from_numpy(stats.norm.ppf(u.numpy()))
    errors = [float((base_density("gaussian", 5.0, cells).quantile(u) - exact).abs().max()) for cells in (64, 128, 256)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_quantiles_of_a_ramp_are_square_roots():
    ramp = Density(torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64), torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64))
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(ramp.quantile(u), u.sqrt())
    assert ramp.mean_and_deviation() == pytest.approx((2 / 3, math.sqrt(1 / 18)))
    torch.testing.assert_close(ramp.reflected().quantile(u), -(1 - u).sqrt())


def test_nodes_reach_both_ends_and_are_dense_around_the_centre():
    nodes = spread_nodes(-1000.0, 50.0, 2.0, 1.0, 200)
    assert (nodes[0], nodes[-1]) == (-1000.0, 50.0)
    assert (nodes.diff() > 0).all()
    assert nodes.diff()[(nodes[:-1] - 2).abs() < 1].max() < 0.15


def test_bad_laws_are_refused():
    with pytest.raises(InvalidInput, match="law must be one of"):
        base_density("cauchy", 5.0, 64)
    with pytest.raises(InvalidInput, match="above 2"):
        base_density("student", 2.0, 64)
