"""Inference methods find the codes that wrote the rows, and set what they need without the truth."""

import pytest
import torch
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.numerics.inference import METHODS, calibrate, infer, noise_scale


def world(n=3000, m=96, d=64, rate=0.04, noise=0.05, seed=0):
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(m, d, generator=g), dim=1) * (torch.rand(m, 1, generator=g) + 0.5)
    codes = (torch.rand(n, m, generator=g) + 1) * (torch.rand(n, m, generator=g) < rate)
    return codes @ atoms + noise * torch.randn(n, d, generator=g), atoms, codes


def f1(found, codes):
    on, true = found.dense() > 0, codes > 0
    return float(2 * (on & true).sum() / (on.sum() + true.sum()))


@pytest.mark.parametrize(("method", "bar"), [("pursuit", 0.98), ("regression", 0.98), ("encoder", 0.6)])
def test_codes_are_found_with_settings_that_nobody_told(method, bar):
    x, atoms, codes = world()
    settings = calibrate(x, atoms, method)
    found = infer(x, atoms, method, **settings)
    assert (found.values > 0).all()
    assert f1(found, codes) > bar
    if method != "encoder":
        torch.testing.assert_close(found.dense()[codes > 0].mean(), codes[codes > 0].mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_the_noise_of_exact_atoms_is_found(noise):
    x, atoms, _ = world(noise=noise)
    assert noise_scale(x, atoms) == pytest.approx(noise, rel=0.1)


def test_a_dictionary_that_explains_nothing_leaves_the_whole_scale():
    g = torch.Generator().manual_seed(0)
    x, atoms = torch.randn(500, 200, generator=g), torch.randn(50, 200, generator=g)
    assert noise_scale(x, atoms) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_scaling_an_atom_scales_its_code_inversely_and_rows_are_coded_alone(method):
    x, atoms, _ = world()
    settings = calibrate(x, atoms, method)
    codes = infer(x, atoms, method, **settings).dense()
    scale = torch.linspace(0.5, 4, len(atoms))
    scaled = infer(x, atoms * scale[:, None], method, **calibrate(x, atoms * scale[:, None], method)).dense()
    different = ((scaled * scale - codes).abs() > 1e-3).any(dim=1)  # rounding may move a value across a threshold
    assert different.double().mean() < 0.01
    torch.testing.assert_close(infer(x[7:9], atoms, method, **settings).dense(), codes[7:9], rtol=1e-4, atol=1e-4)


def test_an_encoder_reads_orthogonal_atoms_exactly_and_takes_off_what_always_writes():
    x = torch.tensor([[3.0, 0.2, 5.0], [0.1, 2.0, 5.0]])
    found = infer(x, 2 * torch.eye(3), "encoder", threshold=0, max_active=3, floor=torch.full((3,), 0.5), rest=torch.tensor([0, 0, 2.5]))
    torch.testing.assert_close(found.dense(), torch.tensor([[1.5, 0, 0], [0, 1.0, 0]]))


@pytest.mark.parametrize("method", METHODS)
def test_rows_and_atoms_of_zeros_are_no_trouble(method):
    atoms = torch.cat([torch.eye(4), torch.zeros(1, 4)])
    x = torch.zeros(20, 4)
    found = infer(x, atoms, method, **calibrate(x, atoms, method))
    assert found.shape == (20, 5)
    assert not found.dense().any()


def test_what_is_given_is_taken_and_unknown_methods_are_refused():
    x, atoms, _ = world(n=100)
    assert calibrate(x, atoms, "pursuit", threshold=0.5, max_active=3)["threshold"] == 0.5
    assert calibrate(x, atoms, "pursuit", threshold=0.5, max_active=3)["max_active"] == 3
    with pytest.raises(InvalidInput, match="pursuit, regression, encoder"):
        infer(x, atoms, "guess", threshold=0.0, max_active=1)
    with pytest.raises(InvalidInput, match="equal widths"):
        calibrate(x[:, :3], atoms, "pursuit")
