"""The gate against near twins: gaps by enumeration, redrawn rules, and the gap achieved where there is none that is wide enough."""

import math

import pytest
import torch

from generators.selection.discrete import family
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.gap import least_gap
from generators.selection.discrete.random_hierarchy import RandomHierarchy
from testbed.contracts import InvalidInput

UNEVEN = {"depth": 2, "states": [2, 3, 3], "synonyms": [[1, 4], [1, 2, 2]], "leaf_concentration": 1.0}


def smallest_distance(brute, columns, place, context):
    """Smallest total variation between the laws of the `context` columns given two states of the `place` column."""
    _, code = torch.unique(columns[:, context], dim=0, return_inverse=True)
    laws = []
    for state in columns[:, place].unique():
        weight = brute.law * (columns[:, place] == state)
        laws.append(torch.zeros(int(code.max()) + 1, dtype=torch.float64).index_add(0, code, weight / weight.sum()))
    return min(float((p - q).abs().sum()) / 2 for i, p in enumerate(laws) for q in laws[:i])


@pytest.mark.parametrize("seed", range(6))
def test_gaps_are_those_of_enumeration_and_bound_those_of_the_whole_context(enumerate_law, seed):
    instance = DiscreteHierarchy(**UNEVEN).draw(seed)
    brute = enumerate_law(instance.model)
    columns, siblings, wholes = brute.configurations, [], []  # root; two composites; four leaves
    for place, sibling in ((1, 2), (2, 1)):
        own = [3 + j for j in instance.model.graph.constituents[1][place - 1]]
        siblings.append(smallest_distance(brute, columns, place, [sibling]))
        wholes.append(smallest_distance(brute, columns, place, [c for c in range(3, 7) if c not in own]))
    assert least_gap(instance.model.graph, instance.law) == pytest.approx(min(siblings), abs=1e-12)
    assert min(siblings) <= min(wholes) + 1e-12


@pytest.mark.parametrize(("cls", "params"), [(RandomHierarchy, {"v": 4, "m": 2}), (DiscreteHierarchy, {"depth": 3})])
def test_instances_are_redrawn_until_their_gap_is_wide_enough(cls, params):
    plain = [least_gap(i.model.graph, i.law) for i in (cls(**params).draw(seed) for seed in range(8))]
    assert min(plain) == pytest.approx(0, abs=1e-12)  # random rules have twins
    for seed, own in enumerate(plain):
        gated = cls(**params, minimum_gap=0.2).draw(seed)
        assert least_gap(gated.model.graph, gated.law) >= 0.2 - 1e-9
        if own >= 0.2:  # what passes the gate is left as it is
            before = cls(**params).draw(seed)
            assert all(
                torch.equal(a.states, b.states)
                for x, y in zip(gated.model.rules, before.model.rules, strict=True)
                for a, b in zip(x, y, strict=True)
            )
        again = cls(**params, minimum_gap=0.2).draw(seed)
        assert torch.equal(again.sample(50, 0).latents[0], gated.sample(50, 0).latents[0])


def test_a_gap_that_cannot_be_had_names_the_one_achieved(monkeypatch):
    monkeypatch.setattr(family, "GATE", 60)
    with pytest.raises(InvalidInput, match=r"gap of at most 0\.5 .* less than minimum_gap 0\.9"):
        RandomHierarchy(v=4, m=2, L=2, minimum_gap=0.9).draw(0)
    with pytest.raises(InvalidInput, match=r"must lie in \[0, 1\)"):
        DiscreteHierarchy(minimum_gap=-0.1).draw(0)


def test_one_level_of_composites_has_nothing_to_gate():
    instance = DiscreteHierarchy(depth=1, minimum_gap=0.9).draw(0)
    assert least_gap(instance.model.graph, instance.law) == math.inf


def test_a_shared_concept_is_told_apart_by_any_of_its_tuples():
    instance = DiscreteHierarchy(depth=2, concepts=[2, 3, 6], states=2, synonyms=1, minimum_gap=0.1).draw(0)
    assert 0.1 <= least_gap(instance.model.graph, instance.law) <= 1
