"""Matching: invariances, limits and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.matching import active, cosine, cross_correlation, match, matched_similarity, mean_correlation


def halves(concepts, codes):
    n = len(concepts) // 2
    return cross_correlation(concepts[:n], codes[:n]), cross_correlation(concepts[n:], codes[n:])


def sparse_rows(n, m, seed, rate=0.1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, m, generator=g) * (torch.rand(n, m, generator=g) < rate)


@given(st.integers(1, 8), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_permuting_and_scaling_the_concepts_is_perfect(c, seed):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(512, c, generator=g, dtype=torch.float64)
    scale = torch.rand(c, generator=g, dtype=torch.float64) + 0.5
    codes = (-z * scale)[:, torch.randperm(c, generator=g)]
    assert mean_correlation(*halves(z, codes)) == pytest.approx(1.0)


def test_a_dictionary_that_copies_a_quarter_of_the_concepts_scores_a_quarter():
    z = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0))
    assert mean_correlation(*halves(z, z[:, :16])) == pytest.approx(0.25, abs=1e-6)


def test_independent_codes_stay_at_the_chance_level_of_a_held_out_correlation():
    g = torch.Generator().manual_seed(0)
    z, noise = torch.randn(20_000, 10, generator=g), torch.randn(20_000, 100, generator=g)
    chance = math.sqrt(2 / (math.pi * 10_000))  # E|r| of two independent Gaussians on n = 10,000 rows
    assert mean_correlation(*halves(z, noise)) == pytest.approx(chance, rel=0.6)


def test_a_dead_code_counts_zero_and_raises_nothing():
    z = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    codes = torch.stack([z[:, 0], torch.zeros(256)], dim=1)
    assert mean_correlation(*halves(z, codes)) == pytest.approx(0.5)


def test_a_constant_far_from_0_is_no_correlation_although_its_mean_is_rounded():
    z = torch.linspace(0, 1, 1001)[:, None]
    assert cross_correlation(z, torch.full((1001, 1), 0.1)).item() == 0


def test_correlation_equals_the_textbook_one():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(5000, 3, generator=g) + 100, torch.randn(5000, 4, generator=g)
    y[:, 0] += x[:, 1]
    expected = torch.corrcoef(torch.cat([x, y], dim=1).T.double())[:3, 3:].abs()
    torch.testing.assert_close(cross_correlation(x, y), expected, rtol=0, atol=1e-6)


def test_sparse_and_dense_rows_correlate_alike_across_blocks():
    z, a = sparse_rows(9000, 5, 0), sparse_rows(9000, 7, 1)
    a[:, 2] = 3 * z[:, 1]
    a[:, 3] = 0
    expected = cross_correlation(z, a)
    for left in (z, SparseRows.from_dense(z)):
        torch.testing.assert_close(cross_correlation(left, SparseRows.from_dense(a)), expected, rtol=0, atol=1e-12)


def test_nan_and_other_rows_are_refused_with_the_remedy():
    with pytest.raises(InvalidInput, match="check the encoder"):
        cross_correlation(torch.zeros(4, 1), torch.full((4, 1), math.nan))
    with pytest.raises(InvalidInput, match="same sample"):
        cross_correlation(torch.zeros(4, 1), torch.zeros(5, 1))


def test_matching_is_the_best_of_all_assignments():
    greedy_trap = torch.tensor([[0.9, 0.8], [0.8, 0.1]])  # taking .9 first ends at 1.0, the best total is 1.6
    concept, code = match(greedy_trap)
    assert greedy_trap[concept, code].sum() == pytest.approx(1.6)


def test_many_codes_are_matched_as_well_as_few():
    g = torch.Generator().manual_seed(0)
    similarity = torch.rand(600, 700, generator=g).abs()
    concept, code = match(similarity)
    row, column = linear_sum_assignment(similarity.numpy(), maximize=True)
    assert concept.tolist() == row.tolist()
    assert similarity[concept, code].double().sum().item() == pytest.approx(similarity.numpy()[row, column].sum(dtype=float), rel=1e-12)


@pytest.mark.parametrize(("c", "m"), [(3, 5), (5, 3), (1, 1), (4, 0)])
def test_every_concept_has_a_value_and_surplus_ones_have_0(c, m):
    similarity = torch.ones(c, m)
    assert matched_similarity(similarity, similarity).tolist() == [1.0] * min(c, m) + [0.0] * (c - min(c, m))


def test_cosine_ignores_sign_and_scale_and_zero_rows():
    atoms = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = cosine(atoms, torch.tensor([[-3.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[1, 0, 0.5**0.5], [0, 0, 0.5**0.5]], dtype=torch.float64))


def test_active_counts_entries_other_than_0_not_stored_ones():
    rows = SparseRows(torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([0.0, 2.0]), (1, 3))
    assert active(rows).tolist() == [False, True, False]
    assert active(rows.dense()).tolist() == [False, True, False]
