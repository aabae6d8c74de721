"""Void and degenerate selection, faithfulness, colliders, variability: closed forms and borders."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions.information import total_correlation, total_correlation_gaussian
from generators.assumptions.selection import (
    dependent_given_composite,
    faithful_covariance,
    faithful_tuple,
    independent,
    not_degenerate,
    not_void,
    sufficient_variability,
)
from testbed.contracts import InvalidInput, NotApplicable


def h(p):
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def product(*marginals):
    table = torch.ones((), dtype=torch.float64)
    for m in marginals:
        table = table[..., None] * torch.tensor(m, dtype=torch.float64)
    return table


def and_of(s):
    g = torch.zeros((2,) * s, dtype=torch.int64)
    g[(1,) * s] = 1
    return g


def some_table(shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_a_potential_that_factorises_selects_nothing_however_much_it_rejects(s, seed):
    g = torch.Generator().manual_seed(seed)
    base = product(*(torch.rand(3, generator=g).tolist() for _ in range(s)))
    factors = product(*((1e-3 * torch.rand(3, generator=g)).tolist() for _ in range(s)))
    assert not not_void(base * factors + 0).holds


def test_total_correlation_of_two_copies_is_their_entropy():
    table = torch.tensor([[0.3, 0.0], [0.0, 0.7]], dtype=torch.float64)
    assert not_void(table).margin == pytest.approx(h(0.3))


def test_total_correlation_sees_a_parity_that_no_pair_shows():
    table = torch.zeros(2, 2, 2, dtype=torch.float64)
    for t in itertools.product((0, 1), repeat=3):
        table[t] = (sum(t) % 2 == 0) / 4
    assert not_void(table).margin == pytest.approx(math.log(2))
    assert not not_void(table.sum(dim=0)).holds


@given(st.integers(0, 2**31))
def test_the_order_of_constituents_and_of_states_does_not_matter(seed):
    g = torch.Generator().manual_seed(seed)
    table, states = some_table((2, 3, 2), seed), torch.randint(0, 3, (2, 3, 2), generator=g)
    other, g_other = table.permute(2, 0, 1).flip(1), states.permute(2, 0, 1).flip(1)
    for f in (lambda t, v: not_void(t), not_degenerate, faithful_tuple, dependent_given_composite):
        assert f(5 * other, g_other).margin == pytest.approx(f(table, states).margin, abs=1e-12)


def test_the_total_correlation_of_a_gaussian_pair_is_known():
    rho = 0.6
    assert total_correlation_gaussian(torch.tensor([[4.0, 2 * rho], [2 * rho, 1.0]])) == pytest.approx(-0.5 * math.log(1 - rho**2))
    assert total_correlation_gaussian(torch.eye(3)) == 0
    assert total_correlation(torch.tensor([0.2, 0.8], dtype=torch.float64)) == 0


def test_faithfulness_of_an_and_is_the_entropy_of_one_when_the_others_are_on():
    p, q = 0.3, 0.6
    table = product([1 - p, p], [1 - q, q])
    finding = faithful_tuple(table, and_of(2))
    assert finding.margin == pytest.approx(min(q * h(p), p * h(q)))
    assert finding.witness["constituent"] == (0 if q * h(p) < p * h(q) else 1)


def test_without_lone_firing_an_and_is_unfaithful_to_every_edge():
    table = torch.zeros(2, 2, 2, dtype=torch.float64)
    table[0, 0, 0], table[1, 1, 1] = 0.8, 0.2
    finding = faithful_tuple(table, and_of(3))
    assert not finding.holds
    assert finding.margin == 0
    assert finding.witness["by_itself"] == pytest.approx(h(0.2))  # though each tells all by itself
    table[1, 0, 0] += 1e-4
    table[0, 1, 0] += 1e-4
    table[0, 0, 1] += 1e-4
    assert not faithful_tuple(table, and_of(3)).holds  # two others on: the third follows still
    table[1, 1, 0] += 1e-4
    table[1, 0, 1] += 1e-4
    table[0, 1, 1] += 1e-4
    assert faithful_tuple(table, and_of(3)).holds


def test_a_constituent_that_g_ignores_is_unfaithful():
    states = torch.tensor([[0, 0], [1, 1]])
    assert not faithful_tuple(some_table((2, 2), 0), states).holds
    assert faithful_tuple(some_table((2, 2), 0), states).witness["constituent"] == 1


def test_partial_correlations_of_a_chain_and_a_cancelled_edge():
    # z -> x -> y with unit noises and coefficients a, b, plus an edge z -> y of weight c
    def covariance(a, b, c):
        m = torch.linalg.inv(torch.tensor([[1.0, 0, 0], [-a, 1, 0], [-c, -b, 1]], dtype=torch.float64))
        return m @ m.T

    assert not faithful_covariance(covariance(0.7, 0.5, 0.0), [(0, 2)]).holds
    finding = faithful_covariance(covariance(0.7, 0.5, 0.3), [(0, 1), (0, 2), (1, 2)])
    assert finding.holds
    # precision of the pair (z, y) given x: -c over sqrt((1 + a^2 + c^2) * 1)
    assert faithful_covariance(covariance(0.7, 0.5, 0.3), [(0, 2)]).margin == pytest.approx(0.3 / math.sqrt(1 + 0.49 + 0.09))
    # moral edge: z and x are parents of y, and a - b c = 0 cancels their partial correlation
    assert not faithful_covariance(covariance(0.15, 0.5, 0.3), [(0, 1)]).holds
    with pytest.raises(InvalidInput, match="full rank"):
        faithful_covariance(torch.ones(2, 2), [(0, 1)])
    with pytest.raises(NotApplicable):
        faithful_covariance(torch.eye(2), [])


def test_degenerate_is_all_mass_on_a_tuple_or_a_state_that_never_occurs():
    table = product([0.5, 0.5], [0.9, 0.1])
    assert not_degenerate(table, and_of(2)).margin == pytest.approx(0.05)
    point = torch.zeros(2, 2, dtype=torch.float64)
    point[1, 1] = 1
    assert not not_degenerate(point, torch.ones(2, 2, dtype=torch.int64)).holds
    never = torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    assert not not_degenerate(never, torch.tensor([[0, 0], [1, 1]])).holds
    assert not_degenerate(never, torch.tensor([[0, 1], [0, 1]])).margin == pytest.approx(0.5)


def test_children_that_are_independent_given_their_parent_are_told_from_selection():
    """A classic hierarchy: p(v) prod_j p(t_j | v), read as a tuple of (v's copy, t_1, t_2) whose first entry is the composite."""
    v, a, b = [0.4, 0.6], [[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.5, 0.5]]
    table = torch.stack([v[s] * product(a[s], b[s]) for s in (0, 1)])
    states = torch.tensor([0, 1])[:, None, None].expand(2, 2, 2)
    assert not dependent_given_composite(table, states).holds
    assert not_void(table).holds
    # one common effect of independent causes is a collider: dependent given it, though nothing is selected
    free = product([0.5, 0.5], [0.5, 0.5])
    assert not not_void(free).holds
    off = torch.tensor([[1, 1], [1, 0]], dtype=torch.float64) / 3
    assert dependent_given_composite(free, and_of(2)).margin == pytest.approx(0.75 * total_correlation(off))


def test_independence_is_an_equation_with_a_tolerance():
    assert independent(0.0).holds
    assert independent(1e-12).holds
    assert not independent(1e-6).holds


def test_variability_is_the_least_spread_of_any_combination():
    rows = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]], dtype=torch.float64)
    assert sufficient_variability(rows).margin == pytest.approx(math.sqrt(2) / 2)
    flat = rows @ torch.tensor([[1.0, 1], [1, 1]], dtype=torch.float64)
    assert not sufficient_variability(flat).holds
    assert abs(torch.tensor(sufficient_variability(flat).witness["least_moved"]) @ torch.tensor([1.0, 1])) < 1e-9
    assert not sufficient_variability(rows[:2]).holds  # m + 1 values are needed, here 3
    assert sufficient_variability(rows[:3]).holds


@given(st.integers(0, 2**31))
def test_variability_names_no_base_value(seed):
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 3, generator=g, dtype=torch.float64)
    other = rows[torch.randperm(5, generator=g)] + 10 * torch.randn(3, generator=g, dtype=torch.float64)
    assert sufficient_variability(other).margin == pytest.approx(sufficient_variability(rows).margin, rel=1e-9)
    # the rank of differences to the first value, as the theorem has it
    assert sufficient_variability(rows).holds is bool(torch.linalg.matrix_rank(rows[1:] - rows[0]) == 3)


def test_tables_that_are_none_are_refused():
    with pytest.raises(InvalidInput, match="not all of them 0"):
        not_void(torch.zeros(2, 2))
    with pytest.raises(InvalidInput, match="a state for each tuple"):
        faithful_tuple(torch.ones(2, 2), torch.zeros(2, dtype=torch.int64))
