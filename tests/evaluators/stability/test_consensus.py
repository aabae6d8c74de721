"""Consensus: a shared core is counted, chance is not, and three fits are more than two."""

import math
from dataclasses import replace

import pytest
import torch

from evaluators.calibration import RANDOM_DICTIONARY
from evaluators.stability.consensus import Consensus
from testbed.contracts import InvalidInput, NotApplicable


def score(*outcomes, threshold=0.9):
    return Consensus(threshold).score(list(outcomes), seed=0)


def with_dictionary(outcome, dictionary):
    return replace(outcome, codes=torch.ones(len(outcome.sample), len(dictionary)), dictionary=dictionary)


def test_all_of_it_and_nothing_of_it(perfect):
    turned = replace(perfect, codes=perfect.codes.flip(1), dictionary=-2 * perfect.dictionary.flip(0))
    found = score(perfect, turned, perfect)
    assert (found.value, found.parts["most"], found.parts["mean_seeds"]) == (1.0, 1.0, 3.0)
    eye = torch.eye(12)
    none = score(*(with_dictionary(perfect, eye[i : i + 4]) for i in (0, 4, 8)))
    assert (none.value, none.parts["most"], none.parts["mean_seeds"]) == (0.0, 0.0, 1.0)


def test_a_core_of_two_and_one_row_that_two_of_three_find(perfect):
    eye = torch.eye(12)
    rows = ([0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 5, 6])
    found = score(*(with_dictionary(perfect, eye[one]) for one in rows))
    assert found.value == pytest.approx(6 / 12)
    assert found.parts["most"] == pytest.approx(8 / 12)
    assert found.parts["mean_seeds"] == pytest.approx((6 * 3 + 2 * 2 + 4) / 12)


def test_a_direction_found_twice_by_a_fit_is_found_once(perfect):
    eye = torch.eye(12)
    found = score(with_dictionary(perfect, eye[[0, 0, 1]]), with_dictionary(perfect, eye[[0, 1, 2]]))
    assert found.value == pytest.approx(4 / 6)


@pytest.mark.parametrize(("degrees", "wanted"), [(25, 1.0), (27, 0.0)])
def test_the_threshold_is_a_cosine_of_nine_tenths(perfect, degrees, wanted):
    turn = math.radians(degrees)  # arccos .9 is 25.84 degrees
    a = torch.eye(12)[:1]
    b = math.cos(turn) * torch.eye(12)[:1] + math.sin(turn) * torch.eye(12)[1:2]
    assert score(with_dictionary(perfect, a), with_dictionary(perfect, b)).value == wanted


def test_chance_finds_nothing_in_a_wide_view(perfect):
    blank = with_dictionary(perfect, torch.zeros(64, 32))
    assert score(*(RANDOM_DICTIONARY.make(blank, seed) for seed in range(3))).value == 0.0


def test_dead_rows_are_no_directions(perfect):
    codes = perfect.codes.clone()
    codes[:, 4:] = 0
    half = replace(perfect, codes=codes)
    assert score(half, half).value == 1.0
    assert score(half, perfect).value == pytest.approx(8 / 12)
    dead = replace(perfect, codes=torch.zeros_like(codes))
    assert score(dead, dead).value == 0.0
    assert score(dead, perfect).value == 0.0


def test_errors(perfect):
    with pytest.raises(NotApplicable, match="at least 2"):
        score(perfect)
    with pytest.raises(NotApplicable, match="no dictionary"):
        score(perfect, replace(perfect, dictionary=None))
    with pytest.raises(InvalidInput, match="threshold"):
        score(perfect, perfect, threshold=1.5)
