from dataclasses import replace

import pytest
import torch

from evaluators.recovery.selection_shift import SelectionShift
from generators.bare_concepts import BareConcepts
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import NotApplicable, Outcome, Unselectable
from testbed.estimators.baselines.hand_made import HandMade


def outcome(kind, concepts=10, correlation=0.9, seed=1):
    instance = BareConcepts(concepts=concepts, correlation=correlation).draw(seed)
    estimator = HandMade(kind).fit(instance.sample(4000, seed).observed, seed=seed)
    sample = instance.sample(4000, seed, "test")
    return Outcome(estimator.encode(sample.observed), sample, "concepts", None, None, instance.truth, instance, estimator.encode)


def test_copies_of_what_selection_makes_alike_fall_and_the_truth_stays():
    copies, truth = (SelectionShift().score(outcome(kind), seed=0) for kind in ("common_factor", "perfect"))
    assert copies.parts["selected"] == pytest.approx(0.95, abs=0.01)
    assert copies.value == pytest.approx(10**-0.5, abs=0.03)  # one direction of ten that are independent
    assert truth.value == pytest.approx(1)
    assert truth.parts["selected"] == pytest.approx(1)


def test_sums_of_two_keep_what_each_of_two_independent_concepts_has_in_their_sum():
    found = SelectionShift().score(outcome("merged"), seed=0)
    assert found.value == pytest.approx(0.5**0.5 / 2, abs=0.02)  # half of the concepts have no code


def test_floors_fall_too_and_the_oracle_does_not():
    given = outcome("perfect")
    values = {
        one.name: SelectionShift().score(one.make(given, 3), seed=0).value for one in (SelectionShift.ceiling, *SelectionShift.floors)
    }
    assert values["oracle"] > 0.99
    assert values["common_factor"] < 0.36
    assert values["random_rotation"] < 0.7


def test_a_code_that_is_dead_on_selected_rows_is_no_code():
    given = outcome("perfect")
    assert SelectionShift().score(replace(given, codes=torch.zeros_like(given.codes)), seed=0).value == 0


def test_an_instance_or_an_estimator_that_cannot_do_it_is_told_so():
    given = outcome("perfect")
    with pytest.raises(NotApplicable, match="encoder"):
        SelectionShift().score(replace(given, encode=None), seed=0)
    with pytest.raises(NotApplicable, match="without selection"):
        SelectionShift().score(replace(given, instance=DiscreteHierarchy.small().draw(0)), seed=0)


def test_leaves_of_a_continuous_hierarchy_are_independent_without_selection():
    instance = ContinuousHierarchy(levels=(2, 6), branching=3, agreement=0.3, law="laplace").draw(1)
    assert isinstance(instance, Unselectable)
    selected, free = (torch.corrcoef(one.sample(8000, 1).latents[1].T) - torch.eye(6) for one in (instance, instance.unselected()))
    assert selected.abs().max() > 0.2
    assert free.abs().max() < 0.05
    assert instance.unselected().truth.facts["acceptance"] == pytest.approx(1)
