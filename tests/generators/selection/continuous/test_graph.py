"""Messages: potentials in standard deviations, acceptances, shared tables, impossible selections and settings."""

import math

import pytest
import torch
from scipy import stats

from generators.selection.continuous.couplings import draw_couplings
from generators.selection.continuous.graph import checked, establish, on_device, upward
from generators.selection.continuous.laws import Density, Point, base_density
from generators.selection.continuous.selection import Selection
from generators.selection.forest import draw_forest
from testbed.contracts import InvalidInput


def built(sizes=(1, 3, 9), law="gaussian", weights="equal", strength=0.0, phi=("interval", 1.0, 0.5, 1.0, None), cells=256):
    forest = draw_forest(sizes, 3, 0)
    couplings = tuple(draw_couplings(n, 3, weights, strength, 0, level) for level, n in enumerate(sizes[:-1]))
    return establish(forest, couplings, base_density(law, 5.0, cells), (Selection(*phi),) * (len(sizes) - 1), cells)


def test_potentials_are_placed_in_standard_deviations_of_what_lies_below():
    world, nodes = built()
    (top,), lower = world.selections[0], world.selections[1]
    for phi in lower:  # a sum of Gaussians with mean 0 and variance 1
        assert phi.center == pytest.approx(1, abs=2e-3)
        assert phi.width == pytest.approx(0.5, abs=2e-3)
    inside = stats.truncnorm(0.5, 1.5)
    assert top.center == pytest.approx(math.sqrt(3) * inside.mean() + inside.std(), abs=5e-3)
    assert top.width == pytest.approx(0.5 * inside.std(), abs=2e-3)
    assert nodes[1][0].acceptance == pytest.approx(stats.norm.cdf(1.5) - stats.norm.cdf(0.5), rel=2e-3)


def test_like_composites_share_their_tables_on_any_device():
    _, nodes = built()
    assert len({id(node.links) for node in nodes[1]}) == 1
    moved = on_device(nodes, "cpu")
    assert len({id(node.links) for node in moved[1]}) == 1
    _, others = built(weights="random")
    assert len({id(node.links) for node in others[1]}) == 3


def test_establishing_a_world_gives_its_messages():
    world, nodes = built(weights="random", strength=0.7)
    for row, again in zip(nodes, upward(world, {}, {}), strict=True):
        for a, b in zip(row, again, strict=True):
            assert torch.equal(a.up.nodes, b.up.nodes)
            assert torch.equal(a.up.values, b.up.values)
            assert a.acceptance == b.acceptance


def test_what_is_fixed_is_a_point_above_and_a_law_below():
    world, _ = built()
    nodes = upward(world, {(1, 0): 0.9}, {(1, 1): 1.2, (2, 0): 0.3})
    assert nodes[1][0].up == Point(0.9)
    assert isinstance(nodes[1][0].own, Density)
    assert nodes[1][1].up == Point(1.2)
    assert nodes[2][0].up == Point(0.3)
    assert nodes[1][0].acceptance == 1  # the tuple is weighed no more, and the forced value lies in the interval


def test_all_constituents_fixed_fix_their_composite():
    world, _ = built((1, 3), phi=("bump", 0.0, 1.0, 1.0, None))
    nodes = upward(world, {(1, j): float(j) for j in range(3)}, {})
    assert nodes[0][0].up.value == pytest.approx(3 / math.sqrt(3))
    with pytest.raises(InvalidInput, match="for certain"):
        upward(world, {(1, j): float(j) for j in range(3)}, {(0, 0): 0.0})


def test_impossible_selections_and_settings_name_the_concept():
    with pytest.raises(InvalidInput, match="concept 0 of level 1 is impossible"):
        built(law="uniform", phi=("interval", 10.0, 0.5, 1.0, None))
    world, _ = built()
    with pytest.raises(InvalidInput, match="concept 2 of level 1 is set to 3"):
        upward(world, {(1, 2): 3.0}, {})
    with pytest.raises(InvalidInput, match="concept 2 of level 1 cannot be 3"):
        upward(world, {}, {(1, 2): 3.0})
    for setting, words in (({(3, 0): 0.0}, "no concept 0 of level 3"), ({(1, 3): 0.0}, "no concept 3"), ({(1, 0): math.inf}, "finite")):
        with pytest.raises(InvalidInput, match=words):
            checked(setting, (1, 3, 9))
