"""Splitting: concepts cut in two, copied, missing."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.splitting import Splitting
from testbed.contracts import InvalidInput, NotApplicable, SparseRows


def score(outcome, **params):
    return Splitting(**params).score(outcome, seed=0)


def halves_of(outcome, i):
    """Codes with code i in two: one for the odd and one for the even rows."""
    odd = torch.arange(len(outcome.codes)) % 2
    rest = torch.cat([outcome.codes[:, :i], outcome.codes[:, i + 1 :]], dim=1)
    return torch.stack([outcome.codes[:, i] * odd, outcome.codes[:, i] * (1 - odd)], dim=1), rest


def test_perfect_codes_are_whole(conjunctions):
    found = score(conjunctions)
    assert found.value == 0
    assert found.parts == {"whole": 1, "copied": 0, "without_code": 0, "codes": 0, "level_0": 0, "level_1": 0}


def test_a_code_in_two_halves_splits_exactly_its_concept(conjunctions):
    parts, rest = halves_of(conjunctions, 6)
    found = score(replace(conjunctions, codes=torch.cat([parts, rest], dim=1)))
    assert found.value == pytest.approx(1 / 7)
    assert found.parts["whole"] == pytest.approx(6 / 7)
    assert (found.parts["level_0"], found.parts["level_1"], found.parts["codes"]) == (0, pytest.approx(1 / 5), 2)


def test_copies_are_not_parts(conjunctions):
    found = score(replace(conjunctions, codes=torch.cat([conjunctions.codes, -conjunctions.codes[:, :3]], dim=1)))
    assert found.value == 0
    assert found.parts["copied"] == pytest.approx(3 / 7)


def test_one_code_within_another_is_no_split(conjunctions):
    parts, _ = halves_of(conjunctions, 6)
    found = score(replace(conjunctions, codes=torch.cat([conjunctions.codes, parts[:, :1]], dim=1)))
    assert (found.value, found.parts["copied"]) == (0, pytest.approx(1 / 7))


def test_a_merged_code_stands_for_neither_of_two_concepts(conjunctions):
    # Concepts 4 and 6 are on half of the time each, independently: their maximum is on three quarters of the time, so right in two thirds.
    merged = torch.cat([conjunctions.codes[:, [0, 1, 2, 3, 5]], conjunctions.codes[:, [4, 6]].amax(dim=1, keepdim=True)], dim=1)
    found = score(replace(conjunctions, codes=merged))
    assert found.value == 0
    assert found.parts["without_code"] == pytest.approx(2 / 7)


def test_a_small_part_is_left_out(conjunctions):
    rare = torch.arange(4000) % 50 == 0
    code = conjunctions.codes[:, 6]
    codes = torch.cat([conjunctions.codes[:, :6], (code * ~rare)[:, None], (code * rare)[:, None]], dim=1)
    assert score(replace(conjunctions, codes=codes)).value == 0
    assert score(replace(conjunctions, codes=codes), part=0.01).value == pytest.approx(1 / 7)


def test_sparse_codes_split_alike_and_nothing_is_split_by_nothing(conjunctions):
    parts, rest = halves_of(conjunctions, 0)
    codes = SparseRows.from_dense(torch.cat([rest, parts], dim=1))
    assert score(replace(conjunctions, codes=codes)).value == pytest.approx(1 / 7)
    assert score(replace(conjunctions, codes=torch.zeros(4000, 2))).parts["without_code"] == 1
    with pytest.raises(InvalidInput, match="precision"):
        score(conjunctions, precision=0)
    with pytest.raises(NotApplicable, match="rows"):
        score(replace(conjunctions, sample=conjunctions.sample[:3], codes=conjunctions.codes[:3]))
