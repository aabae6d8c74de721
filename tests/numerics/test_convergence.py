"""R-hat and effective sample size against closed forms: autoregressions, shifted chains, constants."""

import math

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.numerics.convergence import effective_sample_size, r_hat


def autoregression(rho, chains=8, draws=4000, count=6, seed=0):
    """Stationary chains x_t = rho x_{t-1} + sqrt(1 - rho^2) e_t, shape (chains, draws, count)."""
    e = torch.randn(draws, chains, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = [e[0]]
    for t in range(1, draws):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * e[t])
    return torch.stack(x, dim=1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_size_of_an_autoregression(rho):
    """The integrated autocorrelation time is (1 + rho) / (1 - rho); the mean over independent statistics has little error left."""
    found = effective_sample_size(autoregression(rho)).mean()
    assert float(found) == pytest.approx(8 * 4000 * (1 - rho) / (1 + rho), rel=0.08)


def test_effective_size_of_a_binary_chain():
    """A two-state chain that switches with probability a has autocorrelation (1 - 2a)^t."""
    a = 0.2
    switch = torch.rand(16, 4000, 4, generator=torch.Generator().manual_seed(1)) < a
    states = (switch.long().cumsum(dim=1) % 2).double()
    found = effective_sample_size(states).mean()
    assert float(found) == pytest.approx(16 * 4000 * a / (1 - a), rel=0.08)


def test_mixed_chains_have_an_r_hat_of_one():
    assert float(r_hat(autoregression(0.3)).max()) < 1.005


def test_shifted_chains_are_told_by_their_closed_form():
    """Half of the chains shifted by d: B / N = d^2 / 4 * m / (m - 1). Ranks make normal scores of a mixture, so d is small here."""
    x = autoregression(0.0, draws=20_000)
    d, chains = 0.3, 16  # after splitting
    x[:4] += d
    expected = math.sqrt(1 + d**2 / 4 * chains / (chains - 1))
    assert float(r_hat(x).mean()) == pytest.approx(expected, abs=2e-3)


def test_a_change_of_scale_is_told_by_folding():
    x = autoregression(0.0)
    x[:4] *= 3
    assert float(r_hat(x).min()) > 1.1


def test_monotone_maps_change_nothing():
    x = autoregression(0.6, draws=500)
    torch.testing.assert_close(effective_sample_size(x), effective_sample_size(x.exp()), rtol=1e-9, atol=0)


def test_constants_say_nothing_and_chains_that_never_move_say_everything():
    x = torch.zeros(4, 100, 2)
    x[1, :, 1] = 1.0
    value = r_hat(x)
    assert value[0].isnan()
    assert value[1].isinf()
    size = effective_sample_size(x)
    assert size[0].isnan()
    assert float(size[1]) <= 8


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(InvalidInput, match="at least 4 draws"):
        r_hat(torch.zeros(4, 3, 1))
    with pytest.raises(InvalidInput, match="finite"):
        effective_sample_size(torch.full((4, 10, 1), torch.nan))
