"""The three interventions against enumeration of their definitions, through the instance; what they leave alone; and bad input."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import Intervenable, InvalidInput

N = 40_960


def world(**params):
    small = {"levels": (1, 3, 7), "branching": 2, "dimension": 5, "rate": 0.5, "rate_floor": 0.2, "lone_firing": 0.3, "all_on": 3.0}
    return SparseConcepts(**{**small, **params}).draw(3)


def all_states(instance, n=N, seed=1):
    return torch.cat([rows.dense() for rows in instance.sample(n, seed).latents.values()], dim=1) > 0


def node(instance, place):
    return instance.world.forest.start(place[0]) + place[1]


def law_of(instance, enumerate_law, cut=None):
    it = instance.world
    return enumerate_law(it.forest, lambda level, i: it.compositions[level][i], it.tilts, cut)


def check(instance, configurations, weights, assert_same_law):
    law = weights / weights.sum()
    assert_same_law(all_states(instance), configurations, law)
    torch.testing.assert_close(torch.cat(list(instance.truth.rates.values())), law @ configurations.double(), rtol=1e-8, atol=1e-10)


SETTINGS = [{(2, 4): 1.0}, {(1, 1): 0.0}, {(1, 0): 2.0}, {(0, 0): 1.5}, {(0, 0): 0.0, (2, 2): 0.7}]
WORLDS = [{}, {"rule": ["and", "exclusive", "any"]}, {"rule": "exclusive", "branching": [3, 2]}]


@pytest.mark.parametrize("params", WORLDS, ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_condition_gives_the_selected_law_given_the_states(setting, params, enumerate_law, assert_same_law):
    instance = world(**params)
    configurations, weights = law_of(instance, enumerate_law)
    for place, value in setting.items():
        weights = weights * (configurations[:, node(instance, place)] == (value > 0))
    check(instance.condition(setting), configurations, weights, assert_same_law)


@pytest.mark.parametrize("params", WORLDS, ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_do_then_select_gives_the_law_of_the_changed_model(setting, params, enumerate_law, assert_same_law):
    instance = world(**params)
    cut = {node(instance, place): int(value > 0) for place, value in setting.items()}
    check(instance.do_then_select(setting), *law_of(instance, enumerate_law, cut), assert_same_law)


@pytest.mark.parametrize("params", WORLDS, ids=str)
@pytest.mark.parametrize("setting", [*SETTINGS, {(2, 0): 1.0, (2, 1): 0.0, (2, 2): 1.0}], ids=str)
def test_select_then_do_composes_anew_what_is_above_and_nothing_else(setting, params, enumerate_law, assert_same_law):
    instance = world(**params)
    it = instance.world
    configurations, weights = law_of(instance, enumerate_law)
    new = configurations.clone()
    forced = {node(instance, place): int(value > 0) for place, value in setting.items()}
    for place, state in forced.items():
        new[:, place] = state
    for level in (1, 0):
        for i, lower in enumerate(it.forest.constituents[level]):
            above = it.forest.start(level) + i
            if above not in forced:
                new[:, above] = it.compositions[level][i].holds()[new[:, lower + it.forest.start(level + 1)].sum(dim=1)]
    check(instance.select_then_do(setting), new, weights, assert_same_law)


def test_select_then_do_leaves_the_rest_of_each_row_alone():
    instance = world(tie=0.5)
    steered = instance.select_then_do({(1, 0): 2.5})
    before, after = instance.sample(500, 1), steered.sample(500, 1)
    for level in (1, 2):
        a, b = before.latents[level].dense(), after.latents[level].dense()
        if level == 1:
            assert (b[:, 0] == 2.5).all()
            a[:, 0] = b[:, 0]
        assert torch.equal(a, b)
    atoms = instance.truth.dictionary("mixed")
    change = torch.cat([after.latents[i].dense() - before.latents[i].dense() for i in range(3)], dim=1) @ atoms
    x = [sample.observed.views["mixed"].values for sample in (before, after)]
    torch.testing.assert_close(x[1] - x[0], change, rtol=0, atol=1e-5)


def test_given_magnitudes_are_those_that_are_seen_and_that_composites_follow():
    for steer in ("condition", "do_then_select", "select_then_do"):
        for tie in (0.0, 1.0):
            instance = getattr(world(tie=tie, jitter=0.0), steer)({(2, int(world().world.forest.constituents[1][0, 0])): 3.25})
            latents = {level: rows.dense() for level, rows in instance.sample(4096, 0).latents.items()}
            lower = instance.world.forest.constituents[1][0]
            assert (latents[2][:, lower[0]] == 3.25).all()
            on = latents[1][:, 0] > 0
            assert on.any()
            if tie:
                torch.testing.assert_close(latents[1][on, 0], latents[2][on][:, lower].mean(dim=1))


def test_conditions_add_up_and_interventions_have_an_order():
    instance = world()
    assert isinstance(instance, Intervenable)
    both = instance.condition({(2, 0): 1.0, (1, 2): 0.0})
    one_by_one = instance.condition({(2, 0): 1.0}).condition({(1, 2): 0.0})
    assert torch.equal(both.sample(50, 0).observed.views["mixed"].values, one_by_one.sample(50, 0).observed.views["mixed"].values)
    assert "intervention" in both.truth.facts
    assert "tilts" not in both.truth.facts
    done = instance.do_then_select({(1, 0): 1.0})
    assert (all_states(done.condition({(0, 0): 1.0}), 200)[:, [0, 1]]).all()
    with pytest.raises(InvalidInput, match="call do_then_select first"):
        instance.condition({(2, 0): 1.0}).do_then_select({(1, 0): 1.0})
    with pytest.raises(InvalidInput, match="cannot follow select_then_do"):
        instance.select_then_do({(2, 0): 1.0}).condition({(1, 0): 1.0})


def test_steering_moves_along_with_the_instance():
    moved = world().to("cpu").condition({(2, 0): 1.0})
    assert moved.device == "cpu"
    assert moved.sample(10, 0).latents[2].dense()[:, 0].eq(1.0).all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({(3, 0): 1.0}, "no concept 0 of level 3"),
        ({(1, 3): 1.0}, "no concept 3 of level 1"),
        ({(1, 0): -1.0}, "cannot be -1"),
        ({(1, 0): float("nan")}, "cannot be nan"),
        ({(0, 0): 1.0, (1, 0): 0.0}, "cannot have these values together"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(InvalidInput, match=message):
        world(levels=(1, 2, 4)).condition(setting)


def test_contradicting_values_and_correlated_trees_are_refused():
    with pytest.raises(InvalidInput, match="another one already"):
        world().condition({(1, 0): 0.0}).condition({(1, 0): 1.0})
    with pytest.raises(InvalidInput, match="another one already"):
        world().condition({(1, 0): 2.0}).condition({(1, 0): 1.0})
    with pytest.raises(InvalidInput, match="set correlation = 0"):
        world(correlation=0.3).condition({(1, 0): 1.0})
    assert all_states(world(correlation=0.3).select_then_do({(1, 0): 1.0}), 100)[:, 1].all()
