"""Seed agreement: the same, the same but for names, half the same, and chance."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import RANDOM_DICTIONARY
from evaluators.stability.seed_agreement import SeedAgreement
from testbed.contracts import NotApplicable


def score(*outcomes):
    return SeedAgreement().score(list(outcomes), seed=0)


def with_dictionary(outcome, dictionary):
    return replace(outcome, codes=torch.ones(len(outcome.sample), len(dictionary)), dictionary=dictionary)


def test_renamed_and_rescaled_dictionaries_agree(perfect):
    turned = replace(perfect, codes=perfect.codes.flip(1), dictionary=-2 * perfect.dictionary.flip(0))
    assert score(perfect, turned, perfect).value == pytest.approx(1.0)


def test_half_of_the_directions_shared_is_half_agreement(perfect):
    eye = torch.eye(8)
    found = score(with_dictionary(perfect, eye[:4]), with_dictionary(perfect, eye[2:6]))
    assert found.value == pytest.approx(0.5)


def test_a_small_dictionary_cannot_hide_in_a_large_one(perfect):
    eye = torch.eye(8)
    assert score(with_dictionary(perfect, eye[:2]), with_dictionary(perfect, eye)).value == pytest.approx(0.25)


def test_dead_rows_agree_with_nobody(perfect):
    codes = perfect.codes.clone()
    codes[:, 4:] = 0
    half = replace(perfect, codes=codes)
    assert score(half, half).value == pytest.approx(1.0)
    assert score(half, perfect).value == pytest.approx(0.5)
    dead = replace(perfect, codes=torch.zeros_like(codes))
    assert score(dead, dead).value == 0


def test_chance_is_far_below_agreement(perfect):
    made = [RANDOM_DICTIONARY.make(perfect, seed) for seed in (1, 2, 3)]
    found = score(*made)
    assert found.parts["lowest"] <= found.value <= found.parts["highest"] < 0.8


def test_one_seed_has_nobody_to_agree_with(perfect):
    with pytest.raises(NotApplicable, match="at least 2"):
        score(perfect)
