"""The TopK sparse autoencoder: its constraints, its repeatability, and that it recovers what it should."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.framing import location_and_scale, weights
from testbed.estimators.sparse.topk_sae import TopKSAE, top_k_codes
from testbed.numerics.matching import active, cosine, cross_correlation, mean_correlation


def small(**params):
    return TopKSAE(**{"n_codes": 48, "k": 4, "samples": 30_000, "batch_size": 256, **params})


@pytest.fixture(scope="module")
def rows():
    return SparseConcepts.small().draw(1001).sample(6000, 0).observed


@pytest.fixture(scope="module")
def fitted(rows):
    return small().fit(rows, seed=0)


def test_codes_are_at_most_k_per_row_positive_and_alone(rows, fitted):
    codes = fitted.encode(rows)
    assert codes.indptr.diff().max() <= 4
    assert (codes.values > 0).all()
    torch.testing.assert_close(codes[1000:1100].dense(), fitted.encode(rows[1000:1100]).dense(), rtol=1e-4, atol=1e-5)


def test_decoder_rows_have_norm_1_and_the_bias_is_the_mean_up_to_its_standard_error(rows, fitted):
    torch.testing.assert_close(fitted.dictionary_.norm(dim=1), torch.ones(48))
    x = rows.views["mixed"].values
    assert ((fitted.bias_ - x.mean(dim=0)).abs() < 4 * x.std(dim=0) / len(x) ** 0.5).all()


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(rows, fitted):
    again, other = small().fit(rows, seed=0), small().fit(rows, seed=1)
    for name, array in fitted.get_state()[0].items():
        assert torch.equal(array, getattr(again, name)), name
    assert not torch.equal(fitted.dictionary_, other.dictionary_)
    assert fitted.history_ == again.history_


def test_the_learning_curve_falls(fitted):
    curve = fitted.history_
    assert len({len(values) for values in curve.values()}) == 1
    assert curve["samples"][-1] == 30_000
    assert curve["loss"][-1] < 0.5 * curve["loss"][0]
    assert curve["k"][-1] == 4
    assert all(0 <= share <= 1 for share in curve["dead"])


def test_scaling_and_shifting_the_data_scales_the_codes(rows, fitted):
    x = rows.views["mixed"].values
    other = small().fit(8 * x + 64, seed=0)
    assert mean_correlation(cosine(fitted.dictionary_, other.dictionary_), cosine(fitted.dictionary_, other.dictionary_)) > 0.95
    a, b = fitted.encode(x).values.mean(), other.encode(8 * x + 64).values.mean()
    assert float(b / a) == pytest.approx(8, rel=0.05)


def test_top_k_keeps_the_largest_where_positive():
    found = top_k_codes(torch.tensor([[3.0, 1.0, 2.0, -1.0], [-1.0, -2.0, -3.0, 0.5]]), 2)
    assert found.tolist() == [[3.0, 0, 2.0, 0], [0, 0, 0, 0.5]]


def test_rows_far_out_neither_own_the_mean_nor_the_loss():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 32, generator=g) + 1
    sinks = x.clone()
    sinks[::100] = 20_000 * torch.nn.functional.normalize(torch.randn(1, 32, generator=g), dim=1)
    mean, scale = location_and_scale(sinks)
    assert (mean - 1).norm() < 0.5
    assert scale == pytest.approx(32**0.5, rel=0.05)
    assert weights(x - 1).min() == 1  # ordinary rows count in full
    norm = (sinks - 1).norm(dim=1)
    assert (weights(sinks - 1) * norm.square())[::100].max() <= 16.1 * norm.median() ** 2


def test_an_attention_sink_does_not_keep_the_rest_from_being_learned():
    instance = SparseConcepts.small().draw(1002)
    x = instance.sample(8000, 0).observed.views["mixed"].values.clone()
    x[::128] = 500.0  # one direction, hundreds of times the usual norm
    clean = x[1:128]
    sae = small(samples=60_000).fit(x, seed=0)
    error = (sae.decode(sae.encode(clean)) - clean).square().sum() / (clean - clean.mean(dim=0)).square().sum()
    assert error < 0.35


def test_concepts_of_a_small_world_are_recovered():
    """Twice as many codes as concepts, k not read off the truth: well above what random directions and linear methods reach."""
    instance = SparseConcepts(levels=(8, 40), dimension=32, composite_rate=0.015).draw(1003)
    sae = TopKSAE(n_codes=96, k=8, samples=150_000).fit(instance.sample(20_000, 0).observed, seed=0)
    sample = instance.sample(8192, 0, "test")
    codes = sae.encode(sample.observed)
    z = torch.cat([rows.dense() for rows in sample.latents.values()], dim=1)
    similarity = cosine(instance.truth.dictionary("mixed"), sae.dictionary_) * active(codes)
    assert mean_correlation(similarity, similarity) > 0.8
    assert mean_correlation(cross_correlation(z[:4096], codes[:4096]), cross_correlation(z[4096:], codes[4096:])) > 0.75


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 49}, "between 1 and n_codes = 48"),
        ({"k": 0}, "between 1 and n_codes"),
        ({"k_start": 0.5}, "k_start"),
        ({"lr": 0.0}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"samples": 0}, "samples must be at least 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        small(**params).fit(rows, seed=0)


def test_fewer_rows_than_codes_are_refused(rows):
    with pytest.raises(InvalidInput, match=r"47 rows, but TopKSAE .* needs at least 48"):
        small().fit(rows[:47], seed=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_fits_on_cuda(rows):
    x = rows.views["mixed"].values.cuda()
    sae = small().fit(x, seed=0)
    assert sae.encode(x).values.device.type == "cuda"
    assert sae.history_["loss"][-1] < 0.5 * sae.history_["loss"][0]
