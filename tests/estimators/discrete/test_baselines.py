"""Baselines that group tuples into states: exact where that is easy, one layout, one kind of refusal."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from testbed.contracts import InvalidInput, Structure
from testbed.estimators.discrete.latent_class import LatentClass
from testbed.estimators.discrete.nonnegative_states import NonnegativeStates
from testbed.estimators.discrete.spectral_states import SpectralStates
from testbed.estimators.discrete.vq_autoencoder import VQAutoencoder

ALL = [LatentClass, NonnegativeStates, SpectralStates, VQAutoencoder]
STATE = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])


def world(n=6000, seed=0, product=False):
    """Two blocks of two leaves with three values each; both blocks' states are one, but for one row in ten."""
    g = torch.Generator().manual_seed(seed)
    state = torch.randint(0, 3, (n, 1), generator=g).expand(n, 2).clone()
    other = torch.rand(n, generator=g) < 0.1
    state[other, 1] = torch.randint(0, 3, (int(other.sum()),), generator=g)
    first = torch.randint(0, 3, (n, 2), generator=g)
    second = state if product else (state - first) % 3  # a Latin square: state = (first + second) % 3
    return torch.stack([first[:, 0], second[:, 0], first[:, 1], second[:, 1]], dim=1), state


@pytest.mark.parametrize("cls", [NonnegativeStates, SpectralStates])
def test_states_and_their_number_are_found(cls):
    x, state = world()
    found = cls().fit(x, seed=0)
    assert found.n_states_ == [1, 3, 3, 3, 3, 3, 3]
    codes = found.encode(x)
    assert [adjusted_rand_score(state[:, i], codes[:, 1 + i]) for i in range(2)] == [1.0, 1.0]


def test_a_codebook_of_the_right_size_finds_the_states():
    x, state = world()
    codes = VQAutoencoder(n_states=3, steps=200).fit(x, seed=0).encode(x)
    assert adjusted_rand_score(state[:, 0], codes[:, 1]) == 1.0


def test_latent_classes_are_states_where_constituents_are_independent_given_them():
    x, state = world(product=True)
    found = LatentClass().fit(x, seed=0)
    assert found.n_states_[1:3] == [3, 3]
    assert adjusted_rand_score(state[:, 0], found.encode(x)[:, 1]) == 1.0


@pytest.mark.parametrize("cls", ALL)
def test_layout_is_level_0_first_and_leaves_decode_to_what_they_were(cls):
    x, _ = world(2000)
    few = {"steps": 40} if cls is VQAutoencoder else {}
    found = cls(n_states=3, **few).fit(x, seed=0)
    assert found.levels_ == [0, 1, 1, 2, 2, 2, 2]
    assert found.constituents_ == [[1, 2], [3, 4], [5, 6], [], [], [], []]
    assert Structure.of(found).n_states[3:] == (3, 3, 3, 3)
    codes = found.encode(x)
    assert codes.shape == (2000, 7)
    assert found.decode(codes).equal(x.float())
    assert cls(n_states=3, tuples=[[[0, 1], [2, 3]]], **few).fit(x, seed=0).encode(x).equal(codes[:, 1:])
    assert cls(n_states=3, **few).fit(x, seed=0).encode(x).equal(codes)


@pytest.mark.parametrize("cls", ALL)
def test_bad_input_is_refused(cls):
    x, _ = world(200)
    for data, params, message in (
        (x.clone().index_fill_(1, torch.tensor([2]), 1), {}, "column 2 is constant"),
        (x[:2], {}, "fewer than the|constant"),
        (x[:, :3], {}, "cannot be cut"),
        (x[:, :1], {}, "makes no tuple"),
        (x, {"arity": 1}, "at least 2"),
        (x, {"depth": 0}, "depth"),
        (x, {"n_states": 0}, "n_states"),
        (x, {"tuples": [[[0, 9]]]}, "not of 4 concepts"),
        (torch.from_numpy(np.random.default_rng(0).integers(0, 100, (5000, 4))), {}, "tuples, more than"),
    ):
        with pytest.raises(InvalidInput, match=message):
            cls(**params).fit(data, seed=0)


def test_parameters_of_their_own_are_checked():
    x, _ = world(200)
    with pytest.raises(InvalidInput, match="above"):
        SpectralStates(above=0.0).fit(x, seed=0)
    with pytest.raises(InvalidInput, match="decodes"):
        VQAutoencoder(decodes="all").fit(x, seed=0)
    with pytest.raises(InvalidInput, match="lr"):
        VQAutoencoder(lr=0.0).fit(x, seed=0)
