"""A discrete hierarchy made by hand: four leaves, two composites, one of level 0."""

import pytest
import torch

from testbed.contracts import Level, Observed, Outcome, Sample, Shows, Structure, Truth, View


class StatesTruth(Truth):
    def oracle(self, observed, view):
        leaves = observed.views[view].values
        return torch.cat([compose(leaves), leaves], 1)


def compose(leaves):
    """Level 1: (a + b) mod 3 and (a + 2 b) mod 3 of pairs of leaves. Level 0: whether these two are equal."""
    one = torch.stack([(leaves[:, 0] + leaves[:, 1]) % 3, (leaves[:, 2] + 2 * leaves[:, 3]) % 3], 1)
    return torch.cat([(one[:, :1] == one[:, 1:]).long(), one], 1)


def world(n=2000, seed=0, label=False):
    leaves = torch.randint(0, 3, (n, 4), generator=torch.Generator().manual_seed(seed))
    codes = torch.cat([compose(leaves), leaves], 1)
    tuples = {0: ((0, 1),), 1: ((0, 1), (2, 3)), 2: ((),) * 4}
    truth = StatesTruth((Level("states", 1, (2,)), Level("states", 2, (3, 3)), Level("states", 4, (3,) * 4)), tuples)
    latents = dict(enumerate(torch.split(codes, [1, 2, 4], dim=1)))
    rows = {"label": codes[:, 0]} if label else {}
    sample = Sample(Observed({"tokens": View(leaves, Shows((2,)))}, rows), latents)
    structure = Structure((0, 1, 1, 2, 2, 2, 2), ((1, 2), (3, 4), (5, 6), (), (), (), ()), (2, 3, 3, 3, 3, 3, 3))
    return Outcome(codes, sample, "tokens", truth=truth, structure=structure)


@pytest.fixture
def perfect():
    return world()


@pytest.fixture
def labelled():
    return world(label=True)


def permuted(outcome, order):
    """Codes in another order, with their structure."""
    from dataclasses import replace

    place = {old: new for new, old in enumerate(order)}
    s = outcome.structure
    structure = Structure(
        tuple(s.levels[k] for k in order),
        tuple(tuple(place[j] for j in s.constituents[k]) for k in order),
        tuple(s.n_states[k] for k in order) if s.n_states else (),
        s.direction,
    )
    return replace(outcome, codes=outcome.codes[:, list(order)], structure=structure)


@pytest.fixture
def permute():
    return permuted
