"""The three interventions against their definitions, by enumeration."""

import pytest
import torch

from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.interventions import force, moves
from testbed.contracts import Intervenable, InvalidInput, Savable

LEVEL = 1e-4


def marginals(instance):
    return [instance.truth.facts[f"marginals/{level}"] for level in range(instance.model.graph.last + 1)]


def agree(instance, brute, weights=None):
    for level, counts in enumerate(instance.model.graph.cardinalities):
        for i, count in enumerate(counts):
            expected = brute.marginal(level, i, count, weights)
            torch.testing.assert_close(marginals(instance)[level][i, :count], expected, rtol=1e-8, atol=1e-12)


def test_an_instance_is_intervenable_and_savable(world):
    assert isinstance(world, Intervenable)
    assert isinstance(world, Savable)


def test_condition_is_the_conditional_law(world, brute):
    for level in range(world.model.graph.last + 1):
        i = world.model.graph.sizes[level] - 1
        v = int(marginals(world)[level][i].argmin()) if level else 0
        v = v if marginals(world)[level][i, v] > 0 else int(marginals(world)[level][i].argmax())
        given = torch.where(brute.columns(level)[:, i] == v, brute.law, 0.0)
        conditioned = world.condition({(level, i): v})
        agree(conditioned, brute, given / given.sum())
        assert (conditioned.sample(2000, 0).latents[level][:, i] == v).all()


def test_do_on_a_leaf_then_selecting_is_conditioning_on_it(world):
    leaf = (world.model.graph.last, 0)
    for a, b in zip(marginals(world.do_then_select({leaf: 1})), marginals(world.condition({leaf: 1})), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_do_on_a_composite_leaves_its_tuple_weighed_by_phi_alone(world, enumerate_law):
    """From the definition, on the model as it was: the value is given whatever the tuple, and every potential stays."""
    graph = world.model.graph
    level = graph.last - 1
    v = int(marginals(world)[level][0].argmax())
    done = world.do_then_select({(level, 0): v})
    agree(done, enumerate_law(world.model, do={(level, 0): v}))
    assert (done.sample(2000, 0).latents[level][:, 0] == v).all()
    old, new = world.model.rules[level][0], done.model.rules[level][0]
    assert torch.equal(old.potential, new.potential)
    assert (new.states == v).all()


def test_do_then_select_and_condition_differ_on_a_composite():
    instance = DiscreteHierarchy(depth=1, states=3, synonyms=[[1, 3, 2]], leaf_concentration=1.0).draw(0)
    done, conditioned = instance.do_then_select({(0, 0): 0}), instance.condition({(0, 0): 0})
    torch.testing.assert_close(done.truth.facts["marginals/1"], instance.truth.facts["marginals/1"], rtol=1e-9, atol=1e-12)
    assert (conditioned.truth.facts["marginals/1"] - instance.truth.facts["marginals/1"]).abs().max() > 0.05


def test_select_then_do_changes_only_what_is_composed_of_the_concept(world):
    graph = world.model.graph
    before = world.sample(3000, 4)
    for level in range(graph.last + 1):
        concept = (level, 0)
        after = world.select_then_do({concept: 1}).sample(3000, 4)
        moved = moves(graph, {concept: 1})
        for k, size in enumerate(graph.sizes):
            for i in range(size):
                same = torch.equal(before.latents[k][:, i], after.latents[k][:, i])
                assert same or (k, i) in moved
        assert (after.latents[level][:, 0] == 1).all()
        for k, i in moved - {concept}:
            code_before, code_after = (codes(world.model, k, i, s.latents) for s in (before, after))
            rule = world.model.rules[k][i]
            v = after.latents[k][:, i]
            assert ((v == rule.states[code_after]) | (v == rule.second[code_after])).all()
            kept = code_before == code_after  # rows that had the value anyway stay as they were
            assert torch.equal(v[kept], before.latents[k][kept, i])
        if level < graph.last:
            assert torch.equal(before.observed.views["tokens"].values, after.observed.views["tokens"].values)


def codes(model, level, i, latents):
    out = torch.zeros(len(latents[0]), dtype=torch.int64)
    for j in model.graph.constituents[level][i]:
        out = out * model.graph.cardinalities[level + 1][j] + latents[level + 1][:, j]
    return out


def test_the_truth_of_a_select_then_do_states_what_is_known(world):
    done = world.select_then_do({(1, 0): 1})
    facts, before = done.truth.facts, world.truth.facts
    assert facts["forced"] == [[1, 0, 1]]
    assert facts["marginals/1"][0, 1] == 1
    assert facts["marginals/1"][0].sum() == 1
    if world.model.graph.last > 1:
        torch.testing.assert_close(facts["marginals/2"], before["marginals/2"])
    with pytest.raises(InvalidInput, match="after selection"):
        done.condition({(0, 0): 0})
    assert done.select_then_do({(0, 0): 0}).truth.facts["forced"] == [[1, 0, 1], [0, 0, 0]]


def test_marginals_after_select_then_do_are_those_of_rewritten_configurations(world, brute):
    graph, model = world.model.graph, world.model
    for setting in ({(graph.last, 0): 1}, {(graph.last, 1): 0, (graph.last - 1, 0): 1}):
        rows = [brute.columns(level) for level in range(graph.last + 1)]
        after = force(model, setting, rows)
        found = marginals(world.select_then_do(setting))
        for level, counts in enumerate(graph.cardinalities):
            for i, count in enumerate(counts):
                if found[level][i].isnan().any():
                    assert any(rule.chance for rules in model.rules for rule in rules)
                    continue
                expected = torch.zeros(count, dtype=torch.float64).index_add(0, after[level][:, i], brute.law)
                torch.testing.assert_close(found[level][i, :count], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["condition", "do_then_select", "select_then_do"])
@pytest.mark.parametrize("setting", [{}, {(0, 9): 0}, {(7, 0): 0}, {(0, 0): 99}, {(0, 0): 0.5}, {(1, 0): float("nan")}])
def test_settings_that_do_not_exist_are_refused(name, setting):
    with pytest.raises(InvalidInput):
        getattr(DiscreteHierarchy().draw(0), name)(setting)


def test_an_impossible_condition_is_refused():
    instance = DiscreteHierarchy(depth=1, states=4, synonyms=1).draw(0)
    table = instance.joint([(1, 0), (1, 1)])
    a, b = (table == 0).nonzero()[0].tolist()
    with pytest.raises(InvalidInput, match="acceptance 0"):
        instance.condition({(1, 0): a, (1, 1): b})


def test_samples_after_an_intervention_follow_its_law(world, enumerate_law):
    graph = world.model.graph
    v = int(marginals(world)[graph.last - 1][0].argmax())
    for changed in (world.condition({(graph.last - 1, 0): v}), world.do_then_select({(graph.last - 1, 0): v})):
        assert enumerate_law(changed.model).misfit(list(changed.sample(60_000, 2).latents.values())) > LEVEL
