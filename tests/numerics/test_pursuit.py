"""Non-negative orthogonal matching pursuit: exact recovery where theory promises it, and what ends it."""

import pytest
import torch
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.numerics import pursuit
from testbed.numerics.pursuit import orthogonal_matching_pursuit


def problem(n, m, d, k, seed=0):
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(m, d, generator=g), dim=1)
    codes = torch.zeros(n, m)
    for row in codes:
        row[torch.randperm(m, generator=g)[:k]] = torch.rand(k, generator=g) + 0.5
    return codes, atoms


def test_sparse_codes_are_recovered_exactly_where_coherence_allows_it():
    d = 64
    atoms = torch.cat([torch.eye(d), hadamard(d)])  # mutual coherence 1/8: every 4 atoms are recovered (Tropp 2004)
    g = torch.Generator().manual_seed(0)
    codes = torch.zeros(500, len(atoms))
    for row in codes:
        row[torch.randperm(len(atoms), generator=g)[:4]] = torch.rand(4, generator=g) + 0.5
    found = orthogonal_matching_pursuit(codes @ atoms, atoms, max_active=10, threshold=1e-3)
    torch.testing.assert_close(found.dense(), codes, rtol=0, atol=1e-4)


def hadamard(d):
    h = torch.ones(1, 1)
    while len(h) < d:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h / d**0.5


def test_coefficients_are_least_squares_on_their_support():
    codes, atoms = problem(200, 60, 20, 5)
    x = codes @ atoms
    found = orthogonal_matching_pursuit(x, atoms, max_active=4, threshold=0.0).dense()
    for row, code in zip(x, found, strict=True):
        used = code.nonzero()[:, 0]
        best = torch.linalg.lstsq(atoms[used].T.double(), row.double()[:, None]).solution[:, 0]
        torch.testing.assert_close(code[used].double(), best, rtol=1e-3, atol=1e-3)


def test_no_code_is_negative_and_no_row_has_too_many():
    g = torch.Generator().manual_seed(3)
    x, atoms = torch.randn(3000, 16, generator=g), torch.randn(40, 16, generator=g)
    found = orthogonal_matching_pursuit(x, atoms, max_active=7, threshold=0.0)
    assert (found.values > 0).all()
    assert found.indptr.diff().max() <= 7


def test_a_row_is_done_when_no_atom_correlates_by_the_threshold():
    atoms = torch.eye(4)
    found = orthogonal_matching_pursuit(torch.tensor([[3.0, 0.5, 0.2, -9.0]]), atoms, max_active=4, threshold=0.5)
    torch.testing.assert_close(found.dense(), torch.tensor([[3.0, 0.5, 0, 0]]), rtol=0, atol=1e-5)


def test_scaling_an_atom_scales_its_codes_inversely_and_zero_atoms_are_unused():
    codes, atoms = problem(50, 30, 20, 3)
    x = codes @ atoms
    plain = orthogonal_matching_pursuit(x, atoms, max_active=5, threshold=0.01).dense()
    scale = torch.linspace(0.5, 4, 30)
    scaled = orthogonal_matching_pursuit(x, torch.cat([atoms * scale[:, None], torch.zeros(1, 20)]), max_active=5, threshold=0.01).dense()
    torch.testing.assert_close(scaled[:, :30] * scale, plain, rtol=1e-4, atol=1e-4)
    assert not scaled[:, 30].any()


def test_rows_are_coded_alone_and_in_order_across_batches():
    codes, atoms = problem(4500, 30, 20, 3)
    x = codes @ atoms
    whole = orthogonal_matching_pursuit(x, atoms, max_active=5, threshold=0.01)
    part = orthogonal_matching_pursuit(x[4000:4400], atoms, max_active=5, threshold=0.01)
    torch.testing.assert_close(whole[4000:4400].dense(), part.dense(), rtol=1e-4, atol=1e-4)
    same_row = whole.row_of_entry()[1:] == whole.row_of_entry()[:-1]
    assert (whole.indices.diff()[same_row] > 0).all()


@pytest.mark.parametrize("x", [torch.zeros(3, 5), torch.zeros(0, 5)])
def test_empty_rows_and_no_rows_have_no_codes(x):
    found = orthogonal_matching_pursuit(x, torch.eye(5), max_active=2, threshold=0.0)
    assert found.shape == (len(x), 5)
    assert len(found.values) == 0


def test_twin_atoms_do_no_harm():
    atoms = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    found = orthogonal_matching_pursuit(torch.tensor([[2.0, 1.0]]), atoms, max_active=3, threshold=0.0)
    torch.testing.assert_close(found.dense() @ atoms, torch.tensor([[2.0, 1.0]]), rtol=0, atol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="equal widths"):
        orthogonal_matching_pursuit(torch.zeros(2, 3), torch.eye(4), max_active=1, threshold=0.0)
    with pytest.raises(InvalidInput, match="max_active"):
        orthogonal_matching_pursuit(torch.zeros(2, 4), torch.eye(4), max_active=0, threshold=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_the_compiled_loop_and_torch_agree(dtype, threshold, monkeypatch):
    codes, atoms = problem(2500, 120, 40, 6)
    g = torch.Generator().manual_seed(5)
    x = (codes @ atoms + 0.1 * torch.randn(2500, 40, generator=g)).to(dtype)
    atoms = (atoms * (torch.rand(120, 1, generator=g) + 0.5)).to(dtype)
    fast = orthogonal_matching_pursuit(x, atoms, max_active=20, threshold=threshold)  # far enough for coefficients to be dropped
    monkeypatch.setattr(pursuit, "compiled", lambda *_: False)
    plain = orthogonal_matching_pursuit(x, atoms, max_active=20, threshold=threshold)
    alike = ((fast.dense() - plain.dense()).abs() < 1e-3).all(dim=1)
    assert alike.double().mean() > 0.995  # two atoms that correlate alike to the last digit may change places


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees():
    codes, atoms = problem(500, 60, 20, 4)
    x = codes @ atoms
    fast = orthogonal_matching_pursuit(x, atoms, max_active=6, threshold=0.05).dense()
    found = orthogonal_matching_pursuit(x.cuda(), atoms.cuda(), max_active=6, threshold=0.05).dense().cpu()
    assert ((found - fast).abs() < 1e-3).all(dim=1).double().mean() > 0.99
