"""Non-negative lasso and refit: optimality conditions, closed forms, and the compiled loop against torch."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.numerics import regression
from testbed.numerics.regression import nonnegative_lasso, nonnegative_refit


def problem(n=300, m=80, d=24, k=4, noise=0.05, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(m, d, generator=g), dim=1) * torch.linspace(0.2, 3, m)[:, None]
    codes = torch.zeros(n, m).scatter_(1, torch.rand(n, m, generator=g).topk(k, dim=1).indices, torch.rand(n, k, generator=g) + 0.5)
    return (codes @ atoms + noise * torch.randn(n, d, generator=g)).to(dtype), atoms.to(dtype)


@pytest.mark.parametrize("penalty", [0.0, 0.1, 1.0])
def test_the_optimality_conditions_hold(penalty):
    x, atoms = problem(dtype=torch.float64)
    codes = nonnegative_lasso(x, atoms, penalty=penalty).dense()
    slope = ((x - codes @ atoms) @ atoms.T) / atoms.norm(dim=1) - penalty  # along unit atoms
    assert (codes >= 0).all()
    assert slope.max() < 1e-4
    assert slope[codes > 0].abs().max() < 1e-4


def test_without_a_penalty_it_is_non_negative_least_squares():
    x, atoms = problem(n=40, m=20, dtype=torch.float64)
    expected = np.stack([scipy.optimize.nnls(atoms.T.numpy(), row)[0] for row in x.numpy()])
    torch.testing.assert_close(nonnegative_lasso(x, atoms, penalty=0.0).dense(), torch.from_numpy(expected), rtol=0, atol=1e-3)


def test_on_orthogonal_atoms_it_is_a_soft_threshold():
    x = torch.tensor([[3.0, 0.4, -2.0, 0.6]])
    found = nonnegative_lasso(x, torch.eye(4), penalty=0.5).dense()
    torch.testing.assert_close(found, torch.tensor([[2.5, 0, 0, 0.1]]))
    assert not nonnegative_lasso(x, torch.eye(4), penalty=3.1).dense().any()


def test_the_compiled_loop_and_torch_find_the_same_minimum(monkeypatch):
    x, atoms = problem(dtype=torch.float64)
    fast = nonnegative_lasso(x, atoms, penalty=0.2)
    fast_refit = nonnegative_refit(x, atoms, fast)
    monkeypatch.setattr(regression, "compiled", lambda *_: False)
    torch.testing.assert_close(nonnegative_lasso(x, atoms, penalty=0.2).dense(), fast.dense(), rtol=0, atol=1e-4)
    torch.testing.assert_close(nonnegative_refit(x, atoms, fast).dense(), fast_refit.dense(), rtol=0, atol=1e-4)


def test_a_refit_undoes_the_shrinkage_on_the_same_atoms():
    x, atoms = problem(noise=0.0, k=2, dtype=torch.float64)
    shrunk = nonnegative_lasso(x, atoms, penalty=0.02)
    refitted = nonnegative_refit(x, atoms, shrunk)
    assert ((refitted.dense() > 0) <= (shrunk.dense() > 0)).all()

    def errors(codes):
        return (x - codes.dense() @ atoms).square().sum(dim=1)

    assert (errors(refitted) <= errors(shrunk) + 1e-9).all()
    assert errors(refitted).median() < 1e-6 < errors(shrunk).median()


def test_twin_atoms_zero_atoms_and_no_rows_do_no_harm():
    atoms = torch.tensor([[1.0, 0], [1.0, 0], [0, 0], [0, 1.0]])
    x = torch.tensor([[2.0, 1.0], [0, 0]])
    found = nonnegative_lasso(x, atoms, penalty=0.0)
    torch.testing.assert_close(found.dense() @ atoms, x, rtol=0, atol=1e-4)
    assert not found.dense()[:, 2].any()
    for empty in (nonnegative_lasso(x[:0], atoms, penalty=0.0), nonnegative_refit(x[:0], atoms, found[:0])):
        assert empty.shape == (0, 4)
        assert len(empty.values) == 0


def test_rows_are_coded_alone():
    x, atoms = problem(n=2100)
    whole = nonnegative_lasso(x, atoms, penalty=0.1)
    torch.testing.assert_close(whole[2040:2060].dense(), nonnegative_lasso(x[2040:2060], atoms, penalty=0.1).dense(), rtol=0, atol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="equal widths"):
        nonnegative_lasso(torch.zeros(2, 3), torch.eye(4), penalty=0.1)
    with pytest.raises(InvalidInput, match="penalty"):
        nonnegative_lasso(torch.zeros(2, 4), torch.eye(4), penalty=-1.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_finds_the_same_minimum():
    x, atoms = problem(dtype=torch.float64)
    codes = nonnegative_lasso(x, atoms, penalty=0.2)
    on_device = nonnegative_lasso(x.cuda(), atoms.cuda(), penalty=0.2)
    torch.testing.assert_close(on_device.dense().cpu(), codes.dense(), rtol=0, atol=1e-4)
    refitted = nonnegative_refit(x.cuda(), atoms.cuda(), codes.to("cuda")).dense().cpu()
    torch.testing.assert_close(refitted, nonnegative_refit(x, atoms, codes).dense(), rtol=0, atol=1e-4)
