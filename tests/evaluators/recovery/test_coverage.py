"""Coverage: a share of all true concepts."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.coverage import Coverage
from testbed.contracts import InvalidInput, Level, NotApplicable


def score(outcome, **settings):
    return Coverage(**settings).score(outcome, seed=0)


def test_64_perfect_codes_of_1024_concepts_cover_a_sixteenth(outcome_of):
    g = torch.Generator().manual_seed(0)
    z = torch.rand(2000, 1024, generator=g) * (torch.rand(2000, 1024, generator=g) < 0.03)
    found = score(outcome_of(z, z[:, :64], kind="sparse"))
    assert found.value == 64 / 1024
    assert found.details == {"concepts covered": 64, "concepts": 1024}


@pytest.mark.parametrize("r", [0.4, 0.6, 0.85, 0.92, 0.97])
def test_a_threshold_is_passed_by_codes_that_correlate_more(outcome_of, equicorrelated, r):
    z, _ = equicorrelated(20_000, 4, 0.0)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = score(outcome_of(z, r * z + (1 - r**2) ** 0.5 * noise))
    assert found.value == float(r >= 0.9)
    for t in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        assert found.parts[f"at_{t:g}"] == float(r >= t)


def test_levels_are_counted_apart_and_the_threshold_can_be_set(outcome_of, equicorrelated):
    z, _ = equicorrelated(4000, 8, 0.0)
    codes = z.clone()
    codes[:, :2] += torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))  # correlates about .71
    outcome = outcome_of(z, codes, sizes=[2, 6])
    assert score(outcome).parts["level_0"] == 0
    assert score(outcome).parts["level_1"] == 1
    assert score(outcome).value == 6 / 8
    assert score(outcome, threshold=0.6).value == 1


def test_half_recovered_concepts_do_not_make_up_for_missing_ones(outcome_of, equicorrelated):
    z, _ = equicorrelated(4000, 6, 0.0)
    mixed = (z + z.roll(1, dims=1)) / 2**0.5  # every code follows two concepts, at .71
    assert score(outcome_of(z, mixed)).value == 0


def test_references_order_as_they_should(perfect):
    assert score(perfect).value == score(ORACLE.make(perfect, 0)).value == 1
    for reference in (PERMUTED_CODES, COMMON_FACTOR):
        assert score(reference.make(perfect, 1)).value == 0
    assert score(RANDOM_ROTATION.make(perfect, 1)).value < 0.3


def test_copies_pass_a_threshold_below_what_they_correlate(outcome_of, equicorrelated):
    """A false positive that the docstring names: the factor correlates .95 with every concept."""
    z, factor = equicorrelated(4000, 6, 0.9)
    found = score(outcome_of(z, factor.expand(-1, 6)))
    assert found.value == 1
    assert found.parts["at_0.99"] == 0


def test_dead_codes_and_silent_concepts_are_not_covered(perfect):
    assert score(replace(perfect, codes=torch.zeros(2000, 8))).value == 0
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    assert score(replace(perfect, sample=replace(perfect.sample, latents=silent))).value == 3 / 8


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.1}, {"thresholds": (0.5, -1.0)}])
def test_a_threshold_that_is_no_correlation_is_refused(perfect, settings):
    with pytest.raises(InvalidInput, match="at most 1"):
        score(perfect, **settings)


def test_states_and_few_rows_do_not_apply(perfect):
    states = replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))
    for outcome in (replace(perfect, truth=states), replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3])):
        with pytest.raises(NotApplicable):
            score(outcome)
