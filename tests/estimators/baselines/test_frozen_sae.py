"""What is frozen stays, what is nearly frozen stays near, and the rest learns."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.baselines.frozen_sae import FrozenDecoderSAE, FrozenEncoderSAE, SoftFrozenDecoderSAE
from testbed.estimators.sparse.steps import starting_atoms
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.numerics.matching import cosine, mean_correlation

SMALL = {"n_codes": 48, "k": 4, "samples": 30_000, "batch_size": 256}


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts.small().draw(1107)


@pytest.fixture(scope="module")
def rows(instance):
    return instance.sample(6000, 0).observed


def start(model, seed=0):
    atoms, _ = starting_atoms(model, torch.zeros(1, 16), seed)
    return atoms


def test_a_frozen_dictionary_is_the_random_one_and_the_encoder_learns(rows):
    model = FrozenDecoderSAE(**SMALL).fit(rows, seed=0)
    assert torch.equal(model.dictionary_, start(model))
    assert (cosine(model.encoder_, model.dictionary_).diagonal() < 0.99).any()
    assert model.history_["loss"][-1] < 0.9 * model.history_["loss"][0]


def test_a_frozen_encoder_is_the_random_one_and_the_dictionary_learns(rows):
    model = FrozenEncoderSAE(**SMALL).fit(rows, seed=0)
    assert torch.equal(model.encoder_, start(model))
    assert not model.encoder_bias_.any()
    assert (cosine(model.encoder_, model.dictionary_).diagonal() < 0.99).any()
    assert model.history_["loss"][-1] < model.history_["loss"][0]


@pytest.mark.parametrize("least", [0.8, 0.95])
def test_a_softly_frozen_atom_stays_within_its_cosine_and_some_reach_it(rows, least):
    model = SoftFrozenDecoderSAE(cosine=least, **SMALL).fit(rows, seed=0)
    kept = cosine(model.dictionary_, start(model)).diagonal()
    assert kept.min() > least - 1e-4
    assert kept.min() < least + 1e-2
    torch.testing.assert_close(model.dictionary_.norm(dim=1), torch.ones(48))


def test_atoms_come_nearer_to_the_truth_the_freer_they_are(instance, rows):
    truth = instance.truth.dictionary("mixed")

    def found(model):
        similarity = cosine(truth, model.fit(rows, seed=0).dictionary_)
        return mean_correlation(similarity, similarity)

    frozen, soft, free = (found(model) for model in (FrozenDecoderSAE(**SMALL), SoftFrozenDecoderSAE(**SMALL), TopKSAE(**SMALL)))
    assert frozen < soft < free


@pytest.mark.parametrize(
    ("params", "message"), [({"cosine": 1.0}, "cosine"), ({"cosine": -0.1}, "cosine"), ({"revival": "residual"}, "'none'")]
)
def test_what_makes_no_sense_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        SoftFrozenDecoderSAE(**{**SMALL, **params}).fit(rows, seed=0)
