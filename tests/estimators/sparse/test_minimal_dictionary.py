"""Our own estimator: what it finds by itself, and what its refinement does, on worlds whose answer is known."""

import pytest
import torch
from torch.nn.functional import normalize

from generators.selection.sparse import SparseConcepts
from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, SparseRows
from testbed.estimators.sparse.annealed_sae import AnnealedSAE
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.estimators.sparse.refinement import (
    Refinement,
    copies,
    floors,
    lasso_objective,
    regression_codes,
    remainders,
    typical,
)
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


def test_least_squares_find_the_dictionary_and_the_bias_that_made_the_data():
    x, codes, atoms = world(4000)
    offset = torch.linspace(-1, 1, 24)
    g = torch.Generator().manual_seed(1)
    start = normalize(atoms + 0.05 * torch.randn(atoms.shape, generator=g), dim=1)
    state = Refinement(start, (x + offset).mean(dim=0))
    for _ in range(10):
        state.forget(0.0)
        for part in (x + offset).split(1000):
            state.add(part, 0.05, refit=True)
        state.solve()
    assert (state.atoms * atoms).sum(dim=1).min() > 0.99
    assert (state.bias - offset).norm() < 0.1 * x.mean(dim=0).norm()
    assert state.uses.sum() == pytest.approx(float((codes > 0).sum()), rel=0.1)


def test_what_codes_leave_is_the_noise():
    x, _, atoms = world(4000, noise=0.05)
    state = Refinement(atoms, torch.zeros(24))
    codes = state.add(x, 2.5 * 0.05, refit=True)
    assert state.noise == pytest.approx(0.05, rel=0.25)
    assert torch.allclose(x - codes.dense() @ atoms, state.residual, atol=1e-5)


def test_sums_of_products_are_those_of_dense_codes():
    x, _, atoms = world(500, noise=0.05)
    state = Refinement(atoms, torch.zeros(24))
    codes = state.add(x, 0.1, refit=False)
    wide = torch.cat([codes.dense(), torch.ones(500, 1)], dim=1).double()
    assert torch.from_numpy(state.gram).allclose(wide.T @ wide, atol=1e-4)
    assert torch.from_numpy(state.cross).allclose(wide.T @ x.double(), atol=1e-4)
    assert state.uses.tolist() == (codes.dense() > 0).sum(dim=0).tolist()
    assert torch.from_numpy(state.squares).allclose(codes.dense().double().square().sum(dim=0), atol=1e-4)


def test_atoms_come_and_go_with_what_they_gathered():
    x, _, atoms = world(1000)
    state, same = Refinement(atoms, torch.zeros(24)), Refinement(atoms[5:], torch.zeros(24))
    state.add(x, 0.1, refit=False)
    before = state.gram.copy()
    state.grow(atoms[:2])
    assert state.gram.shape == (43, 43)
    assert (state.gram[:40, :40] == before[:40, :40]).all()
    assert (state.gram[42, :40] == before[40, :40]).all()  # the bias stays last
    state.keep(torch.cat([torch.zeros(5), torch.ones(35), torch.zeros(2)]).bool().numpy())
    assert state.atoms.equal(same.atoms)
    assert (state.gram == before[5:, 5:]).all()
    state.replace((torch.arange(35) == 3).numpy(), atoms[:1])
    assert state.atoms[3].equal(atoms[0])
    assert not state.gram[3].any()
    assert not state.gram[:, 3].any()
    assert not state.cross[3].any()


def test_of_copies_the_one_that_is_used_most_stays():
    atoms = normalize(torch.randn(30, 32, generator=torch.Generator().manual_seed(2)), dim=1)
    with_copies = torch.cat([atoms, normalize(atoms[2:3] + 0.05 * atoms[3:4], dim=1)])
    uses = torch.cat([torch.full((30,), 100.0), torch.tensor([200.0])]).numpy()
    assert copies(with_copies, uses).nonzero()[0].tolist() == [2]
    assert not copies(atoms, uses[:30]).any()


def test_what_parts_leave_of_their_sum_is_the_part_that_had_no_atom():
    g = torch.Generator().manual_seed(2)
    atoms = normalize(torch.randn(30, 64, generator=g), dim=1)
    composite = normalize(torch.randn(1, 64, generator=g), dim=1)
    whole = normalize(atoms[:1] + atoms[1:2] + atoms[2:3] + 0.7 * composite, dim=1)
    uses = torch.cat([torch.full((30,), 100.0), torch.tensor([50.0])]).numpy()
    summed, rest = remainders(torch.cat([atoms, whole]), uses)
    assert summed.nonzero()[0].tolist() == [30]
    assert float(normalize(rest[30:], dim=1) @ composite.T) > 0.95
    assert not rest[:30].any()
    assert not remainders(atoms, uses[:30])[0].any()
    assert not remainders(atoms[:1], uses[:1])[0].any()


def test_parts_are_used_whenever_their_sum_is():
    """A concept that is often on is no sum of atoms, each for one of the rare cases in which another is on beside it."""
    g = torch.Generator().manual_seed(3)
    atoms = normalize(torch.randn(7, 64, generator=g), dim=1)
    cases = normalize(2 * atoms[:1] + atoms[1:], dim=1)
    dictionary = torch.cat([atoms[:1], cases])
    rare = torch.tensor([1000.0] + [50.0] * 6).numpy()
    often = torch.tensor([1000.0] + [900.0] * 6).numpy()
    assert not remainders(dictionary, rare)[0][0]
    assert remainders(dictionary, often)[0][0]


def test_a_code_is_off_below_the_gap_in_its_values_or_a_share_of_their_size():
    g = torch.Generator().manual_seed(0)
    two = torch.cat([0.1 * torch.rand(500, generator=g), 2 + torch.rand(500, generator=g)])
    codes = torch.stack([two, 2 + torch.rand(1000, generator=g), torch.zeros(1000)], dim=1)
    found = floors(SparseRows.from_dense(codes))
    assert 0.1 <= found[0] <= 2
    assert found[1] == pytest.approx(0.2 * float(codes[:, 1].square().mean().sqrt()))
    assert found[2] == 0


def test_the_objective_is_its_formula():
    x, codes, atoms = world(200)
    exact = regression_codes(x, atoms, 0.1, refit=False, tolerance=1e-6).dense()
    wanted = (x - exact @ atoms).square().sum() / 2 + 0.1 * exact.sum()
    assert lasso_objective(x, atoms, 0.1) == pytest.approx(float(wanted) / 200, rel=1e-4)
    assert lasso_objective(x, atoms, 0.1) <= float(0.1 * codes.sum()) / 200 + 1e-6  # the codes that made the data are admissible


def test_it_finds_sparsity_and_number_of_atoms_by_itself():
    """112 concepts in 64 dimensions; it starts with 256 atoms and is told neither number."""
    instance = SparseConcepts(levels=(16, 96), dimension=64).draw(1004)
    fitted = MinimalDictionary(samples=200_000).fit(instance.sample(50_000, 0).observed, seed=0)
    atoms = instance.truth.dictionary("mixed")
    sample = instance.sample(8192, 0, "test")
    codes = fitted.encode(sample.observed)
    true = sum(int((rows.dense() > 0).sum()) for rows in sample.latents.values()) / 8192
    assert 80 <= len(fitted.dictionary_) <= 220
    assert len(codes.values) / len(codes) == pytest.approx(true, rel=0.3)
    similarity = cosine(atoms, fitted.dictionary_) * active(codes)
    assert mean_correlation(similarity, similarity) > 0.85
    assert fitted.dictionary_.norm(dim=1).allclose(torch.ones(len(fitted.dictionary_)))
    assert fitted.history_["atoms"]


def test_from_the_truth_it_stays_there():
    """Where there is room: of 40 atoms in 24 dimensions, one or two look like sums of others and go."""
    x, _, atoms = world(20_000, m=48, d=48, noise=0.02)
    fitted = MinimalDictionary(samples=40_000).fit_from(x, atoms, seed=0)
    assert len(fitted.dictionary_) == pytest.approx(48, abs=8)
    assert cosine(atoms, fitted.dictionary_).max(dim=1).values.min() > 0.97


def test_k_comes_down_to_twice_what_is_worth_having():
    x, codes, _ = world(20_000, m=100, d=48)
    sae = AnnealedSAE(n_codes=100, samples=100_000, batch_size=128).fit(x, seed=0)
    assert float(sae.k_) == pytest.approx(2 * float((codes > 0).sum(dim=1).float().mean()), rel=0.35)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start_codes": 0}, "start_codes"),
        ({"samples": 10}, "samples must be at least 100"),
        ({"reach": 2.0}, "reach"),
        ({"caution": 0.0}, "caution"),
        ({"warm_up": 1.0}, "warm_up"),
        ({"growth": -1.0}, "growth"),
        ({"sweeps": 0}, "sweeps"),
        ({"lr": 0.0}, "lr"),
    ],
)
def test_what_cannot_be_fitted_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        MinimalDictionary(**params).fit(torch.randn(500, 8), seed=0)


def test_a_stream_that_is_read_once_needs_to_be_told_the_most_atoms():
    x, _, _ = world(4000)
    with pytest.raises(InvalidInput, match="give start_codes"):
        MinimalDictionary(samples=2000).fit(iter(x.split(500)), seed=0)
    MinimalDictionary(samples=2000, start_codes=20).fit(iter(x.split(500)), seed=0)


def test_more_sweeps_than_rows_are_as_many_as_there_are_rows():
    x, _, _ = world(400)
    fitted = MinimalDictionary(start_codes=20, samples=100, sweeps=40).fit(x, seed=0)
    assert 1 <= len(fitted.history_["atoms"]) <= 40
    assert fitted.encode(x).shape == (400, len(fitted.dictionary_))
