"""Dials of discrete hierarchies, and that every assumption has a dial."""

import pytest

from generators.assumptions.dials import DIALS, find, moved
from generators.assumptions.table import ALL
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import InvalidInput

SPECS = {
    "admissible": {"states": 3, "synonyms": 2, "preference": 1.0},
    "stochastic_rank": {"states": 2, "synonyms": 1, "preference": 1.0},
    "sharing": {"depth": 1, "roots": 2, "branching": 3, "states": 2, "synonyms": 3},
    "one_root_state": {"states": 3, "synonyms": 2, "preference": 1.0},
}


def test_every_assumption_has_a_dial():
    assert {name for dial in DIALS.values() for name in dial.breaks} == set(ALL)


@pytest.mark.parametrize("name", [name for name, dial in DIALS.items() if dial.family == "discrete"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_discrete_dial_breaks_what_it_says_and_nothing_it_does_not_say(name, seed):
    dial = find(name)
    sweep = dial.sweep(DiscreteHierarchy(**SPECS[name]), [0, 0.5, 1], seed=seed)
    tables = [{row.assumption: row for row in rows} for rows in sweep.values()]
    for broken in dial.breaks:
        assert [table[broken].verdict for table in (tables[0], tables[-1])] == ["holds", "fails"]
        assert tables[0][broken].margin > 0 >= tables[-1][broken].margin
    for later in list(sweep.values())[1:]:
        assert moved(sweep[0], later) <= set(dial.moves) | set(dial.breaks)


def test_parameters_turned_half_way():
    base = DiscreteHierarchy(depth=1, roots=2, branching=3, states=2, synonyms=2, preference=1.0).get_params()
    assert find("admissible").params(base, 0.5)["synonyms"] == [3]
    assert find("admissible").params(base, 0.5)["preference"] == 0.5
    assert find("sharing").params(base, 0)["concepts"] == [2, 6]
    assert find("sharing").params(base, 1)["concepts"] == [2, 3]
    assert find("one_root_state").params(base, 0.5)["root_law"] == [[0.75, 0.25]] * 2


def test_specifications_that_cannot_be_turned_are_refused():
    with pytest.raises(InvalidInput, match="cannot share evenly"):
        find("admissible").params(DiscreteHierarchy(states=[3, 4, 4]).get_params(), 0.5)
    with pytest.raises(InvalidInput, match="two composites or more"):
        find("sharing").params(DiscreteHierarchy(depth=1).get_params(), 0.5)
    with pytest.raises(InvalidInput, match="2 states or more"):
        find("one_root_state").params(DiscreteHierarchy(states=[1, 4, 4]).get_params(), 0.5)
    with pytest.raises(InvalidInput, match="one number of synonyms"):
        find("admissible").params(DiscreteHierarchy(synonyms=[[1, 3], [2, 4]]).get_params(), 0.5)
