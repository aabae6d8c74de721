"""Presets hold settings that their classes have, and say what is wrong where they do not."""

import tomllib
from importlib.resources import files

import pytest

from testbed.contracts import InvalidInput
from testbed.estimators.presets import table
from testbed.estimators.presets.table import parameters, presets
from testbed.estimators.sparse.autoencoder import SparseAutoencoder
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.estimators.sparse.relu_sae import ReLUSAE
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.registry import BUILT_IN, load


def autoencoders():
    kinds = (load(path) for path in BUILT_IN["estimators"].values() if ".sparse." in path or "frozen_sae" in path)
    return [kind for kind in kinds if issubclass(kind, SparseAutoencoder)]


def test_both_presets_are_there():
    assert presets() == ["paper", "small"]
    assert TopKSAE.preset("paper").samples == 200_000_000
    assert TopKSAE.preset("small").samples <= 2_000_000


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_every_autoencoder_has_each_preset_and_its_numbers_are_in_range(preset):
    kinds = autoencoders()
    assert len(kinds) >= 7
    for kind in kinds:
        views = {name: value for name, value in kind.small().get_params().items() if "view" in name}
        kind.preset(preset, **views).check()
    known = {parent.__name__ for kind in [*kinds, MinimalDictionary] for parent in kind.__mro__}
    assert set(tomllib.loads(files(table.FOLDER).joinpath(f"{preset}.toml").read_text())) <= known


def test_settings_for_many_rows_are_those_of_the_preset():
    assert MinimalDictionary.preset("small", start_codes=1536).get_params()["warm_up"] == 0.7


@pytest.fixture
def made_up(monkeypatch):
    tables = {
        "SparseAutoencoder": {"samples": 7, "lr": 0.5},
        "TopKSAE": {"lr": 0.25, "k": 3},
        "BatchTopKSAE": {"k": 5},
        "ReLUSAE": {"kk": 1},
    }
    monkeypatch.setattr(table, "_read", lambda preset: tables)


def test_a_class_has_its_parents_settings_and_its_own_and_the_users_before_them(made_up):
    assert parameters(TopKSAE, "small") == {"samples": 7, "lr": 0.25, "k": 3}
    assert parameters(BatchTopKSAE, "small") == {"samples": 7, "lr": 0.25, "k": 5}
    given = BatchTopKSAE.preset("small", k=9, n_codes=64)
    assert (given.k, given.n_codes, given.samples) == (9, 64, 7)


def test_what_is_unknown_is_named(made_up):
    with pytest.raises(InvalidInput, match=r"preset 'small', table \[ReLUSAE\]: ReLUSAE has no parameter 'kk' \(it has n_codes, samples"):
        ReLUSAE.preset("small")
    with pytest.raises(InvalidInput, match="TopKSAE has no parameter 'width': it has n_codes"):
        TopKSAE.preset("small", width=3)
    with pytest.raises(InvalidInput, match="there is no preset 'large': it is one of 'paper', 'small'"):
        TopKSAE.preset("large")


def test_a_preset_that_says_nothing_of_a_class_is_refused(monkeypatch):
    monkeypatch.setattr(table, "_read", lambda preset: {"TopKSAE": {}})
    with pytest.raises(InvalidInput, match="has no table for ReLUSAE"):
        ReLUSAE.preset("small")
