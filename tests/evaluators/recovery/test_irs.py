"""IRS: perfect states 1, a uniform concept 1 - 1/bins, noise 0; scale, missing and rare codes."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.irs import IRS
from testbed.contracts import Level, SparseRows


def score(outcome, **settings):
    return IRS(**settings).score(outcome, seed=0)


def with_concepts(outcome, z, kind, cardinalities=()):
    truth = replace(outcome.truth, levels=(Level(kind, z.shape[1], cardinalities), outcome.truth.levels[1]))
    return replace(outcome, truth=truth, sample=replace(outcome.sample, latents={0: z, 1: outcome.sample.latents[1]}))


def test_codes_that_are_constant_within_states_are_perfect(perfect):
    z = torch.randint(0, 4, (2000, 3), generator=torch.Generator().manual_seed(1))
    codes = torch.tensor([2.0, -1.0, 30.0, 0.5])[z]
    found = score(replace(with_concepts(perfect, z, "states", (4, 4, 4)), codes=codes))
    assert found.parts["level_0"] == pytest.approx(1)
    assert found.parts["level_1"] == 0
    assert found.parts["codes"] == pytest.approx(1)


@pytest.mark.parametrize("bins", [2, 5, 10])
def test_a_uniform_concept_moves_within_its_bins(perfect, bins):
    z = torch.rand(2000, 3, generator=torch.Generator().manual_seed(2))
    found = score(replace(with_concepts(perfect, z, "real"), codes=z), bins=bins)
    assert found.parts["level_0"] == pytest.approx(1 - 1 / bins, abs=0.01)


def test_codes_that_say_nothing_score_0_and_a_mixture_little(perfect):
    best = score(perfect).value
    assert best > 0.75
    assert score(PERMUTED_CODES.make(perfect, 1)).value < 0.02
    assert score(RANDOM_ROTATION.make(perfect, 1)).value < 0.5 * best


def test_scale_order_and_the_kind_of_rows_do_not_count(perfect):
    value = score(perfect).value
    scaled = (perfect.codes * torch.tensor([-1.0, 100.0, 1e-3, 1, 1, 1, 1, 2])).flip(1)
    assert score(replace(perfect, codes=scaled)).value == pytest.approx(value)
    assert score(replace(perfect, codes=SparseRows.from_dense(perfect.codes))).value == pytest.approx(value)


def test_the_mean_over_concepts_sees_what_the_mean_over_codes_does_not(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.parts["codes"] > 0.75
    assert found.value == pytest.approx(found.parts["codes"] * 2 / 8)


def test_a_rare_concept_is_as_robust_as_a_frequent_one(perfect):
    g = torch.Generator().manual_seed(3)
    z = torch.rand(2000, 3, generator=g) * (torch.rand(2000, 3, generator=g) < torch.tensor([0.02, 0.2, 0.5]))
    values = [score(replace(with_concepts(perfect, z[:, [i]], "sparse"), codes=z[:, [i]])).parts["level_0"] for i in range(3)]
    assert max(values) - min(values) < 0.1
