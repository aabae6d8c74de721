"""Explicitness: areas as scikit-learn has them, perfect and silent codes, the rotation that it cannot see; modularity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from evaluators.calibration import PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.explicitness import Explicitness, areas_under_curve
from testbed.contracts import Level


def score(outcome, **settings):
    return Explicitness(**settings).score(outcome, seed=0)


def test_areas_agree_with_scikit_learn_ties_included():
    r = np.random.default_rng(0)
    scores, events = r.integers(0, 6, (200, 5)).astype(float), r.random((200, 5)) < 0.3
    assert areas_under_curve(scores, events) == pytest.approx([roc_auc_score(events[:, t], scores[:, t]) for t in range(5)])


def test_perfect_codes_are_explicit_and_modular_and_permuted_ones_are_not(perfect):
    found = score(perfect)
    assert found.value > 0.96
    assert found.parts["auc"] == pytest.approx((1 + found.value) / 2)
    assert found.parts["modularity"] > 0.99
    permuted = score(PERMUTED_CODES.make(perfect, 1))
    assert abs(permuted.value) < 0.06
    assert permuted.parts["modularity"] < 0.3


def test_a_rotation_is_as_explicit_as_the_truth(perfect):
    rotated = score(RANDOM_ROTATION.make(perfect, 1))
    assert rotated.value == pytest.approx(score(perfect).value, abs=0.01)
    assert rotated.parts["modularity"] < 0.95


def test_concepts_that_codes_do_not_hold_count_0(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :2])).value == pytest.approx(2 / 8, abs=0.05)
    assert score(replace(perfect, codes=torch.zeros_like(perfect.codes))).value == 0
    silent = {0: perfect.sample.latents[0], 1: torch.zeros(2000, 5)}
    assert score(replace(perfect, sample=replace(perfect.sample, latents=silent))).value == pytest.approx(3 / 8, abs=0.01)


def test_real_concepts_are_read_by_quartiles_and_states_one_by_one(perfect):
    g = torch.Generator().manual_seed(2)
    real, states = torch.randn(2000, 2, generator=g), torch.randint(0, 3, (2000, 3), generator=g)
    truth = replace(perfect.truth, levels=(Level("real", 2), Level("states", 3, (3, 3, 3))))
    outcome = replace(perfect, truth=truth, sample=replace(perfect.sample, latents={0: real, 1: states}))
    one_hot = torch.nn.functional.one_hot(states).flatten(1).float()
    assert score(replace(outcome, codes=torch.cat([real, one_hot], dim=1))).value > 0.98
    # A label's middle state is not above any threshold: it is at chance, and the outer two are not.
    labels = score(replace(outcome, codes=torch.cat([real, states.float()], dim=1)))
    assert labels.parts["level_0"] > 0.98
    assert labels.parts["level_1"] == pytest.approx(2 / 3, abs=0.06)


def test_concepts_are_drawn_where_there_are_many(perfect):
    found = score(perfect, max_concepts=3)
    assert found.details["concepts read"] == 3
    assert found.value > 0.96
