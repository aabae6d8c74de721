"""Twins, numbers of states and rank bounds: closed forms, borders, invariances."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions.states import (
    chi_square,
    no_twins,
    nonnegative_rank_bounds,
    states_are_context_laws,
    states_by_rank,
    total_variation,
)
from testbed.contracts import InvalidInput, NotApplicable


def laws(states, contexts, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(states, contexts, generator=g, dtype=torch.float64) + 0.01


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**31))
def test_the_gap_does_not_depend_on_order_or_on_how_frequent_states_are(states, contexts, seed):
    g = torch.Generator().manual_seed(seed)
    joint = laws(states, contexts, seed)
    other = (joint * (0.1 + torch.rand(states, 1, generator=g, dtype=torch.float64)))[torch.randperm(states, generator=g)]
    other = other[:, torch.randperm(contexts, generator=g)]
    assert no_twins(other).margin == pytest.approx(no_twins(joint).margin, abs=1e-12)


@given(st.integers(0, 2**31))
def test_chi_square_lies_between_total_variation_squared_and_total_variation(seed):
    rows = laws(5, 7, seed)
    rows = rows / rows.sum(dim=1, keepdim=True)
    tv, chi = total_variation(rows), chi_square(rows)
    assert (tv**2 <= chi + 1e-12).all()
    assert (chi <= tv + 1e-12).all()


def test_the_gap_of_two_bernoulli_contexts_is_the_difference_of_their_rates():
    joint = torch.tensor([[0.1 * 0.3, 0.1 * 0.7], [0.9 * 0.5, 0.9 * 0.5]], dtype=torch.float64)
    finding = no_twins(joint)
    assert finding.margin == pytest.approx(0.2)
    assert finding.witness["pair"] == [0, 1]
    assert finding.witness["chi_square"] == pytest.approx(0.5 * (0.04 / 0.8 + 0.04 / 1.2))


def test_exact_twins_fail_and_nearly_twins_hold_by_their_gap():
    joint = torch.tensor([[0.2, 0.2], [0.1, 0.1], [0.3, 0.1]], dtype=torch.float64)
    assert not no_twins(joint).holds
    assert no_twins(joint).witness["pair"] == [0, 1]
    joint[1, 0] += 1e-6
    assert no_twins(joint).holds
    assert no_twins(joint).margin == pytest.approx(2.5e-6, rel=1e-3)


def test_states_that_never_occur_are_left_out_and_one_state_cannot_be_told():
    joint = torch.tensor([[0.5, 0.1], [0.0, 0.0], [0.1, 0.3]], dtype=torch.float64)
    assert no_twins(joint).witness["pair"] == [0, 2]
    with pytest.raises(NotApplicable):
        no_twins(joint[:2])
    with pytest.raises(InvalidInput):
        no_twins(-joint)


def test_as_many_states_as_context_laws_of_tuples():
    a, b = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.1, 0.1, 0.8], dtype=torch.float64)
    joint = torch.stack([0.1 * a, 0.3 * a, 0.4 * b, 0.2 * b])
    holds = states_are_context_laws(joint, torch.tensor([0, 0, 1, 1]))
    assert holds.holds
    assert holds.margin == pytest.approx(0.6)
    twins = states_are_context_laws(joint, torch.tensor([0, 2, 1, 1]))  # g tells tuples apart that no context does
    assert not twins.holds
    assert (twins.witness["states"], twins.witness["context_laws"]) == (3, 2)
    mixed = states_are_context_laws(joint, torch.tensor([0, 0, 0, 1]))  # g joins tuples that contexts tell apart
    assert not mixed.holds
    assert mixed.margin == pytest.approx(-0.6)


def test_the_rank_under_counts_and_a_fooling_set_does_not():
    """Cohen & Rothblum's table: rank 3, non-negative rank 4."""
    joint = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], dtype=torch.float64)
    assert torch.linalg.matrix_rank(joint) == 3
    assert nonnegative_rank_bounds(joint) == (4, 4)
    assert states_by_rank(joint, 4).holds
    assert not states_by_rank(joint, 5).holds


@given(st.integers(2, 4), st.integers(0, 2**31))
def test_bounds_enclose_the_number_of_states_that_made_the_table(states, seed):
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.rand(6, states, generator=g, dtype=torch.float64) for _ in range(2))
    low, high = nonnegative_rank_bounds(left @ right.T)
    assert low <= states
    assert low <= high
    assert low == torch.linalg.matrix_rank(left @ right.T)  # no zero, no fooling set


def test_open_bounds_are_said_to_be_open():
    joint = laws(6, 3, 1) @ laws(3, 6, 2)
    assert nonnegative_rank_bounds(joint) == (3, 6)
    assert states_by_rank(joint, 3).holds
    with pytest.raises(NotApplicable, match="cannot be told"):
        states_by_rank(joint, 4)
    assert states_by_rank(joint, 7).margin == -1
