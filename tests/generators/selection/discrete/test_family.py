"""Specs, presets, state on disk, moving, and what is refused before sampling."""

import json
import math

import pytest
import torch

from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.graph import Graph
from generators.selection.discrete.instance import DiscreteInstance
from generators.selection.discrete.random_hierarchy import RandomHierarchy
from testbed.contracts import InvalidInput


def test_the_random_hierarchy_model_has_equally_likely_rows():
    v, s, m, depth, classes = 4, 2, 3, 3, 5
    instance = RandomHierarchy(v=v, s=s, m=m, L=depth, classes=classes).draw(1)
    facts = instance.truth.facts
    productions = (s**depth - 1) // (s - 1)
    assert facts["entropies"][depth] == pytest.approx(math.log(classes) + productions * math.log(m), rel=1e-10)
    assert facts["entropies"][0] == pytest.approx(math.log(classes))
    rows = instance.sample(200, 0).observed.views["tokens"].values
    torch.testing.assert_close(
        instance.log_likelihood(rows), torch.full((200,), -facts["entropies"][depth], dtype=torch.float64), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(facts["marginals/0"], torch.full((1, classes), 1 / classes, dtype=torch.float64))
    assert instance.truth.levels[depth].size == s**depth
    for level in range(depth):
        assert (facts[f"fibres/{level}"] == m).all()
        assert (facts[f"composition/{level}"] == facts[f"composition/{level}"][:1]).all()


def test_the_graph_has_the_sizes_that_were_asked_for():
    graph = DiscreteHierarchy(depth=3, roots=2, branching=[2, [1, 3], 2], synonyms=1, states=2).draw(0).model.graph
    assert graph.sizes == (2, 4, 8, 16)
    assert [len(lower) for lower in graph.constituents[1]] == [1, 3, 1, 3]
    assert graph.is_forest
    assert graph.roots(1) == []
    shared = DiscreteHierarchy(concepts=[2, 3, 4], states=2, synonyms=2, shuffle=True).draw(0).model.graph
    assert not shared.is_forest
    assert {j for lower in shared.constituents[1] for j in lower} == {0, 1, 2, 3}
    free = DiscreteHierarchy(depth=1, concepts=[1, 5], shuffle=True).draw(0)
    assert len(free.model.graph.roots(1)) == 3
    assert free.sample(10, 0).latents[1].shape == (10, 5)
    given = DiscreteHierarchy(depth=2, constituents=[[[0, 2]], [[0, 1], [2], [1, 3]]], states=2, synonyms=1).draw(0)
    assert given.model.graph.constituents[1] == ((0, 1), (2,), (1, 3))
    assert given.truth.constituents[0] == ((0, 2),)


def test_unequal_fibres_have_the_synonyms_that_were_asked_for():
    truth = DiscreteHierarchy(depth=2, states=3, synonyms=[[1, 2, 6], [4, 2, 1]]).draw(0).truth
    assert truth.facts["fibres/0"].tolist() == [[1, 2, 6]]
    assert truth.facts["fibres/1"].tolist() == [[4, 2, 1]] * 2
    assert (truth.facts["composition/1"] >= 0).all()  # g is defined for tuples that are not admissible, too


@pytest.mark.parametrize(("states", "branching"), [(12, 3), (8, 2), ([4, 3, 5], 2)])
def test_tables_with_hardly_any_synonyms_still_reach_every_state(states, branching):
    instance = DiscreteHierarchy(states=states, branching=branching, synonyms=[[1], [2, 1]], leaf_concentration=0.5).draw(0)
    for level, counts in enumerate(instance.model.graph.cardinalities):
        assert (instance.truth.facts[f"marginals/{level}"][:, : counts[0]] > 0).all()


def test_an_instance_comes_back_from_its_state(world):
    for instance in (world, world.condition({(0, 0): 0}), world.select_then_do({(1, 0): 1})):
        arrays, plain = instance.state()
        again = DiscreteInstance.from_state(arrays, json.loads(json.dumps(plain)))
        a, b = instance.sample(200, 3, "test"), again.sample(200, 3, "test")
        assert torch.equal(a.observed.views["tokens"].values, b.observed.views["tokens"].values)
        assert all(torch.equal(a.latents[k], b.latents[k]) for k in a.latents)
        assert again.state()[1] == plain


@pytest.mark.parametrize("observe", ["one_hot", "embedded"])
def test_other_views_come_back_too(observe):
    instance = DiscreteHierarchy(observe=observe, label=True).draw(0)
    again = DiscreteInstance.from_state(*instance.state())
    a, b = instance.sample(50, 0).observed, again.sample(50, 0).observed
    assert torch.equal(a.views[observe].values, b.views[observe].values)
    assert torch.equal(a.rows["label"], b.rows["label"])


@pytest.mark.parametrize(
    "tamper",
    [
        lambda arrays, plain: arrays.pop("states/0"),
        lambda arrays, plain: arrays["states/0"].fill_(99),
        lambda arrays, plain: arrays["potential/1"].fill_(2.0),
        lambda arrays, plain: arrays["potential/1"].zero_(),
        lambda arrays, plain: arrays["unary/2"].fill_(math.nan),
        lambda arrays, plain: arrays.update({"unary/2": torch.ones(3)}),
        lambda arrays, plain: plain.pop("emission"),
        lambda arrays, plain: plain["emission"].update(noise=7),
        lambda arrays, plain: plain.update(constituents=[[[0, 1]], [[0, 1], [2, 9]]]),
        lambda arrays, plain: plain.update(cardinalities=[[4], [4, 4]]),
        lambda arrays, plain: plain.update(forced=[[0, 0, 77]]),
        lambda arrays, plain: plain.update(chance="x"),
    ],
)
def test_a_state_that_was_tampered_with_is_refused(tamper):
    arrays, plain = DiscreteHierarchy().draw(0).state()
    arrays, plain = {k: v.clone() for k, v in arrays.items()}, json.loads(json.dumps(plain))
    tamper(arrays, plain)
    with pytest.raises(InvalidInput):
        DiscreteInstance.from_state(arrays, plain)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"synonyms": 5, "states": 4}, "m v"),
        ({"synonyms": 0}, "unreachable"),
        ({"synonyms": 1, "states": [2, 8, 8]}, "unreachable"),
        ({"depth": 0}, "depth"),
        ({"roots": 0}, "at least 1"),
        ({"branching": 0}, "at least 1"),
        ({"branching": [2]}, "one entry for each of 2 levels"),
        ({"branching": [[]]}, "one entry"),
        ({"branching": [2, []]}, "whole numbers"),
        ({"states": [4, 4, 0]}, "at least 1 state"),
        ({"states": 102, "branching": 3}, "more than 1048576"),
        ({"concepts": [1, 2]}, "2 levels"),
        ({"concepts": [1, 1, 4]}, "needs 2 constituents"),
        ({"constituents": []}, "0 levels"),
        ({"constituents": [[], []]}, "empty"),
        ({"constituents": [[[0, 1]], [[0, 1], []]]}, "at least one"),
        ({"constituents": [[[0, 0]], [[0, 1]]]}, "distinct"),
        ({"constituents": [[[0, 5]], [[0, 1], [2, 3]]]}, "numbered 0 to 1"),
        ({"shared_rules": True, "branching": [2, [2, 3]]}, "alike"),
        ({"preference": -1.0}, "preference"),
        ({"ambiguity": 0.7}, "ambiguity"),
        ({"leaf_concentration": 0.0}, "leaf_concentration"),
        ({"root_law": "flat"}, "'flat'"),
        ({"root_law": [[0.5, 0.5]]}, "law over its states"),
        ({"root_law": [[1.0, 0.0, 0.0, 0.0]]}, "unreachable"),
        ({"noise": 1.0}, "noise"),
        ({"observe": "words"}, "'words'"),
        ({"observe": "embedded", "dimension": 0}, "dimension"),
        ({"observe": "embedded", "spread": 0.0}, "spread"),
        (
            {"depth": 1, "concepts": [9, 14], "branching": 7, "states": 4, "synonyms": 4000, "sampler": "exact"},
            r"takes \d+ configurations of open",
        ),
        ({"depth": 1, "constituents": [[[0, 1], [1, 0], [0, 1], [1, 0]]], "states": 4, "synonyms": 1}, "acceptance 0|unreachable"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_sampling(params, message):
    with pytest.raises(InvalidInput, match=message):
        DiscreteHierarchy(**params).draw(0)


def test_a_table_that_cannot_exist_is_refused_by_the_preset():
    with pytest.raises(InvalidInput, match="m v"):
        RandomHierarchy(v=4, s=2, m=5).draw(0)
    with pytest.raises(InvalidInput, match="empty"):
        Graph((), ())


def test_a_joint_table_that_is_too_large_is_refused():
    instance = RandomHierarchy(L=4).draw(0)
    with pytest.raises(InvalidInput, match="2097152 entries"):
        instance.joint([(4, j) for j in range(7)])
    for wrong in ([], [(0, 0), (0, 0)], [(9, 0)], [(1, 2)]):
        with pytest.raises(InvalidInput):
            instance.joint(wrong)
    with pytest.raises(InvalidInput, match="no composite"):
        instance.tuple_context(4, 0, [(0, 0)])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_an_instance_moves_to_cuda(world):
    moved = world.to("cuda")
    sample = moved.sample(81_920, 0)
    assert sample.latents[0].device.type == "cuda"
    for level, rows in sample.latents.items():
        p = world.truth.facts[f"marginals/{level}"]
        found = torch.nn.functional.one_hot(rows, p.shape[1]).double().mean(dim=0).cpu()
        assert ((found - p).abs() <= 4.7 * (p * (1 - p) / len(sample)).sqrt() + 1e-4).all()
    for a, b in zip(moved.posteriors(sample.observed[:50]), world.posteriors(sample.observed[:50].to("cpu")), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-12)
