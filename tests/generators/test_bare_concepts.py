import math

import pytest
import torch

from generators.bare_concepts import BareConcepts, helmert
from testbed.contracts import InvalidInput


def leaves(instance, n=40_000, seed=1):
    return instance.sample(n, seed).latents[instance.leaves]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_every_pair_has_the_correlation_that_was_asked_for(rho):
    found = torch.corrcoef(leaves(BareConcepts(concepts=6, correlation=rho).draw(2)).T)
    assert (found - torch.eye(6) - rho * (1 - torch.eye(6))).abs().max() < 0.02


def test_what_is_seen_are_the_concepts():
    sample = BareConcepts().draw(0).sample(100, 1)
    assert torch.equal(sample.observed.views["concepts"].values, sample.latents[1])


def test_helmert_coordinates_and_the_composite_are_an_orthonormal_basis():
    basis = torch.cat([torch.full((1, 5), 1 / math.sqrt(5), dtype=torch.float64), helmert(5)])
    torch.testing.assert_close(basis @ basis.T, torch.eye(5, dtype=torch.float64))


def test_hard_potentials_are_kept_and_composites_compose():
    instance = BareConcepts(branching=4, agreement=0.3, reach=1.5).draw(3)
    sample = instance.sample(5000, 1)
    z = ((sample.latents[2].double() - instance.shift) / instance.scale).reshape(-1, 3, 4)
    torch.testing.assert_close(z.sum(dim=2) / 2, sample.latents[1].double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(sample.latents[1].sum(dim=1, keepdim=True) / math.sqrt(3), sample.latents[0], atol=1e-4, rtol=0)
    assert (z @ helmert(4).T).abs().max() <= 0.3 + 1e-4
    assert sample.latents[0].abs().max() <= 1.5 + 1e-4


def test_rows_are_those_that_rejection_from_the_base_law_would_keep():
    instance = BareConcepts(concepts=4, branching=2, agreement=0.8, reach=1.0).draw(3)
    base = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = base.reshape(-1, 2, 2).sum(dim=2) / math.sqrt(2)
    inner = (base.reshape(-1, 2, 2) @ helmert(2).T)[..., 0].abs().amax(dim=1) <= 0.8
    kept = base[inner & ((v @ helmert(2).T)[:, 0].abs() <= 1.6) & ((v.sum(dim=1) / math.sqrt(2)).abs() <= 1.0)]
    drawn = (leaves(instance) - instance.shift) / instance.scale
    torch.testing.assert_close(torch.cov(drawn.T.double()), torch.cov(kept.T), atol=0.01, rtol=0)


@pytest.mark.parametrize("params", [{"correlation": 0.9}, {"branching": 4}])
def test_unselected_concepts_are_independent_with_the_base_law(params):
    instance = BareConcepts(**params).draw(1)
    z = (leaves(instance.unselected()) - instance.shift) / instance.scale
    torch.testing.assert_close(torch.cov(z.T.double()), torch.eye(12, dtype=torch.float64), atol=0.03, rtol=0)


def test_sparse_concepts_are_on_at_their_rate_and_off_at_zero():
    z = leaves(BareConcepts(correlation=0.5, rate=0.1).draw(1))
    assert (z >= 0).all()
    assert ((z > 0).double().mean(dim=0) - 0.1).abs().max() < 0.01


@pytest.mark.parametrize(
    "params", [{"concepts": 1}, {"correlation": 1.0}, {"branching": 5}, {"branching": 4, "correlation": 0.5}, {"rate": 2.0}]
)
def test_impossible_specifications_are_refused(params):
    with pytest.raises(InvalidInput):
        BareConcepts(**params).draw(0)
