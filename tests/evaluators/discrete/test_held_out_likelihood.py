"""Likelihood of rows under codes and their graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluators.calibration import PERMUTED_CODES
from evaluators.discrete.held_out_likelihood import HeldOutLikelihood
from evaluators.discrete.references import STATES_ORACLE
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import NotApplicable, Outcome, Structure


def score(outcome):
    return HeldOutLikelihood().score(outcome, seed=0)


@pytest.fixture(scope="module")
def world():
    instance = DiscreteHierarchy(states=4, synonyms=2, minimum_gap=0.2).draw(1)
    sample = instance.sample(20_000, 0, "test")
    return instance, STATES_ORACLE.make(Outcome(torch.zeros(20_000, 1), sample, "tokens", truth=instance.truth), 0)


def test_true_states_have_the_law_of_the_data(world):
    """Minus the entropy of the rows, which for the truth is exact."""
    instance, truth = world
    rows = instance.sample(4000, 1, "test").observed
    assert score(truth).value == pytest.approx(float(instance.log_likelihood(rows).mean()), abs=0.05)


def test_names_of_states_do_not_matter_and_permuted_rows_are_worse(world):
    _, truth = world
    renamed = replace(truth, codes=(truth.codes * 3 + 1) % 7)
    assert score(renamed).value == pytest.approx(score(truth).value)
    assert score(PERMUTED_CODES.make(truth, 0)).value < score(truth).value - 1


def test_merging_states_loses_and_splitting_them_at_random_does_too(world):
    _, truth = world
    best = score(truth).value
    merged, split = truth.codes.clone(), truth.codes.clone()
    merged[:, 1][merged[:, 1] == 3] = 2
    # A synonym of its own, as a forced budget makes one.
    tuples = split[:, 3] * 4 + split[:, 4]
    synonym = tuples == tuples[split[:, 1] == 0][0]
    split[:, 1] = torch.where((split[:, 1] == 0) & synonym, 4, split[:, 1])
    assert score(replace(truth, codes=merged)).value < best - 0.02
    assert score(replace(truth, codes=split)).value < best


def test_leaves_that_tell_less_are_no_way_out(world):
    """A code that hides a leaf saves the leaf's own likelihood and pays it in that of its column."""
    _, truth = world
    hidden = truth.codes.clone()
    hidden[:, -1] = 0
    assert score(replace(truth, codes=hidden)).value < score(truth).value + 0.01
    assert score(replace(truth, codes=hidden)).parts["leaves"] < -0.5


def test_parts_add_up(world):
    found = score(world[1])
    assert found.value == pytest.approx(sum(found.parts.values()))
    assert np.isfinite(found.value)
    assert found.value <= 0


def test_codes_without_a_graph_or_leaves_have_none(world):
    _, truth = world
    with pytest.raises(NotApplicable, match="no graph"):
        score(replace(truth, structure=None))
    short = Structure((0, 1, 1), ((1, 2), (), ()))
    with pytest.raises(NotApplicable, match="one each"):
        score(replace(truth, codes=truth.codes[:, :3], structure=short))
