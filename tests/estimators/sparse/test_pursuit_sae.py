"""The pursuit autoencoder: its codes are matching pursuit's, slopes go through all steps, and it finds atoms."""

import pytest
import torch
from torch.nn.functional import normalize

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.pursuit_sae import PursuitSAE, matching_pursuit
from testbed.estimators.sparse.training import fit_together
from testbed.numerics.matching import active, cosine, mean_correlation


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_the_book(x, atoms, steps):
    codes = torch.zeros(len(x), len(atoms), dtype=x.dtype)
    for i, row in enumerate(x):
        residual = row.clone()
        for _ in range(steps):
            correlation = atoms @ residual
            j = int(correlation.argmax())
            step = max(float(correlation[j]), 0.0)
            codes[i, j] += step
            residual -= step * atoms[j]
    return codes


def test_codes_are_those_of_the_textbook_loop():
    x, atoms = drawn(30, 8), normalize(drawn(20, 8, seed=1), dim=1)
    torch.testing.assert_close(matching_pursuit(x, atoms, 6), by_the_book(x, atoms, 6))


def test_the_error_never_rises_with_a_step_and_falls_by_the_steps_square():
    x, atoms = drawn(200, 8), normalize(drawn(20, 8, seed=1), dim=1)
    before, codes = x.square().sum(dim=1), torch.zeros(200, 20, dtype=torch.float64)
    for steps in range(1, 7):
        now = matching_pursuit(x, atoms, steps)
        error = (x - now @ atoms).square().sum(dim=1)
        torch.testing.assert_close(before - error, (now - codes).square().sum(dim=1))
        before, codes = error, now


def test_slopes_go_through_all_steps():
    x, atoms = drawn(5, 6), normalize(drawn(9, 6, seed=1), dim=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: matching_pursuit(x, w, 4), (atoms,))


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts(levels=(8, 40), dimension=32, composite_rate=0.015).draw(1101)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_atoms_are_found_and_state_returns(instance, orthogonal):
    model = PursuitSAE(n_codes=96, k=6, samples=80_000, orthogonal=orthogonal)
    model.fit(instance.sample(10_000, 0).observed, seed=0)
    sample = instance.sample(4096, 0, "test").observed
    codes = model.encode(sample)
    assert codes.indptr.diff().max() <= 6
    assert (codes.values > 0).all()
    assert not hasattr(model, "encoder_")
    torch.testing.assert_close(model.dictionary_.norm(dim=1), torch.ones(96))
    truth = instance.truth.dictionary("mixed")
    chance = cosine(truth, torch.randn(96, 32, generator=torch.Generator().manual_seed(0)))
    found = cosine(truth, model.dictionary_) * active(codes)
    assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.2
    other = model.clone().set_state(*model.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)


def test_a_stack_learns_what_its_models_learn_alone(instance):
    x = instance.sample(3000, 0).observed
    models = [PursuitSAE(n_codes=64, k=4, samples=6000, precision="double") for _ in range(3)]
    fit_together(models[:2], x, [5, 5], stack=True)
    models[2].fit(x, seed=5)
    for model in models[:2]:
        assert torch.allclose(model.dictionary_, models[2].dictionary_, atol=1e-5)


def test_held_codes_give_the_dictionary_the_slope_of_least_squares():
    model, x, atoms = PursuitSAE(n_codes=20, k=3, k_start=1, orthogonal=True), drawn(30, 8), normalize(drawn(20, 8, seed=1), dim=1)

    def loss(decoder):
        return model.loss({"decoder": decoder}, x, x, torch.ones(30, dtype=x.dtype), 1.0)[0]

    slope = torch.func.grad(loss)(atoms)
    codes = model.activate({"decoder": atoms}, x, 1.0)
    torch.testing.assert_close(slope, 2 * codes.T @ (codes @ atoms - x) / 30)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tied": True}, "no encoder to tie"),
        ({"inference": "pursuit"}, "no encoder"),
        ({"k": 33}, "between 1 and n_codes = 32"),
        ({"orthogonal": True, "precision": "mixed"}, "bfloat16"),
    ],
)
def test_what_makes_no_sense_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        PursuitSAE(**{"n_codes": 32, "k": 4, **params}).fit(torch.randn(100, 8), seed=0)
