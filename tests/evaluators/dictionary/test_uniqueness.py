"""Uniqueness: distinct nearest atoms per row, as published, and what it does not see."""

import math
from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.uniqueness import Uniqueness
from testbed.contracts import SparseRows


def score(outcome):
    return Uniqueness().score(outcome, seed=0)


def test_rows_that_share_a_nearest_atom_count_once(conjunctions):
    shared = replace(conjunctions, codes=conjunctions.codes[:, [0, 0, 1, 2]], dictionary=conjunctions.dictionary[[0, 0, 1, 2]])
    found = score(shared)
    assert found.value == 0.75
    assert found.parts == {"published": 0.75, "concepts": pytest.approx(3 / 7)}


def test_a_copy_of_one_atom_is_unique_which_says_nothing_of_the_others(conjunctions):
    found = score(replace(conjunctions, codes=conjunctions.codes[:, :1], dictionary=conjunctions.dictionary[:1]))
    assert found.value == 1
    assert found.parts["concepts"] == pytest.approx(1 / 7)


def test_the_published_one_counts_dead_rows(conjunctions):
    codes = conjunctions.codes.clone()
    codes[:, 0] = 0
    found = score(replace(conjunctions, codes=codes))
    assert found.value == 1
    assert found.parts["published"] == 1
    dead = replace(conjunctions, codes=torch.cat([conjunctions.codes, 0 * codes], 1), dictionary=conjunctions.dictionary.repeat(2, 1))
    assert score(dead).value == 1
    assert score(dead).parts["published"] == 0.5
    assert score(replace(conjunctions, codes=torch.zeros_like(codes))).value == 0


def test_as_many_random_rows_as_concepts_are_nearest_to_63_percent_of_them(conjunctions):
    c = d = 400
    g = torch.Generator().manual_seed(0)
    truth = replace(conjunctions.truth, dictionaries={"mixed": {0: torch.eye(c)}})
    codes = SparseRows.from_dense(torch.ones(4000, c))
    found = score(replace(conjunctions, truth=truth, codes=codes, dictionary=torch.randn(c, d, generator=g)))
    assert found.value == pytest.approx(1 - math.exp(-1), abs=0.06)
