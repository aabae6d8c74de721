"""Activation MCC: perfect, partial, permuted and mixed codes."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.activation_mcc import ActivationMCC
from testbed.contracts import Level, NotApplicable


def score(outcome):
    return ActivationMCC().score(outcome, seed=0)


def test_the_concepts_themselves_are_perfect_and_so_is_the_oracle(perfect):
    assert score(perfect).value == pytest.approx(1.0)
    assert score(perfect).parts == pytest.approx({"level_0": 1.0, "level_1": 1.0})
    assert score(ORACLE.make(perfect, 0)).value == pytest.approx(1.0, abs=1e-4)


def test_references_order_as_they_should(perfect):
    permuted, common, rotated = (score(r.make(perfect, 1)).value for r in (PERMUTED_CODES, COMMON_FACTOR, RANDOM_ROTATION))
    assert permuted < 0.08
    assert permuted < common < rotated < 0.9


def test_concepts_without_a_code_and_concepts_that_never_fire_count_0(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :2])).value == pytest.approx(2 / 8)
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    found = score(replace(perfect, sample=replace(perfect.sample, latents=silent)))
    assert found.parts["level_1"] == 0
    assert found.value == pytest.approx(3 / 8)


def test_many_codes_of_noise_gain_nothing_on_held_out_rows(perfect):
    g = torch.Generator().manual_seed(0)
    few, many = (score(replace(perfect, codes=torch.randn(2000, m, generator=g))).value for m in (10, 1000))
    assert many < 0.05
    assert few < 0.05


def test_only_the_levels_that_the_view_shows_are_scored(perfect):
    view = replace(perfect.sample.observed.views["mixed"], shows=replace(perfect.sample.observed.views["mixed"].shows, levels=(1,)))
    sample = replace(perfect.sample, observed=replace(perfect.sample.observed, views={"mixed": view}))
    found = score(replace(perfect, sample=sample, codes=perfect.codes[:, 3:]))
    assert found.value == pytest.approx(1.0)
    assert list(found.parts) == ["level_1"]


def test_states_and_missing_latents_and_few_rows_do_not_apply(perfect):
    states = replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))
    for outcome in (
        replace(perfect, truth=states),
        replace(perfect, sample=replace(perfect.sample, latents={})),
        replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3]),
    ):
        with pytest.raises(NotApplicable):
            score(outcome)
