import torch

from testbed.contracts import SparseRows
from testbed.numerics.unseen import take


def test_rows_are_taken_from_sparse_rows_as_from_dense_ones():
    dense = torch.rand(50, 7, generator=torch.Generator().manual_seed(1))
    dense[dense < 0.6] = 0
    for index in (torch.tensor([3, 3, 0, 49]), torch.arange(0), torch.arange(49, -1, -2)):
        assert take(SparseRows.from_dense(dense), index).dense().equal(dense[index])
        assert take(dense, index).equal(dense[index])
