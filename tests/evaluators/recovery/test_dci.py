"""DCI: entropies by hand, perfect, mixed, missing and noisy codes, both regressors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluators.calibration import PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.dci import DCI, one_minus_entropy
from testbed.contracts import InvalidInput, Level

BOTH = pytest.mark.parametrize("regressor", ["lasso", "trees"])


def score(outcome, **settings):
    return DCI(**settings).score(outcome, seed=0)


def test_entropies_by_hand():
    rows = np.array([[1.0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 0, 0], [0, 0, 0, 0]])
    assert one_minus_entropy(rows) == pytest.approx(np.array([1, 0, 0.5, 0]))
    assert one_minus_entropy(np.array([[2.0], [0.0]])).tolist() == [1.0, 0.0]


@BOTH
def test_perfect_codes_have_all_three(perfect, regressor):
    found = score(perfect, regressor=regressor)
    assert found.parts["disentanglement"] > 0.97
    assert found.parts["completeness"] > 0.97
    assert found.parts["informativeness"] > 0.97
    assert found.value == min(found.parts[name] for name in ("disentanglement", "completeness", "informativeness"))


@BOTH
def test_permuted_codes_are_not_informative_and_a_rotation_only_that(perfect, regressor):
    assert score(PERMUTED_CODES.make(perfect, 1), regressor=regressor).value < 0.02
    rotated = score(RANDOM_ROTATION.make(perfect, 1), regressor=regressor)
    assert rotated.value < 0.5
    assert rotated.parts["informativeness"] > (0.99 if regressor == "lasso" else 0.3)


def test_a_pair_mixed_evenly_by_hand(perfect):
    z = perfect.codes / perfect.codes.std(dim=0)
    mixed = torch.cat([z[:, :6], z[:, [6]] + z[:, [7]], z[:, [6]] - z[:, [7]]], dim=1)
    found = score(replace(perfect, codes=mixed))
    # Two concepts are spread evenly over two codes: entropy log 2 / log 8 = 1/3. Their weights are sqrt(1/2) each, four in all.
    assert found.parts["completeness"] == pytest.approx((6 + 2 * 2 / 3) / 8, abs=0.02)
    share = 4 * 0.5**0.5 / (6 + 4 * 0.5**0.5)
    assert found.parts["disentanglement"] == pytest.approx(1 - share / 3, abs=0.02)


def test_what_is_missing_counts_0_but_not_in_disentanglement(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.parts["disentanglement"] > 0.9
    assert found.parts["informativeness"] == pytest.approx(2 / 8, abs=0.02)
    assert found.value <= 0.3


def test_informativeness_is_held_out(perfect):
    noise = torch.randn(2000, 900, generator=torch.Generator().manual_seed(0))  # nearly as many codes as rows to fit
    assert score(replace(perfect, codes=noise)).parts["informativeness"] < 0.02


def test_states_are_read_from_indicators_by_the_lasso_and_from_labels_by_trees(perfect):
    z = torch.randint(0, 3, (2000, 3), generator=torch.Generator().manual_seed(1))
    truth = replace(perfect.truth, levels=(Level("states", 3, (3, 3, 3)), Level("sparse", 5)))
    outcome = replace(perfect, truth=truth, sample=replace(perfect.sample, latents={0: z, 1: perfect.sample.latents[1]}))
    one_hot = torch.nn.functional.one_hot(z).flatten(1).float()
    assert score(replace(outcome, codes=torch.cat([one_hot, perfect.codes[:, 3:]], 1))).parts["informativeness"] > 0.97
    labels = replace(outcome, codes=torch.cat([z.float(), perfect.codes[:, 3:]], 1))
    assert score(labels, regressor="trees").value > 0.95
    assert score(labels).value < 0.9


def test_dead_codes_and_unknown_regressors(perfect):
    assert score(replace(perfect, codes=torch.zeros_like(perfect.codes))).value == 0
    with pytest.raises(InvalidInput, match="regressor is 'forest'"):
        score(perfect, regressor="forest")
