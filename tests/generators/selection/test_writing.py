"""Sparse accumulation, the dense product and the device path give the same vectors; levels are cut at the right places."""

import numpy as np
import pytest
import torch

from generators.selection import writing
from generators.selection.firing import ranked_rates
from generators.selection.writing import by_level, weighted_sums, write
from testbed.contracts import InvalidInput

SIZES = (3, 5, 12)


def rows(n=50, share=0.3):
    values = torch.rand(n, 20, generator=torch.Generator().manual_seed(0))
    values = torch.where(values < share, values, 0.0)
    values[4] = 0  # an empty row, and an empty last one
    values[-1] = 0
    row, nodes = (t.numpy() for t in values.nonzero(as_tuple=True))
    return values, np.concatenate([[0], np.bincount(row, minlength=n).cumsum()]), nodes, values[values > 0].numpy()


def test_levels_are_the_columns_of_the_whole():
    values, begin, nodes, active = rows()
    first = 0
    for size, level in zip(SIZES, by_level(begin, nodes, active, SIZES), strict=True):
        assert torch.equal(level.dense(), values[:, first : first + size])
        first += size


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(("first", "last"), [(0, 20), (3, 8), (8, 20)])
def test_rows_are_written_along_the_atoms_of_the_nodes_shown(share, first, last, monkeypatch):
    values, begin, nodes, active = rows(share=share)
    atoms, bias = torch.randn(last - first, 7, generator=torch.Generator().manual_seed(1)), torch.arange(7.0)
    expected = values[:, first:last] @ atoms + bias
    for crowded in (0.0, 2.0):  # always dense, always sparse
        monkeypatch.setattr(writing, "CROWDED", crowded)
        torch.testing.assert_close(write(begin, nodes, active, atoms, first, bias), expected, rtol=1e-5, atol=1e-5)
    if first == 0:  # what other devices do, tried on this one
        start, entries = torch.from_numpy(begin[:-1]), (torch.from_numpy(nodes), torch.from_numpy(active))
        torch.testing.assert_close(weighted_sums(start, *entries, atoms) + bias, expected, rtol=1e-5, atol=1e-5)


def test_laws_of_rates():
    torch.testing.assert_close(ranked_rates("uniform", 3, 0.3, 0.1, 0.0), torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64))
    torch.testing.assert_close(ranked_rates("geometric", 3, 0.4, 0.1, 0.0), torch.tensor([0.4, 0.2, 0.1], dtype=torch.float64))
    torch.testing.assert_close(ranked_rates("zipf", 3, 0.4, 0.15, 1.0), torch.tensor([0.4, 0.2, 0.15], dtype=torch.float64))
    assert ranked_rates("uniform", 1, 0.3, 0.1, 0.0).tolist() == [0.3]
    with pytest.raises(InvalidInput, match="above 0"):
        ranked_rates("geometric", 3, 0.3, 0.0, 0.0)
    with pytest.raises(InvalidInput, match="'flat'"):
        ranked_rates("flat", 3, 0.3, 0.1, 0.0)
