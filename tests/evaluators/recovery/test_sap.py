"""SAP: closed forms of lines, missing and duplicated codes, states."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.sap import SAP
from testbed.contracts import Level, SparseRows


def score(outcome):
    return SAP().score(outcome, seed=0)


def test_perfect_codes_score_1_and_permuted_ones_0(perfect):
    for codes in (perfect.codes, SparseRows.from_dense(perfect.codes), 3 - 2 * perfect.codes.flip(1)):
        found = score(replace(perfect, codes=codes))
        assert found.value == pytest.approx(1, abs=0.02)
        assert found.parts["predictability"] == pytest.approx(1)
    assert abs(score(PERMUTED_CODES.make(perfect, 1)).value) < 0.01
    assert score(RANDOM_ROTATION.make(perfect, 1)).value < 0.5


def test_predictability_is_the_squared_correlation(perfect):
    noise = torch.randn(perfect.codes.shape, generator=torch.Generator().manual_seed(7))
    noisy = perfect.codes + perfect.codes.std(dim=0) * noise  # as much noise as signal
    found = score(replace(perfect, codes=noisy))
    assert found.parts["predictability"] == pytest.approx(0.5, abs=0.03)
    assert found.value == pytest.approx(0.5, abs=0.03)


def test_lines_are_fitted_on_the_other_half(perfect):
    half = len(perfect.codes) // 2
    codes = torch.cat([perfect.codes[:half], -perfect.codes[half:]])  # slopes are right on neither half but the first
    assert score(replace(perfect, codes=codes)).value == pytest.approx(0, abs=0.01)


def test_concepts_without_a_code_count_0_and_a_duplicate_closes_the_gap(perfect):
    assert score(replace(perfect, codes=perfect.codes[:, :2])).value == pytest.approx(2 / 8, abs=0.01)
    assert score(replace(perfect, codes=torch.cat([perfect.codes, perfect.codes], dim=1))).value == pytest.approx(0)


def test_states_are_predicted_by_the_codes_states_up_to_relabelling(perfect):
    z = torch.randint(0, 4, (2000, 3), generator=torch.Generator().manual_seed(1))
    truth = replace(perfect.truth, levels=(Level("states", 3, (4, 4, 4)), Level("sparse", 5)))
    outcome = replace(perfect, truth=truth, sample=replace(perfect.sample, latents={0: z, 1: perfect.sample.latents[1]}))
    relabelled = torch.tensor([2.0, 0.0, 3.0, 1.0])[z]
    found = score(replace(outcome, codes=torch.cat([relabelled, perfect.codes[:, 3:]], dim=1)))
    assert found.parts["level_0"] == pytest.approx(1, abs=0.02)
    assert found.value == pytest.approx(1, abs=0.02)
