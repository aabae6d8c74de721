"""Indices of partitions against scikit-learn, and relabelling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from testbed.contracts import NotApplicable, SparseRows
from testbed.numerics.states import (
    adjusted_mutual_information,
    adjusted_rand,
    compact,
    contingency,
    relabelling,
    state_similarity,
    states_of,
)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_indices_agree_with_scikit_learn(seed, k, s, n):
    g = np.random.default_rng(seed)
    a = g.integers(0, k, n)
    b = np.where(g.random(n) < 0.5, a % s, g.integers(0, s, n))
    table = contingency(a, b)
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(a, b), abs=1e-9)
    assert adjusted_mutual_information(table) == pytest.approx(adjusted_mutual_info_score(a, b), abs=1e-6)


def test_similarity_is_1_for_a_relabelling_about_0_by_chance_and_exactly_0_for_a_dead_column():
    g = np.random.default_rng(0)
    z = g.integers(0, 5, (6000, 3))
    codes = np.column_stack([(z[:, 2] * 3 + 7) % 50, g.integers(0, 40, 6000), np.full(6000, 9), z[:, 0] // 2])
    similar = state_similarity(z, codes)
    assert similar[2, 0] == pytest.approx(1.0)
    assert similar[:, 1].max() < 0.01
    assert (similar[:, 2] == 0).all()
    assert similar[0, 3] == pytest.approx(adjusted_mutual_info_score(z[:, 0], codes[:, 3]), abs=1e-3)
    assert state_similarity(z[:, :0], codes).shape == (0, 4)


def test_a_relabelling_is_one_to_one_and_names_what_it_can():
    table = np.array([[4, 0, 0, 2], [0, 0, 7, 0], [4, 0, 0, 0]])
    name = relabelling(table)
    assert name.tolist() == [2, -1, 1, 0]


def test_compact_numbers_states_without_gaps_whatever_their_range():
    states, counts = compact(np.array([[10, -(10**12)], [7, 10**12], [10, 5]]))
    assert states.tolist() == [[1, 0], [0, 2], [1, 1]]
    assert counts.tolist() == [2, 3]


def test_states_of_whole_numbers_of_few_values_and_of_sparse_rows():
    assert states_of(torch.tensor([[3.0, -1.5], [0.0, 2.5]])).tolist() == [[3, 0], [0, 1]]
    dense = torch.tensor([[0, 2], [1, 0]])
    assert states_of(SparseRows.from_dense(dense), np.array([1])).tolist() == [[2], [0]]
    with pytest.raises(NotApplicable, match="code 1"):
        states_of(torch.stack([torch.ones(500), torch.linspace(0, 1, 500)], 1))
