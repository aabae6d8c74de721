"""Linear decoding is one product, however codes are stored."""

import torch

from testbed.contracts import SparseRows
from testbed.numerics.decoding import linear_decode


def test_sparse_and_dense_codes_decode_alike_across_blocks():
    g = torch.Generator().manual_seed(0)
    codes = torch.rand(5000, 6, generator=g) * (torch.rand(5000, 6, generator=g) < 0.3)
    atoms, bias = torch.randn(6, 4, generator=g), torch.randn(4, generator=g)
    expected = codes @ atoms + bias
    torch.testing.assert_close(linear_decode(codes, atoms, bias), expected)
    torch.testing.assert_close(linear_decode(SparseRows.from_dense(codes), atoms, bias), expected)
    torch.testing.assert_close(linear_decode(codes, atoms), codes @ atoms)
    assert linear_decode(codes[:0], atoms, bias).shape == (0, 4)
