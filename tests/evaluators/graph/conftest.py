"""Two levels of sparse concepts whose graph is known: composites 0 and 1 of leaves 2, 3, 4 and 5, 6, 7."""

from dataclasses import replace

import pytest
import torch

from testbed.contracts import Level, Observed, Outcome, Sample, Shows, SparseRows, Structure, Truth, View

TUPLES = {0: ((0, 1, 2), (3, 4, 5)), 1: ((),) * 6}
EDGES = ((2, 3, 4), (5, 6, 7), (), (), (), (), (), ())


class GraphTruth(Truth):
    def oracle(self, observed, view):
        return observed.views[view].values


def world(n=2000, seed=0, **facts):
    g = torch.Generator().manual_seed(seed)
    above = torch.rand(n, 2, generator=g) < 0.3
    below = above.repeat_interleave(3, dim=1) ^ (torch.rand(n, 6, generator=g) < 0.2)
    z = torch.cat([above, below], 1) * (1 + torch.rand(n, 8, generator=g))
    atoms = torch.eye(8)
    truth = GraphTruth((Level("sparse", 2), Level("sparse", 6)), TUPLES, {"x": {0: atoms[:2], 1: atoms[2:]}}, facts=facts)
    latents = {0: SparseRows.from_dense(z[:, :2]), 1: SparseRows.from_dense(z[:, 2:])}
    sample = Sample(Observed({"x": View(z, Shows((0, 1)))}), latents)
    structure = Structure((0, 0, *[1] * 6), EDGES, direction="selection")
    return Outcome(z, sample, "x", atoms, truth=truth, structure=structure)


@pytest.fixture
def perfect():
    return world()


@pytest.fixture
def make_world():
    return world


def picked(outcome, order, factor=-2.0):
    """Codes in another order, negative and scaled, with their structure."""
    place = {old: new for new, old in enumerate(order)}
    s = outcome.structure
    tuples = tuple(tuple(place[j] for j in s.constituents[k] if j in place) for k in order)
    structure = Structure(tuple(s.levels[k] for k in order), tuples, direction=s.direction)
    return replace(outcome, codes=factor * outcome.codes[:, list(order)], structure=structure)


@pytest.fixture
def pick():
    return picked


def graph(outcome, *constituents, direction="selection"):
    return replace(outcome, structure=Structure(outcome.structure.levels, tuple(constituents), direction=direction))


@pytest.fixture
def with_graph():
    return graph
