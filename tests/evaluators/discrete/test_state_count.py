"""Numbers of states: what the estimator says, what occurs, what is missing."""

from dataclasses import replace

import pytest
import torch

from evaluators.discrete.state_count import StateCount
from testbed.contracts import InvalidInput, Structure


def score(outcome):
    return StateCount().score(outcome, seed=0)


def test_the_right_numbers_have_no_error(perfect, permute):
    for outcome in (perfect, replace(perfect, structure=None), permute(perfect, [3, 6, 0, 2, 1, 4, 5])):
        found = score(outcome)
        assert (found.value, found.parts["exact"], found.parts["bias"]) == (0, 1, 0)


def test_what_the_structure_says_goes_before_what_occurs(perfect):
    said = replace(perfect.structure, n_states=(2, 5, 1, 3, 3, 3, 3))
    found = score(replace(perfect, structure=said))
    assert found.value == pytest.approx(2.0)
    assert found.parts["bias"] == pytest.approx(0.0)
    assert found.parts["level_2"] == 0


def test_a_merged_state_is_one_missing_and_a_missing_code_all_of_them(perfect):
    merged = perfect.codes.clone()
    merged[:, 1][merged[:, 1] == 2] = 1
    assert score(replace(perfect, codes=merged, structure=None)).value == pytest.approx(1 / 2)
    dead = perfect.codes.clone()
    dead[:, 1] = 0
    assert score(replace(perfect, codes=dead, structure=None)).value == pytest.approx(3 / 2)


def test_states_that_never_occur_are_none(perfect):
    """A state of probability 0 is no state of the law: the generator's exact marginals say so."""
    marginals = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    truth = replace(perfect.truth, facts={"marginals/1": marginals})
    found = score(replace(perfect, truth=truth))
    assert found.parts["level_1"] == pytest.approx(1 / 2)


def test_a_structure_of_other_codes_is_refused(perfect):
    with pytest.raises(InvalidInput, match="one entry each"):
        score(replace(perfect, structure=Structure((0,), ((),))))
