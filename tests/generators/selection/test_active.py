"""Drawing active trees alone gives the law of enumeration, for every rule, mixed rules and evidence; and the plain sampler's law."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, multivariate_normal, norm

from generators.selection.active import Activity, alias_table
from generators.selection.descent import descent, draw_nodes
from generators.selection.forest import Forest, draw_forest
from generators.selection.messages import Evidence, draw_states, entropies, marginals, pass_up, tables
from generators.selection.rules import Composition, draw_compositions

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
N = 100_000


def small_forest(s):
    """Two or three levels, free concepts, shuffled."""
    if s == 1:
        return Forest((1, 3, 4), (torch.tensor([[2]]), torch.tensor([[1], [3], [0]])))
    return draw_forest((1, 3, 7), 2, seed=5) if s == 2 else draw_forest((2, 8), 3, seed=5)


def uneven_tilts(forest, seed=1):
    g = torch.Generator().manual_seed(seed)
    return 1.2 * torch.randn(sum(forest.sizes), generator=g, dtype=torch.float64) - 0.6


def sample(forest, compositions, tilts, evidence=None, n=N, seed=3):
    """States of all nodes, shape (n, N)."""
    look_up = descent(forest, compositions, tilts, evidence or Evidence.none(len(tilts)))
    begin, nodes = draw_nodes(look_up, *Activity(look_up.active, None).draw(n, seed), seed + 1)
    states = torch.zeros(n, len(tilts), dtype=torch.bool)
    states[torch.from_numpy(np.repeat(np.arange(n), np.diff(begin))), torch.from_numpy(nodes)] = True
    assert int(states.sum()) == len(nodes), "a node was drawn twice in a row"
    return states


@pytest.mark.parametrize("shift", [0.0, -2.5], ids=["often", "seldom"])
@pytest.mark.parametrize("composition", RULES, ids=str)
def test_states_follow_the_enumerated_law(composition, shift, enumerate_law, assert_same_law):
    forest = small_forest(composition.size)
    tilts = uneven_tilts(forest)
    tilts[forest.start(len(forest.sizes) - 1) :] += shift
    configurations, weights = enumerate_law(forest, lambda level, i: composition, tilts)
    assert_same_law(sample(forest, composition, tilts), configurations, weights / weights.sum())


def test_states_follow_the_enumerated_law_where_every_composite_has_its_own_rule(enumerate_law, assert_same_law):
    sizes = (1, 3, 9)
    compositions = draw_compositions(sizes, [2, 3], ["and", "k_of_n", "exclusive", "any"], 2, [3.0, 0.5], [0.2, 0.6], seed=4)
    assert len({one.rule for level in compositions for one in level}) >= 3
    forest = draw_forest(sizes, (2, 3), seed=1)
    tilts = uneven_tilts(forest)
    configurations, weights = enumerate_law(forest, lambda level, i: compositions[level][i], tilts)
    law = weights / weights.sum()
    torch.testing.assert_close(marginals(forest, compositions, tilts), law @ configurations.double(), rtol=1e-10, atol=1e-12)
    entropy = -float(torch.xlogy(law, law).sum())
    assert float(entropies(forest, compositions, tilts).sum()) == pytest.approx(entropy, rel=1e-10)
    assert_same_law(sample(forest, compositions, tilts), configurations, law)
    plain = torch.cat(draw_states(tables(forest, compositions, tilts), sizes, N, torch.Generator().manual_seed(2)), dim=1)
    assert_same_law(plain, configurations, law)


@pytest.mark.parametrize("composition", RULES, ids=str)
def test_conditioned_states_follow_the_enumerated_law(composition, enumerate_law, assert_same_law):
    """Every single piece of evidence, and a pair: an inner composite off and a leaf on."""
    forest = small_forest(composition.size)
    tilts = uneven_tilts(forest)
    configurations, weights = enumerate_law(forest, lambda level, i: composition, tilts)
    nodes, last = len(tilts), forest.start(len(forest.sizes) - 1)
    settings = [{node: state} for node in range(0, nodes, 2) for state in (0, 1)] + [{last - 1: 0, last: 1}, {0: 0, nodes - 1: 0}]
    for setting in settings:
        evidence = Evidence.none(nodes)
        for node, state in setting.items():
            evidence.clamp[node] = state
        given = weights * torch.stack([configurations[:, node] == state for node, state in setting.items()]).all(dim=0)
        if not given.sum() > 0:
            assert not pass_up(forest, composition, tilts, evidence)[1].isfinite().all()
            continue
        law = given / given.sum()
        torch.testing.assert_close(marginals(forest, composition, tilts, evidence), law @ configurations.double(), rtol=1e-9, atol=1e-12)
        assert_same_law(sample(forest, composition, tilts, evidence, n=20_000), configurations, law, level=1e-5)


@pytest.mark.parametrize("composition", RULES, ids=str)
def test_states_forced_before_selection_follow_the_enumerated_law(composition, enumerate_law, assert_same_law):
    forest = small_forest(composition.size)
    tilts = uneven_tilts(forest)
    nodes, last = len(tilts), forest.start(len(forest.sizes) - 1)
    for cut in ({last - 1: 1}, {last - 1: 0}, {0: 1}, {0: 0}, {last: 1}, {last: 0}, {0: 1, last - 1: 0, last + 1: 1}):
        evidence = Evidence.none(nodes)
        for node, state in cut.items():
            evidence.cut[node] = state
        configurations, weights = enumerate_law(forest, lambda level, i: composition, tilts, cut)
        if not weights.sum() > 0:
            continue
        law = weights / weights.sum()
        torch.testing.assert_close(marginals(forest, composition, tilts, evidence), law @ configurations.double(), rtol=1e-9, atol=1e-12)
        assert_same_law(sample(forest, composition, tilts, evidence, n=20_000), configurations, law, level=1e-5)


def test_an_alias_table_gives_every_cell_its_probability():
    weight = np.random.default_rng(0).exponential(size=50) ** 3
    keep, alias = alias_table(weight)
    found = keep / 50 + np.bincount(alias, weights=(1 - keep) / 50, minlength=50)
    np.testing.assert_allclose(found, weight / weight.sum(), rtol=1e-12, atol=1e-15)


def test_rates_of_rare_and_of_certain_trees():
    p = np.array([0.0, 1e-6, 1e-3, 0.3, 0.31, 0.9999, 1.0])
    start, trees = Activity(p, None).draw(400_000, 5)
    count = np.bincount(trees, minlength=7)
    assert count[0] == 0
    assert count[6] == 400_000
    inner = slice(1, 6)
    assert (np.abs(count - 4e5 * p)[inner] < 4.5 * np.sqrt(4e5 * p * (1 - p) + 1)[inner]).all()
    assert start[-1] == len(trees)


def test_correlated_trees_keep_their_rates_and_have_the_copulas_joint_law():
    p = np.array([0.02, 0.1, 0.3, 0.6, 0.97])
    loadings = np.array([[0.6, 0.0], [0.5, 0.3], [-0.6, 0.1], [0.0, 0.7], [0.4, -0.4]])
    n = 200_000
    start, trees = Activity(p, loadings).draw(n, 9)
    active = np.zeros((n, 5), bool)
    active[np.repeat(np.arange(n), np.diff(start)), trees] = True
    assert (np.abs(active.mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all()
    correlation = loadings @ loadings.T
    for s in range(5):
        for t in range(s):
            both = multivariate_normal([0, 0], [[1, correlation[s, t]], [correlation[s, t], 1]]).cdf(norm.ppf(p[[s, t]]))
            assert abs((active[:, s] & active[:, t]).mean() - both) < 4.5 * math.sqrt(both * (1 - both) / n)


def test_correlation_leaves_the_law_within_a_tree_alone(enumerate_law):
    """Given that it is active, a tree of a correlated world looks like one of an independent world."""
    forest = draw_forest((2, 6), 3, seed=0)
    composition = Composition("any", 3, 1, 2.0, 0.5)
    tilts = uneven_tilts(forest) - 1
    look_up = descent(forest, composition, tilts, Evidence.none(len(tilts)))
    begin, nodes = draw_nodes(look_up, *Activity(look_up.active, np.array([[0.9], [0.9]])).draw(N, 1), 2)
    states = torch.zeros(N, len(tilts), dtype=torch.bool)
    states[torch.from_numpy(np.repeat(np.arange(N), np.diff(begin))), torch.from_numpy(nodes)] = True
    configurations, weights = enumerate_law(forest, lambda level, i: composition, tilts)
    tree = [0, *(2 + forest.constituents[0][0]).tolist()]
    power = 2 ** torch.arange(4)
    expected = torch.zeros(16, dtype=torch.float64).index_add(0, configurations[:, tree] @ power, weights / weights.sum())
    found = (states[:, tree].long() @ power).bincount(minlength=16).double() / N
    keep = expected > 0
    statistic = float((N * (found - expected).square() / expected)[keep].sum())
    assert chi2.sf(statistic, int(keep.sum()) - 1) > 1e-4
    together = (states[:, [0, 1]].all(dim=1)).double().mean()
    assert together > 1.5 * states[:, 0].double().mean() * states[:, 1].double().mean()
