"""Linear decompositions do what their theorems say."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.classical.fast_ica import FastICA
from testbed.estimators.classical.nmf import NMF, nonnegative_codes
from testbed.estimators.classical.pca import PCA
from testbed.numerics.matching import cosine, cross_correlation, mean_correlation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pca_finds_the_axes_of_an_ellipsoid_in_order():
    g = generator()
    axes = torch.linalg.qr(torch.randn(6, 6, generator=g)).Q
    deviations = torch.tensor([6.0, 5, 4, 3, 2, 1])
    x = torch.randn(20_000, 6, generator=g) * deviations @ axes + 7
    pca = PCA(n_components=4).fit(torch.split(x, 999), seed=0)
    assert (cosine(axes[:4], pca.dictionary_).diagonal() > 0.995).all()
    torch.testing.assert_close(pca.variance_.sqrt(), deviations[:4], rtol=0.03, atol=0)
    scores = pca.encode(x)
    torch.testing.assert_close(scores.T @ scores / len(x), pca.variance_.diag(), rtol=0, atol=1e-2)


def test_all_components_reconstruct_exactly_and_no_more_than_d_exist():
    x = torch.randn(100, 5, generator=generator()) + 3
    pca = PCA().fit(x, seed=0)
    torch.testing.assert_close(pca.decode(pca.encode(x)), x, rtol=0, atol=1e-5)
    with pytest.raises(InvalidInput, match="between 1 and the 5 columns"):
        PCA(n_components=6).fit(x, seed=0)


def test_ica_separates_independent_sources_up_to_order_sign_and_scale():
    g = generator(1)
    sources = torch.rand(10_000, 4, generator=g) * (torch.rand(10_000, 4, generator=g) < 0.2)
    mixing = torch.randn(4, 8, generator=g)
    x = sources @ mixing - 5
    ica = FastICA().fit(x, seed=0)
    codes = ica.encode(x)
    assert codes.shape == (10_000, 4)  # the rank, not d
    assert ica.converged_
    assert mean_correlation(cross_correlation(sources, codes), cross_correlation(sources, codes)) > 0.99
    assert mean_correlation(cosine(mixing, ica.dictionary_), cosine(mixing, ica.dictionary_)) > 0.99
    torch.testing.assert_close(ica.decode(codes), x, rtol=0, atol=1e-3)
    torch.testing.assert_close(codes.std(dim=0, correction=0), torch.ones(4), rtol=1e-3, atol=0)


def test_ica_that_does_not_converge_says_so_quietly(recwarn):
    x = torch.randn(500, 20, generator=generator())
    assert not FastICA(max_iter=2).fit(x, seed=0).converged_
    assert not recwarn.list


def test_nmf_folds_signed_parts_back():
    g = generator(2)
    parts = torch.tensor([[1.0, -2, 0, 0], [0, 0, 3, -1]])
    codes = torch.rand(2000, 2, generator=g) * (torch.rand(2000, 2, generator=g) < 0.5)
    nmf = NMF(n_components=2, max_iter=500, tol=1e-6).fit(codes @ parts, seed=0)
    similarity = cosine(parts, nmf.dictionary_)
    assert mean_correlation(similarity, similarity) > 0.999
    found = nmf.encode(codes @ parts)
    assert (found >= 0).all()
    torch.testing.assert_close(nmf.decode(found), codes @ parts, rtol=0, atol=1e-2)


def test_nmf_codes_solve_the_non_negative_least_squares_problem():
    g = generator(3)
    x, parts = torch.rand(200, 12, generator=g), torch.rand(5, 12, generator=g)
    codes = nonnegative_codes(x, parts)
    gradient = (codes @ parts - x) @ parts.T
    assert (gradient > -1e-3).all()  # the Karush-Kuhn-Tucker conditions
    assert (gradient * codes).abs().max() < 1e-3
