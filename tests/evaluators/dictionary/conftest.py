"""A world with a known hierarchy, made by hand."""

import pytest
import torch

from testbed.contracts import Level, Observed, Outcome, Sample, Shows, SparseRows, Truth, View


class NoOracle(Truth):
    def oracle(self, observed, view):
        raise NotImplementedError


@pytest.fixture
def conjunctions():
    """Two composites, each on iff both of its constituents are, and a free leaf; orthonormal atoms. Concepts: 0, 1 | 2 ... 6.

    The codes are the concepts.
    """
    n, g = 4000, torch.Generator().manual_seed(0)
    leaves = torch.rand(n, 5, generator=g) < 0.5
    on = torch.cat([leaves[:, [0, 2]] & leaves[:, [1, 3]], leaves], dim=1)
    z = (1 + torch.rand(n, 7, generator=g)) * on
    atoms = torch.linalg.qr(torch.randn(10, 10, generator=g))[0][:7]
    truth = NoOracle(
        levels=(Level("sparse", 2), Level("sparse", 5)),
        constituents={0: ((0, 1), (2, 3)), 1: ((),) * 5},
        dictionaries={"mixed": {0: atoms[:2], 1: atoms[2:]}},
    )
    latents = {0: SparseRows.from_dense(z[:, :2]), 1: SparseRows.from_dense(z[:, 2:])}
    sample = Sample(Observed({"mixed": View(z @ atoms, Shows(levels=(0, 1)))}), latents)
    return Outcome(z, sample, "mixed", atoms, lambda codes: codes @ atoms, truth)
