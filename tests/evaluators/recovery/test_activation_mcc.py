"""Activation MCC: perfect, partial, permuted and mixed codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.activation_mcc import ActivationMCC
from testbed.contracts import InvalidInput, Level, NotApplicable, SparseRows


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


# ------------------------------------------------------------------------------------------------------- rank correlation


@pytest.mark.parametrize("sparse", [False, True])
def test_spearmans_is_scipys_on_the_scored_half(perfect, sparse):
    g = torch.Generator().manual_seed(3)
    codes = (perfect.codes + 0.2 * torch.randn(perfect.codes.shape, generator=g)) * (perfect.codes != 0)
    found = ActivationMCC("spearman").score(replace(perfect, codes=SparseRows.from_dense(codes) if sparse else codes), seed=0).value
    expected = [spearmanr(a, b).statistic for a, b in zip(perfect.codes[1000:].T, codes[1000:].T, strict=True)]
    assert found == pytest.approx(np.mean(expected), abs=1e-9)


def test_an_increasing_map_of_each_code_costs_the_plain_coefficient_and_not_the_ranks(outcome_of, equicorrelated):
    z, _ = equicorrelated(2000, 4, 0.5)
    warped = outcome_of(z, (2 * z).exp())
    assert ActivationMCC("spearman").score(warped, seed=0).value == pytest.approx(1.0)
    assert ActivationMCC().score(warped, seed=0).value < 0.7
    assert "monotone" in ActivationMCC("spearman").invariances
    assert "monotone" not in ActivationMCC().invariances


def test_an_unknown_correlation_is_refused(perfect):
    with pytest.raises(InvalidInput, match="pearson or spearman"):
        ActivationMCC("kendall").score(perfect, seed=0)


# -------------------------------------------------------------------------------------------------------------------- signs


@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
def test_the_sign_of_a_code_is_fixed_on_the_first_half(perfect, correlation):
    signed = ActivationMCC(correlation, signed=True)
    assert signed.score(replace(perfect, codes=-perfect.codes), seed=0).value == pytest.approx(1.0)
    turned = perfect.codes.clone()
    turned[1000:, 0] *= -1  # a code that means the opposite on the second half
    found = signed.score(replace(perfect, codes=turned), seed=0).value
    assert found == pytest.approx((7 - 1) / 8)
    assert ActivationMCC(correlation).score(replace(perfect, codes=turned), seed=0).value == pytest.approx(1.0)


def test_codes_of_noise_score_0_with_signs_and_more_without(outcome_of):
    g = torch.Generator().manual_seed(5)
    z, noise = torch.randn(2, 200, 60, generator=g)
    outcome = outcome_of(z, noise)
    assert abs(ActivationMCC(signed=True).score(outcome, seed=0).value) < 0.04
    assert ActivationMCC().score(outcome, seed=0).value == pytest.approx((2 / (np.pi * 100)) ** 0.5, abs=0.02)


def test_signed_and_plain_agree_where_signs_hold(perfect):
    g = torch.Generator().manual_seed(6)
    noisy = replace(perfect, codes=perfect.codes + 0.1 * torch.randn(perfect.codes.shape, generator=g))
    assert ActivationMCC(signed=True).score(noisy, seed=0).value == pytest.approx(score(noisy).value, abs=1e-12)
