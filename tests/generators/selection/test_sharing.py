"""Shared constituents: the enumerated law is that of the definition; rates, interventions, correlation and saving work as in forests."""

import itertools
import math

import pytest
import torch

from generators.saving import load_instance, save_instance
from generators.selection.forest import Forest, draw_forest
from generators.selection.rules import Composition
from generators.selection.sharing import components, share
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput

N = 40_960


def world(**params):
    small = {"levels": (2, 4, 9), "branching": 2, "dimension": 6, "rate": 0.45, "rate_floor": 0.2, "lone_firing": 0.3, "shared": 3}
    return SparseConcepts(**{**small, "all_on": 3.0, **params}).draw(2)


def states_of(instance, n=N, seed=1):
    return torch.cat([rows.dense() for rows in instance.sample(n, seed).latents.values()], dim=1) > 0


def law_of(instance, enumerate_law, cut=None):
    it = instance.world
    return enumerate_law(it.forest, lambda level, i: it.compositions[level][i], it.tilts, cut)


def check(instance, configurations, weights, assert_same_law):
    law = weights / weights.sum()
    torch.testing.assert_close(torch.cat(list(instance.truth.rates.values())), law @ configurations.double(), rtol=1e-8, atol=1e-10)
    assert_same_law(states_of(instance), configurations, law)


def test_memberships_are_added_one_by_one_and_tuples_keep_their_size():
    forest = draw_forest((3, 9, 30), 3, 0)
    before = forest
    for extra in range(1, 6):
        after = share(forest, extra, seed=4)
        changed = [int((a != b).sum()) for a, b in zip(before.constituents, after.constituents, strict=True)]
        assert sum(changed) == 1
        assert sum(lower.numel() - len(lower.flatten().unique()) for lower in after.constituents) == extra
        assert all(len(set(tuple_)) == 3 for lower in after.constituents for tuple_ in lower.tolist())
        assert after.shared
        before = after
    assert not share(forest, 0, seed=4).shared


def test_components_hang_together_by_composition():
    forest = Forest((2, 5), (torch.tensor([[0, 1], [1, 2]]),))
    assert [c.tolist() for c in components(forest)] == [[0, 1, 2, 3, 4], [5], [6]]


@pytest.mark.parametrize("rule", ["and", "any", "exclusive", ["and", "exclusive", "k_of_n"]], ids=str)
def test_samples_rates_and_entropies_are_those_of_enumeration(rule, enumerate_law, assert_same_law):
    instance = world(rule=rule)
    assert instance.world.forest.shared
    configurations, weights = law_of(instance, enumerate_law)
    check(instance, configurations, weights, assert_same_law)
    law = weights / weights.sum()
    assert instance.truth.facts["entropy"] == pytest.approx(-float(torch.xlogy(law, law).sum()), rel=1e-9)
    leaves = instance.truth.rates[2].sort(descending=True).values
    wanted = (0.45 * torch.arange(1, 10, dtype=torch.float64) ** -0.5).clamp_min(0.2)
    torch.testing.assert_close(leaves, wanted, rtol=0, atol=1e-7)


def test_requested_rates_of_composites_hold_too():
    rates = world(composite_rate=[0.06, 0.12], lone_firing=0.5).truth.rates
    torch.testing.assert_close(rates[0], torch.full((2,), 0.06, dtype=torch.float64), rtol=0, atol=1e-7)
    torch.testing.assert_close(rates[1], torch.full((4,), 0.12, dtype=torch.float64), rtol=0, atol=1e-7)


def test_a_forest_enumerated_is_the_forest_by_messages():
    """The two ways to a law agree where both apply."""
    from generators.selection.enumerated import enumerate_all, enumerated_tilts, table_entropies, table_rates, table_variance
    from generators.selection.messages import Evidence, entropies, marginals, variance_of_count
    from generators.selection.tilting import solve_tilts

    forest = draw_forest((2, 4, 9), 2, 0)
    composition = Composition("k_of_n", 2, 1, 3.0, 0.2)
    requested = torch.cat([torch.full((6,), math.nan, dtype=torch.float64), torch.linspace(0.1, 0.4, 9, dtype=torch.float64)])
    tilts = solve_tilts(forest, composition, requested)
    torch.testing.assert_close(enumerated_tilts(forest, composition, requested), tilts, rtol=0, atol=1e-6)
    evidence = Evidence.none(15)
    evidence.clamp[1], evidence.cut[3] = 1, 0
    for given in (Evidence.none(15), evidence):
        tables = enumerate_all(forest, composition, given)
        torch.testing.assert_close(table_rates(tables, tilts), marginals(forest, composition, tilts, given), rtol=1e-9, atol=1e-12)
        nodes = torch.arange(2, 11)
        expected = variance_of_count(forest, composition, tilts, nodes, given)
        assert table_variance(tables, tilts, nodes) == pytest.approx(expected, rel=1e-8)
    tables = enumerate_all(forest, composition, Evidence.none(15))
    torch.testing.assert_close(table_entropies(tables, tilts), entropies(forest, composition, tilts), rtol=1e-9, atol=1e-12)


SETTINGS = [{(2, 3): 1.0}, {(1, 1): 0.0}, {(1, 0): 2.0, (2, 0): 0.0}, {(0, 0): 1.5}]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_interventions_are_those_of_the_definition(setting, enumerate_law, assert_same_law):
    instance = world(rule=["and", "any"])
    it = instance.world
    place = {it.forest.start(level) + i: int(value > 0) for (level, i), value in setting.items()}
    configurations, weights = law_of(instance, enumerate_law)
    given = weights * torch.stack([configurations[:, node] == state for node, state in place.items()]).all(dim=0)
    if given.sum() > 0:
        check(instance.condition(setting), configurations, given, assert_same_law)
    else:
        with pytest.raises(InvalidInput, match="cannot have these values"):
            instance.condition(setting)
    check(instance.do_then_select(setting), *law_of(instance, enumerate_law, place), assert_same_law)
    new = configurations.clone()
    for node, state in place.items():
        new[:, node] = state
    for level, i in itertools.chain([(1, i) for i in range(4)], [(0, i) for i in range(2)]):
        node, lower = it.forest.start(level) + i, it.forest.constituents[level][i] + it.forest.start(level + 1)
        if node not in place:
            new[:, node] = it.compositions[level][i].holds()[new[:, lower].sum(dim=1)]
    check(instance.select_then_do(setting), new, weights, assert_same_law)


def test_shared_constituents_are_saved_and_correlated_like_others(tmp_path):
    instance = world(correlation=0.5, levels=(2, 4, 14))
    assert instance.world.loadings.shape[0] == len(components(instance.world.forest))
    rates, n = torch.cat(list(instance.truth.rates.values())), N
    found = states_of(instance).double().mean(dim=0)
    assert ((found - rates).abs() / (rates * (1 - rates) / n).sqrt()).max() < 4.5
    loaded = load_instance(save_instance(instance, tmp_path))
    assert torch.equal(loaded.sample(99, 0).observed.views["mixed"].values, instance.sample(99, 0).observed.views["mixed"].values)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"shared": -1}, "shared must be"),
        ({"levels": (1, 9), "branching": 3, "shared": 1}, "only 0 of 1"),
        ({"composite_rate": 0.9}, r"rate\(composite 1.3\) <= rate\(2.4\) : 0.9 > 0.2"),
        ({"composite_rate": [0.3, 0.19]}, r"rate\(composite 0.0\) <= rate\(composite 1.2\) : 0.3 > 0.19"),
    ],
)
def test_what_cannot_be_shared_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        world(**params)
