"""T-MEX: level of its tests, perfect and mixed codes, and the ways in which a rotation passes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from evaluators.calibration import COMMON_FACTOR, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.t_mex import TMEX, independence_tests, rejected
from testbed.contracts import InvalidInput, NotApplicable


def score(outcome, **settings):
    return TMEX(**settings).score(outcome, seed=0)


def correlated(n, c, seed):
    g = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(n, 1, generator=g) + torch.randn(n, c, generator=g)


def test_p_values_are_uniform_where_a_code_depends_on_other_concepts_alone():
    g = torch.Generator().manual_seed(0)
    z, new = correlated(2000, 20, 1), correlated(2000, 20, 2)
    mix = torch.zeros(20, 40)
    mix[:3] = torch.randn(3, 40, generator=g)
    a, a_new = (rows @ mix + torch.randn(2000, 40, generator=g) for rows in (z, new))
    p, testable = independence_tests(z, a, new, a_new)
    assert testable.all()
    assert kstest(p[:, 3:].ravel(), "uniform").pvalue > 1e-3
    assert (p[:, :3] < 1e-3).mean() > 0.9


def test_tests_agree_with_both_regressions_made_one_by_one():
    z, new, noise = correlated(500, 5, 3), correlated(500, 5, 4), torch.randn(1000, generator=torch.Generator().manual_seed(5))
    a, a_new = z[:, 0] + 0.1 * z[:, 2] + noise[:500], new[:, 0] + 0.1 * new[:, 2] + noise[500:]
    p, _ = independence_tests(z, a[:, None], new, a_new[:, None])
    others = [0, 1, 3, 4]

    def residual(y, y_new):
        ones = torch.ones(500, 1)
        x, x_new = torch.cat([z[:, others], ones], 1).double(), torch.cat([new[:, others], ones], 1).double()
        return y_new.double() - x_new @ torch.linalg.lstsq(x, y.double()[:, None]).solution[:, 0]

    product = residual(z[:, 2], new[:, 2]) * residual(a, a_new)
    statistic = 500**0.5 * product.mean() / product.std(correction=0) / (1 + 5 / 500) ** 0.5
    assert p[0, 2] == pytest.approx(2 * (1 - torch.distributions.Normal(0, 1).cdf(statistic.abs())).item(), rel=1e-3)


def test_benjamini_and_hochbergs_rule_by_hand():
    # Bars are .0125, .025, .0375, .05: the third passes, so the first two do.
    assert rejected(np.array([[0.03, 0.2], [0.001, 0.03]]), 0.05).tolist() == [[True, False], [True, True]]
    assert not rejected(np.array([0.2, 0.3]), 0.05).any()


def test_perfect_codes_are_exclusive_and_a_mixture_or_noise_is_not(perfect):
    found = score(perfect)
    assert found.value == found.parts["precision"] == found.parts["recall"] == found.parts["agreement"] == 1
    assert found.parts["errors"] == 0
    assert score(PERMUTED_CODES.make(perfect, 1)).value < 0.2
    # Every concept is in every code: of 8 edges found per code one is right, so F1 is 2/9.
    assert score(RANDOM_ROTATION.make(perfect, 1)).value == pytest.approx(2 / 9, abs=0.05)
    assert score(COMMON_FACTOR.make(perfect, 1)).value < 0.4


def test_concepts_without_a_code_are_not_found(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.parts["precision"] == 1
    assert found.parts["recall"] == pytest.approx(2 / 8)
    assert found.value == pytest.approx(2 * 2 / (2 + 8))


def test_a_rotation_within_a_level_is_perfect_under_the_block_model_and_the_truth_is_not(perfect):
    z = perfect.codes
    blocks = [torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(k)))[0] for k in (3, 5)]
    rotated = replace(perfect, codes=z @ torch.block_diag(*blocks))
    assert score(rotated, model="level").value == pytest.approx(1, abs=0.03)
    assert score(rotated).value < 0.5
    assert score(perfect, model="level").value < 0.5


def test_agreement_is_high_for_codes_that_say_nothing(perfect):
    silent = score(replace(perfect, codes=torch.zeros_like(perfect.codes)))
    assert silent.parts["agreement"] == pytest.approx(1 - 1 / 8)
    assert silent.value == 0


def test_a_concept_that_others_determine_cannot_be_tested(perfect):
    z = perfect.sample.latents[0].dense()
    z[:, 2] = z[:, 0] + z[:, 1]
    outcome = replace(perfect, sample=replace(perfect.sample, latents={0: z, 1: perfect.sample.latents[1]}))
    found = score(replace(outcome, codes=torch.cat([z, perfect.codes[:, 3:]], dim=1)))
    assert found.details["concepts that the others determine"] == 3
    assert found.parts["recall"] == pytest.approx(5 / 8)


def test_other_models_and_few_rows_are_refused(perfect):
    with pytest.raises(InvalidInput, match="model is 'block'"):
        score(perfect, model="block")
    with pytest.raises(NotApplicable):
        score(replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3]))
