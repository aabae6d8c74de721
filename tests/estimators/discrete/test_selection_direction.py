"""Direction: right or silent, the same for the twin, and indifferent to names, noise and n."""

import numpy as np
import pytest
import torch

from generators.controls.classic_states import ClassicStates
from generators.controls.joint_emission_states import JointEmissionStates
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.classical.pca import PCA
from testbed.estimators.discrete.context_states import ContextStates
from testbed.estimators.discrete.selection_direction import SelectionDirection

SPEC = {"depth": 2, "states": [[6], [4, 7], [6, 5, 8, 4]], "synonyms": [[2, 3], [2, 3, 4]], "leaf_concentration": 2.0, "minimum_gap": 0.2}


def rows(cls, seed, n=3000, **more):
    return cls(**SPEC | more).draw(seed).sample(n, 1).observed.views["tokens"].values


def answer(x, **params):
    return SelectionDirection(**params).fit(x, seed=0).direction_


@pytest.mark.parametrize("seed", range(4))
def test_selection_is_found_and_its_twin_gets_the_same_answer(seed):
    assert answer(rows(DiscreteHierarchy, seed)) == answer(rows(JointEmissionStates, seed)) == "selection"


def test_a_classic_hierarchy_is_never_called_selection():
    found = [answer(rows(ClassicStates, seed)) for seed in range(6)]
    assert "selection" not in found
    assert "independent children" in found


def test_answers_do_not_turn_with_more_rows_or_noise():
    assert answer(rows(DiscreteHierarchy, 0, 100_000)) == answer(rows(DiscreteHierarchy, 0, noise=0.01)) == "selection"
    assert answer(rows(ClassicStates, 0, 100_000)) != "selection"
    assert answer(rows(ClassicStates, 0, noise=0.01)) != "selection"


def test_naive_rules_call_classic_hierarchies_selection():
    found = [answer(rows(ClassicStates, seed), rule="conditional_information") for seed in range(3)]
    assert found == ["selection"] * 3
    assert answer(rows(DiscreteHierarchy, 0), rule="bic") == "selection"


def test_evidence_is_there_for_each_lowest_block():
    found = SelectionDirection().fit(rows(DiscreteHierarchy, 0), seed=0)
    assert [one["block"] for one in found.evidence_] == [1, 2]
    assert [one["context"] for one in found.evidence_] == [2, 1]
    for one in found.evidence_:
        assert one["class_misfit"] > 0.02
        assert one["composition_misfit"] < 0.02 < one["information"]
    assert Structure.of(found).direction == "selection"
    assert found.stopped_ == ""


def test_names_of_leaf_values_do_not_matter():
    x = rows(DiscreteHierarchy, 1)
    other = torch.from_numpy(np.random.default_rng(0).permutation(8))[x]
    assert answer(x) == answer(other) == "selection"


def test_without_a_context_nothing_is_said():
    assert answer(rows(DiscreteHierarchy, 0)[:, :2]) == "undecided"
    independent = torch.randint(0, 4, (3000, 4), generator=torch.Generator().manual_seed(0))
    assert answer(independent) == "undecided"


def test_a_search_that_is_cut_short_says_so():
    assert "rounds" in SelectionDirection(rounds=1, starts=1).fit(rows(ClassicStates, 0), seed=0).stopped_


def test_codes_are_those_of_the_nested_estimator_also_after_storing():
    x = rows(DiscreteHierarchy, 2)
    found = SelectionDirection().fit(x, seed=0)
    assert found.encode(x).equal(ContextStates().fit(x, seed=0).encode(x))
    again = SelectionDirection().set_state(*found.get_state())
    assert again.encode(x).equal(found.encode(x))
    assert (again.direction_, again.evidence_) == (found.direction_, found.evidence_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rule": "p_value"}, "rule must be one of"),
        ({"misfit": 0.0}, "misfit must be above 0"),
        ({"unexplained": 1.0}, "unexplained"),
        ({"starts": 0}, "raise them"),
        ({"states": PCA(2)}, "give context_states"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        answer(rows(DiscreteHierarchy, 0), **params)
