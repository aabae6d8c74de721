"""InfoMEC: the published formula by hand, the rule that keeps sparse codes, and what each of the three misses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluators.calibration import PERMUTED_CODES, RANDOM_ROTATION
from evaluators.recovery.infomec import InfoMEC, largest_share


def score(outcome):
    return InfoMEC().score(outcome, seed=0)


def test_shares_by_hand():
    # (0.6 / 1 - 1/3) / (1 - 1/3), all equal, a single one, nothing
    rows = np.array([[0.6, 0.2, 0.2], [0.3, 0.3, 0.3], [0.0, 0.1, 0.0], [0.0, 0.0, 0.0]])
    assert largest_share(rows) == pytest.approx(np.array([0.4, 0.0, 1.0, 0.0]))
    assert largest_share(np.array([[0.2], [0.0]])).tolist() == [1.0, 0.0]


def test_perfect_codes_score_1_and_codes_that_say_nothing_0(perfect):
    found = score(perfect)
    assert found.value == pytest.approx(1, abs=0.02)
    assert found.parts["silent"] == 0
    permuted = score(PERMUTED_CODES.make(perfect, 1))
    assert permuted.value < 0.01
    assert permuted.parts["silent"] > 0.8


def test_sparse_codes_of_small_range_are_kept(perfect):
    """The published rule, a range above a twentieth of the largest, would drop the last seven of these codes."""
    small = perfect.codes * torch.tensor([1.0, *[1e-3] * 7])
    rare = torch.cat([perfect.codes[:, :1] * 100, perfect.codes[:, 1:]], dim=1)
    for codes in (small, rare):
        assert score(replace(perfect, codes=codes)).value == pytest.approx(score(perfect).value, abs=1e-3)


def test_a_rotation_is_explicit_but_neither_modular_nor_compact(perfect):
    found = score(RANDOM_ROTATION.make(perfect, 1))
    assert found.parts["infoe"] > 0.99
    assert found.value < 0.5
    assert found.value == min(found.parts["infom"], found.parts["infoc"])


def test_a_few_copies_are_modular_but_do_not_hide_what_is_missing(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, :2]))
    assert found.parts["infom"] > 0.95
    assert found.parts["infoe"] == pytest.approx(2 / 8, abs=0.02)
    assert found.value <= found.parts["infoe"]


def test_a_crowd_of_noise_is_seen_and_left_out(perfect):
    noise = torch.randn(2000, 100, generator=torch.Generator().manual_seed(0))
    found = score(replace(perfect, codes=torch.cat([perfect.codes, noise], dim=1)))
    assert found.parts["silent"] > 0.85
    assert found.parts["infom"] > 0.9
    assert found.parts["infoc"] > 0.9
