"""Dials on arrays: margins fall from what they were to nothing, along a known curve where there is one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions import breaking
from generators.assumptions.dictionaries import coherence_of, injective, spark
from generators.assumptions.selection import (
    dependent_given_composite,
    faithful_tuple,
    not_degenerate,
    not_void,
    sufficient_variability,
)
from generators.assumptions.states import no_twins
from generators.assumptions.support import no_nested_effects, pure_constituents, rows_span_support, structural_sparsity
from testbed.contracts import InvalidInput

AMOUNTS = [0.0, 0.25, 0.5, 0.75, 1.0]
AND = torch.zeros(2, 2, 2, dtype=torch.int64)
AND[1, 1, 1] = 1


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01


def breaks(margins):
    """Holds at 0, fails at 1 and nowhere before."""
    return min(margins[:-1]) > 1e-3 and margins[-1] < 1e-9


def test_coherence_goes_to_1_and_norms_stay():
    atoms = random(6, 12) * 3
    turned = [breaking.towards_common(atoms, a) for a in AMOUNTS]
    assert [coherence_of(t)[0] for t in turned[1:]] == sorted(coherence_of(t)[0] for t in turned[1:])
    assert coherence_of(turned[0])[0] == pytest.approx(coherence_of(atoms)[0])
    assert coherence_of(turned[-1])[0] == pytest.approx(1)
    torch.testing.assert_close(turned[2].norm(dim=1), atoms.norm(dim=1))


def test_an_atom_becomes_a_combination_of_two_and_the_spark_3():
    atoms = random(6, 12)
    margins = [injective(breaking.towards_combination(atoms, 0, [1, 2], a)).margin for a in AMOUNTS]
    assert breaks(margins)
    assert spark(breaking.towards_combination(atoms, 0, [1, 2], 1.0)) == (3, 3, [0, 1, 2])
    with pytest.raises(InvalidInput, match="other atoms"):
        breaking.towards_combination(atoms, 0, [0], 0.5)


def test_effect_sets_nest_one_coordinate_after_another():
    support = torch.eye(3, dtype=torch.bool).repeat(4, 1)
    shares = [no_nested_effects(breaking.nest(support, 0, 1, a)).margin for a in AMOUNTS]
    assert shares == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [structural_sparsity(breaking.nest(support, 0, 1, a)).margin for a in AMOUNTS] == [4, 3, 2, 1, 0]


def test_jacobians_become_those_of_a_linear_map():
    jacobians = random(9, 3, 2)
    assert breaks([rows_span_support(breaking.linearise(jacobians, a)).margin for a in AMOUNTS])


def test_constituents_become_shared_one_after_another():
    apart = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    margins = [pure_constituents(breaking.share(apart, a)).margin for a in AMOUNTS]
    assert margins == [3, 2, 1, 0, -1]


@given(st.floats(0, 1), st.integers(0, 2**31))
def test_twins_approach_each_other_in_proportion(amount, seed):
    joint = table(2, 5, seed=seed)
    turned = breaking.twins(joint, 0, 1, amount)
    assert no_twins(turned).margin == pytest.approx((1 - amount) * no_twins(joint).margin, abs=1e-12)
    torch.testing.assert_close(turned.sum(dim=1), joint.sum(dim=1) / joint.sum())


@given(st.floats(0, 1), st.integers(0, 2**31))
def test_tuples_become_independent_and_keep_their_marginals(amount, seed):
    law = table(2, 3, 2, seed=seed) / table(2, 3, 2, seed=seed).sum()
    turned = breaking.towards_independence(law, amount)
    for j in range(3):
        rest = [k for k in range(3) if k != j]
        torch.testing.assert_close(turned.sum(dim=rest), law.sum(dim=rest))
    assert not_void(turned).margin <= (1 - amount) * not_void(law).margin + 1e-12  # relative entropy is convex


def test_lone_firing_vanishes_and_faithfulness_with_it():
    law = table(2, 2, 2)
    rows = [breaking.without_lone_firing(law, AND, a) for a in AMOUNTS]
    assert faithful_tuple(rows[0], AND).holds
    assert not faithful_tuple(rows[-1], AND).holds
    assert not dependent_given_composite(rows[-1], AND).holds
    assert int((rows[-1] > 0).sum()) == 2


def test_all_mass_goes_to_one_tuple():
    margins = [not_degenerate(breaking.onto_one_tuple(table(2, 2, 2), a), AND).margin for a in AMOUNTS]
    assert margins == pytest.approx([margins[0] * (1 - a) for a in AMOUNTS], abs=1e-12)


def test_parameters_lose_the_direction_they_vary_least_in_and_keep_the_others():
    rows = random(6, 3)
    margins = [sufficient_variability(breaking.unvaried(rows, a)).margin for a in AMOUNTS]
    assert margins == pytest.approx([margins[0] * (1 - a) for a in AMOUNTS], abs=1e-12)
    assert sufficient_variability(breaking.unvaried(rows, 1.0)).witness["rank"] == 2


def test_amounts_outside_the_dial_are_refused():
    with pytest.raises(InvalidInput, match="in \\[0, 1\\]"):
        breaking.towards_common(random(2, 2), -0.1)
    with pytest.raises(InvalidInput, match="both occur"):
        breaking.twins(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 0, 1, 0.5)
