"""The compiled selection of the k largest finds what sorting finds, whatever the rows look like."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from testbed.contracts import InvalidInput
from testbed.numerics.top_k import lanes, top_k


def dense(entries, shape):
    rows, columns, kept = entries
    out = torch.zeros(shape, dtype=kept.dtype)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows), "an entry is there twice"
    out[rows, columns] = kept
    return out


def agrees(values, k, shift=None):
    """Positive, at most k per row, equal to what they were, and as large as torch.topk's, ties or not."""
    rows, columns, kept = top_k(values, k, shift)
    whole = values if shift is None else values + shift
    assert kept.isfinite().all()
    assert (kept > 0).all()
    assert torch.equal(rows, rows.sort().values)
    found = dense((rows, columns, kept), values.shape)
    assert torch.equal(torch.where(found > 0, whole, 0), found)
    best = whole.topk(k, dim=1).values.relu()
    assert torch.equal(found.topk(k, dim=1).values, best)


SIZES = st.tuples(st.integers(1, 5), st.integers(1, 300))
FEW = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 1.5000001, 2.0])


@given(st.data(), SIZES, st.sampled_from([np.float32, np.float64]))
def test_any_numbers(data, size, dtype):
    bits = 8 * np.dtype(dtype).itemsize
    most = 2.0**60
    numbers = st.floats(-most, most, width=bits, allow_subnormal=False)
    values = torch.from_numpy(data.draw(arrays(dtype, size, elements=numbers)))
    agrees(values, data.draw(st.integers(1, size[1])))


@given(st.data(), SIZES, st.sampled_from([np.float32, np.float64]))
def test_ties_zeros_and_negative_zeros(data, size, dtype):
    values = torch.from_numpy(data.draw(arrays(dtype, size, elements=FEW.map(dtype))))
    shift = torch.from_numpy(data.draw(arrays(dtype, size[1], elements=FEW.map(dtype))))
    k = data.draw(st.integers(1, size[1]))
    agrees(values, k)
    agrees(values, k, shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("m", "k"), [(1, 1), (7, 3), (127, 5), (128, 128), (129, 7), (200, 1), (1000, 7), (1025, 300), (4099, 25), (64, 64)]
)
def test_widths_that_are_no_multiple_of_the_lanes_and_k_up_to_m(m, k, dtype):
    g = torch.Generator().manual_seed(m)
    values = torch.randn(20, m, generator=g, dtype=dtype)
    agrees(values, k)
    agrees(values, k, torch.randn(m, generator=g, dtype=dtype))
    agrees(values.T.contiguous().T, k)
    assert k <= m
    assert lanes(k, m) <= m


def test_rows_without_a_positive_entry_are_empty_and_all_equal_rows_keep_k():
    values = torch.stack([-torch.rand(300) - 0.1, torch.zeros(300), torch.full((300,), -0.0), torch.full((300,), 3.0), torch.eye(300)[7]])
    rows, _, kept = top_k(values, 5)
    assert rows.tolist() == [3] * 5 + [4]
    assert kept.tolist() == [3.0] * 5 + [1.0]


def test_neighbouring_floats_and_very_large_and_small_numbers_are_told_apart():
    for dtype in (torch.float32, torch.float64):
        one = torch.ones((), dtype=dtype)
        near = torch.stack([one, torch.nextafter(one, one * 2), torch.nextafter(one, one * 0)]).repeat(1, 60)
        agrees(near, 60)
        agrees(near, 61)
        spread = torch.logspace(-30, 30, 257, dtype=dtype)[None]
        agrees(spread, 10)
        agrees(-spread + spread.flip(1), 200)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_no_bisection_reaches(dtype):
    """Between 1e-300 and 1e300 lie more halvings than are made; infinity has no middle at all."""
    low, high = (-37, 38) if dtype == torch.float32 else (-300, 300)
    spread = torch.logspace(low, high, 300, dtype=dtype)[None]
    spread = torch.cat([spread, spread[:, torch.randperm(300, generator=torch.Generator().manual_seed(0))]])
    for k in (1, 2, 150, 299, 300):
        agrees(spread, k)
    crowd = torch.rand(1, 300, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 10.0 ** (low + 1)
    crowd[0, 7] = 10.0**high
    for k in (1, 2, 20, 299):
        agrees(crowd, k)
    crowd[0, 9] = torch.inf
    for k in (1, 2, 20, 299):
        rows, columns, kept = top_k(crowd, k)
        assert len(rows) == k
        assert 9 in columns
        assert torch.equal(kept.sort().values, crowd.topk(k).values[0].sort().values)


def test_gradient_rows_and_numbers_out_of_range():
    values = torch.randn(3, 10, requires_grad=True)
    agrees(values.detach(), 4)
    assert top_k(values, 4)[2].requires_grad is False
    for k in (0, 11):
        with pytest.raises(InvalidInput, match=f"between 1 and the number of columns, 10, not be {k}"):
            top_k(values, k)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree():
    values = torch.randn(50, 700, generator=torch.Generator().manual_seed(0))
    here, there = top_k(values, 9), top_k(values.cuda(), 9)
    assert torch.equal(dense(here, values.shape), dense(tuple(t.cpu() for t in there), values.shape))
