"""Exact sampling: messages against the enumeration of p(v) = base x potentials on small forests, for every rule."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from generators.selection.forest import Forest, draw_forest
from generators.selection.messages import draw_states, elementary, marginals, tables, upward, variance_of_count
from generators.selection.rules import Composition

RULES = [
    Composition("and", 2, 1, 3.0, 0.3),
    Composition("and", 3, 1, 0.5, 0.0),
    Composition("k_of_n", 3, 2, 2.0, 0.4),
    Composition("k_of_n", 3, 2, 2.0, 0.0),
    Composition("exclusive", 3, 1, 2.0, 0.25),
    Composition("exclusive", 3, 1, 2.0, 0.0),
    Composition("any", 2, 1, 0.4, 1.0),
    Composition("and", 1, 1, 2.0, 0.5),
]


def small_forest(size):
    """Three levels, free concepts on both lower ones, shuffled."""
    return draw_forest((1, size + 1, size * (size + 1) + 1), size, seed=5)


def uneven_tilts(forest, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 1.2 * torch.randn(sum(forest.sizes), generator=g, dtype=torch.float64) - 0.3


def holds(composition, count):
    s = composition.size
    return {"and": count == s, "k_of_n": count >= composition.k, "exclusive": count == 1, "any": count >= 1}[composition.rule]


def enumerate_law(forest, composition, tilts):
    """Every configuration of all nodes with its probability, from the definition: base law of the leaves x phi of every tuple."""
    last = len(forest.sizes) - 1
    parts = torch.split(tilts, list(forest.sizes))
    configurations, weights = [], []
    for leaves in itertools.product([0, 1], repeat=forest.sizes[last]):
        states = [list(leaves)]
        weight = math.exp(sum(t * v for t, v in zip(parts[last].tolist(), leaves, strict=True)))
        for level in reversed(range(last)):
            above = []
            for i, lower in enumerate(forest.constituents[level].tolist()):
                count = sum(states[0][j] for j in lower)
                on = holds(composition, count)
                weight *= composition.all_on * math.exp(parts[level][i]) if on else 1.0 if count == 0 else composition.lone_firing
                above.append(int(on))
            states.insert(0, above)
        configurations.append([v for level in states for v in level])
        weights.append(weight)
    law = torch.tensor(weights, dtype=torch.float64)
    return torch.tensor(configurations), law / law.sum(), law.sum().log()


@pytest.mark.parametrize("composition", RULES, ids=str)
def test_partition_function_and_marginals_are_those_of_enumeration(composition):
    forest = small_forest(min(composition.size, 2)) if composition.size < 3 else draw_forest((1, 3, 10), 3, seed=5)
    tilts = uneven_tilts(forest)
    configurations, law, log_z = enumerate_law(forest, composition, tilts)
    assert upward(forest, composition, tilts)[1].sum() == pytest.approx(float(log_z), rel=1e-12)
    torch.testing.assert_close(marginals(forest, composition, tilts), law @ configurations.double(), rtol=1e-10, atol=1e-12)
    nodes = torch.arange(configurations.shape[1])[1:]
    count = configurations[:, 1:].sum(dim=1).double()
    variance = float(law @ count.square() - (law @ count).square())
    assert variance_of_count(forest, composition, tilts, nodes) == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("composition", RULES, ids=str)
def test_samples_follow_the_enumerated_law(composition):
    """Chi-square on all configurations, the rare ones pooled, at level 1e-4."""
    s = composition.size
    forest = Forest((1, 3, 4), (torch.tensor([[2]]), torch.tensor([[1], [3], [0]]))) if s == 1 else None
    forest = forest or (draw_forest((1, 2, 5), 2, seed=5) if s == 2 else draw_forest((2, 7), 3, seed=5))
    tilts = uneven_tilts(forest, seed=1)
    configurations, law, _ = enumerate_law(forest, composition, tilts)
    n = 100_000
    states = draw_states(tables(forest, composition, tilts), forest.sizes, n, torch.Generator().manual_seed(11))
    power = 2 ** torch.arange(configurations.shape[1])
    code = (torch.cat(states, dim=1) * power).sum(dim=1)
    expected = torch.zeros(int(power.sum()) + 1, dtype=torch.float64).index_add(0, (configurations * power).sum(dim=1), law * n)
    found = code.bincount(minlength=len(expected)).double()
    assert not found[expected == 0].any(), "a configuration of probability 0 was drawn"
    common = expected >= 5
    pooled = torch.cat([expected[common], expected[~common].sum()[None]]), torch.cat([found[common], found[~common].sum()[None]])
    keep = pooled[0] > 0
    statistic = float(((pooled[1] - pooled[0]).square() / pooled[0])[keep].sum())
    assert chi2.sf(statistic, int(keep.sum()) - 1) > 1e-4


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_elementary_symmetric_polynomials_are_coefficients(odds):
    """prod (1 + o_j t) = sum e_k t**k."""
    e = elementary(torch.tensor(odds, dtype=torch.float64))
    for t in (0.3, 1.0, 2.0):
        product = math.prod(1 + o * t for o in odds)
        assert sum(float(c) * t**k for k, c in enumerate(e)) == pytest.approx(product, rel=1e-9)


def test_leaves_are_independent_where_nothing_is_selected():
    forest = draw_forest((1, 2, 5), 2, seed=3)
    tilts = uneven_tilts(forest)
    tilts[:3] = 0
    _, law, _ = enumerate_law(forest, Composition("and", 2, 1, 1.0, 1.0), tilts)
    found = marginals(forest, Composition("and", 2, 1, 1.0, 1.0), tilts)
    torch.testing.assert_close(found[3:], torch.sigmoid(tilts[3:]), rtol=1e-12, atol=0)
    leaves = torch.tensor(list(itertools.product([0, 1], repeat=5))).double()
    product = (leaves * found[3:] + (1 - leaves) * (1 - found[3:])).prod(dim=1)
    torch.testing.assert_close(law, product, rtol=1e-9, atol=0)


def test_constituents_of_different_composites_are_shuffled_and_never_shared():
    forest = draw_forest((3, 8, 30), 2, seed=1)
    for level, lower in enumerate(forest.constituents):
        assert len(lower.flatten().unique()) == lower.numel()
        assert len(forest.roots(level + 1)) == forest.sizes[level + 1] - lower.numel()
    assert not torch.equal(forest.constituents[1].flatten(), torch.arange(16))
    assert len(forest.root_of_node().unique()) == 3 + 2 + 14
