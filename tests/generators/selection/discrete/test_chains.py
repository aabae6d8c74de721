"""Discrete graphs by Markov chains: the enumerated law, marginals and interventions; graphs beyond elimination; refusals."""

import math
from functools import cache

import pytest
import torch

from generators.saving import load_instance, save_instance
from generators.selection.discrete.chains import ChainLaw
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.selection import law_of
from testbed.contracts import InvalidInput, NotApplicable

LEVEL = 1e-4
UNEVEN = {"leaf_concentration": 0.8, "preference": 1.5, "shuffle": True, "sampler": "markov_chain"}
WORLDS = {
    "one level": {"depth": 1, "concepts": [3, 4], "states": 3, "synonyms": [[1, 3, 2]]},
    "two levels, stochastic rules, requested law": {
        "depth": 2,
        "concepts": [2, 3, 5],
        "states": [2, 3, 3],
        "synonyms": [[3, 4], [2, 3, 2]],
        "ambiguity": 0.2,
        "root_law": "uniform",
    },
}
LARGE = {"depth": 2, "concepts": [10, 24, 24], "branching": [3, 3], "states": [2, 3, 3], "synonyms": [[12, 14], [9, 8, 9]]}


@cache
def draw(name):
    return DiscreteHierarchy(**UNEVEN, **WORLDS[name]).draw(3)


@cache
def large():
    return DiscreteHierarchy(**LARGE, shuffle=True, leaf_concentration=1.0, preference=0.5, noise=0.02).draw(0)


def agree(instance, brute):
    for level, counts in enumerate(instance.model.graph.cardinalities):
        found, error = instance.truth.facts[f"marginals/{level}"], instance.truth.facts[f"marginal_errors/{level}"]
        for i, count in enumerate(counts):
            exact = brute.marginal(level, i, count)
            assert bool(((found[i, :count] - exact).abs() <= 4.5 * error[i, :count] + 1e-3).all())
    assert brute.misfit(list(instance.sample(3 * 4096, 1).latents.values())) > LEVEL


@pytest.mark.parametrize("name", WORLDS)
def test_chains_give_the_enumerated_law(name, enumerate_law):
    instance = draw(name)
    brute = enumerate_law(instance.model)
    assert isinstance(instance.law, ChainLaw)
    agree(instance, brute)
    facts = instance.truth.facts
    off = facts["log_acceptance"] - math.log(brute.acceptance)
    assert abs(off) < 6 * facts["sampler"]["log_acceptance_error"]  # Student-t, 7 degrees of freedom
    assert all(math.isnan(h) for h in facts["entropies"])


@pytest.mark.slow
def test_interventions_are_sampled_likewise(enumerate_law):
    instance = draw("two levels, stochastic rules, requested law")
    given = instance.condition({(1, 1): 2})
    agree(given, enumerate_law(given.model))
    done = instance.do_then_select({(1, 1): 2})
    agree(done, enumerate_law(done.model, do={(1, 1): 2}))
    moved = instance.select_then_do({(2, 0): 1})
    rows = moved.sample(4096, 0).latents
    assert bool((rows[2][:, 0] == 1).all())
    for level in (0, 1, 2):
        p = moved.truth.facts[f"marginals/{level}"]
        found = torch.nn.functional.one_hot(rows[level], p.shape[1]).double().mean(dim=0)
        torch.testing.assert_close(found, p, rtol=0, atol=0.05)


@pytest.mark.slow
def test_a_graph_beyond_elimination_is_sampled(tmp_path):
    instance = large()
    assert isinstance(instance.law, ChainLaw)
    assert instance.sampler == "auto"
    rows = instance.sample(4096, 0)
    for level in (0, 1, 2):
        p, error = (instance.truth.facts[f"{name}/{level}"] for name in ("marginals", "marginal_errors"))
        found = torch.nn.functional.one_hot(rows.latents[level], p.shape[1]).double().mean(dim=0)
        assert float(((found - p).abs() / (p * (1 - p) / 4096 + error**2).sqrt().clamp_min(1e-9)).max()) < 4.7
    graph, rules = instance.model.graph, instance.model.rules
    for level in (0, 1):  # g and phi recomputed from the rows reproduce them
        for i, lower in enumerate(graph.constituents[level]):
            code = torch.zeros(4096, dtype=torch.int64)
            for j, k in zip(lower, graph.shape(level, i), strict=True):
                code = code * k + rows.latents[level + 1][:, j]
            assert torch.equal(rules[level][i].states[code], rows.latents[level][:, i])
            assert bool((rules[level][i].potential[code] > 0).all())
    again = load_instance(save_instance(instance, tmp_path)).sample(300, 0)
    assert all(torch.equal(again.latents[level], rows.latents[level][:300]) for level in (0, 1, 2))


def test_what_needs_the_exact_law_is_refused():
    instance = large()
    tokens = instance.sample(5, 0).observed
    for ask in (instance.posteriors, instance.log_likelihood):
        with pytest.raises(InvalidInput, match="sampled by Markov chains"):
            ask(tokens)
    with pytest.raises(InvalidInput, match="sampled by Markov chains"):
        instance.joint([(2, 0), (2, 1)])
    with pytest.raises(NotApplicable, match="no exact posterior"):
        instance.truth.oracle(tokens, "tokens")
    with pytest.raises(InvalidInput, match="configurations"):
        law_of(instance.model, "exact")


def test_chains_that_do_not_mix_are_refused():
    """A ring of concepts in which neighbours are equal but for one time in a million: a few modes that no block crosses."""
    from dataclasses import replace

    ring = [[[i, (i + 1) % 12] for i in range(12)]]
    instance = DiscreteHierarchy(depth=1, constituents=ring, states=[1, 2], synonyms=4).draw(0)
    phi = torch.tensor([1.0, 1e-6, 1e-6, 1.0], dtype=torch.float64)
    rules = tuple(tuple(replace(rule, potential=phi) for rule in level) for level in instance.model.rules)
    with pytest.raises(InvalidInput, match="have not mixed"):
        law_of(replace(instance.model, rules=rules), "markov_chain")


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InvalidInput, match="sampler must be"):
        DiscreteHierarchy(sampler="gibbs").draw(0)
