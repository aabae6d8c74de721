"""Components by Markov chains: the law, rates and interventions of enumeration; large ones; what does not mix or cannot be had."""

import itertools
from dataclasses import replace
from functools import cache

import pytest
import torch

from generators.saving import load_instance, save_instance
from generators.selection.enumerated import enumerated_tilts
from generators.selection.law import States
from generators.selection.sparse import SparseConcepts, SparseInstance
from testbed.contracts import InvalidInput, NotApplicable

BLOCKS = 3 * 4096
SMALL = {"levels": (2, 4, 9), "branching": 2, "dimension": 6, "rate": 0.45, "rate_floor": 0.2, "lone_firing": 0.3, "all_on": 3.0}
LARGE = {"levels": (10, 30), "branching": 3, "shared": 12, "rate": 0.4, "rate_floor": 0.1, "lone_firing": 0.4, "all_on": 3.0}


def world(**params):
    """A small world, sampled by chains although it could be enumerated."""
    exact = SparseConcepts(**{**SMALL, "shared": 3, **params}).draw(2).world
    return SparseInstance.of(replace(exact, sampler="markov_chain"))


@cache
def large():
    return SparseConcepts(**LARGE, dimension=16, rule=["and", "any", "k_of_n"]).draw(1)


def states_of(instance, n=BLOCKS, seed=1):
    return torch.cat([rows.dense() for rows in instance.sample(n, seed).latents.values()], dim=1) > 0


def law_of(instance, enumerate_law, cut=None):
    it = instance.world
    return enumerate_law(it.forest, lambda level, i: it.compositions[level][i], it.tilts, cut)


def check(instance, configurations, weights, assert_same_law):
    """Rates within their stated errors, which are small, and rows by chi-square."""
    law = weights / weights.sum()
    exact, found = law @ configurations.double(), torch.cat(list(instance.truth.rates.values()))
    error = instance.truth.facts["sampler"]["rate_error"]
    assert float(error.max()) < 0.012
    assert bool(((found - exact).abs() <= 4.5 * error + 1e-3).all())
    assert_same_law(states_of(instance), configurations, law)


@pytest.mark.parametrize(
    "params",
    [
        {"rule": "and"},
        {"rule": ["and", "exclusive", "k_of_n"]},
        {"rule": "exclusive", "lone_firing": 0.0, "rate": 0.3, "rate_floor": 0.05, "levels": (4, 9), "shared": 2},
        {"rule": "any", "all_on": 0.5},
    ],
    ids=str,
)
def test_chains_give_the_enumerated_law(params, enumerate_law, assert_same_law):
    instance = world(**params)
    assert instance.truth.facts["sampler"]["kind"] == "markov_chain"
    check(instance, *law_of(instance, enumerate_law), assert_same_law)


@pytest.mark.parametrize("params", [{"composite_rate": [0.08, 0.14], "lone_firing": 0.5}, {"rule": ["and", "exclusive"]}], ids=str)
def test_stochastic_approximation_finds_tilts_for_the_rates_asked_for(params, enumerate_law):
    exact = SparseConcepts(**{**SMALL, "shared": 3, **params}).draw(2)
    rates, asked = torch.cat(list(exact.truth.rates.values())), torch.ones(15, dtype=torch.bool)
    asked[:6] = "composite_rate" in params
    requested = torch.where(asked, rates, torch.nan)
    it = exact.world
    tilts = enumerated_tilts(it.forest, it.compositions, requested, "markov_chain")
    configurations, weights = enumerate_law(it.forest, lambda level, i: it.compositions[level][i], tilts)
    found = weights @ configurations.double() / weights.sum()
    assert bool(((found - rates).abs() < 0.03 * (rates * (1 - rates)).sqrt())[asked].all())


def test_components_too_large_to_be_exact_can_be_refused():
    it = large().world
    with pytest.raises(InvalidInput, match="hang together"):
        SparseInstance.of(replace(it, sampler="exact"))


SETTINGS = [{(2, 3): 1.0}, {(1, 1): 0.0}, {(1, 0): 2.0, (2, 0): 0.0}]


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


def test_rows_are_fixed_by_block_and_survive_saving(tmp_path):
    instance = large()
    rows = instance.sample(5000, 3)
    x = rows.observed.views["mixed"].values
    assert torch.equal(instance.sample(700, 3).observed.views["mixed"].values, x[:700])
    batch = next(itertools.islice(instance.stream(900, 3), 4, 5))
    assert torch.equal(batch.observed.views["mixed"].values[:100], x[3600:3700])
    loaded = load_instance(save_instance(instance, tmp_path))
    assert torch.equal(loaded.sample(5000, 3).observed.views["mixed"].values, x)
    assert torch.equal(torch.cat(list(loaded.truth.rates.values())), torch.cat(list(instance.truth.rates.values())))
    assert not torch.equal(instance.sample(700, 4).observed.views["mixed"].values, x[:700])


def test_large_components_are_sampled_at_the_rates_asked_for():
    truth = large().truth
    about = truth.facts["sampler"]
    assert len(about["components"]) == 1
    assert len(about["components"][0]["nodes"]) > 24
    assert about["components"][0]["r_hat"] <= 1.01
    wanted = (0.4 * torch.arange(1, 31, dtype=torch.float64) ** -0.5).clamp_min(0.1)
    spread = (wanted * (1 - wanted)).sqrt()
    assert float(((truth.rates[1].sort(descending=True).values - wanted) / spread).abs().max()) < 0.06
    found = states_of(large()).double().mean(dim=0)
    rates, error = torch.cat(list(truth.rates.values())), about["rate_error"]
    assert float(((found - rates).abs() / (rates * (1 - rates) / BLOCKS + error**2).sqrt()).max()) < 4.5
    assert bool((error == 0).any())  # free concepts are exact still
    assert "entropy" not in truth.facts


def test_states_are_listed_row_by_row_in_ascending_order():
    begin, nodes = States(large().world).draw(500, 1, 2)
    assert begin[-1] == len(nodes)
    for a, b in itertools.pairwise(begin.tolist()):
        assert (nodes[a:b][1:] > nodes[a : b - 1]).all() if b > a else True


def test_assumptions_that_need_the_exact_law_do_not_apply():
    from generators.assumptions.read import tuple_laws

    with pytest.raises(NotApplicable, match="hang together"):
        tuple_laws(large())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({**LARGE, "correlation": 0.5}, "correlation"),
        ({**LARGE, "composite_rate": 0.5}, "cannot fire at rate 0.5"),
        # All composites together gain 1e6 each: all off, or all on.
        (
            {"rate": 0.3, "rate_floor": 0.3, "all_on": 1e6, "lone_firing": 1e-4, "levels": (10, 20), "branching": 2, "shared": 9},
            "not mixed|cannot be had",
        ),
    ],
    ids=["correlation", "rate", "modes"],
)
def test_what_chains_cannot_do_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        SparseConcepts(**{"dimension": 16, **params}).draw(1)
