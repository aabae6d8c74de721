"""Outcomes that the evaluators' tests share: made by hand, so that what they should score is known."""

import pytest
import torch
from torch.nn.functional import normalize

from testbed.contracts import Level, Observed, Outcome, Sample, Shows, SparseRows, Truth, View


class HandMadeTruth(Truth):
    """Codes by least squares on the true dictionary."""

    def oracle(self, observed, view):
        x = observed.views[view].values - self.facts[f"bias/{view}"]
        return x @ torch.linalg.pinv(self.dictionary(view))


def make_world(n=2000, sizes=(3, 5), d=12, seed=0, noise=0.0):
    """Independent sparse concepts of two levels in one view, more dimensions than concepts."""
    g = torch.Generator().manual_seed(seed)
    c = sum(sizes)
    z = torch.rand(n, c, generator=g) * (torch.rand(n, c, generator=g) < 0.3)
    atoms = normalize(torch.randn(c, d, generator=g), dim=1)
    bias = torch.full((d,), 2.0)
    x = z @ atoms + bias + noise * torch.randn(n, d, generator=g)
    parts = torch.split(z, list(sizes), dim=1)
    truth = HandMadeTruth(
        levels=tuple(Level("sparse", size) for size in sizes),
        constituents={},
        dictionaries={"mixed": dict(enumerate(torch.split(atoms, list(sizes))))},
        facts={"bias/mixed": bias},
    )
    view = View(x, Shows(levels=tuple(range(len(sizes)))))
    sample = Sample(Observed({"mixed": view}), {i: SparseRows.from_dense(part) for i, part in enumerate(parts)})
    return Outcome(z, sample, "mixed", atoms, lambda codes: as_dense(codes) @ atoms + bias, truth)


def make_several(n=500, sizes=(3, 5), d=12, seed=0):
    """The same with one view per level, and an estimator that reads both."""
    g = torch.Generator().manual_seed(seed)
    z = [torch.rand(n, c, generator=g) * (torch.rand(n, c, generator=g) < 0.3) for c in sizes]
    atoms = [normalize(torch.randn(c, d, generator=g), dim=1) for c in sizes]
    names = [f"level_{level}" for level in range(len(sizes))]
    truth = HandMadeTruth(
        levels=tuple(Level("sparse", size) for size in sizes),
        constituents={0: tuple(tuple(range(i, i + 2)) for i in range(sizes[0])), 1: ((),) * sizes[1]},
        dictionaries={name: {level: atoms[level]} for level, name in enumerate(names)},
        facts={f"bias/{name}": torch.full((d,), float(level)) for level, name in enumerate(names)},
    )
    views = {name: View(z[i] @ atoms[i] + i, Shows(levels=(i,))) for i, name in enumerate(names)}
    sample = Sample(Observed(views), {i: SparseRows.from_dense(part) for i, part in enumerate(z)})
    return Outcome(torch.cat(z, dim=1), sample, "+".join(names), truth=truth)


def as_dense(codes):
    return codes.dense() if isinstance(codes, SparseRows) else codes


@pytest.fixture
def perfect():
    return make_world()


@pytest.fixture
def several():
    return make_several()
