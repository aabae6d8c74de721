"""Dictionaries: unit rows, and what pushing apart does."""

import pytest
import torch

from generators.mixing import clustered, coherence, equiangular, less_coherent, random_directions
from testbed.contracts import InvalidInput


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


@pytest.mark.parametrize(("c", "d"), [(1, 3), (2, 1), (5, 4), (5, 9)])
def test_a_simplex_has_equal_angles(c, d):
    atoms = equiangular(c, d, torch.Generator().manual_seed(0))
    gram = atoms @ atoms.T
    torch.testing.assert_close(gram, torch.full((c, c), -1 / max(1, c - 1)).fill_diagonal_(1.0), rtol=0, atol=1e-5)
    with pytest.raises(InvalidInput, match=f"raise dimension to {d + 1}"):
        equiangular(d + 2, d, torch.Generator().manual_seed(0))


def test_atoms_of_a_cluster_have_the_cosine_asked_for_with_their_centre_and_on_average_with_each_other():
    atoms = clustered(400, 64, 1, 0.6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(400))
    gram = (atoms @ atoms.T)[~torch.eye(400, dtype=torch.bool)]
    assert float(gram.mean()) == pytest.approx(0.6, abs=0.01)
    several = clustered(400, 64, 4, 0.6, torch.Generator().manual_seed(0))
    gram = (several @ several.T)[~torch.eye(400, dtype=torch.bool)]
    assert 0.15 < float((gram > 0.35).double().mean()) < 0.35  # a quarter of all pairs share a cluster
    for clusters, cosine, dimension in ((0, 0.5, 4), (2, 1.0, 4), (2, 0.5, 1)):
        with pytest.raises(InvalidInput, match="clusters"):
            clustered(3, dimension, clusters, cosine, torch.Generator().manual_seed(0))
