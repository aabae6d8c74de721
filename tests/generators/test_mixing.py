"""Dictionaries: unit rows, and what pushing apart does."""

import pytest
import torch

from generators.mixing import coherence, less_coherent, random_directions


@pytest.mark.parametrize(("c", "d"), [(30, 30), (60, 30), (1, 5), (4, 1)])
def test_atoms_have_norm_1_before_and_after(c, d):
    atoms = random_directions(c, d, torch.Generator().manual_seed(0))
    for rows in (atoms, less_coherent(atoms)):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(c))


def test_few_atoms_end_nearly_orthogonal_and_many_no_worse_than_they_were():
    few = random_directions(20, 40, torch.Generator().manual_seed(0))
    assert coherence(less_coherent(few)) < 0.1 < coherence(few)
    many = random_directions(120, 40, torch.Generator().manual_seed(0))
    welch = ((120 - 40) / (40 * 119)) ** 0.5  # no dictionary of this size is less coherent
    assert welch < coherence(less_coherent(many)) < coherence(many) - 0.1
