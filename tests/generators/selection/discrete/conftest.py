"""The law of a discrete model straight from its definition, and goodness of fit."""

import itertools

import pytest
import torch
from scipy.stats import chi2

from generators.selection.discrete.family import DiscreteHierarchy


class Brute:
    """Every configuration with its weight: base law of the leaves x phi of every tuple x phi_S, in plain loops.

    `do` sets composites by force in the base law: their value is given, whatever their tuple, which phi still weighs.
    """

    def __init__(self, model, do=()):
        graph = model.graph
        self.sizes = graph.sizes
        partial = []
        for leaves in itertools.product(*(range(k) for k in graph.cardinalities[-1])):
            weight = 1.0
            for j, v in enumerate(leaves):
                weight *= float(model.unary[-1][graph.first(graph.last)[j] + v])
            partial.append(([list(leaves)], weight))
        for level in reversed(range(graph.last)):
            for i, lower in enumerate(graph.constituents[level]):
                rule, grown = model.rules[level][i], []
                for states, weight in partial:
                    levels = states if i else [[], *states]
                    code = 0
                    for j in lower:
                        code = code * graph.cardinalities[level + 1][j] + levels[1][j]
                    outcomes = [(int(rule.states[code]), 1 - rule.chance), (int(rule.second[code]), rule.chance)]
                    outcomes = [(do[level, i], 1.0)] if (level, i) in do else outcomes if rule.chance else outcomes[:1]
                    for v, p in outcomes:
                        factor = float(model.unary[level][graph.first(level)[i] + v])
                        new = weight * float(rule.potential[code]) * p * factor
                        if new > 0:
                            grown.append(([levels[0] + [v], *levels[1:]], new))
                partial = grown
        merged = {}
        for states, weight in partial:
            if model.selection is not None:
                weight *= float(model.selection[tuple(states[0])])
            key = tuple(v for level in states for v in level)
            merged[key] = merged.get(key, 0.0) + weight
        self.configurations = torch.tensor(list(merged))
        weights = torch.tensor(list(merged.values()), dtype=torch.float64)
        self.acceptance = float(weights.sum())
        self.law = weights / weights.sum()

    def columns(self, level):
        start = sum(self.sizes[:level])
        return self.configurations[:, start : start + self.sizes[level]]

    def marginal(self, level, i, count, weights=None):
        weights = self.law if weights is None else weights
        return torch.zeros(count, dtype=torch.float64).index_add(0, self.columns(level)[:, i], weights)

    def entropy(self, level):
        _, place = torch.unique(torch.cat([self.columns(k) for k in range(level + 1)], dim=1), dim=0, return_inverse=True)
        p = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add(0, place, self.law)
        return float(-(p * p.log())[p > 0].sum())

    def misfit(self, states):
        """p-value of Pearson's test of drawn states (one tensor per level), rare ones pooled; 0 if an impossible one was drawn."""
        drawn, count = torch.unique(torch.cat([s.cpu() for s in states], dim=1), dim=0, return_counts=True)
        place = {tuple(c): k for k, c in enumerate(self.configurations.tolist())}
        found = torch.zeros(len(self.law), dtype=torch.float64)
        for c, k in zip(drawn.tolist(), count.tolist(), strict=True):
            if tuple(c) not in place:
                return 0.0
            found[place[tuple(c)]] = k
        expected = self.law * len(states[0])
        common = expected >= 5
        e = torch.cat([expected[common], expected[~common].sum()[None]])
        f = torch.cat([found[common], found[~common].sum()[None]])
        keep = e > 0
        return float(chi2.sf(float(((f - e).square() / e)[keep].sum()), int(keep.sum()) - 1))


UNEVEN = {"leaf_concentration": 0.8, "preference": 1.5, "shuffle": True}
WORLDS = {
    "two levels, unequal fibres": {"depth": 1, "states": [3, 4], "synonyms": [[1, 2, 5]]},
    "three levels, unequal fibres": {"depth": 2, "states": [[2], [3], [3]], "synonyms": [[1, 4], [1, 2, 4]]},
    "two roots, free leaves, requested law": {
        "depth": 1,
        "roots": 2,
        "concepts": [2, 5],
        "states": [[2, 3], [4, 3, 2]],
        "synonyms": [[1, 2, 1]],
        "root_law": [[0.9, 0.1], [0.2, 0.3, 0.5]],
    },
    "free composites": {"depth": 2, "concepts": [1, 3, 6], "states": [2, 2, 2], "synonyms": 1},
    "variable arity": {"depth": 2, "branching": [[3], [1, 2, 3]], "states": [2, [2, 3, 2], 2], "synonyms": [[1, 5], [1, 1, 1]]},
    "stochastic rules": {"depth": 2, "states": [3, 3, 3], "synonyms": [[1, 3, 2]] * 2, "ambiguity": 0.3},
    "shared constituents": {"depth": 1, "concepts": [3, 4], "states": 3, "synonyms": [[1, 3, 2]]},
    "shared on two levels, requested law": {
        "depth": 2,
        "concepts": [2, 3, 5],
        "states": [2, 3, 3],
        "synonyms": [[3, 4], [2, 3, 2]],
        "ambiguity": 0.2,
        "root_law": "uniform",
    },
}


@pytest.fixture(params=list(WORLDS), scope="session")
def world(request):
    """A small instance of every kind, with uneven base laws and synonyms."""
    return DiscreteHierarchy(**{**UNEVEN, **WORLDS[request.param], "noise": 0.1}).draw(3)


@pytest.fixture(scope="session")
def brute(world):
    return Brute(world.model)


@pytest.fixture(scope="session")
def enumerate_law():
    return Brute
