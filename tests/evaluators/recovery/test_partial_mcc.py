"""Partial MCC: copies and rotations of correlated concepts are seen through, the truth is not punished."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.activation_mcc import ActivationMCC
from evaluators.recovery.partial_mcc import RIDGE, PartialMCC
from testbed.contracts import Level, NotApplicable


def score(outcome):
    return PartialMCC().score(outcome, seed=0)


def own_share(d, rho):
    """Share of a concept's variance that d - 1 others, all correlated at rho, do not explain."""
    return (1 - rho) * (1 + (d - 1) * rho) / (1 + (d - 2) * rho)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_the_truth_scores_1_whatever_the_correlation(outcome_of, equicorrelated, rho):
    z, _ = equicorrelated(2000, 16, rho)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert score(outcome_of(z, -3 * z[:, order] + 2)).value == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("d", [8, 64])
def test_copies_of_a_common_factor_fall_from_above_nine_tenths_to_nearly_0(outcome_of, equicorrelated, d):
    z, factor = equicorrelated(20_000, d, 0.9)
    exact = z.mean(dim=1, keepdim=True)  # no noise at all: a linear map of the concepts
    for copies in (factor.expand(-1, d), exact * torch.linspace(1, 2, d), COMMON_FACTOR.make(outcome_of(z), 0).codes):
        outcome = outcome_of(z, copies)
        assert ActivationMCC().score(outcome, seed=0).value > 0.94
        assert score(outcome).value < 0.06


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_a_rotation_scores_what_it_scores_where_concepts_are_independent(outcome_of, equicorrelated, rho):
    d = 32
    rotated = RANDOM_ROTATION.make(outcome_of(equicorrelated(20_000, d, rho)[0]), 3)
    independent = RANDOM_ROTATION.make(outcome_of(equicorrelated(20_000, d, 0.0)[0]), 3)
    expected = ActivationMCC().score(independent, seed=0).value
    assert expected < 0.45
    assert score(rotated).value == pytest.approx(expected, abs=0.05)
    assert ActivationMCC().score(rotated, seed=0).value > expected + 0.1


def test_the_textbooks_partial_correlation_takes_a_mixture_without_noise_for_the_concept(outcome_of, equicorrelated):
    rotated = RANDOM_ROTATION.make(outcome_of(equicorrelated(4000, 16, 0.9)[0]), 3)
    assert score(rotated).parts["partial_correlation"] == pytest.approx(1.0, abs=1e-3)


def test_uncorrelated_concepts_have_the_plain_coefficient(outcome_of, equicorrelated):
    z, _ = equicorrelated(40_000, 6, 0.0)
    noisy = outcome_of(z, z + 0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)))
    assert score(noisy).value == pytest.approx(ActivationMCC().score(noisy, seed=0).value, abs=0.005)
    assert score(noisy).value == pytest.approx(1.25**-0.5, abs=0.01)


@pytest.mark.parametrize(("d", "rho"), [(2, 0.9), (10, 0.5), (30, 0.9)])
def test_noise_has_its_closed_form(outcome_of, equicorrelated, d, rho):
    z, _ = equicorrelated(40_000, d, rho)
    own = own_share(d, rho)
    noisy = outcome_of(z, z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)))
    expected = (own / (own + 0.09)) ** 0.5
    found = score(noisy)
    assert found.value == pytest.approx(expected, abs=0.01)
    assert found.parts["partial_correlation"] == pytest.approx(expected, abs=0.01)
    assert found.details["share of a concept's variance that the others do not explain"]["level_0"] == pytest.approx(own, abs=0.01)


def test_one_factorisation_gives_what_regressing_on_each_concepts_others_gives(outcome_of, equicorrelated):
    """Both coefficients, by c separate regressions on the first half, applied to the second."""
    z, _ = equicorrelated(600, 4, 0.7)
    g = torch.Generator().manual_seed(2)
    a = z @ (torch.eye(4) + 0.3 * torch.randn(4, 4, generator=g)).double() + 0.2 * torch.randn(600, 4, generator=g)
    found = score(outcome_of(z, a))
    z, a = z.numpy(), a.numpy()

    def regression(x, y):
        centred = x[:300] - x[:300].mean(axis=0)
        size = centred.std(axis=0)
        gram = (centred / size).T @ (centred / size) / 300 + RIDGE * np.eye(x.shape[1])
        return np.linalg.solve(gram, (centred / size).T @ (y[:300] - y[:300].mean(axis=0)) / 300) / size[:, None]

    def predicted(i):
        others = np.delete(z, i, axis=1)
        return others @ regression(others, z[:, [i]])

    hats = np.hstack([predicted(i) for i in range(4)])
    slopes = regression(z, a)
    p, textbook = [], []
    for i in range(4):  # the mixture is mild: code i goes with concept i
        others = np.delete(z, i, axis=1)
        own = (z - hats)[300:, i]
        p.append(np.corrcoef(own, (a - hats @ slopes)[300:, i])[0, 1])
        textbook.append(np.corrcoef(own, (a - others @ regression(others, a))[300:, i])[0, 1])
    assert found.value == pytest.approx(np.abs(p).mean(), abs=1e-6)
    assert found.parts["partial_correlation"] == pytest.approx(np.abs(textbook).mean(), abs=1e-6)


def test_a_concept_that_the_others_determine_and_one_that_never_varies_count_0(outcome_of, equicorrelated):
    z, _ = equicorrelated(1000, 3, 0.2)
    twin = torch.cat([z, 2 * z[:, :1], torch.full((1000, 1), 3.0)], dim=1)
    found = score(outcome_of(twin))
    assert found.value == pytest.approx(2 / 5)
    assert found.details["share of concepts of which nothing is left"]["level_0"] == pytest.approx(3 / 5)


def test_a_concept_of_another_level_is_not_regressed_out(outcome_of, equicorrelated):
    z, _ = equicorrelated(1000, 3, 0.2)
    twin = torch.cat([z, 2 * z[:, :1]], dim=1)
    found = score(outcome_of(twin, sizes=[3, 1]))
    assert found.value == pytest.approx(1.0)
    assert found.parts["level_1"] == pytest.approx(1.0)


def test_concepts_without_a_code_count_0_and_dead_and_surplus_codes_nothing(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :2])).value == pytest.approx(2 / 8)
    g = torch.Generator().manual_seed(1)
    wide = torch.cat([torch.zeros(2000, 3), perfect.codes, torch.randn(2000, 300, generator=g)], dim=1)
    assert score(replace(perfect, codes=wide)).value == pytest.approx(1.0)


def test_references_order_as_they_should(perfect):
    assert score(ORACLE.make(perfect, 0)).value == pytest.approx(1.0, abs=1e-3)
    permuted, common, rotated = (score(r.make(perfect, 1)).value for r in (PERMUTED_CODES, COMMON_FACTOR, RANDOM_ROTATION))
    assert permuted < 0.08
    assert permuted < common < rotated < 0.9


def test_states_and_fewer_rows_than_concepts_do_not_apply(perfect, outcome_of, equicorrelated):
    states = replace(perfect.truth, levels=(Level("states", 3, (2, 2, 2)), Level("sparse", 5)))
    for outcome in (replace(perfect, truth=states), outcome_of(equicorrelated(20, 10, 0.0)[0])):
        with pytest.raises(NotApplicable):
            score(outcome)
