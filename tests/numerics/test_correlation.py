"""Streamed correlations: the same as numpy's on the whole sample, however it is cut, dense or sparse."""

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.correlation import (
    Columns,
    MatchedCorrelation,
    StreamedCorrelation,
    add_cross_products,
    matched_cross_products,
)
from testbed.numerics.matching import cross_correlation, held_out_correlation, matched_similarity


def sparse_values(n, m, seed, rate=0.05, mean=1.0):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, m, generator=g) + mean) * (torch.rand(n, m, generator=g) < rate)


def expected(z, a):
    return torch.from_numpy(np.corrcoef(z.T.double().numpy(), a.T.double().numpy())[: z.shape[1], z.shape[1] :])


def streamed(z, a, cuts, stream):
    for start, stop in zip([0, *cuts], [*cuts, len(z)], strict=True):
        stream.update(z[start:stop], a[start:stop])
    return stream.correlation()


@pytest.mark.parametrize("left", ["sparse", "dense"])
@pytest.mark.parametrize("right", ["sparse", "dense"])
@pytest.mark.parametrize("cuts", [(), (1, 2, 7000), (4096,)])
def test_chunks_of_any_kind_give_the_whole_samples_correlation(left, right, cuts):
    z, a = sparse_values(9000, 6, 0), sparse_values(9000, 5, 1)
    a[:, 1] -= 2 * z[:, 3]
    given = [SparseRows.from_dense(rows) if kind == "sparse" else rows for rows, kind in ((z, left), (a, right))]
    found = streamed(*given, cuts, StreamedCorrelation(6, 5))
    torch.testing.assert_close(found, expected(z, a), rtol=0, atol=1e-12)
    concept, code = torch.tensor([5, 3, 0]), torch.tensor([0, 1, 1])
    pairs = streamed(*given, cuts, MatchedCorrelation(concept, code, 6, 5))
    torch.testing.assert_close(pairs, expected(z, a)[concept, code], rtol=0, atol=1e-12)


def test_dense_and_sparse_chunks_mix():
    z, a = sparse_values(3000, 4, 0), sparse_values(3000, 3, 1)
    for first, second in ((z, SparseRows.from_dense(z)), (SparseRows.from_dense(z), z)):
        stream = StreamedCorrelation(4, 3)
        stream.update(first[:1000], SparseRows.from_dense(a[:1000]))
        stream.update(second[1000:], a[1000:])
        torch.testing.assert_close(stream.correlation(), expected(z, a), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mean", [30.0, 1e3, 1e5])
def test_a_mean_far_from_0_costs_no_digits(mean):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5000, 2, generator=g, dtype=torch.float64)
    a = z @ torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64) + mean
    wide = torch.nn.functional.pad(z + mean, (0, 98))  # few columns other than 0: sparse enough
    whole = torch.nn.functional.pad(a, (0, 98))
    for left, right in ((z + mean, a), (SparseRows.from_dense(wide), SparseRows.from_dense(whole))):
        found = cross_correlation(left, right)[:2, :2]
        torch.testing.assert_close(found, expected(z, a - mean).abs(), rtol=0, atol=1e-9)


def test_a_look_in_between_changes_nothing_and_constants_correlate_0():
    z, a = sparse_values(2000, 3, 0), sparse_values(2000, 3, 1)
    a[:, 2] = 0.1
    stream = StreamedCorrelation(3, 3)
    stream.update(z[:500], a[:500])
    stream.correlation()
    stream.update(z[500:], a[500:])
    found = stream.correlation()
    assert (found[:, 2] == 0).all()
    torch.testing.assert_close(found, cross_correlation(z, a).copysign(found), rtol=0, atol=1e-12)
    assert (StreamedCorrelation(2, 3).correlation() == 0).all()


def test_entries_stored_as_0_and_duplicates_of_nothing_do_not_matter():
    rows = SparseRows(torch.tensor([0, 2, 2, 3]), torch.tensor([0, 40, 1]), torch.tensor([2.0, 0.0, 1.0]), (3, 64))
    torch.testing.assert_close(cross_correlation(rows, rows), cross_correlation(rows.dense(), rows.dense()), rtol=0, atol=1e-12)


def test_held_out_correlation_is_the_matched_similarity_of_both_halves():
    z, a = sparse_values(6000, 40, 0), sparse_values(6000, 30, 1)
    a[:, :20] += z[:, torch.randperm(40, generator=torch.Generator().manual_seed(0))[:20]]
    both = cross_correlation(z[:2500], a[:2500]), cross_correlation(z[2500:], a[2500:])
    for left, right in ((z, a), (SparseRows.from_dense(z), SparseRows.from_dense(a))):
        found = held_out_correlation((left[:2500], right[:2500]), (left[2500:], right[2500:]))
        torch.testing.assert_close(found, matched_similarity(*both), rtol=0, atol=1e-12)


def test_a_sign_that_turns_round_counts_below_0_where_signs_count():
    z = sparse_values(4000, 3, 0)
    turned = z * torch.tensor([1.0, -1.0, 1.0])
    found = held_out_correlation((z, -turned), (z, turned), signed=True)
    torch.testing.assert_close(found, torch.full((3,), -1.0, dtype=torch.float64))
    assert (held_out_correlation((z, -turned), (z, turned)) > 0.999).all()


def test_cross_products_are_matrix_products():
    x, y = sparse_values(500, 8, 0), sparse_values(500, 9, 1)
    for dtype in (torch.float32, torch.float64):
        total = torch.ones(8, 9, dtype=dtype)
        add_cross_products(total, SparseRows.from_dense(x), SparseRows.from_dense(y))
        torch.testing.assert_close(total, (x.double().T @ y.double() + 1).to(dtype))
    row, column = torch.tensor([3, 0, 7]), torch.tensor([8, 2, 2])
    found = matched_cross_products(SparseRows.from_dense(x), SparseRows.from_dense(y), row, column)
    torch.testing.assert_close(found, (x.double().T @ y.double())[row, column])


def test_moments_merge():
    x = torch.randn(9000, 3, generator=torch.Generator().manual_seed(0)) + 50
    one, two, other = Columns(3), Columns(3), Columns(3)
    one.update(x)
    two.update(x[:10])
    other.update(SparseRows.from_dense(x[10:]))
    two.merge(other)
    assert two.count == one.count == 9000
    torch.testing.assert_close(two.mean, x.double().mean(dim=0))
    torch.testing.assert_close(two.scale, 1 / x.double().std(dim=0, correction=0))
    torch.testing.assert_close(one.scale, two.scale)


def test_other_rows_and_nan_are_refused():
    stream = StreamedCorrelation(1, 1)
    with pytest.raises(InvalidInput, match="same sample"):
        stream.update(torch.zeros(4, 1), torch.zeros(5, 1))
    with pytest.raises(InvalidInput, match="check the encoder"):
        stream.update(torch.zeros(4, 1), torch.full((4, 1), torch.nan))
