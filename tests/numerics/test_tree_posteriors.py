"""Messages in a found forest against enumeration."""

import itertools

import numpy as np
import pytest

from testbed.numerics.tree_posteriors import Emission, posteriors


def test_posteriors_are_those_of_enumeration():
    generator = np.random.default_rng(0)
    pairs = np.array(list(itertools.product(range(2), repeat=2)))
    leaf = [Emission((2 * i, 2 * i + 1), pairs, generator.dirichlet(np.ones(4), 2).T) for i in range(2)]
    top = Emission((0, 1), pairs, generator.dirichlet(np.ones(4), 3).T)
    channels = [np.array([[0.9, 0.2], [0.1, 0.8]])] * 4
    prior = np.array([0.2, 0.3, 0.5])
    seen = np.array([[0, 1, 1, 0], [1, 1, 0, 0]])
    own = [[np.full(2, 0.5)] * 4, [np.full(2, 0.5)] * 2, [prior]]
    found = posteriors(seen, channels, [leaf, [top]], own)
    for row, x in enumerate(seen):
        weights = {"top": np.zeros(3), "mid": np.zeros((2, 2)), "leaf": np.zeros((4, 2))}
        for v, mid, leaves in itertools.product(range(3), pairs, itertools.product(range(2), repeat=4)):
            at = [int(2 * leaves[2 * i] + leaves[2 * i + 1]) for i in range(2)]
            p = prior[v] * top.law[2 * mid[0] + mid[1], v] * np.prod([leaf[i].law[at[i], mid[i]] for i in range(2)])
            p *= np.prod([channels[j][x[j], leaves[j]] for j in range(4)])
            weights["top"][v] += p
            for i in range(2):
                weights["mid"][i, mid[i]] += p
            for j in range(4):
                weights["leaf"][j, leaves[j]] += p
        assert found[2][0][row] == pytest.approx(weights["top"] / weights["top"].sum())
        for i in range(2):
            assert found[1][i][row] == pytest.approx(weights["mid"][i] / weights["mid"][i].sum())
        for j in range(4):
            assert found[0][j][row] == pytest.approx(weights["leaf"][j] / weights["leaf"][j].sum())
