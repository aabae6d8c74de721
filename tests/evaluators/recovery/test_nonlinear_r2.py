"""Nonlinear R2: warps are seen through, mixtures are not; caps are drawn by the seed."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.nonlinear_r2 import NonlinearR2
from evaluators.recovery.r2 import R2
from testbed.contracts import InvalidInput, Level, NotApplicable, SparseRows


def score(outcome, seed=0, **settings):
    return NonlinearR2(**settings).score(outcome, seed=seed)


def noise(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("block", ["concept", "level"])
def test_the_truth_scores_1_to_the_last_digits_since_the_ridge_comes_first(outcome_of, equicorrelated, block):
    z, _ = equicorrelated(800, 6, 0.9)
    found = score(outcome_of(z, -2 * z.flip(1) + 1, sizes=[2, 4]), block=block)
    assert found.value == pytest.approx(1.0, abs=1e-6)
    assert found.parts == pytest.approx({"level_0": 1, "level_1": 1, "block": 1, "pure": 1, "no_leak": 1}, abs=1e-4)


def test_a_warp_of_each_concept_is_seen_through_and_a_rotation_is_not(outcome_of, equicorrelated):
    z, _ = equicorrelated(8000, 4, 0.5)
    warped = outcome_of(z, z**3)
    found = score(warped)
    assert min(found.value, found.parts["block"], found.parts["pure"], found.parts["no_leak"]) > 0.85
    assert R2().score(warped, seed=0).value < 0.7
    rotated = score(RANDOM_ROTATION.make(outcome_of(z), 1))
    assert rotated.value > 0.99
    assert max(rotated.parts["block"], rotated.parts["pure"]) < 0.85


def test_a_code_even_in_the_concepts_sign_is_pure_but_does_not_tell_the_sign(outcome_of, equicorrelated):
    z, _ = equicorrelated(4000, 4, 0.0)
    even = outcome_of(z, z.flip(1).abs())
    assert abs(score(even).value) < 0.05
    assert score(even).parts["pure"] > 0.95
    assert R2().score(even, seed=0).parts["pure"] < 0.05


def test_noise_explains_nothing_held_out(outcome_of):
    for m in (6, 500):
        found = score(outcome_of(noise((1600, 6), 1), noise((1600, m), 2)))
        assert -0.08 < found.value < 0.01
        assert -0.08 < found.parts["pure"] < 0.01


def test_a_linear_map_of_all_codes_is_read_although_trees_see_only_a_few(outcome_of, equicorrelated):
    z, _ = equicorrelated(4000, 40, 0.0)
    mixed = outcome_of(z, z @ noise((40, 40)))
    assert score(mixed, screened=2, concepts=4).value > 0.99


def test_concepts_are_drawn_by_the_seed_and_the_mean_is_of_all_of_them(outcome_of, equicorrelated):
    z, _ = equicorrelated(800, 60, 0.0)
    half = outcome_of(z, z[:, ::2], sizes=[20, 40])
    found = [score(half, seed=seed, concepts=16) for seed in range(8)]
    assert found[0].value == score(half, seed=0, concepts=16).value
    assert len({one.value for one in found}) > 1
    assert 14 <= found[0].details["concepts drawn"] <= 18
    assert found[0].details["concepts"] == 60
    error = found[0].details["standard error from the draw of concepts"]
    assert 0.05 < error < 0.2
    assert sum(one.parts["block"] for one in found) / 8 == pytest.approx(0.5, abs=3 * error / 8**0.5)
    assert score(half, concepts=60).details["standard error from the draw of concepts"] == 0


def test_rows_are_capped(outcome_of, equicorrelated):
    z, _ = equicorrelated(4000, 3, 0.0)
    found = score(outcome_of(z, z**3), rows=300)
    assert found.details["rows of trees"] == found.details["rows scored"] == 300


def test_sparse_and_dense_rows_score_alike(outcome_of):
    g = torch.Generator().manual_seed(0)
    z = torch.rand(2000, 6, generator=g) * (torch.rand(2000, 6, generator=g) < 0.4)
    codes = z.sqrt()
    found = score(outcome_of(z, codes, kind="sparse"))
    assert score(outcome_of(z, SparseRows.from_dense(codes), kind="sparse")).value == pytest.approx(found.value, abs=1e-9)
    assert found.parts["block"] > 0.97


def test_concepts_without_a_code_and_dead_codes_and_constant_concepts_count_0(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.parts["block"] == pytest.approx(2 / 8, abs=0.01)
    assert found.parts["no_leak"] == pytest.approx(2 / 8, abs=0.02)
    dead = score(replace(perfect, codes=torch.zeros(2000, 8)))
    assert dead.parts["no_leak"] == dead.parts["pure"] == 0
    assert dead.value == pytest.approx(0, abs=0.02)
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    assert score(replace(perfect, sample=replace(perfect.sample, latents=silent))).value == pytest.approx(3 / 8, abs=1e-4)
    assert score(replace(perfect, codes=torch.zeros(2000, 0))).value == pytest.approx(0, abs=0.02)


def test_references_order_as_they_should(perfect):
    assert score(ORACLE.make(perfect, 0)).value == pytest.approx(1.0, abs=1e-4)
    parts = {r.name: score(r.make(perfect, 1)).parts for r in (PERMUTED_CODES, COMMON_FACTOR, RANDOM_ROTATION)}
    assert parts["permuted_codes"]["block"] < 0.02 < parts["common_factor"]["block"] < parts["random_rotation"]["block"] < 0.85


@pytest.mark.parametrize("settings", [{"block": "pair"}, {"rows": 0}, {"concepts": 0}, {"screened": 0}, {"most": 0}])
def test_unknown_settings_are_refused(perfect, settings):
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        score(perfect, **settings)


def test_states_and_few_rows_do_not_apply(perfect):
    states = replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))
    for outcome in (replace(perfect, truth=states), replace(perfect, sample=perfect.sample[:30], codes=perfect.codes[:30])):
        with pytest.raises(NotApplicable):
            score(outcome)
