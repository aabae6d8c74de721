"""Decoder MCC: perfect, partial, dead and chance dictionaries."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import ORACLE, RANDOM_DICTIONARY
from evaluators.dictionary.decoder_mcc import DecoderMCC


def score(outcome):
    return DecoderMCC().score(outcome, seed=0)


def test_the_true_dictionary_in_any_order_sign_and_scale_is_perfect(perfect):
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    found = score(replace(perfect, codes=perfect.codes[:, order], dictionary=-3 * perfect.dictionary[order]))
    assert found.value == pytest.approx(1.0)
    assert found.parts == pytest.approx({"level_0": 1.0, "level_1": 1.0})
    assert score(ORACLE.make(perfect, 0)).value == pytest.approx(1.0)


def test_missing_concepts_count_0_in_the_mean_and_in_their_level(perfect):
    orthogonal = torch.eye(8, 12)
    truth = replace(perfect.truth, dictionaries={"mixed": {0: orthogonal[:3], 1: orthogonal[3:]}})
    found = score(replace(perfect, truth=truth, codes=perfect.codes[:, :3], dictionary=orthogonal[:3]))
    assert found.value == pytest.approx(3 / 8)
    assert found.parts == pytest.approx({"level_0": 1.0, "level_1": 0.0})


def test_a_code_that_never_fires_finds_nothing(perfect):
    codes = perfect.codes.clone()
    codes[:, 0] = 0
    value = score(replace(perfect, codes=codes)).value
    assert value <= 7 / 8 + 1e-9
    assert score(replace(perfect, codes=torch.zeros_like(codes))).value == 0


def test_surplus_codes_do_no_harm_but_raise_chance(perfect):
    noise = torch.randn(100, 12, generator=torch.Generator().manual_seed(0))
    more = replace(perfect, codes=torch.cat([perfect.codes, torch.ones(2000, 100)], 1), dictionary=torch.cat([perfect.dictionary, noise]))
    assert score(more).value == pytest.approx(1.0)
    assert score(RANDOM_DICTIONARY.make(more, 0)).value > score(RANDOM_DICTIONARY.make(perfect, 0)).value + 0.1
