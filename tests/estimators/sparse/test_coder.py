"""A coder computes what its formula says, and its other forms compute the same."""

import json

import pytest
import torch

from testbed.contracts import InvalidInput, NotApplicable, SparseRows
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.coder import SparseCoder, coder_of
from testbed.estimators.sparse.gated_sae import GatedSAE
from testbed.estimators.sparse.jump_relu_sae import JumpReLUSAE
from testbed.estimators.sparse.matryoshka_sae import MatryoshkaSAE
from testbed.estimators.sparse.relu_sae import ReLUSAE
from testbed.estimators.sparse.topk_sae import TopKSAE

M, D = 11, 6


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 17 * len(shape)))


def coder(activation="relu", **settings):
    given = {
        "topk": {"k": 3},
        "pursuit": {"k": 3},
        "jump_relu": {"threshold": draw(M, seed=5).abs()},
        "gated": {"gain": draw(M, seed=6).exp(), "magnitude_bias": draw(M, seed=7)},
    }.get(activation, {})
    return SparseCoder(draw(M, D), draw(M), draw(M, D, seed=3), draw(D, seed=4), activation, **{**given, **settings})


X = draw(40, D, seed=9)
EVERY = ("relu", "topk", "jump_relu", "gated")


def test_each_activation_is_its_formula_row_by_row():
    for row in X:
        one = row[None]
        c = coder()
        z = [float(c.encoder[j] @ (row - c.bias) + c.encoder_bias[j]) for j in range(M)]
        assert torch.allclose(coder().codes(one)[0], torch.tensor([max(v, 0.0) for v in z]), atol=1e-5)
        best = sorted(range(M), key=lambda j: -z[j])[:3]
        wanted = torch.tensor([max(z[j], 0.0) if j in best else 0.0 for j in range(M)])
        assert torch.allclose(coder("topk").codes(one)[0], wanted, atol=1e-5)
        jump = coder("jump_relu")
        wanted = torch.tensor([z[j] if z[j] > jump.threshold[j] else 0.0 for j in range(M)])
        assert torch.allclose(jump.codes(one)[0], wanted, atol=1e-5)
        gated = coder("gated")
        wanted = torch.tensor(
            [
                max(0.0, float(gated.gain[j]) * (z[j] - float(c.encoder_bias[j])) + float(gated.magnitude_bias[j])) * (z[j] > 0)
                for j in range(M)
            ]
        )
        assert torch.allclose(gated.codes(one)[0], wanted, atol=1e-4)


def test_pursuit_in_an_orthonormal_dictionary_keeps_the_largest_correlations():
    atoms = torch.linalg.qr(draw(D, D)).Q
    found = SparseCoder(atoms, torch.zeros(D), atoms, torch.zeros(D), "pursuit", k=D).codes(X)
    # With all D steps every positive correlation is found, and each step takes the largest that is left.
    assert torch.allclose(found.clamp(min=0), (X @ atoms.T).relu(), atol=1e-5)


def test_sparse_and_dense_codes_agree_and_decode_is_affine():
    c = coder("topk")
    codes = c.encode(X)
    assert isinstance(codes, SparseRows)
    assert (codes.indptr.diff() <= 3).all()
    assert torch.equal(codes.dense(), c.codes(X))
    assert torch.allclose(c.decode(codes), c.codes(X) @ c.dictionary + c.bias, atol=1e-6)


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("subtract", [True, False])
def test_the_bias_moves_into_the_encoder_and_back(activation, subtract):
    c = coder(activation, subtract_bias=subtract)
    moved = c.subtracting(not subtract)
    assert moved.subtract_bias is not subtract
    assert torch.allclose(c.codes(X), moved.codes(X), atol=1e-5)
    assert torch.allclose(c.codes(X), moved.subtracting(subtract).codes(X), atol=1e-5)


@pytest.mark.parametrize("activation", EVERY)
def test_state_returns(activation):
    c = coder(activation)
    again = SparseCoder.from_state(c.arrays(), json.loads(json.dumps(c.settings())))
    assert torch.equal(again.codes(X), c.codes(X))


def test_normalised_rows_do_not_feel_what_is_normalised_away():
    assert torch.allclose(coder(normalisation="constant_norm").codes(X), coder(normalisation="constant_norm").codes(7 * X), atol=1e-5)
    layer = coder(normalisation="layer_norm")
    assert torch.allclose(layer.codes(X), layer.codes(3 * X + 2), atol=1e-3)
    with pytest.raises(NotApplicable, match="one by one"):
        layer.decode(layer.codes(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": torch.ones(M, D + 1)}, r"encoder has shape \(11, 7\)"),
        ({"bias": torch.ones(M)}, r"bias has shape \(11,\).*wants \(6,\)"),
        ({"dictionary": torch.full((M, D), float("nan"))}, "NaN"),
        ({"activation": "topk"}, "needs k"),
        ({"activation": "topk", "k": M + 1}, "k must lie between 1 and"),
        ({"activation": "jump_relu"}, "needs threshold"),
        ({"activation": "swish"}, "'swish'"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    c = coder()
    with pytest.raises(InvalidInput, match=message):
        SparseCoder.from_state(
            {**c.arrays(), **{k: v for k, v in change.items() if isinstance(v, torch.Tensor)}},
            {**c.settings(), **{k: v for k, v in change.items() if not isinstance(v, torch.Tensor)}},
        )


def test_a_coder_is_read_off_an_estimator_of_ours():
    x = draw(600, D)
    sae = TopKSAE(n_codes=M, k=2, samples=2000, batch_size=100).fit(x, seed=0)
    assert torch.allclose(coder_of(sae).codes(X), sae.encode(X).dense(), atol=1e-6)
    with pytest.raises(InvalidInput, match="fit it first"):
        coder_of(TopKSAE())


def test_an_attribute_threshold_makes_it_a_jump_relu():
    class Threshold:
        encoder_, encoder_bias_, dictionary_, bias_, k, threshold_ = draw(M, D), draw(M), draw(M, D), draw(D), 3, 0.5

        def encode(self, x):
            z = (x - self.bias_) @ self.encoder_.T + self.encoder_bias_
            return z.relu() * (z > 0.5)

    found = coder_of(Threshold())
    assert found.activation == "jump_relu"
    assert torch.equal(found.threshold, torch.full((M,), 0.5))


@pytest.mark.parametrize("cls", [ReLUSAE, JumpReLUSAE, GatedSAE, BatchTopKSAE, MatryoshkaSAE])
def test_every_kind_of_ours_with_one_linear_layer_can_be_written(cls):
    x = draw(2000, D)
    sae = cls.small().set_params(n_codes=M, samples=2000).fit(x, seed=0)
    codes = sae.encode(x)
    assert torch.allclose(coder_of(sae).codes(x), codes.dense() if isinstance(codes, SparseRows) else codes, atol=1e-5)


@pytest.mark.parametrize("change", [{"encoder_depth": 2}, {"inference": "pursuit"}])
def test_what_is_more_than_one_linear_layer_is_refused(change):
    sae = TopKSAE(n_codes=M, k=2, samples=2000, batch_size=100, **change).fit(draw(600, D), seed=0)
    with pytest.raises(InvalidInput, match=r"one linear layer|encoder has shape"):
        coder_of(sae)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("activation", [*EVERY, "pursuit"])
def test_cuda_gives_the_same_codes(activation):
    c = coder(activation)
    assert torch.allclose(c.to("cuda").codes(X.cuda()).cpu(), c.codes(X), atol=1e-4)
