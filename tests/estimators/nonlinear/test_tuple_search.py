"""Partitions of codes into tuples."""

from itertools import combinations

import numpy as np
import pytest
import torch

from generators.selection.continuous.family import ContinuousHierarchy
from testbed.estimators.nonlinear.tuple_search import (
    Search,
    _clusters,
    best_partition,
    by_dependence,
    dependent,
    of_any_size,
    of_size,
    standing_out,
)
from testbed.numerics.bottlenecks import Expansion
from testbed.numerics.normal_scores import normal_scores


def world(selection, width, n=6_000, seed=610_001, **more):
    instance = ContinuousHierarchy(levels=(1, 3, 9), selection=selection, center=1.0, width=width, nonlinearity=0.5, cells=64, **more).draw(
        seed
    )
    leaves = instance.sample(n, 1).latents[2]
    return Expansion(normal_scores(leaves)), sorted(sorted(one) for one in instance.truth.constituents[1])


@pytest.mark.parametrize(("selection", "width"), [("bump", [0.35, 1.0]), ("interval", [0.35, 1.6])])
def test_tuples_of_known_and_of_unknown_size_are_found(selection, width):
    table, true = world(selection, width)
    assert of_size(table, 3, 100) == Search(true)
    assert of_any_size(table, 100) == Search(true)


def test_sets_grow_from_pairs_where_the_budget_is_small_and_it_is_said():
    table, true = world("bump", [0.35, 1.0])
    found = of_size(table, 3, 50)
    assert found.tuples == true
    assert "budget of 50" in found.stopped


def test_a_budget_below_the_number_of_pairs_finds_nothing_and_says_so():
    table, _ = world("bump", [0.35, 1.0], n=2_000)
    for found in (of_size(table, 3, 10), of_any_size(table, 10)):
        assert found.tuples == []
        assert "36 pairs" in found.stopped


def test_free_codes_belong_to_no_tuple():
    table, true = world("bump", [0.35, 1.0])
    free = torch.randn(table.n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    more = Expansion(torch.cat([table.z, free], dim=1))
    assert dependent(more) == list(range(9))
    assert of_size(more, 3, 200).tuples == true
    assert of_any_size(more, 200).tuples == true
    assert of_size(Expansion(free), 2, 10).tuples == []


def test_independent_codes_have_no_tuples():
    z = torch.randn(5_000, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert of_any_size(Expansion(z), 100).tuples == []
    assert of_size(Expansion(z), 3, 100).tuples == []


def test_the_best_partition_is_that_of_enumeration():
    rng = np.random.default_rng(0)
    for _ in range(5):
        cost = {one: float(rng.random()) for one in combinations(range(6), 2)}
        found = best_partition(cost, range(6), 2, 10_000)
        every = [(a, b, c) for a, b, c in combinations(cost, 3) if len({*a, *b, *c}) == 6]
        least = min(sum(cost[one] for one in three) for three in every)
        assert sum(cost[tuple(one)] for one in found.tuples) == pytest.approx(least)
        assert found.stopped == ""


def test_codes_that_are_left_over_stay_free():
    cost = {
        (0, 1): 0.0,
        (0, 2): 1.0,
        (1, 2): 1.0,
        (0, 3): 2.0,
        (1, 3): 2.0,
        (2, 3): 2.0,
        (0, 4): 3.0,
        (1, 4): 3.0,
        (2, 4): 3.0,
        (3, 4): 9.0,
    }
    assert best_partition(cost, range(5), 2, 1_000).tuples == [[0, 1], [2, 3]]


def test_a_search_through_partitions_that_stops_early_still_gives_one():
    rng = np.random.default_rng(1)
    cost = {one: float(rng.random()) for one in combinations(range(12), 3)}
    found = best_partition(cost, range(12), 3, 2)
    assert sorted(j for one in found.tuples for j in one) == list(range(12))
    assert "stopped after 2 steps" in found.stopped


def test_clusters_are_cut_at_the_first_large_jump():
    near, far, farther = 0.001, 0.02, 0.1
    distances = np.full((6, 6), farther)
    for one in ((0, 1), (2, 3), (4, 5)):
        distances[np.ix_(one, one)] = near
    distances[np.ix_((0, 1), (2, 3))] = distances[np.ix_((2, 3), (0, 1))] = far
    np.fill_diagonal(distances, 0.0)
    assert _clusters(distances, range(6), 0.002) == [[0, 1], [2, 3], [4, 5]]
    assert _clusters(np.zeros((4, 4)), range(4), 0.002) == [[0, 1, 2, 3]]


def test_the_control_finds_blocks_of_correlated_codes():
    g = torch.Generator().manual_seed(2)
    common = torch.randn(2_000, 2, generator=g, dtype=torch.float64).repeat_interleave(3, dim=1)
    table = Expansion(common + 0.5 * torch.randn(2_000, 6, generator=g, dtype=torch.float64))
    assert by_dependence(table, 3).tuples == [[0, 1, 2], [3, 4, 5]]
    assert by_dependence(table, None).tuples == [[0, 1, 2], [3, 4, 5]]


def test_constant_columns_are_left_out():
    x = torch.randn(50, 3)
    x[:, 1] = 4.2
    assert standing_out(x) == [0, 2]
