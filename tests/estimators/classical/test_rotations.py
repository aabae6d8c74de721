"""Rotated components: codes of variance 1, exact decoding, and the structure that each variant is for."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.classical.promax import Promax
from testbed.estimators.classical.varimax import Varimax
from testbed.numerics.matching import cosine, cross_correlation, mean_correlation

BLOCKS = torch.block_diag(*[torch.tensor([[1.0, 0.8, 0.6]])] * 4)  # (4, 12): each concept writes three coordinates of its own


def score(similarity):
    return mean_correlation(similarity, similarity)


@pytest.mark.parametrize("of", ["loadings", "scores"])
@pytest.mark.parametrize("kind", [Varimax, Promax])
def test_codes_have_variance_1_and_decode_exactly(kind, of):
    x = (
        torch.randn(800, 6, generator=torch.Generator().manual_seed(0)).exp()
        @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
        + 3
    )
    fitted = kind(of=of).fit(x, seed=0)
    codes = fitted.encode(x)
    torch.testing.assert_close(codes.std(dim=0, correction=0), torch.ones(6), rtol=1e-3, atol=0)
    torch.testing.assert_close(fitted.decode(codes), x, rtol=1e-3, atol=1e-3)
    correlation = codes.T @ codes / len(codes) - torch.eye(6)
    assert (correlation.abs().max() < 1e-3) == (kind is Varimax)


def test_varimax_of_loadings_finds_atoms_on_coordinates_of_their_own_even_for_gaussian_sources():
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(1)) @ BLOCKS
    assert score(cosine(BLOCKS, Varimax(4).fit(x, seed=0).dictionary_)) > 0.99
    assert score(cosine(BLOCKS, Varimax(4, of="scores").fit(x, seed=0).dictionary_)) < 0.95  # nothing to go by


def test_varimax_of_scores_finds_heavy_tailed_sources_behind_any_mixing():
    g = torch.Generator().manual_seed(2)
    sources = torch.randn(20_000, 4, generator=g) * (torch.rand(20_000, 4, generator=g) < 0.1)
    x = sources @ torch.randn(4, 8, generator=g)
    assert score(cross_correlation(sources, Varimax(of="scores").fit(x, seed=0).encode(x))) > 0.99
    assert score(cross_correlation(sources, Varimax(of="loadings").fit(x, seed=0).encode(x))) < 0.95


def test_promax_lets_correlated_sources_correlate():
    g = torch.Generator().manual_seed(3)
    common = torch.randn(20_000, 1, generator=g)
    sources = torch.randn(20_000, 4, generator=g) + 0.7 * common
    x = sources @ BLOCKS
    straight, oblique = (kind(4).fit(x, seed=0) for kind in (Varimax, Promax))
    assert score(cosine(BLOCKS, oblique.dictionary_)) > 0.999 > score(cosine(BLOCKS, straight.dictionary_))
    assert score(cross_correlation(sources, oblique.encode(x))) > 0.999 > score(cross_correlation(sources, straight.encode(x)))


def test_bad_settings_are_refused():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InvalidInput, match="'loadings' or 'scores'"):
        Varimax(of="codes").fit(x, seed=0)
    with pytest.raises(InvalidInput, match="power must be above 1"):
        Promax(power=1.0).fit(x, seed=0)
    with pytest.raises(InvalidInput, match="at least 1"):
        Promax(n_components=0).fit(x, seed=0)
