"""Compiled selections and sorts against numpy, on densities from none to all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.estimators.sparse.kernels import by_column, entries_above, sort_within_rows


def expected(pre, shift, bar):
    row, column = np.nonzero(pre + shift > bar)
    return np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(pre)))]), column, (pre + shift)[row, column]


@given(
    st.integers(1, 40),
    st.integers(1, 200),
    st.floats(0, 1),
    st.sampled_from([0, 1, 30, 10_000]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**31),
)
def test_entries_above_a_bar_are_those_that_numpy_finds(n, m, density, guess, dtype, seed):
    rng = np.random.default_rng(seed)
    pre = rng.normal(size=(n, m)).astype(dtype)
    shift = rng.normal(size=m).astype(dtype)
    bar = np.quantile((pre + shift), 1 - density, axis=0).astype(dtype)
    for found, wanted in zip(entries_above(pre, shift, bar, guess), expected(pre, shift, bar), strict=True):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("guess", [1, 500, 100_000])
def test_a_guess_that_is_too_low_costs_time_and_nothing_else(share, guess):
    rng = np.random.default_rng(0)
    pre = (rng.random((200, 333)) < share).astype(np.float32)
    zero = np.zeros(333, np.float32)
    indptr, columns, values = entries_above(pre, zero, zero + 0.5, guess)
    assert indptr[-1] == len(columns) == len(values) == (pre > 0.5).sum()
    for got, wanted in zip((indptr, columns, values), expected(pre, zero, zero + 0.5), strict=True):
        assert np.array_equal(got, wanted)


def test_entries_sorted_by_column_keep_their_rows():
    rng = np.random.default_rng(0)
    mask = rng.random((50, 37)) < 0.2
    rows, columns = (a.astype(np.int32) for a in np.nonzero(mask))
    indptr = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    starts, order, owner = np.empty(38, np.int64), np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    by_column(indptr, columns, starts, order, owner)
    assert np.array_equal(owner, rows)
    assert np.array_equal(starts, np.concatenate([[0], np.cumsum(mask.sum(axis=0))]))
    assert np.array_equal(order, np.argsort(columns, kind="stable"))
    shuffled, values = columns.copy(), columns * 1.5
    for i in range(50):
        part = slice(indptr[i], indptr[i + 1])
        moved = rng.permutation(indptr[i + 1] - indptr[i])
        shuffled[part], values[part] = shuffled[part][moved], values[part][moved]
    sort_within_rows(indptr, shuffled, values)
    assert np.array_equal(shuffled, columns)
    assert np.array_equal(values, columns * 1.5)
