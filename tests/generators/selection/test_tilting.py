"""Requested marginals are met exactly, and what cannot be met is named before anything is sampled."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from generators.selection.achievable import check_achievable
from generators.selection.forest import draw_forest
from generators.selection.messages import marginals
from generators.selection.rules import Composition
from generators.selection.tilting import solve_tilts
from testbed.contracts import InvalidInput

NAN = float("nan")


def request(*levels):
    return torch.cat([torch.tensor(level, dtype=torch.float64) for level in levels])


@given(
    st.sampled_from(["and", "k_of_n", "exclusive", "any"]),
    st.lists(st.floats(0.001, 0.6), min_size=10, max_size=10),
    st.floats(0.01, 1.0),
    st.floats(0.1, 10.0),
)
@settings(deadline=None, max_examples=40)
def test_leaves_of_any_rates_are_realised_where_every_tuple_has_weight(rule, rates, lone_firing, all_on):
    forest = draw_forest((1, 3, 10), 3, seed=2)
    composition = Composition(rule, 3, 2, all_on, lone_firing)
    requested = request([NAN], [NAN] * 3, rates)
    realised = marginals(forest, composition, solve_tilts(forest, composition, requested))
    torch.testing.assert_close(realised[4:], requested[4:], rtol=0, atol=1e-8)


def test_rates_of_composites_on_every_level_are_realised():
    forest = draw_forest((2, 6, 24), 3, seed=2)
    composition = Composition("and", 3, 1, 1.0, 0.1)
    rates = torch.linspace(0.03, 0.2, 24).tolist()
    requested = request([0.005] * 2, [0.02] * 6, rates)
    realised = marginals(forest, composition, solve_tilts(forest, composition, requested))
    torch.testing.assert_close(realised, requested, rtol=0, atol=1e-8)


def test_tilts_of_one_tree_do_not_depend_on_the_other_trees():
    forest = draw_forest((2, 6), 3, seed=0)
    composition = Composition("any", 3, 1, 5.0, 0.1)
    first, second = (
        solve_tilts(forest, composition, request([NAN] * 2, rates))
        for rates in ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.1])
    )
    tree = forest.root_of_node() != forest.root_of_node()[-1]
    torch.testing.assert_close(first[tree], second[tree], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("rule", "lone", "rates", "wanted", "message"),
    [
        ("and", 0.1, [0.2, 0.3, 0.4], 0.25, "smallest of them"),
        ("and", 0.1, [0.9, 0.9, 0.9], 0.6, r"- \(s - 1\) < rate"),
        ("and", 0.0, [0.2, 0.3, 0.4], NAN, "equally often"),
        ("and", 0.0, [0.2, 0.2, 0.2], 0.1, "equally often"),
        ("exclusive", 0.0, [0.4, 0.4, 0.4], NAN, "sum of its constituents' rates\\) < 1"),
        ("exclusive", 0.0, [0.1, 0.1, 0.1], 0.2, "rate = "),
        ("exclusive", 0.1, [0.1, 0.1, 0.1], 0.31, "rate < sum"),
        ("k_of_n", 0.0, [0.5, 0.1, 0.1], NAN, r"k \* \(largest r_i\)"),
        ("k_of_n", 0.1, [0.2, 0.1, 0.1], 0.21, r"k \* rate < sum of min"),
        ("any", 0.1, [0.2, 0.1, 0.1], 0.19, "largest of its constituents"),
        ("any", 0.1, [0.2, 0.1, 0.1], 0.45, "sum of them"),
        ("any", 0.1, [0.0, 0.1, 0.1], NAN, "strictly between 0 and 1"),
        ("any", 0.1, [1.0, 0.1, 0.1], NAN, "strictly between 0 and 1"),
        ("and", 0.1, [0.2, 0.1, 0.1], 1.5, "strictly between 0 and 1"),
    ],
)
def test_what_cannot_be_is_named(rule, lone, rates, wanted, message):
    forest = draw_forest((1, 3), 3, seed=0)
    with pytest.raises(InvalidInput, match=message):
        solve_tilts(forest, Composition(rule, 3, 2, 1.0, lone), request([wanted], rates))


@pytest.mark.parametrize(
    ("rule", "rates"), [("and", [0.2, 0.2, 0.2]), ("exclusive", [0.2, 0.1, 0.3]), ("k_of_n", [0.2, 0.15, 0.25]), ("any", [0.2, 0.1, 0.3])]
)
def test_without_lone_firing_what_can_be_is_realised(rule, rates):
    forest = draw_forest((1, 3), 3, seed=0)
    composition = Composition(rule, 3, 2, 1.0, 0.0)
    realised = marginals(forest, composition, solve_tilts(forest, composition, request([NAN], rates)))
    torch.testing.assert_close(realised[1:], request(rates), rtol=0, atol=1e-8)


def test_rates_without_lone_firing_must_agree_across_levels():
    forest = draw_forest((1, 2, 4), 2, seed=0)
    composition = Composition("and", 2, 1, 1.0, 0.0)
    lower = forest.constituents[1]
    rates = torch.full((4,), 0.2, dtype=torch.float64)
    rates[lower[1]] = 0.3  # each pair agrees, but the composites above them do not
    with pytest.raises(InvalidInput, match="composite 0 of level 0"):
        solve_tilts(forest, composition, request([NAN], [NAN] * 2, rates.tolist()))


@given(
    st.sampled_from(["and", "k_of_n", "exclusive", "any"]),
    st.booleans(),
    st.lists(st.floats(0.02, 0.95), min_size=3, max_size=3),
    st.floats(0.02, 0.95),
)
@settings(deadline=None, max_examples=80)
def test_inequalities_agree_with_a_linear_program_over_all_tuples(rule, lone, rates, wanted):
    """Rates are achievable iff some law on the tuples of weight > 0 has them."""
    composition = Composition(rule, 3, 2, 1.0, 0.5 if lone else 0.0)
    on, phi = composition.holds(), composition.potential()
    tuples = [t for t in itertools.product([0, 1], repeat=3) if phi[sum(t)] > 0]
    columns = torch.tensor([[1, on[sum(t)], *t] for t in tuples]).double().T
    slack = linprog([0] * len(tuples), A_eq=columns.numpy(), b_eq=[1, wanted, *rates], bounds=(1e-5, 1)).success
    broken = not linprog([0] * len(tuples), A_eq=columns.numpy(), b_eq=[1, wanted, *rates], bounds=(0, 1)).success
    requested = request([wanted], rates)
    forest = draw_forest((1, 3), 3, seed=0)
    if slack:  # inside by a margin
        check_achievable(forest, composition, requested)
    elif broken:
        with pytest.raises(InvalidInput):
            check_achievable(forest, composition, requested)
