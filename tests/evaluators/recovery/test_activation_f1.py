"""Activation F1: perfect, partial, permuted and noisy codes, and values worked out by hand."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.activation_f1 import ActivationF1
from testbed.contracts import Level, NotApplicable, SparseRows


def score(outcome):
    return ActivationF1().score(outcome, seed=0)


def test_the_concepts_themselves_are_perfect(perfect):
    found = score(perfect)
    assert found.value == 1
    assert found.parts == {"level_0": 1, "level_1": 1, "precision": 1, "recall": 1}


def test_references_order_as_they_should(perfect):
    permuted, common, rotated, oracle = (score(r.make(perfect, 1)).value for r in (PERMUTED_CODES, COMMON_FACTOR, RANDOM_ROTATION, ORACLE))
    # Concepts and codes that are on independently, both at rate .3, have F1 .3; matching picks slightly better than that.
    assert permuted == pytest.approx(0.3, abs=0.03)
    assert permuted < common < rotated < oracle
    assert oracle > 0.8  # least squares on exact rows: codes that are off are rounding, not 0


def test_f1_is_that_of_the_two_events(perfect):
    z = perfect.codes
    g = torch.Generator().manual_seed(1)
    # Half of each concept's events are missed, and as many others are added: precision, recall and F1 are all 1/2.
    kept = z * (torch.rand(z.shape, generator=g) < 0.5)
    added = torch.rand(z.shape, generator=g) * (torch.rand(z.shape, generator=g) < 0.15 / 0.7) * (z == 0)
    found = score(replace(perfect, codes=kept + added))
    assert found.value == pytest.approx(0.5, abs=0.02)
    assert found.parts["precision"] == pytest.approx(0.5, abs=0.03)
    assert found.parts["recall"] == pytest.approx(0.5, abs=0.03)


def test_concepts_without_a_code_and_concepts_that_never_fire_count_0(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.value == pytest.approx(2 / 8)
    assert sum(found.details["share of concepts without a code"].values()) == pytest.approx(1 / 3 + 1)
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    found = score(replace(perfect, sample=replace(perfect.sample, latents=silent)))
    assert found.value == pytest.approx(3 / 8)
    assert found.details["share of concepts never on in the scored half"] == {"level_0": 0, "level_1": 1}


def test_noise_below_the_concepts_magnitudes_is_cut_without_the_truth(perfect):
    g = torch.Generator().manual_seed(2)
    on = perfect.codes != 0
    noise = 0.1 * torch.rand(on.shape, generator=g) * (torch.rand(on.shape, generator=g) < 0.5)
    assert score(replace(perfect, codes=torch.where(on, 1 + perfect.codes, noise))).value == 1


def test_thresholds_and_matching_are_not_taken_from_the_scored_half(perfect):
    half = len(perfect.codes) // 2
    swapped = torch.cat([perfect.codes[:half], perfect.codes[half:].flip(1)])
    assert score(replace(perfect, codes=swapped)).value < 0.4  # the first half's matching is wrong in the second


def test_only_the_levels_that_the_view_shows_are_scored(perfect):
    view = replace(perfect.sample.observed.views["mixed"], shows=replace(perfect.sample.observed.views["mixed"].shows, levels=(1,)))
    sample = replace(perfect.sample, observed=replace(perfect.sample.observed, views={"mixed": view}))
    found = score(replace(perfect, sample=sample, codes=SparseRows.from_dense(perfect.codes[:, 3:])))
    assert found.value == 1
    assert "level_0" not in found.parts


def test_states_real_values_and_few_rows_do_not_apply(perfect):
    for outcome in (
        replace(perfect, truth=replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))),
        replace(perfect, truth=replace(perfect.truth, levels=(Level("real", 3), Level("sparse", 5)))),
        replace(perfect, sample=replace(perfect.sample, latents={})),
        replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3]),
    ):
        with pytest.raises(NotApplicable):
            score(outcome)
