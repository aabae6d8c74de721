"""Parity-like tables, exact twins, and the gate on rare states."""

import pytest
import torch

from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.gap import least_gap, least_probability
from generators.selection.discrete.law import joint
from testbed.contracts import InvalidInput

PARITY = {"depth": 2, "states": [2, 3, 4], "branching": 3, "synonyms": [[2, 3, 4], [1]], "rules": ["random", "parity"]}


def entropy(p):
    return float(-torch.xlogy(p, p).sum())


@pytest.mark.parametrize("preference", [0.0, 1.0])
def test_pairs_are_independent_and_triples_are_not(preference):
    instance = DiscreteHierarchy(**PARITY, preference=preference).draw(0)
    for lower in instance.model.graph.constituents[1]:
        law = joint(instance.law, [(2, j) for j in lower])
        for k in range(3):
            assert law.sum(dim=k) == pytest.approx(torch.full((4, 4), 1 / 16, dtype=torch.float64).numpy())
        # Three of four residues are admissible.
        assert 3 * entropy(law.sum(dim=(1, 2))) - entropy(law) > torch.tensor(4 / 3).log() - 1e-9


def test_with_two_states_it_is_parity():
    instance = DiscreteHierarchy(depth=1, states=[1, 2], branching=3, synonyms=1, rules="parity").draw(0)
    tokens = instance.sample(200, 0).observed.views["tokens"].values
    assert len((tokens.sum(dim=1) % 2).unique()) == 1


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"synonyms": [[2], [2]]}, "needs 6 residues"),
        ({"states": [2, 3, [4, 4, 5]]}, "constituents alike"),
        ({"rules": ["parity"]}, "one per level"),
        ({"rules": "even"}, "rules must be"),
        ({"ambiguity": 0.1}, "deterministic"),
        ({"twins": 9}, "twins must lie between"),
        ({"minimum_probability": 1.0}, "minimum_probability must lie"),
    ],
)
def test_what_cannot_be_is_a_sentence(changed, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        DiscreteHierarchy(**PARITY | changed).draw(0)


@pytest.mark.parametrize("seed", range(3))
def test_twins_have_one_context_law_and_the_others_keep_their_gap(seed):
    instance = DiscreteHierarchy(depth=3, synonyms=2, twins=1, minimum_gap=0.1).draw(seed)
    graph = instance.model.graph
    assert least_gap(graph, instance.law) == pytest.approx(0, abs=1e-12)
    gaps = [least_gap(graph, instance.law, [(level, i)]) for level in (1, 2) for i in range(graph.sizes[level])]
    assert sorted(gaps)[-1] >= 0.1
    assert sorted(gaps)[-2] == pytest.approx(0, abs=1e-12)


def test_rare_states_are_drawn_anew():
    plain = DiscreteHierarchy(depth=3, leaf_concentration=5.0).draw(0)
    gated = DiscreteHierarchy(depth=3, leaf_concentration=5.0, minimum_probability=0.1).draw(0)
    assert least_probability(plain.model.graph, plain.law) < 0.1 <= least_probability(gated.model.graph, gated.law)
    assert min(float(p.min()) for p in gated.law.marginals()[1:3]) >= 0.1
