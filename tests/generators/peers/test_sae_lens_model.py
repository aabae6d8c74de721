"""Our gated concepts against SAELens's own generator, where it is installed; the refusal where it is not."""

import importlib.util

import pytest
import torch

from generators.peers.gated_instance import GatedInstance
from generators.peers.sae_lens_model import SAELensModel
from testbed.contracts import InvalidInput

MISSING = importlib.util.find_spec("sae_lens") is None


@pytest.mark.skipif(not MISSING, reason="sae-lens is installed")
def test_without_sae_lens_the_adapter_says_what_to_do():
    with pytest.raises(InvalidInput, match=r"needs the package sae-lens.*install it.*SynthSAEBench"):
        SAELensModel.small().draw(0)


@pytest.fixture(scope="module", params=[0, 6], ids=["independent", "copula"])
def both(request):
    """One model of SAELens, the same law drawn by ours, and a large sample of either."""
    pytest.importorskip("sae_lens")
    torch.set_num_threads(1)
    copula = {"correlation_rank": request.param, "correlation_scale": 0.2}
    spec = SAELensModel(concepts=120, dimension=24, roots=2, branching=3, rate=0.5, rate_floor=5e-3, spread=1.5, **copula)
    theirs = spec.draw(3)
    ours = GatedInstance(theirs.truth, theirs.law, spec.scaled)
    return theirs, theirs.sample(200_000, 1), ours.sample(200_000, 1)


def _dense(sample):
    return torch.cat([rows.dense() for rows in sample.latents.values()], dim=1).double()


def _worst(a, b):
    """Largest difference of the columns' means, in standard errors."""
    error = ((a.var(dim=0) + b.var(dim=0)) / len(a)).sqrt() + 1e-12
    return float(((a.mean(dim=0) - b.mean(dim=0)).abs() / error).max())


def test_rates_are_those_of_saelens(both):
    theirs, a, b = both
    on_a, on_b = (_dense(a) > 0).double(), (_dense(b) > 0).double()
    assert _worst(on_a, on_b) < 4.5
    rates = torch.cat(list(theirs.truth.rates.values()))
    error = (rates * (1 - rates) / len(on_a) + theirs.truth.facts["rates_error"].square()).sqrt()
    assert ((on_a.mean(dim=0) - rates).abs() / error).max() < 4.5


def test_pairs_and_magnitudes_are_those_of_saelens(both):
    _, a, b = both
    x, y = _dense(a), _dense(b)
    assert _worst(x, y) < 4.5  # mean magnitudes, with 0 where off
    assert _worst(x.square(), y.square()) < 4.5
    on_a, on_b = (x > 0).double(), (y > 0).double()
    for i in range(12):  # roots and their children, against all: parents, exclusive siblings, strangers
        assert _worst(on_a[:, i : i + 1] * on_a, on_b[:, i : i + 1] * on_b) < 5
    counts = [torch.stack([on.sum(dim=1), on.sum(dim=1).square()], dim=1) for on in (on_a, on_b)]
    assert _worst(*counts) < 4.5


def test_rows_have_the_mean_and_second_moments_of_saelens(both):
    _, a, b = both
    x, y = (sample.observed.views["mixed"].values.double() for sample in (a, b))
    assert _worst(x, y) < 4.5
    assert _worst(x.square(), y.square()) < 4.5


def test_the_adapter_keeps_the_contract():
    pytest.importorskip("sae_lens")
    from testbed.conformance.generators import check_generator

    assert [check.problem for check in check_generator(SAELensModel.small()) if check.problem] == []
