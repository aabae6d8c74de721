"""States of columns: on and off, equal counts, labels; the same for sparse and dense rows, and whatever the scale and sign."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.discretise import beside, discretise, take


def table(rows, **settings):
    return discretise(rows, **({"bins": 10, "on_bins": 4} | settings)).table.toarray()


def rare(n=1000, rate=0.01, columns=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (1 + torch.rand(n, columns, generator=g)) * (torch.rand(n, columns, generator=g) < rate)


def test_a_rare_concept_keeps_off_and_parts_of_its_on_values():
    z = torch.zeros(1000, 1)
    z[:8, 0] = torch.arange(1, 9)
    assert table(z)[:8, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert not table(z)[8:].any()
    assert table(z, on_bins=1)[:8, 0].tolist() == [1] * 8


def test_real_columns_have_states_of_equal_counts():
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    assert (discretise(x, bins=10, on_bins=4).counts() == 100).all()
    assert np.array_equal(table(x)[:, 0].argsort(kind="stable"), table(x.exp())[:, 0].argsort(kind="stable"))


def test_few_values_are_a_state_each_and_labels_always_are():
    x = torch.tensor([[1.0], [5.0], [5.0], [2.0]])
    assert table(x)[:, 0].tolist() == [0, 2, 2, 1]
    labels = torch.arange(50).repeat(4)[:, None]
    assert len(np.unique(table(labels))) < 50
    assert discretise(labels % 25, bins=10, on_bins=4).n_states.tolist() == [25]
    found = discretise(labels, bins=10, on_bins=4, categories=True)
    assert found.n_states.tolist() == [50]
    assert np.array_equal(found.table.toarray()[:, 0], labels[:, 0])


def test_a_value_that_has_most_rows_is_one_state_and_the_rest_is_told_from_it():
    x = torch.full((100, 1), 3.0)
    x[:4, 0] = 7.0
    assert discretise(x, bins=10, on_bins=4).counts().tolist() == [[96, 4]]
    assert discretise(torch.full((100, 1), 3.0), bins=10, on_bins=4).n_states.tolist() == [1]
    assert discretise(torch.zeros(100, 1), bins=10, on_bins=4).n_states.tolist() == [1]


@given(st.integers(0, 1000), st.sampled_from([0.005, 0.3, 0.95, 1.0]))
def test_sparse_and_dense_rows_scales_and_signs_give_the_same_states(seed, rate):
    z = rare(rate=rate, seed=seed, n=301)
    assert np.array_equal(table(z), table(SparseRows.from_dense(z)))
    assert np.array_equal(table(z), table(z * torch.tensor([-2.0, 0.5, -8.0])))


def test_counts_are_of_all_states_and_tables_go_side_by_side():
    z = discretise(rare(), bins=10, on_bins=4)
    both = beside([z, discretise(torch.randn(1000, 2), bins=6, on_bins=4)])
    assert (both.counts().sum(axis=1) == 1000).all()
    assert np.array_equal(both.table.toarray()[:, :3], z.table.toarray())
    assert both.n_states.tolist() == [*z.n_states, 6, 6]


def test_rows_are_taken_from_either_kind():
    z = rare(rate=0.5)
    index = np.array([1, 5, 900])
    assert torch.equal(take(z, index), take(SparseRows.from_dense(z), index).dense())


def test_too_few_states_are_refused():
    with pytest.raises(InvalidInput, match="bins is 1"):
        discretise(rare(), bins=1, on_bins=4)
