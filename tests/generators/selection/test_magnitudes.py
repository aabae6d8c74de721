"""Magnitude laws have their closed-form distributions, and composing active entries alone equals composing dense rows."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from generators.selection.magnitudes import FLOOR, Magnitudes
from testbed.contracts import InvalidInput

S = math.sqrt(math.log1p(0.25))
LAWS = {
    "rectified_normal": stats.norm(2, 1),
    "lognormal": stats.lognorm(S, scale=math.exp(math.log(2) - S * S / 2)),
    "student": stats.t(5, loc=2, scale=math.sqrt(3 / 5)),
    "pareto": stats.pareto(5, scale=2 * 4 / 5),
}


@pytest.mark.parametrize("law", LAWS)
def test_own_magnitudes_follow_their_law_above_the_floor(law):
    values = Magnitudes(2.0, 1.0, 0.0, 0.0, law, 5.0).own(40_000, torch.Generator().manual_seed(0)).double().numpy()
    assert values.min() >= FLOOR * 2 * (1 - 1e-6)
    above = values[values > FLOOR * 2 * (1 + 1e-6)]
    floored = float(LAWS[law].cdf(FLOOR * 2))
    assert abs(1 - len(above) / 40_000 - floored) < 4.5 * math.sqrt(floored / 40_000 + 1e-9)
    assert stats.kstest((LAWS[law].cdf(above) - floored) / (1 - floored), "uniform").pvalue > 1e-4


def test_laws_of_one_mean_and_spread_have_one_mean_and_spread():
    for law in ("rectified_normal", "lognormal", "student"):
        values = Magnitudes(2.0, 0.3, 0.0, 0.0, law, 30.0).own(200_000, torch.Generator().manual_seed(1))
        assert float(values.mean()) == pytest.approx(2.0, rel=0.005)
        assert float(values.std()) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(("tie", "sigma"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.3, 0.4)])
def test_sparse_and_dense_composition_agree(tie, sigma):
    """With spread 0 and no jitter they are the same numbers; with jitter the log-scale moments are those of the noise."""
    magnitudes = Magnitudes(1.5, 0.0, tie, sigma)
    n, leaves = 5000, 6
    states = torch.rand(n, leaves, generator=torch.Generator().manual_seed(3)) < 0.6
    lower = torch.tensor([[4, 0], [2, 5]])
    above = states[:, lower].all(dim=2)
    wide = torch.cat([above, states], dim=1)
    begin = np.concatenate([[0], wide.sum(dim=1).cumsum(0).numpy()])
    row, nodes = (t.numpy() for t in wide.nonzero(as_tuple=True))
    fixed = np.full(8, -1, np.float32)
    fixed[2] = 0.5  # one leaf's magnitude is given
    values = magnitudes.draw_active(begin, nodes, lower.numpy() + 2, fixed, torch.Generator().manual_seed(4))
    found = torch.zeros(n, 8)
    found[torch.from_numpy(row), torch.from_numpy(nodes)] = torch.from_numpy(values)
    assert torch.equal(found > 0, wide)
    assert (found[:, 2][wide[:, 2]] == 0.5).all()
    given = found[:, 2:][:, lower].mean(dim=2)[above]
    expected = (1 - tie) * 1.5 + tie * given
    ratio = (found[:, :2][above] / expected).log()
    assert float(ratio.mean()) == pytest.approx(0.0, abs=1e-6 if sigma == 0 else 4.5 * sigma / math.sqrt(len(ratio)))
    assert float(ratio.std()) == pytest.approx(sigma, rel=0.05, abs=1e-6)
    plain = magnitudes.draw([above, states], (lower,), torch.Generator().manual_seed(5))
    assert float(plain[0][above].log().std()) == pytest.approx(sigma, rel=0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((0.0, 1.0, 0.0, 0.0), "magnitude must"),
        ((1.0, -1.0, 0.0, 0.0), "spread"),
        ((1.0, 1.0, 2.0, 0.0), "tie"),
        ((1.0, 1.0, 0.0, 0.0, "cauchy"), "'cauchy'"),
        ((1.0, 1.0, 0.0, 0.0, "student", 2.0), "above 2"),
        ((1.0, 1.0, 0.0, 0.0, "pareto", 1.0), "above 1"),
    ],
)
def test_laws_that_do_not_exist_are_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        Magnitudes(*params)
