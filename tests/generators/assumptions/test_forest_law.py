"""The exact law of sparse concepts against enumeration of all configurations of the leaves."""

import itertools

import pytest
import torch

from generators.assumptions.enumerated_law import components, configurations, enumerated_pairs
from generators.assumptions.forest_law import ForestLaw, count_law, forest_law, pairs, rates_of, tuple_tables
from generators.selection.forest import Forest
from generators.selection.sparse import SparseConcepts
from testbed.contracts import NotApplicable

RULES = ["and", "k_of_n", "exclusive", "any"]


def drawn(rule="and", **params):
    return SparseConcepts(**{"levels": (1, 3, 7), "branching": 2, "rule": rule, "rate": 0.3, "dimension": 8, **params}).draw(0)


def enumerated(law):
    """All configurations that the rules allow, shape (2^n, N), and their probabilities."""
    forest = law.forest
    rows, weights = [], []
    for leaves in itertools.product((0, 1), repeat=forest.sizes[-1]):
        states, weight = [list(leaves)], 1.0
        for level in reversed(range(len(forest.sizes) - 1)):
            above = []
            for i, lower in enumerate(forest.constituents[level].tolist()):
                k = sum(states[0][j] for j in lower)
                above.append(int(law.holds[level][i, k]))
                weight *= float(law.phi[level][i, k])
            states.insert(0, above)
        v = torch.tensor([s for level in states for s in level], dtype=torch.float64)
        rows.append(v)
        weights.append(weight * float((law.tilts * v).sum().exp()))
    p = torch.tensor(weights, dtype=torch.float64)
    return torch.stack(rows), p / p.sum()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("composite_rate", [None, [0.02, 0.08]])
def test_rates_pairs_tuples_and_counts_are_those_of_enumeration(rule, composite_rate):
    if composite_rate and rule != "and":
        composite_rate = None
    instance = drawn(rule, composite_rate=composite_rate)
    law = forest_law(instance)
    v, p = enumerated(law)
    torch.testing.assert_close(rates_of(law), p @ v, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.cat(list(instance.truth.rates.values())).double(), p @ v, atol=1e-7, rtol=0)
    for level in range(3):
        for nodes, both in zip(*pairs(law, level), strict=True):
            torch.testing.assert_close(both, (v[:, nodes].T * p) @ v[:, nodes], atol=1e-12, rtol=0)
    for nodes in (torch.arange(11), torch.arange(4, 11), torch.tensor([0, 5])):
        wanted = torch.zeros(len(nodes) + 1, dtype=torch.float64).index_add(0, v[:, nodes].sum(dim=1).long(), p)
        torch.testing.assert_close(count_law(law, nodes), wanted, atol=1e-12, rtol=0)
    for level in (0, 1):
        tables, states = tuple_tables(law, level)
        for i, lower in enumerate(law.forest.constituents[level].tolist()):
            at = [law.forest.start(level + 1) + j for j in lower]
            for t in itertools.product((0.0, 1.0), repeat=2):
                here = (v[:, at] == torch.tensor(t, dtype=torch.float64)).all(dim=1)
                index = tuple(int(x) for x in t)
                assert float(tables[i][index]) == pytest.approx(float(p[here].sum()), abs=1e-12)
                assert (v[here, law.forest.start(level) + i] == states[i][index]).all()


def test_the_number_of_active_concepts_sums_to_one_and_has_the_truths_mean():
    instance = SparseConcepts().draw(1)
    law = count_law(forest_law(instance), torch.arange(120))
    assert float(law.sum()) == pytest.approx(1, abs=1e-10)
    assert float((law * torch.arange(121)).sum()) == pytest.approx(instance.truth.settings["l0"], abs=1e-6)


def test_what_is_no_forest_of_sparse_concepts_cannot_be_told():
    class Nameless:
        truth = None

    with pytest.raises(NotApplicable, match="sparse concepts"):
        forest_law(Nameless())


def test_shared_constituents_are_enumerated_component_by_component():
    law = forest_law(drawn("k_of_n", levels=(1, 3, 7), k=1))
    lower = law.forest.constituents[1].clone()
    lower[0, 0] = lower[1, 1]  # composites 0 and 1 of level 1 share a leaf
    shared = ForestLaw(Forest(law.forest.sizes, (law.forest.constituents[0], lower)), law.holds, law.phi, law.tilts)
    assert shared.shared
    v, p = enumerated(shared)
    torch.testing.assert_close(rates_of(shared), p @ v, atol=1e-12, rtol=0)
    for nodes, both in enumerated_pairs(shared):
        torch.testing.assert_close(both[0], (v[:, nodes[0]].T * p) @ v[:, nodes[0]], atol=1e-12, rtol=0)
    assert sorted(torch.cat(components(shared)).tolist()) == list(range(11))
    for nodes in (torch.arange(11), torch.arange(4, 11)):
        wanted = torch.zeros(len(nodes) + 1, dtype=torch.float64).index_add(0, v[:, nodes].sum(dim=1).long(), p)
        torch.testing.assert_close(count_law(shared, nodes), wanted, atol=1e-12, rtol=0)
    tables, states = tuple_tables(shared, 1)
    for i, below in enumerate(lower.tolist()):
        for t in itertools.product((0, 1), repeat=2):
            here = (v[:, [4 + j for j in below]] == torch.tensor(t, dtype=torch.float64)).all(dim=1)
            assert float(tables[i][t]) == pytest.approx(float(p[here].sum()), abs=1e-12)
            assert (v[here, 1 + i] == states[i][t]).all()


def test_enumeration_and_messages_agree_on_a_forest():
    law = forest_law(drawn("and"))
    for nodes, both in enumerated_pairs(law):
        states, p = configurations(law, nodes[0])
        torch.testing.assert_close(both[0].diagonal(), rates_of(law)[nodes[0]], atol=1e-12, rtol=0)
        assert len(states) == 2 ** int((nodes[0] >= 4).sum())
        assert float(p.sum()) == pytest.approx(1)


def test_a_component_that_is_too_large_cannot_be_told():
    law = forest_law(SparseConcepts(levels=(1, 18), branching=18, rule="any", dimension=4).draw(0))
    with pytest.raises(NotApplicable, match="18 leaves"):
        configurations(law, components(law)[0])
