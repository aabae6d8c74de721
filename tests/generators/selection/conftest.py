"""The law of a small forest from its definition: every configuration with its weight, base law of the leaves x phi of every tuple."""

import itertools
import math

import pytest
import torch
from scipy.stats import chi2


@pytest.fixture
def enumerate_law():
    return _enumerate_law


@pytest.fixture
def assert_same_law():
    return _assert_same_law


def _enumerate_law(forest, composition_of, tilts, cut=None):
    """Configurations of all nodes, shape (c, N), and their unnormalised weights.

    `composition_of(level, i)` is a composite's composition; `cut` are states forced before selection, by node: a forced leaf has no base
    law, a forced composite's state is what is forced, while phi still weighs its tuple.
    """
    cut = cut or {}
    last = len(forest.sizes) - 1
    parts = torch.split(tilts, list(forest.sizes))
    configurations, weights = [], []
    for leaves in itertools.product([0, 1], repeat=forest.sizes[last]):
        if any(leaves[node - forest.start(last)] != state for node, state in cut.items() if node >= forest.start(last)):
            continue
        states = [list(leaves)]
        free = [node for node in range(forest.sizes[last]) if node + forest.start(last) not in cut]
        weight = math.exp(sum(float(parts[last][node]) * leaves[node] for node in free))
        for level in reversed(range(last)):
            above = []
            for i, lower in enumerate(forest.constituents[level].tolist()):
                composition = composition_of(level, i)
                count = sum(states[0][j] for j in lower)
                on = holds(composition, count)
                weight *= composition.all_on * math.exp(parts[level][i]) if on else 1.0 if count == 0 else composition.lone_firing
                above.append(cut.get(forest.start(level) + i, int(on)))
            states.insert(0, above)
        configurations.append([v for level in states for v in level])
        weights.append(weight)
    return torch.tensor(configurations), torch.tensor(weights, dtype=torch.float64)


def holds(composition, count):
    s = composition.size
    return {"and": count == s, "k_of_n": count >= composition.k, "exclusive": count == 1, "any": count >= 1}[composition.rule]


def _assert_same_law(states, configurations, law, level=1e-4):
    """Chi-square of drawn states, shape (n, N), against a law on configurations; the rare ones pooled."""
    power = 2 ** torch.arange(configurations.shape[1])
    code, n = (states.long() * power).sum(dim=1), len(states)
    expected = torch.zeros(int(power.sum()) + 1, dtype=torch.float64).index_add(0, (configurations * power).sum(dim=1), law * n)
    found = code.bincount(minlength=len(expected)).double()
    assert not found[expected == 0].any(), "a configuration of probability 0 was drawn"
    common = expected >= 5
    expected, found = (torch.cat([t[common], t[~common].sum()[None]]) for t in (expected, found))
    keep = expected > 0
    if keep.sum() == 1:
        return
    statistic = float(((found - expected).square() / expected)[keep].sum())
    assert chi2.sf(statistic, int(keep.sum()) - 1) > level
