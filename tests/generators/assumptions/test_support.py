"""Structural sparsity, nesting, spans, pure constituents and separated supports: against brute force, and on built borders."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions.support import (
    anchors,
    no_nested_effects,
    pure_constituents,
    rows_span_support,
    separated_supports,
    structural_sparsity,
    support_of,
)
from testbed.contracts import InvalidInput, NotApplicable


def matrix(*rows):
    return torch.tensor([[c == "1" for c in row] for row in rows])


def some_rows_meet_in(support, k):
    """The definition, word for word: some set of rows whose supports' intersection is exactly {k}."""
    rows = [set(row.nonzero()[:, 0].tolist()) for row in support]
    return any(
        set.intersection(*(rows[i] for i in chosen)) == {k}
        for size in range(1, len(rows) + 1)
        for chosen in itertools.combinations(range(len(rows)), size)
    )


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2**31), st.floats(0.2, 0.8))
def test_structural_sparsity_is_its_definition_and_the_absence_of_nesting(d, c, seed, density):
    support = torch.rand(d, c, generator=torch.Generator().manual_seed(seed)) < density
    defined = all(some_rows_meet_in(support, k) for k in range(c))
    assert structural_sparsity(support).holds is defined
    assert no_nested_effects(support).holds is defined


@given(st.integers(0, 2**31))
def test_order_of_rows_and_concepts_does_not_matter(seed):
    g = torch.Generator().manual_seed(seed)
    support = torch.rand(6, 4, generator=g) < 0.5
    other = support[torch.randperm(6, generator=g)][:, torch.randperm(4, generator=g)]
    assert structural_sparsity(other).margin == structural_sparsity(support).margin
    assert no_nested_effects(other).margin == no_nested_effects(support).margin


def test_margins_of_supports_count_what_tells_the_closest_pair_apart():
    holds = matrix("100", "110", "010", "011", "001")
    assert structural_sparsity(holds).margin == 1  # concept 0 reaches rows 0, 1 and concept 1 rows 1, 2, 3: row 0 alone tells
    assert no_nested_effects(holds).margin == pytest.approx(1 / 2)
    nested = matrix("110", "011", "001")
    finding = structural_sparsity(nested)
    assert not finding.holds
    assert finding.margin == 0
    assert (finding.witness["concept"], finding.witness["stands_with"]) == (0, 1)
    assert no_nested_effects(nested).witness == {"concept": 0, "nested_in": 1}


def test_anchors_are_coordinates_that_see_one_concept_and_imply_structural_sparsity():
    support = matrix("10", "10", "01", "11", "01", "01")
    assert anchors(support).margin == 1
    assert anchors(support).witness == {"concept": 0, "anchors": 2}
    assert not anchors(support[1:]).holds
    assert structural_sparsity(support[1:]).holds
    border = matrix("110", "011", "101")  # structurally sparse without a single anchor
    assert structural_sparsity(border).holds
    assert anchors(border).margin == -1


def test_an_effect_set_that_is_empty_fails_and_one_concept_alone_holds():
    assert not structural_sparsity(matrix("10", "10")).holds
    assert not no_nested_effects(matrix("10", "10")).holds
    assert structural_sparsity(matrix("1", "0")).holds
    assert not structural_sparsity(matrix("0")).holds


def test_support_ignores_what_is_negligible_and_sees_every_point():
    jacobians = torch.tensor([[[1.0, 0.0], [1e-15, 2.0]], [[0.0, 0.0], [0.0, 1.0]]])
    assert torch.equal(support_of(jacobians), matrix("10", "01"))
    with pytest.raises(InvalidInput, match="support_of"):
        structural_sparsity(torch.ones(2, 2))


def test_a_linear_map_never_spans_a_row_of_two_and_a_quadratic_does():
    a = torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
    assert not rows_span_support(a[None]).holds
    assert not rows_span_support(a.expand(5, 2, 2)).holds  # the same row at every point
    assert rows_span_support(torch.diag(torch.tensor([1.0, 2.0]))[None]).holds  # one concept per row: nothing to span
    # f_0(z) = z_0^2 + z_1^2 has rows 2 z, at orthogonal points orthogonal rows of one length: margin 1
    points = torch.eye(2, dtype=torch.float64)
    finding = rows_span_support((2 * points)[:, None, :])
    assert finding.holds
    assert finding.margin == pytest.approx(1)
    close = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0 + 1e-12]]], dtype=torch.float64)
    assert not rows_span_support(close).holds


def test_pure_constituents_counts_what_a_composite_has_to_itself():
    assert pure_constituents(((0, 1, 2), (3, 4, 5))).margin == 2
    border = pure_constituents(((0, 1, 2), (2, 3, 4)))
    assert border.holds
    assert border.margin == 1
    fails = pure_constituents(((0, 1, 2), (1, 2, 3), (4, 5)))
    assert not fails.holds
    assert fails.margin == 0
    assert fails.witness == {"composite": 0, "own": 1, "shared": [1, 2]}
    assert pure_constituents(((0, 1), (1, 2)), at_least=1).holds
    with pytest.raises(NotApplicable):
        pure_constituents(((), ()))


def test_separated_supports_is_the_smallest_chance_to_be_on_alone():
    # states of two concepts: P(00, 01, 10, 11) = .4, .3, .2, .1
    both = torch.tensor([[0.3, 0.1], [0.1, 0.4]], dtype=torch.float64)
    finding = separated_supports(both)
    assert finding.margin == pytest.approx(1 - 0.1 / 0.3)
    always = torch.tensor([[0.3, 0.3], [0.3, 0.4]], dtype=torch.float64)
    assert separated_supports(always).witness == {"concept": 0, "on_with": 1}
    assert not separated_supports(always).holds
    with pytest.raises(NotApplicable):
        separated_supports(torch.zeros(2, 2))
