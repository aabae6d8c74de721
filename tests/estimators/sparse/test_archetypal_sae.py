"""Archetypes stay in the hull of the data (or as near as delta), and find atoms from there."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.archetypal_sae import START, ArchetypalSAE, archetypes, centres
from testbed.numerics.matching import active, cosine, mean_correlation


def small(**params):
    return ArchetypalSAE(**{"n_codes": 96, "k": 8, "samples": 80_000, "n_points": 300, **params})


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts(levels=(8, 40), dimension=32, composite_rate=0.015, bias=2.0).draw(1103)


@pytest.fixture(scope="module")
def rows(instance):
    return instance.sample(10_000, 0).observed


@pytest.fixture(scope="module")
def fitted(rows):
    return small().fit(rows, seed=0)


def test_atoms_are_mixtures_of_data_up_to_the_relaxation(rows, fitted):
    assert (fitted.mixture_ >= 0).all()
    torch.testing.assert_close(fitted.mixture_.sum(dim=1), torch.ones(96))
    torch.testing.assert_close(
        fitted.dictionary_ + fitted.bias_, fitted.mixture_ @ fitted.points_ + fitted.relaxation_, rtol=1e-4, atol=1e-4
    )
    x = rows.views["mixed"].values
    unit = float((x - fitted.bias_).norm(dim=1).median())
    size = fitted.relaxation_.norm(dim=1)
    assert size.max() <= 0.1 * unit * 1.01
    assert size.max() > 0.05 * unit  # it is used


def test_without_relaxation_points_are_rows_and_atoms_lie_between_them(rows):
    model = small(delta=0.0, points="rows", samples=5000).fit(rows, seed=0)
    x = rows.views["mixed"].values
    assert torch.cdist(model.points_, x).min(dim=1).values.max() < 1e-2
    assert not model.relaxation_.any()
    atoms = model.dictionary_ + model.bias_
    assert (atoms <= model.points_.max(dim=0).values + 1e-4).all()
    assert (atoms >= model.points_.min(dim=0).values - 1e-4).all()


def test_atoms_are_found_and_state_returns(instance, fitted):
    sample = instance.sample(4096, 0, "test").observed
    codes = fitted.encode(sample)
    assert codes.indptr.diff().max() <= 8
    truth = instance.truth.dictionary("mixed")
    chance = cosine(truth, torch.randn(96, 32, generator=torch.Generator().manual_seed(0)))
    found = cosine(truth, fitted.dictionary_) * active(codes)
    assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.2
    x = sample.views["mixed"].values
    assert (fitted.decode(codes) - x).square().sum() < 0.4 * (x - x.mean(dim=0)).square().sum()
    other = fitted.clone().set_state(*fitted.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)


def test_codes_have_no_unit(rows):
    x = rows.views["mixed"].values
    a, b = (small(samples=5000).fit(c * x, seed=0) for c in (1.0, 8.0))
    torch.testing.assert_close(b.dictionary_, 8 * a.dictionary_, rtol=0.05, atol=0.05)
    assert float(b.encode(8 * x).values.sum() / a.encode(x).values.sum()) == pytest.approx(1, rel=0.02)


def test_revived_latents_start_at_points_that_living_ones_leave_free():
    model = small(n_codes=6, k=2)
    head = torch.eye(8, dtype=torch.float64).repeat(3, 1)
    generator = torch.Generator().manual_seed(0)
    params = model.initial(torch.zeros(6, 8, dtype=torch.float64), generator, head)
    params["points"], params["logits"] = torch.eye(8, dtype=torch.float64), torch.full((6, 8), -30.0, dtype=torch.float64)
    params["logits"][range(6), range(6)] = 30.0
    params["decoder"] = archetypes(params)
    model.reset(params, torch.tensor([0, 1]), torch.arange(6) > 1)
    assert set(params["logits"][:2].argmax(dim=1).tolist()) <= {0, 1, 6, 7}
    torch.testing.assert_close(params["logits"][:2].softmax(dim=1).max(dim=1).values, torch.full((2,), START, dtype=torch.float64))
    torch.testing.assert_close(params["decoder"], archetypes(params))


def test_centres_are_the_means_of_their_rows():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(50, 3, generator=g) * 0.1 + 5 * shift for shift in torch.eye(3)])
    found = centres(x, x[[0, 50, 100]])
    torch.testing.assert_close(found, torch.stack([part.mean(dim=0) for part in x.split(50)]))


@pytest.mark.parametrize(
    ("params", "message"),
    [({"delta": -0.1}, "delta"), ({"points": "all"}, "points"), ({"n_points": 1}, "no hull"), ({"tied": True}, "tied")],
)
def test_what_makes_no_sense_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        small(**params).fit(rows, seed=0)
