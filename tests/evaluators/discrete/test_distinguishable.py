"""How many states data can tell apart."""

from dataclasses import replace

import pytest

from evaluators.discrete.distinguishable import distinguishable_counts
from evaluators.discrete.references import STATES_ORACLE
from evaluators.discrete.state_count import StateCount
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import Outcome


def outcome(**changed):
    spec = {"depth": 3, "states": 4, "synonyms": 2, "minimum_gap": 0.1, "leaf_concentration": 3.0} | changed
    instance = DiscreteHierarchy(**spec).draw(2)
    sample = instance.sample(500, 0, "test")
    empty = Outcome(sample.latents[3], sample, "tokens", truth=instance.truth)
    return STATES_ORACLE.make(empty, 0)


def test_states_with_a_gap_are_all_told_apart_but_level_0_is_one():
    assert distinguishable_counts(outcome()) == {0: [1], 1: [4] * 2, 2: [4] * 4, 3: [4] * 8}


def test_level_0_counts_where_it_is_shown():
    assert distinguishable_counts(outcome(label=True))[0] == [4]


def test_without_a_constraint_all_states_are_one():
    counts = distinguishable_counts(outcome(synonyms=4, minimum_gap=0.0))
    assert counts[1] == [1] * 2
    assert counts[2] == [1] * 4


@pytest.mark.parametrize("twins", [1, 2])
def test_each_twin_is_one_state_fewer(twins):
    counts = distinguishable_counts(outcome(twins=twins))
    assert sorted(counts[1] + counts[2]) == [3] * twins + [4] * (6 - twins)


def test_stochastic_tables_are_not_told():
    assert distinguishable_counts(outcome(ambiguity=0.2, minimum_gap=0.0)) is None


def test_the_count_of_states_says_both():
    twin = outcome(twins=1)
    parts = StateCount().score(twin, seed=0).parts
    assert parts["exact"] == 1.0
    assert parts["exact distinguishable"] == pytest.approx(5 / 6)
    assert parts["exact twins"] == 0.0
    n_states = tuple(k for level, ks in distinguishable_counts(twin).items() for k in (ks if level else [4]))
    parts = StateCount().score(replace(twin, structure=replace(twin.structure, n_states=n_states)), seed=0).parts
    assert (parts["exact distinguishable"], parts["exact twins"]) == (1.0, 1.0)
