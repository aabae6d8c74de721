"""Sparse principal components have few entries, and more penalty means fewer."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.classical.sparse_pca import SparsePCA
from testbed.numerics.matching import cosine, mean_correlation

BLOCKS = torch.block_diag(*[torch.tensor([[1.0, 0.8, 0.6]])] * 3)  # (3, 9)


def data(scale=1.0):
    g = torch.Generator().manual_seed(0)
    return scale * (torch.randn(2000, 3, generator=g) @ BLOCKS + 0.1 * torch.randn(2000, 9, generator=g) + 5)


def test_components_on_coordinates_of_their_own_are_found_with_the_rest_exactly_0():
    fitted = SparsePCA(3, alpha=0.3).fit(data(), seed=0)
    similarity = cosine(BLOCKS, fitted.dictionary_)
    assert mean_correlation(similarity, similarity) > 0.99
    assert ((fitted.dictionary_ != 0).sum(dim=1) == 3).all()
    torch.testing.assert_close(fitted.dictionary_.norm(dim=1), torch.ones(3))


def test_codes_are_the_ridge_regression_and_units_do_not_matter():
    fitted, scaled = SparsePCA(3, alpha=0.3).fit(data(), seed=0), SparsePCA(3, alpha=0.3).fit(data(1000.0), seed=0)
    torch.testing.assert_close(fitted.dictionary_, scaled.dictionary_, rtol=0, atol=1e-4)
    off, atoms = data() - fitted.mean_, fitted.dictionary_
    codes = fitted.encode(data())
    slope = (codes @ atoms - off) @ atoms.T + 0.01 * codes
    assert slope.abs().max() < 1e-3


def test_bad_settings_are_refused():
    for wrong in ({"alpha": -1.0}, {"ridge": 0.0}, {"samples": 0}, {"n_components": 0}):
        with pytest.raises(InvalidInput, match="at least"):
            SparsePCA(**wrong).fit(data(), seed=0)
