import pytest
import torch
from torch.nn.functional import normalize

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.archetypal_sae import ArchetypalSAE
from testbed.estimators.sparse.objective import objective_at, objective_found
from testbed.estimators.sparse.relu_sae import ReLUSAE
from testbed.estimators.sparse.topk_sae import TopKSAE


@pytest.fixture(scope="module")
def world():
    instance = SparseConcepts(levels=(4, 24), dimension=16, noise=0.01).draw(5)
    return instance.sample(8192, 1).observed, instance.truth.dictionary("mixed")


@pytest.mark.parametrize("kind", [TopKSAE, ReLUSAE])
def test_atoms_that_are_held_stay_and_the_rest_is_trained(world, kind):
    data, atoms = world
    found = objective_at(kind(n_codes=32, samples=20_000), data, atoms, seed=0, hold=True)
    torch.testing.assert_close(found.model.dictionary_, normalize(atoms, dim=1))
    assert not torch.equal(found.model.encoder_, found.model.dictionary_)


def test_training_starts_from_the_atoms_given(world):
    data, atoms = world
    model = TopKSAE(n_codes=32, k=6, samples=600, lr=1e-6)
    started = objective_at(model, data, atoms, seed=0).model.dictionary_
    torch.testing.assert_close(started[: len(atoms)], normalize(atoms, dim=1), atol=1e-3, rtol=0)
    ordinary = objective_found(model, data, seed=0).model.dictionary_
    torch.testing.assert_close(started[len(atoms) :], ordinary[len(atoms) :], atol=1e-3, rtol=0)


def test_a_start_from_its_own_atoms_is_the_ordinary_training(world):
    data, _ = world
    model = TopKSAE(n_codes=32, k=6, samples=4_000)
    found = objective_found(model, data, seed=3)
    again = objective_at(model, data, _own_start(model, 3), seed=3)
    assert again.loss == pytest.approx(found.loss, rel=1e-6)
    assert not hasattr(model, "dictionary_")
    assert model.held_out == 0


def _own_start(model, seed):
    from testbed.estimators.sparse.steps import starting_atoms

    return starting_atoms(model, torch.zeros(2, 16), seed)[0]


def test_the_true_dictionary_is_better_than_a_random_one_of_its_size(world):
    data, atoms = world
    model = TopKSAE(n_codes=32, k=6, samples=20_000)
    random = torch.randn(len(atoms), 16, generator=torch.Generator().manual_seed(0))
    true, other = (objective_at(model, data, a, seed=0, hold=True).loss for a in (atoms, random))
    assert true < 0.7 * other


def test_atoms_that_do_not_fit_are_refused(world):
    data, atoms = world
    with pytest.raises(InvalidInput, match="raise n_codes"):
        objective_at(TopKSAE(n_codes=8), data, atoms, seed=0)
    with pytest.raises(InvalidInput, match="no direction"):
        objective_at(TopKSAE(n_codes=32), data, torch.zeros(2, 16), seed=0)
    with pytest.raises(InvalidInput, match="no free directions"):
        objective_at(ArchetypalSAE(n_codes=32), data, atoms, seed=0)
