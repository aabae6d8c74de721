"""Exactness: the law of every kind of small instance against enumeration in plain loops, rejection and importance weights."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from generators.selection.discrete.elimination import EliminatedLaw
from generators.selection.discrete.enumeration import EnumeratedLaw
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.forest import ForestLaw
from testbed.contracts import InvalidInput

LEVEL = 1e-4


def base_rows(model, n, seed):
    """Rows of the base law with their weight, the product of all potentials: leaves, then composites by g."""
    graph, g = model.graph, torch.Generator().manual_seed(seed)
    laws = torch.split(model.unary[-1], list(graph.cardinalities[-1]))
    rows = [torch.stack([torch.multinomial(law, n, replacement=True, generator=g) for law in laws], dim=1)]
    weight = torch.ones(n, dtype=torch.float64)
    for level in reversed(range(graph.last)):
        above = []
        for i, lower in enumerate(graph.constituents[level]):
            rule, code = model.rules[level][i], torch.zeros(n, dtype=torch.int64)
            for j in lower:
                code = code * graph.cardinalities[level + 1][j] + rows[0][:, j]
            second = torch.rand(n, generator=g) < rule.chance
            above.append(torch.where(second, rule.second[code], rule.states[code]))
            weight *= rule.potential[code] * model.unary[level][graph.first(level)[i] + above[-1]]
        rows.insert(0, torch.stack(above, dim=1))
    if model.selection is not None:
        weight *= model.selection[tuple(rows[0].T)]
    return rows, weight


def test_marginals_acceptance_and_entropies_are_those_of_enumeration(world, brute):
    facts = world.truth.facts
    assert facts["acceptance"] == pytest.approx(brute.acceptance, rel=1e-10)
    for level, counts in enumerate(world.model.graph.cardinalities):
        for i, count in enumerate(counts):
            torch.testing.assert_close(facts[f"marginals/{level}"][i, :count], brute.marginal(level, i, count), rtol=1e-9, atol=1e-13)
        assert facts["entropies"][level] == pytest.approx(brute.entropy(level), abs=1e-9)


def test_samples_follow_the_enumerated_law(world, brute):
    states = world.sample(120_000, 5).latents
    assert brute.misfit(list(states.values())) > LEVEL


LOOSE = {
    "trees": {"depth": 2, "states": [2, 3, 3], "synonyms": [[1, 5], [1, 2, 4]], "root_law": [[0.8, 0.2]]},
    "variable arity": {"depth": 2, "branching": [[3], [2, 3]], "states": [[2], [2, 3, 2], [2]], "synonyms": [[2, 7], [1, 2, 1]]},
    "stochastic rules, free leaves": {"depth": 1, "concepts": [2, 5], "states": 3, "synonyms": [[1, 4, 2]], "ambiguity": 0.3},
    "shared constituents, requested law": {"depth": 1, "concepts": [2, 3], "states": [2, 3], "synonyms": [[3, 5]], "root_law": "uniform"},
}
"""Worlds in which rejection keeps enough to compare with: acceptance of 1e-3 to 1e-1."""


@pytest.fixture(params=list(LOOSE))
def loose(request):
    return DiscreteHierarchy(**LOOSE[request.param], leaf_concentration=1.0, preference=0.7, shuffle=True).draw(3)


def test_elimination_gives_the_enumerated_law(world, brute):
    """On every small world, forests too: what large graphs with shared constituents stand on."""
    law, exact = EliminatedLaw(world.model), EnumeratedLaw(world.model)
    assert law.log_acceptance == pytest.approx(math.log(brute.acceptance), abs=1e-9)
    assert law.entropies()[-1] == pytest.approx(brute.entropy(world.model.graph.last), abs=1e-9)
    for a, b in zip(law.marginals(), exact.marginals(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    g = torch.Generator().manual_seed(1)
    evidence = {k: torch.rand(9, len(u), generator=g, dtype=torch.float64) for k, u in enumerate(world.model.unary)}
    torch.testing.assert_close(law.log_evidence(evidence), exact.log_evidence(evidence), rtol=1e-9, atol=1e-9)
    for a, b in zip(law.posterior(evidence), exact.posterior(evidence), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert brute.misfit(law.draw(60_000, torch.Generator().manual_seed(4))) > LEVEL


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(3, 5), st.lists(st.integers(2, 5), min_size=1, max_size=3))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
def test_elimination_and_enumeration_agree_on_random_graphs(seed, above, below, synonyms):
    try:
        spec = {"depth": 2, "concepts": [2, above, below], "states": [2, 3, 3], "synonyms": [[3, 4], synonyms]}
        instance = DiscreteHierarchy(**spec, shuffle=True, leaf_concentration=1.0, preference=1.0).draw(seed)
    except InvalidInput:
        reject()
    a, b = EliminatedLaw(instance.model), EnumeratedLaw(instance.model)
    assert a.log_acceptance == pytest.approx(b.log_acceptance, abs=1e-9)
    assert a.entropies()[-1] == pytest.approx(b.entropies()[-1], abs=1e-9)
    for x, y in zip(a.marginals(), b.marginals(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_a_graph_with_shared_constituents_that_is_too_large_to_enumerate_is_exact_by_elimination():
    chain = [[[j, j + 1, j + 2] for j in range(0, 36, 2)], [[j, j + 1] for j in range(39)]]
    instance = DiscreteHierarchy(depth=2, constituents=chain, states=3, synonyms=[[5, 9, 8], [3, 3, 2]], leaf_concentration=1.0).draw(0)
    assert isinstance(instance.law, EliminatedLaw)
    rows = instance.sample(20_000, 0).latents
    for level in (0, 1, 2):
        p = instance.truth.facts[f"marginals/{level}"]
        found = torch.nn.functional.one_hot(rows[level], 3).double().mean(dim=0)
        assert ((found - p).abs() <= 4.7 * (p * (1 - p) / 20_000).sqrt() + 1e-4).all()
    pair = instance.joint([(2, 3), (2, 4)])
    found = torch.zeros(9).index_add(0, rows[2][:, 3] * 3 + rows[2][:, 4], torch.full((20_000,), 1 / 20_000)).reshape(3, 3)
    torch.testing.assert_close(found.double(), pair, rtol=0, atol=0.02)
    tokens = instance.sample(50, 1).observed
    assert instance.truth.oracle(tokens, "tokens").shape == (50, 18 + 39 + 40)


def test_samples_and_rejection_have_one_law(loose):
    """Chi-square on leaf configurations, rare ones pooled."""
    rows, weight = base_rows(loose.model, 1_000_000, 1)
    kept = rows[-1][torch.rand(len(weight), generator=torch.Generator().manual_seed(2)) < weight / weight.max()]
    drawn = loose.sample(40_000, 6).latents[loose.model.graph.last]
    _, place = torch.unique(torch.cat([kept, drawn]), dim=0, return_inverse=True)
    cells = int(place.max()) + 1
    table = torch.stack([part.bincount(minlength=cells) for part in (place[: len(kept)], place[len(kept) :])])
    common = table.sum(dim=0) * len(kept) / place.numel() >= 5
    pooled = torch.cat([table[:, common], table[:, ~common].sum(dim=1, keepdim=True)], dim=1)
    pooled = pooled[:, pooled.sum(dim=0) > 0]
    assert len(kept) > 500
    assert chi2_contingency(pooled.numpy()).pvalue > LEVEL


def test_importance_weighted_base_rows_have_the_stated_marginals(loose):
    rows, weight = base_rows(loose.model, 400_000, 7)
    share = weight / weight.sum()
    spread = math.sqrt(float(share.square().sum()))  # of a weighted mean of indicators, at most
    assert spread < 0.05
    for level, counts in enumerate(loose.model.graph.cardinalities):
        for i, count in enumerate(counts):
            found = torch.zeros(count, dtype=torch.float64).index_add(0, rows[level][:, i], share)
            assert ((found - loose.truth.facts[f"marginals/{level}"][i, :count]).abs() < 4 * spread).all()


def test_latents_keep_to_the_tables(world):
    """Every tuple is admissible and its composite is in a state that the tuple stands for."""
    graph, rows = world.model.graph, world.sample(5000, 1).latents
    for level in range(graph.last):
        for i, lower in enumerate(graph.constituents[level]):
            code = torch.zeros(5000, dtype=torch.int64)
            for j in lower:
                code = code * graph.cardinalities[level + 1][j] + rows[level + 1][:, j]
            facts = world.truth.facts
            assert (facts[f"potential/{level}"][i][code] > 0).all()
            first, second = facts[f"composition/{level}"][i][code], facts[f"second/{level}"][i][code]
            v = rows[level][:, i]
            assert ((v == first) | (v == second)).all() if facts[f"chance/{level}"][i] else (v == first).all()


def test_joint_tables_are_those_of_enumeration(world, brute):
    graph = world.model.graph
    concepts = [(graph.last, 0), (0, 0), (graph.last, graph.sizes[-1] - 1)]
    table = world.joint(concepts)
    assert table.shape == tuple(graph.cardinalities[level][i] for level, i in concepts)
    expected = torch.zeros_like(table)
    expected.index_put_(tuple(brute.columns(level)[:, i] for level, i in concepts), brute.law, accumulate=True)
    torch.testing.assert_close(table, expected, rtol=1e-9, atol=1e-13)
    tuple_ = [(1, j) for j in graph.constituents[0][0]]
    context = [c for c in concepts if c not in tuple_][:1]
    both = world.tuple_context(0, 0, context)
    torch.testing.assert_close(both, world.joint(tuple_ + context).reshape(both.shape), rtol=0, atol=0)
    assert float(both.sum()) == pytest.approx(1, abs=1e-9)


def test_leaves_are_independent_where_every_tuple_is_admissible():
    instance = DiscreteHierarchy(depth=2, states=2, synonyms=2, leaf_concentration=1.0).draw(0)
    torch.testing.assert_close(instance.truth.facts["marginals/2"], instance.truth.facts["leaf_law"], rtol=1e-12, atol=0)
    table = instance.joint([(2, j) for j in range(4)])
    product = torch.ones((), dtype=torch.float64)
    for law in instance.truth.facts["leaf_law"]:
        product = product[..., None] * law
    torch.testing.assert_close(table, product, rtol=1e-9, atol=0)
    assert instance.truth.facts["acceptance"] == pytest.approx(1)


def test_a_requested_root_law_holds_also_where_constituents_are_shared():
    wanted = [[0.7, 0.1, 0.2], [0.05, 0.15, 0.8]]
    for concepts in ([2, 4], [2, 3]):
        generator = DiscreteHierarchy(depth=1, concepts=concepts, states=3, root_law=wanted, synonyms=3, leaf_concentration=0.7)
        joint = generator.draw(0).joint([(0, 0), (0, 1)])
        q = torch.tensor(wanted, dtype=torch.float64)
        torch.testing.assert_close(joint, q[0][:, None] * q[1], rtol=1e-9, atol=1e-12)


def test_drawing_tuples_uniformly_level_by_level_is_wrong_where_fibres_are_unequal():
    """The mistake that the uniform random hierarchy model hides: it moves a leaf's marginal visibly here."""
    instance = DiscreteHierarchy(depth=2, states=3, synonyms=[[1, 3, 2], [1, 5, 2]], leaf_concentration=0.7, root_law="uniform").draw(1)
    states = [torch.full((3,), 1 / 3, dtype=torch.float64)]  # the root's law, then each constituent's, under uniform tuples
    for level in range(2):
        below = []
        for i, rule in enumerate(instance.model.rules[level]):
            tuples, state, _ = rule.rows()
            weight = states[i][state] / rule.fibres(3)[state]
            below += [torch.zeros(3, dtype=torch.float64).index_add(0, column, weight) for column in torch.unravel_index(tuples, (3, 3))]
        states = below
    exact = instance.truth.facts["marginals/2"]
    assert (torch.stack(states) - exact).abs().max() > 0.1


def test_an_acceptance_far_below_1e_6_is_no_problem():
    instance = DiscreteHierarchy(depth=4, states=6, synonyms=[[1, 2, 3]] * 4, leaf_concentration=1.0, preference=1.0).draw(0)
    facts = instance.truth.facts
    assert facts["acceptance"] < 1e-8
    rows = instance.sample(4096, 0).latents
    code = rows[4].reshape(4096, 8, 2) @ torch.tensor([6, 1])
    for i in range(8):
        assert torch.equal(facts["composition/3"][i][code[:, i]], rows[3][:, i])
    found = torch.nn.functional.one_hot(rows[4], 6).double().mean(dim=0)
    p = facts["marginals/4"]
    assert ((found - p).abs() <= 4.7 * (p * (1 - p) / 4096).sqrt() + 2 / 4096).all()


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.sampled_from([0.0, 0.25]),
    st.sampled_from(["free", "uniform"]),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
def test_messages_and_enumeration_agree_on_random_forests(seed, states, synonyms, arity, ambiguity, root_law):
    try:
        spec = {"states": [[k] for k in states], "synonyms": [synonyms] * 2, "branching": [[2], arity], "ambiguity": ambiguity}
        instance = DiscreteHierarchy(**spec, root_law=root_law, leaf_concentration=1.0, preference=1.0, shuffle=True).draw(seed)
    except InvalidInput:
        reject()
    forest, table = ForestLaw(instance.model), EnumeratedLaw(instance.model)
    assert forest.log_acceptance == pytest.approx(table.log_acceptance, abs=1e-9)
    assert forest.entropies() == pytest.approx(table.entropies(), abs=1e-9)
    for a, b in zip(forest.marginals(), table.marginals(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    g = torch.Generator().manual_seed(seed)
    evidence = {k: torch.rand(7, len(u), generator=g, dtype=torch.float64) for k, u in enumerate(instance.model.unary)}
    torch.testing.assert_close(forest.log_evidence(evidence), table.log_evidence(evidence), rtol=1e-9, atol=1e-9)
    for a, b in zip(forest.posterior(evidence), table.posterior(evidence), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
