"""Simple rules for edges: they find a plain tree, nothing among independent codes, and their known faults."""

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.edges import FINDERS, columns, structure_by

names = pytest.mark.parametrize("name", FINDERS)


def tree(n=3000, seed=0):
    """Two independent composites that are each on with their three constituents, nearly; columns: composites, constituents."""
    g = torch.Generator().manual_seed(seed)
    above = torch.rand(n, 2, generator=g) < 0.3
    below = above.repeat_interleave(3, dim=1) ^ (torch.rand(n, 6, generator=g) < 0.05)
    return torch.cat([above, below], 1) * (1 + torch.rand(n, 8, generator=g))


@names
def test_a_plain_tree_is_found(name):
    found = structure_by(FINDERS[name], tree(), [0, 0, *[1] * 6])
    assert found.constituents == ((2, 3, 4), (5, 6, 7), *[()] * 6)
    assert found.levels == (0, 0, 1, 1, 1, 1, 1, 1)


@names
def test_sparse_rows_and_other_scales_find_the_same(name):
    codes = tree() * torch.linspace(0.5, 3, 8)
    assert structure_by(FINDERS[name], SparseRows.from_dense(codes), [0, 0, *[1] * 6]).constituents[:2] == ((2, 3, 4), (5, 6, 7))


@pytest.mark.parametrize("name", [name for name in FINDERS if name != "clustering"])
def test_independent_codes_have_no_edges(name):
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        codes = torch.rand(2000, 20, generator=g) * (torch.rand(2000, 20, generator=g) < 0.2)
        assert not any(structure_by(FINDERS[name], codes, [0] * 5 + [1] * 15).constituents)


@names
def test_levels_need_not_be_consecutive_and_codes_can_be_left_out(name):
    codes = tree()
    codes = torch.cat([codes, codes[:, :1]], 1)
    found = structure_by(FINDERS[name], codes, [0, 0, *[5] * 6, -1])
    assert found.constituents == ((2, 3, 4), (5, 6, 7), *[()] * 7)


@names
def test_dead_codes_and_few_rows_are_no_harm(name):
    assert len(structure_by(FINDERS[name], torch.zeros(50, 4), [0, 1, 1, 1]).constituents) == 4
    assert len(structure_by(FINDERS[name], tree(4), [0, 0, *[1] * 6]).constituents) == 8
    assert structure_by(FINDERS[name], tree(), [0] * 8).constituents == ((),) * 8


def test_wrong_number_of_levels_is_refused():
    with pytest.raises(InvalidInput, match="one for each"):
        structure_by(FINDERS["PMI"], tree(), [0, 1])


def test_columns_of_sparse_rows_are_those_of_dense_ones():
    codes = tree(20)
    at = np.array([7, 0, 3])
    assert torch.equal(columns(SparseRows.from_dense(codes), at).dense(), columns(codes, at))
