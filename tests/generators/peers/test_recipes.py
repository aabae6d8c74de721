"""The recipes without hierarchy: rates, supports, magnitudes, what the toy model learns, bad input."""

import pytest
import torch

from generators.peers.consistency_dictionary import ConsistencyDictionary
from generators.peers.linear_representation_bench import LinearRepresentationBench
from generators.peers.toy_superposition import ToySuperposition
from testbed.contracts import InvalidInput


def test_the_bench_has_independent_concepts_with_uniform_magnitudes():
    instance = LinearRepresentationBench(concepts=50, dimension=32, sparsity=0.9).draw(0)
    n = 81_920
    values = instance.sample(n, 1).latents[0].dense().double()
    on = (values > 0).double()
    assert (((on.mean(dim=0) - 0.1) / (0.09 / n) ** 0.5).abs() < 4.5).all()
    together = on.T @ on / n
    off = ~torch.eye(50, dtype=torch.bool)
    assert ((together - 0.01).abs()[off] < 5 * (0.01 * 0.99 / n) ** 0.5).all()
    active = values[values > 0]
    assert float(active.max()) <= 1
    assert float(active.mean()) == pytest.approx(0.5, abs=4.5 * (1 / 12 / len(active)) ** 0.5)
    assert float(active.var()) == pytest.approx(1 / 12, rel=0.01)


def test_the_defaults_are_the_published_ones():
    truth = LinearRepresentationBench().draw(0).truth
    assert truth.dictionary("mixed").shape == (1000, 768)
    assert truth.settings["l0"] == pytest.approx(10)
    truth = ConsistencyDictionary().draw(0).truth
    assert truth.dictionary("mixed").shape == (32, 16)
    torch.testing.assert_close(truth.dictionary("mixed").norm(dim=1), torch.ones(32))


def test_exactly_k_concepts_are_on_and_every_pair_equally_often():
    n = 81_920
    sample = ConsistencyDictionary().draw(2).sample(n, 1)
    values = sample.latents[0].dense().double()
    on = (values > 0).double()
    assert (on.sum(dim=1) == 3).all()
    pair = 3 * 2 / (32 * 31)
    off = ~torch.eye(32, dtype=torch.bool)
    assert (((on.T @ on / n)[off] - pair).abs() < 5 * (pair / n) ** 0.5).all()
    active = values[values > 0]
    assert float(active.square().mean()) == pytest.approx(1, rel=0.02)
    assert float(active.mean()) == pytest.approx((2 / torch.pi) ** 0.5, rel=0.01)


def test_the_toy_model_keeps_important_concepts_and_superposes_only_where_they_are_sparse():
    """Dense concepts: as many directions as dimensions. Sparse ones: more (Elhage et al. 2022, section 2)."""
    torch.set_num_threads(1)
    dense = ToySuperposition(concepts=8, dimension=2, sparsity=0.0, importance=0.7, steps=1500).draw(0).truth.facts["represented"]
    sparse = ToySuperposition(concepts=8, dimension=2, sparsity=0.95, importance=0.7, steps=1500).draw(0).truth.facts["represented"]
    assert int((dense > 0.5).sum()) == 2
    assert set(dense.topk(2).indices.tolist()) == {0, 1}
    assert int((sparse > 0.5).sum()) > 2


def test_the_hidden_layer_is_what_the_toy_model_makes_of_the_concepts():
    instance = ToySuperposition.small().draw(0)
    sample = instance.sample(500, 1)
    h = sample.latents[0].dense() @ instance.truth.dictionary("hidden")
    torch.testing.assert_close(sample.observed.views["hidden"].values, h)


def test_noise_is_added_where_it_is_asked_for():
    clean, noisy = (ConsistencyDictionary(noise=noise).draw(0).sample(8192, 1).observed.views["mixed"].values for noise in (0.0, 0.3))
    assert float((noisy - clean).std()) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LinearRepresentationBench(sparsity=1.0), "sparsity in"),
        (LinearRepresentationBench(noise=-1.0, concepts=3, dimension=2), "noise must be at least 0"),
        (ConsistencyDictionary(k=40), "k between 1 and concepts = 32"),
        (ToySuperposition(importance=0.0), "importance in"),
    ],
)
def test_bad_parameters_are_refused(spec, message):
    with pytest.raises(InvalidInput, match=message):
        spec.draw(0)
