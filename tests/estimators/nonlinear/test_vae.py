"""Autoencoders turned to few edges: on data whose concepts, edges and number are known."""

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput, Observed, View
from testbed.estimators.nonlinear.vae import VAE
from testbed.numerics.matching import cross_correlation, match

QUICK = {"steps": 300, "penalty_steps": 150, "starts": 16, "hidden": 16, "units": 2, "batch_size": 256}


def data(n=4000, seed=0, bend=1.0):
    """Three correlated Gaussian concepts, nine coordinates that see one or two of them."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, generator=g)
    z[:, 1] += 0.5 * z[:, 0]
    seen = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    y = z @ (seen * (0.7 + 0.6 * torch.rand(9, 3, generator=g))).T
    x = y + bend * torch.tanh(2 * y - torch.randn(9, generator=g)) + 0.05 * torch.randn(n, 9, generator=g)
    return x, z, seen.bool()


def recovered(model, x, z):
    similarity = cross_correlation(z, model.encode(x))
    concept, code = match(similarity)
    return float(similarity[concept, code].mean()), code


@pytest.mark.parametrize("penalty", ["none", "edges", "gates"])
def test_correlated_concepts_and_their_edges_are_found_behind_a_nonlinear_map(penalty):
    x, z, seen = data()
    model = VAE(n_codes=3, penalty=penalty, **QUICK).fit(x, seed=0)
    score, code = recovered(model, x, z)
    assert score > 0.95
    assert torch.equal(model.support_[:, code], seen)


def test_without_a_frame_by_edges_concepts_stay_mixed():
    x, z, _ = data()
    edges = recovered(VAE(n_codes=3, **QUICK).fit(x, seed=0), x, z)[0]
    for rotation in ("none", "codes", "varimax"):
        assert recovered(VAE(n_codes=3, rotation=rotation, **QUICK).fit(x, seed=0), x, z)[0] < edges - 0.03


def test_the_number_of_codes_is_found():
    x, _, _ = data(bend=0.0)
    model = VAE(max_codes=6, **QUICK).fit(x, seed=0)
    assert model.encode(x).shape[1] == 3
    assert {m for m, _ in model.tried_} >= {2, 3, 4}
    assert model.stopped_ == ""
    short = VAE(max_codes=2, **QUICK).fit(x, seed=0)
    assert short.encode(x).shape[1] == 2
    assert "raise it" in short.stopped_


def test_the_strength_of_edges_is_that_of_the_decoder():
    x, _, _ = data(n=2048)
    model = VAE(n_codes=3, **QUICK).fit(x, seed=0)
    codes = model.encode(x)
    step = torch.tensor([1e-2, 0, 0])
    slope = (model.decode(codes + step) - model.decode(codes - step)) / 2e-2 / x.std(dim=0)
    torch.testing.assert_close(slope.square().mean(dim=0).sqrt(), model.strength_[:, 0], rtol=2e-2, atol=2e-3)
    torch.testing.assert_close(codes.std(dim=0), torch.ones(3), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((slope.mean(dim=0) * x.std(dim=0)), model.dictionary_[0], rtol=2e-2, atol=2e-3)


def test_a_linear_view_is_described_to_its_noise():
    x, _, _ = data(bend=0.0)
    model = VAE(n_codes=3, **QUICK).fit(x, seed=0)
    assert (model.decode(model.encode(x)) - x).square().mean().sqrt() < 0.06


def test_top_k_codes_have_k_entries_and_survive_their_state():
    x, _, _ = data()
    model = VAE(n_codes=3, rotation="none", penalty="topk", k=2, **QUICK).fit(x, seed=0)
    codes = model.encode(x)
    assert set((codes != 0).sum(dim=1).tolist()) == {2}
    arrays, plain = model.get_state()
    again = VAE(n_codes=3, rotation="none", penalty="topk", k=2, **QUICK).set_state(arrays, plain)
    torch.testing.assert_close(again.encode(x), codes)
    torch.testing.assert_close(again.decode(codes), model.decode(codes))


def test_the_constrained_form_stays_near_its_bound():
    x, _, _ = data()
    free = VAE(n_codes=3, **QUICK).fit(x, seed=0)
    held = VAE(n_codes=3, penalty="edges", slack=0.5, **QUICK).fit(x, seed=0)
    crushed = VAE(n_codes=3, penalty="edges", weight=30.0, **QUICK).fit(x, seed=0)
    errors = [(m.decode(m.encode(x)) - x).square().mean() for m in (free, held, crushed)]
    assert errors[1] < 2 * errors[0] < errors[2]
    assert held.strength_[~held.support_].mean() < free.strength_[~free.support_].mean()


def test_of_several_fits_the_one_with_the_fewest_edges_is_kept():
    x, _, _ = data(n=1000)
    model = VAE(n_codes=3, fits=2, **{**QUICK, "steps": 60}).fit(x, seed=0)
    assert len(model.fit_losses_) == 2
    assert float(model.losses_[0]) == pytest.approx(min(model.fit_losses_))


def test_an_auxiliary_variable_fixes_the_frame_of_dense_gaussians():
    g = torch.Generator().manual_seed(1)
    environment = torch.randint(8, (6000,), generator=g)
    deviation = (1.2 * torch.randn(8, 3, generator=g)).exp()
    z = torch.randn(6000, 3, generator=g) * deviation[environment]
    x = z @ torch.randn(3, 8, generator=g) + 0.05 * torch.randn(6000, 8, generator=g)
    told = Observed({"x": View(x)}, {"environment": environment})
    settings = {**QUICK, "n_codes": 3, "rotation": "none", "steps": 600, "rate": 2e-2}
    with_it = recovered(VAE(auxiliary="environment", **settings).fit(told, seed=0), x, z)[0]
    without = recovered(VAE(**settings).fit(told, seed=0), x, z)[0]
    assert with_it > without + 0.03
    settings["rotation"] = "environments"
    assert recovered(VAE(auxiliary="environment", **settings).fit(told, seed=0), x, z)[0] > max(with_it, 0.98)
    few = Observed({"x": View(x[:40])}, {"environment": torch.arange(40)})
    with pytest.raises(InvalidInput, match="an environment has 1 rows, too few for 3 codes"):
        VAE(auxiliary="environment", **settings).fit(few, seed=0)
    with pytest.raises(InvalidInput, match="no column 'day'"):
        VAE(auxiliary="day", **settings).fit(told, seed=0)


def test_a_plain_autoencoder_is_turned_as_well():
    x, z, _ = data()
    assert recovered(VAE(n_codes=3, kind="plain", **QUICK).fit(x, seed=0), x, z)[0] > 0.9


def test_a_flow_finds_concepts_as_well_and_survives_its_state():
    x, z, seen = data()
    model = VAE(n_codes=3, encoder="flow", penalty="edges", **QUICK).fit(x, seed=0)
    score, code = recovered(model, x, z)
    assert score > 0.95
    assert torch.equal(model.support_[:, code], seen)
    again = VAE(n_codes=3, encoder="flow", penalty="edges", **QUICK).set_state(*model.get_state())
    torch.testing.assert_close(again.encode(x), model.encode(x))
    with pytest.raises(InvalidInput, match="a flow needs two coordinates"):
        VAE(n_codes=1, encoder="flow", **QUICK).fit(x[:, :1], seed=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"power": 0.0}, "power"),
        ({"rotation": "promax"}, "rotation is one of"),
        ({"penalty": "l0"}, "penalty is one of"),
        ({"rotation": "environments"}, "set auxiliary to a column"),
        ({"encoder": "cnn"}, "encoder is one of"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"n_codes": 0}, "n_codes must be at least 1"),
        ({"slack": -1.0}, "slack"),
        ({"kind": "plain"}, "give n_codes"),
    ],
)
def test_bad_parameters_are_refused(settings, words):
    with pytest.raises(InvalidInput, match=words):
        VAE(**settings).fit(np.random.default_rng(0).normal(size=(100, 4)), seed=0)


def test_bad_data_are_refused():
    x = np.random.default_rng(0).normal(size=(100, 4))
    with pytest.raises(InvalidInput, match="needs at least 32"):
        VAE().fit(x[:10], seed=0)
    x[:, 2] = 7.0
    with pytest.raises(InvalidInput, match="column 2 of the data does not vary"):
        VAE().fit(x, seed=0)
