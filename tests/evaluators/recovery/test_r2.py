"""R2 both ways: what linear maps of codes hold of the concepts, what codes hold besides, and that noise explains nothing held out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.r2 import R2
from testbed.contracts import InvalidInput, Level, NotApplicable, SparseRows


def score(outcome, **settings):
    return R2(**settings).score(outcome, seed=0)


def noise(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("block", ["concept", "level"])
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_truth_is_complete_and_pure_and_leaks_nothing(outcome_of, equicorrelated, rho, block):
    z, _ = equicorrelated(2000, 8, rho)
    found = score(outcome_of(z, -2 * z.flip(1) + 1, sizes=[3, 5]), block=block)
    assert found.value == pytest.approx(1.0, abs=1e-6)
    assert found.parts == pytest.approx({"level_0": 1, "level_1": 1, "block": 1, "pure": 1, "no_leak": 1}, abs=1e-4)


def test_many_codes_of_noise_explain_a_share_m_over_n_in_sample_and_nothing_here(outcome_of):
    z, codes = noise((1000, 6), 1), noise((1000, 410), 2)
    assert LinearRegression().fit(codes[:500], z[:500]).score(codes[:500], z[:500]) == pytest.approx(410 / 500, abs=0.04)
    found = score(outcome_of(z, codes))
    assert -0.05 < found.value < 0.01
    assert -0.05 < found.parts["block"] < 0.01
    assert -0.05 < found.parts["pure"] < 0.01
    assert found.parts["no_leak"] == pytest.approx(1, abs=0.05)


def test_with_more_codes_than_rows_noise_still_explains_nothing(outcome_of):
    assert -0.05 < score(outcome_of(noise((400, 6), 1), noise((400, 900), 2))).value < 0.01


def test_a_rotation_is_complete_but_not_pure(outcome_of, equicorrelated):
    """Independent concepts: a rotated code has r^2 with its concept, and what is left of it is of the others."""
    z, _ = equicorrelated(20_000, 8, 0.0)
    rotated = RANDOM_ROTATION.make(outcome_of(z, sizes=[3, 5]), 1)
    found = score(rotated)
    assert found.value == pytest.approx(1.0, abs=1e-3)
    assert found.parts["pure"] < 0.7
    assert found.parts["pure"] == pytest.approx(found.parts["block"], abs=0.01)
    assert found.parts["no_leak"] == pytest.approx(found.parts["pure"], abs=0.01)


def test_a_rotation_within_a_level_identifies_the_level_as_a_block_and_no_concept(outcome_of, equicorrelated):
    z, _ = equicorrelated(20_000, 8, 0.9)
    q = torch.linalg.qr(noise((8, 8)))[0]
    first, second = torch.linalg.qr(noise((3, 3)))[0], torch.linalg.qr(noise((5, 5), 2))[0]
    within = outcome_of(z, torch.cat([z[:, :3] @ first, z[:, 3:] @ second], dim=1), sizes=[3, 5])
    across = outcome_of(z, z @ q, sizes=[3, 5])
    level, concept = score(within, block="level").parts, score(within, block="concept").parts
    assert min(level["block"], level["pure"], level["no_leak"]) > 0.97
    assert max(concept["block"], concept["pure"], concept["no_leak"]) < 0.9
    assert score(across, block="level").parts["no_leak"] < 0.9
    assert score(across, block="level").value == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_leak_has_its_closed_form(outcome_of, equicorrelated, strength):
    """Code i is concept i plus some of the next one, correlated at rho: the leak is what that one has for itself."""
    rho, d = 0.6, 2
    z, _ = equicorrelated(100_000, d, rho)
    found = score(outcome_of(z, torch.cat([z[:, :1], z[:, 1:] + strength * z[:, :1]], dim=1))).parts
    variance = 1 + strength**2 + 2 * strength * rho
    leak = strength**2 * (1 - rho**2) / variance
    assert found["no_leak"] == pytest.approx(1 - leak / 2, abs=0.005)
    assert found["pure"] == pytest.approx(1 - leak / 2, abs=0.005)


def test_copies_of_a_common_factor_get_its_squared_correlation(outcome_of, equicorrelated):
    z, factor = equicorrelated(20_000, 8, 0.9)
    assert score(outcome_of(z, factor.expand(-1, 8))).value == pytest.approx(0.9, abs=0.01)


def test_r2_of_one_code_is_what_least_squares_on_the_first_half_gives_on_the_second(outcome_of):
    z, code = noise((300, 1), 1), noise((300, 1), 2)
    code += z
    model = LinearRegression().fit(code[:150], z[:150])
    found = score(outcome_of(z, code))
    assert found.parts["block"] == pytest.approx(model.score(code[150:], z[150:]), abs=1e-9)
    assert found.parts["pure"] == pytest.approx(LinearRegression().fit(z[:150], code[:150]).score(z[150:], code[150:]), abs=1e-9)
    plain = LinearRegression(fit_intercept=False).fit(code[:150], z[:150])
    assert score(outcome_of(z, code), map="linear").parts["block"] == pytest.approx(plain.score(code[150:], z[150:]), abs=1e-9)


def test_a_linear_map_has_no_intercept(outcome_of, equicorrelated):
    z, _ = equicorrelated(2000, 3, 0.0)
    shifted = outcome_of(z, z + 5)
    assert score(shifted, map="affine").value == pytest.approx(1.0, abs=1e-6)
    assert score(shifted, map="linear").value < 0.9
    assert score(outcome_of(z, 5 * z), map="linear").value == pytest.approx(1.0, abs=1e-6)
    assert "shift" not in R2("linear").invariances


def test_concepts_without_a_code_count_0_and_negative_values_are_kept(outcome_of, equicorrelated):
    z, _ = equicorrelated(2000, 4, 0.0)
    found = score(outcome_of(z, z[:, :1]))
    assert found.value == pytest.approx(1 / 4, abs=0.01)
    assert found.parts["block"] == pytest.approx(1 / 4)
    assert found.parts["no_leak"] == pytest.approx(1 / 4, abs=0.01)
    turned = z.clone()
    turned[1000:] *= -1  # codes that mean the opposite on the second half: 1 - 4
    found = score(outcome_of(z, turned))
    assert found.value == pytest.approx(-3.0, abs=0.1)
    assert found.details == {"share of concepts with R2 below 0": 1.0, "mean with these at 0": 0.0}


def test_dead_codes_and_constant_concepts_count_0(perfect):
    dead = score(replace(perfect, codes=torch.zeros(2000, 8)))
    assert dead.value == pytest.approx(0, abs=0.01)
    assert dead.parts["no_leak"] == 0
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    assert score(replace(perfect, sample=replace(perfect.sample, latents=silent))).value == pytest.approx(3 / 8, abs=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_too_many_codes_are_thinned_to_those_that_go_with_a_concept(perfect, sparse):
    g = torch.Generator().manual_seed(1)
    wide = torch.cat([torch.randn(2000, 50, generator=g), perfect.codes.flip(1), torch.randn(2000, 50, generator=g)], dim=1)
    wide = SparseRows.from_dense(wide) if sparse else wide
    assert score(replace(perfect, codes=wide), most=8).value == pytest.approx(1.0, abs=1e-6)


def test_references_order_as_they_should(perfect):
    assert score(ORACLE.make(perfect, 0)).value == pytest.approx(1.0, abs=1e-4)
    parts = {r.name: score(r.make(perfect, 1)).parts for r in (PERMUTED_CODES, COMMON_FACTOR, RANDOM_ROTATION)}
    assert parts["permuted_codes"]["block"] < 0.01 < parts["common_factor"]["block"] < parts["random_rotation"]["block"] < 0.8


@pytest.mark.parametrize("settings", [{"map": "cubic"}, {"block": "pair"}, {"most": 0}])
def test_unknown_settings_are_refused(perfect, settings):
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        score(perfect, **settings)


def test_states_and_few_rows_do_not_apply(perfect):
    states = replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))
    for outcome in (replace(perfect, truth=states), replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3])):
        with pytest.raises(NotApplicable):
            score(outcome)


def test_half_of_the_variance_of_a_code_may_be_noise_without_a_leak(outcome_of, equicorrelated):
    z, _ = equicorrelated(40_000, 6, 0.5)
    found = score(outcome_of(z, z + noise(z.shape)))
    assert found.parts["pure"] == pytest.approx(0.5, abs=0.01)
    assert found.parts["no_leak"] == pytest.approx(1.0, abs=0.005)
    assert np.isfinite(found.value)
