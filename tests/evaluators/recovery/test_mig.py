"""MIG: perfect, independent, duplicated and shared codes, and what correlated concepts do to it."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import COMMON_FACTOR, PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.mig import MIG
from testbed.contracts import Level, NotApplicable, SparseRows


def score(outcome, **settings):
    return MIG(**settings).score(outcome, seed=0)


def of_kind(outcome, z, kind, cardinalities=()):
    """The same outcome with one level of concepts z, and codes that are equal to them."""
    truth = replace(outcome.truth, levels=(Level(kind, z.shape[1], cardinalities),))
    view = outcome.sample.observed.views["mixed"]
    observed = replace(outcome.sample.observed, views={"mixed": replace(view, shows=replace(view.shows, levels=(0,)))})
    return replace(outcome, truth=truth, sample=replace(outcome.sample, observed=observed, latents={0: z}), codes=z.float())


def test_perfect_codes_score_1_whatever_their_order_scale_and_warp(perfect):
    warped = (perfect.codes * torch.linspace(0.1, 5, 8)).flip(1)
    for codes in (perfect.codes, SparseRows.from_dense(perfect.codes), warped, -warped.sqrt()):
        assert score(replace(perfect, codes=codes)).value == pytest.approx(1, abs=0.02)


def test_references_order_as_they_should(perfect):
    permuted, rotated = (score(r.make(perfect, 1)).value for r in (PERMUTED_CODES, RANDOM_ROTATION))
    assert abs(permuted) < 0.01
    assert permuted < rotated < 0.5
    assert score(COMMON_FACTOR.make(perfect, 1)).value < 0.1


def test_concepts_without_a_code_count_0_and_a_duplicate_closes_the_gap(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :2])).value == pytest.approx(2 / 8, abs=0.02)
    doubled = torch.cat([perfect.codes, perfect.codes[:, :4]], dim=1)
    assert score(replace(perfect, codes=doubled)).value == pytest.approx(4 / 8, abs=0.02)


def test_a_code_that_serves_two_concepts_is_not_held_against_it(perfect):
    z = torch.randint(0, 2, (2000, 2), generator=torch.Generator().manual_seed(3))
    outcome = of_kind(perfect, z, "states", (2, 2))
    assert score(replace(outcome, codes=z.float() @ torch.tensor([[1.0], [2.0]]))).value == pytest.approx(1)


def test_states_and_real_concepts_score_1_too(perfect):
    g = torch.Generator().manual_seed(4)
    states = torch.randint(0, 12, (2000, 3), generator=g)
    relabelled = of_kind(perfect, states, "states", (12,) * 3)
    assert score(relabelled).value == pytest.approx(1, abs=0.03)
    assert score(of_kind(perfect, torch.randn(2000, 3, generator=g), "real")).value == pytest.approx(1, abs=0.03)


def test_the_truth_has_a_small_gap_where_concepts_are_correlated(perfect):
    g = torch.Generator().manual_seed(5)
    z = 0.9**0.5 * torch.randn(2000, 1, generator=g) + 0.1**0.5 * torch.randn(2000, 4, generator=g)
    assert score(of_kind(perfect, z, "real")).value < 0.8


def test_few_rows_and_no_codes(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :0])).value == 0
    with pytest.raises(NotApplicable):
        score(replace(perfect, sample=perfect.sample[:3], codes=perfect.codes[:3]))
