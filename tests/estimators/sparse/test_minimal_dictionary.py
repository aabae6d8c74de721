"""Our own estimator: what it finds by itself, and what its refinement does, on worlds whose answer is known."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from generators.selection.sparse import SparseConcepts
from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.annealed_sae import AnnealedSAE
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.estimators.sparse.refinement import Refinement, coding, description_length, fewest, sums, typical, universal
from testbed.numerics.matching import active, cosine, mean_correlation


def world(n, seed=0, m=40, d=24, noise=0.0):
    """Rows, codes and unit atoms: each code on in a tenth of the rows, with magnitudes around 1."""
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(m, d, generator=g), dim=1)
    codes = (torch.rand(n, m, generator=g) < 0.06) * (0.5 + torch.rand(n, m, generator=g))
    return codes @ atoms + noise * torch.randn(n, d, generator=g), codes, atoms


@pytest.mark.parametrize("estimator", [MinimalDictionary.small(), AnnealedSAE.small()], ids=lambda e: type(e).__name__)
def test_promises_are_kept(estimator):
    assert [str(check) for check in check_estimator(estimator) if check.problem] == []


def test_typical_is_where_half_of_the_energy_lies():
    assert typical(torch.tensor([1.0, 1.0, 1.0, 10.0])) == 10
    assert typical(torch.cat([torch.full((1000,), 0.01), torch.full((10,), 2.0)])) == 2
    assert typical(torch.empty(0)) == 0


def test_noise_stays_below_the_universal_threshold():
    g = torch.Generator().manual_seed(0)
    atoms = normalize(torch.randn(200, 64, generator=g), dim=1)
    found = (0.3 * torch.randn(2000, 64, generator=g) @ atoms.T).max(dim=1).values
    assert (found < universal(0.3, 200)).float().mean() > 0.8
    assert universal(0.3, 200) == pytest.approx(0.3 * math.sqrt(2 * math.log(200)))


def test_least_squares_find_the_dictionary_that_made_the_data():
    x, codes, atoms = world(4000)
    g = torch.Generator().manual_seed(1)
    state = Refinement(normalize(atoms + 0.05 * torch.randn(atoms.shape, generator=g), dim=1))
    for _ in range(3):
        state.forget(0.0)
        for part in x.split(1000):
            state.add(part, coding(part, state.atoms, 0.2, 12))
        state.solve()
    assert (state.atoms * atoms).sum(dim=1).min() > 0.99
    assert state.uses.sum() == pytest.approx(float((codes > 0).sum()), rel=0.1)


def test_what_coding_leaves_is_the_noise():
    x, _, atoms = world(4000, noise=0.05)
    found = coding(x, atoms, universal(0.05, len(atoms)), 12)
    assert found.noise == pytest.approx(0.05, rel=0.25)
    assert torch.allclose(x - found.codes.dense() @ atoms, found.residual, atol=1e-5)


def test_copies_and_sums_are_found_and_nothing_else():
    g = torch.Generator().manual_seed(2)
    atoms = normalize(torch.randn(30, 32, generator=g), dim=1)
    with_more = torch.cat([atoms, normalize(atoms[:1] + atoms[1:2], dim=1), normalize(atoms[2:3] + 0.05 * atoms[3:4], dim=1)])
    uses = torch.cat([torch.full((30,), 100.0), torch.tensor([20.0, 10.0])])
    assert sums(with_more, uses).nonzero()[:, 0].tolist() == [30, 31]
    assert not sums(atoms, uses[:30]).any()
    # Of a, b and a - b it is a that is a sum of positive parts.
    difference = torch.cat([atoms, normalize(atoms[:1] - atoms[1:2], dim=1)])
    assert sums(difference, uses[:31]).nonzero()[:, 0].tolist() == [0]
    assert not sums(atoms[:1], uses[:1]).any()


def test_the_shortest_description_has_no_atom_too_many():
    """Every third atom is split in two that lean to either side; the search gives the concepts back, one atom each."""
    x, _, atoms = world(12_000)
    g = torch.Generator().manual_seed(5)
    lean = 0.3 * normalize(torch.randn(13, 24, generator=g), dim=1)
    split = torch.cat([normalize(atoms[:13] + lean, dim=1), normalize(atoms[:13] - lean, dim=1), atoms[13:]])
    state = Refinement(split)
    state.add(x, coding(x, split, 0.15, 12))
    found = fewest(state, x, threshold=0.3, max_active=12, rows=12_000)
    assert 38 <= len(found.atoms) <= 46
    assert cosine(atoms, found.atoms).max(dim=1).values.mean() > 0.97
    assert bool((found.uses.diff() <= 0).all())


def test_the_description_length_is_its_formula():
    x, _, atoms = world(100)
    found = coding(x, atoms, 0.3, 12)
    residual = (x - found.codes.dense() @ atoms).square().sum() / (2 * 0.1**2)
    wanted = (residual + len(found.codes.values) * (math.log(40) + math.log(500) / 2)) / 100 + 40 * 24 / 2 * math.log(500) / 500
    assert description_length(found, 40, 500, 0.1) == pytest.approx(float(wanted), rel=1e-5)


def test_it_finds_sparsity_and_number_of_atoms_by_itself():
    """112 concepts in 64 dimensions; it may use 512 atoms and is told neither number."""
    instance = SparseConcepts(levels=(16, 96), dimension=64).draw(1004)
    fitted = MinimalDictionary(samples=200_000).fit(instance.sample(50_000, 0).observed, seed=0)
    atoms = instance.truth.dictionary("mixed")
    sample = instance.sample(8192, 0, "test")
    codes = fitted.encode(sample.observed)
    true = sum(int((rows.dense() > 0).sum()) for rows in sample.latents.values()) / 8192
    assert 80 <= len(fitted.dictionary_) <= 220
    assert len(codes.values) / len(codes) == pytest.approx(true, rel=0.4)
    similarity = cosine(atoms, fitted.dictionary_) * active(codes)
    assert mean_correlation(similarity, similarity) > 0.75
    assert fitted.dictionary_.norm(dim=1).allclose(torch.ones(len(fitted.dictionary_)))
    assert fitted.history_["atoms"]


def test_k_comes_down_to_twice_what_is_worth_having():
    x, codes, _ = world(20_000, m=100, d=48)
    sae = AnnealedSAE(n_codes=100, samples=100_000, batch_size=128).fit(x, seed=0)
    assert float(sae.k_) == pytest.approx(2 * float((codes > 0).sum(dim=1).float().mean()), rel=0.35)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"most_codes": 0}, "most_codes"),
        ({"samples": 10}, "samples must be at least 100"),
        ({"reach": 2.0}, "reach"),
        ({"sweeps": 0}, "sweeps"),
        ({"lr": 0.0}, "lr"),
    ],
)
def test_what_cannot_be_fitted_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        MinimalDictionary(**params).fit(torch.randn(500, 8), seed=0)


def test_a_stream_that_is_read_once_needs_to_be_told_the_most_atoms():
    x, _, _ = world(4000)
    with pytest.raises(InvalidInput, match="give most_codes"):
        MinimalDictionary(samples=2000).fit(iter(x.split(500)), seed=0)
    MinimalDictionary(samples=2000, most_codes=20).fit(iter(x.split(500)), seed=0)


def test_more_sweeps_than_rows_are_as_many_as_there_are_rows():
    x, _, _ = world(400)
    fitted = MinimalDictionary(most_codes=20, samples=100, sweeps=40).fit(x, seed=0)
    assert 1 <= len(fitted.history_["atoms"]) <= 15  # 15 rows are left for refinement
    assert fitted.encode(x).shape == (400, len(fitted.dictionary_))
