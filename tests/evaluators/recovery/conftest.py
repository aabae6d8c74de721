"""Concepts of one or more levels that are all equally correlated, and outcomes of any codes of them."""

import pytest
import torch

from testbed.contracts import Level, Observed, Outcome, Sample, Shows, Truth, View


class PlainTruth(Truth):
    """The view is the concepts themselves."""

    def oracle(self, observed, view):
        return observed.views[view].values


@pytest.fixture
def outcome_of():
    """A function from concepts, codes and sizes of levels to an outcome."""

    def make(z, codes=None, sizes=None, kind="real"):
        sizes = sizes or [z.shape[1]]
        truth = PlainTruth(tuple(Level(kind, size) for size in sizes), {})
        observed = Observed({"all": View(z, Shows(levels=tuple(range(len(sizes)))))})
        latents = dict(enumerate(torch.split(z, sizes, dim=1))) if not hasattr(z, "indptr") else {0: z}
        return Outcome(z if codes is None else codes, Sample(observed, latents), "all", truth=truth)

    return make


@pytest.fixture
def equicorrelated():
    """A function that draws n rows of d normal concepts, each pair correlated at rho, and the factor that they share."""

    def draw(n, d, rho, seed=0):
        g = torch.Generator().manual_seed(seed)
        factor = torch.randn(n, 1, generator=g, dtype=torch.float64)
        return rho**0.5 * factor + (1 - rho) ** 0.5 * torch.randn(n, d, generator=g, dtype=torch.float64), factor

    return draw
