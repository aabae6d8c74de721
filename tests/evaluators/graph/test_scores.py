"""Known values on hand-made graphs."""

from dataclasses import replace

import pytest
import torch

from evaluators.graph.ancestor_distance import AncestorDistance
from evaluators.graph.direction import Direction
from evaluators.graph.edge_recovery import EdgeRecovery
from evaluators.graph.graph_baselines import GraphBaselines
from evaluators.graph.intervention_distance import InterventionDistance
from evaluators.graph.mag_recovery import MagRecovery
from evaluators.graph.node_recovery import NodeRecovery
from evaluators.graph.references import GRAPH_ORACLE
from evaluators.graph.truths import selected, true_direction
from generators.controls.classic_hierarchy import ClassicHierarchy
from generators.controls.joint_emission import JointEmissionTwin
from generators.controls.unselected import Unselected
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, NotApplicable, Structure

LEAVES = ((),) * 6


def test_nodes_missing_dead_and_surplus(perfect, pick):
    fewer = NodeRecovery().score(pick(perfect, [0, 2, 3, 4]), seed=0)
    assert fewer.value == pytest.approx(2 * 4 / (8 + 4))
    assert (fewer.parts["precision"], fewer.parts["recall"]) == (1, 0.5)
    assert (fewer.parts["level_0"], fewer.parts["level_1"]) == (0.5, 0.5)
    noise = torch.rand(2000, 2, generator=torch.Generator().manual_seed(7))
    structure = Structure((*perfect.structure.levels, 1, 1, 1), (*perfect.structure.constituents, (), (), ()))
    codes = torch.cat([perfect.codes, noise, torch.zeros(2000, 1)], 1)  # a dead code that nobody is composed of is no node
    more = NodeRecovery().score(replace(perfect, codes=codes, structure=structure), seed=0)
    assert more.parts["precision"] == pytest.approx(8 / 10)
    assert more.parts["recall"] == 1


def test_level_error_is_the_mean_over_found_nodes(perfect):
    shifted = Structure((1, 1, *[2] * 6), perfect.structure.constituents)
    assert NodeRecovery().score(replace(perfect, structure=shifted), seed=0).parts["level error"] == 1
    flat = Structure((0,) * 8, perfect.structure.constituents)
    assert NodeRecovery().score(replace(perfect, structure=flat), seed=0).parts["level error"] == pytest.approx(6 / 8)


def test_edges_missing_surplus_and_reversed(perfect, with_graph):
    missing = EdgeRecovery().score(with_graph(perfect, (2, 3), (5, 6, 7), *LEAVES), seed=0)
    assert missing.parts["recall"] == pytest.approx(5 / 6)
    assert (missing.parts["precision"], missing.parts["SHD"]) == (1, 1)
    surplus = EdgeRecovery().score(with_graph(perfect, (2, 3, 4), (5, 6, 7, 4), *LEAVES), seed=0)
    assert surplus.value == pytest.approx(12 / 13)
    turned = EdgeRecovery().score(with_graph(perfect, (2, 3), (5, 6, 7), (), (), (0,), (), (), ()), seed=0)
    assert turned.value == pytest.approx(5 / 6)
    assert turned.parts["F1 undirected"] == 1
    assert turned.parts["SHD"] == 1
    assert EdgeRecovery().score(with_graph(perfect, (), (), *LEAVES), seed=0).value == 0


def test_edges_of_codes_that_are_no_concept_are_false(perfect):
    noise = torch.rand(2000, 1, generator=torch.Generator().manual_seed(7))
    structure = Structure((0, 0, *[1] * 7), ((2, 3, 4, 8), (5, 6, 7), *LEAVES, ()))
    found = EdgeRecovery().score(replace(perfect, codes=torch.cat([perfect.codes, noise], 1), structure=structure), seed=0)
    assert (found.parts["recall"], found.parts["SHD"]) == (1, 1)
    assert found.parts["precision"] == pytest.approx(6 / 7)


def test_descendants_match_composites_whatever_their_activity(perfect):
    codes = perfect.codes.clone()
    codes[:, :2] = torch.rand(2000, 2, generator=torch.Generator().manual_seed(3))
    spoiled = replace(perfect, codes=codes)
    assert EdgeRecovery(match="activity").score(spoiled, seed=0).value == 0
    assert EdgeRecovery(match="descendants").score(spoiled, seed=0).value == 1
    swapped = replace(spoiled, structure=Structure(perfect.structure.levels, ((5, 6, 7), (2, 3, 4), *LEAVES)))
    assert EdgeRecovery(match="descendants").score(swapped, seed=0).value == 1


def test_the_mag_is_reached_by_compositions_and_by_undirected_graphs(perfect, with_graph):
    cliques = with_graph(
        perfect, (2, 3, 4), (5, 6, 7), (0, 3, 4), (0, 2, 4), (0, 2, 3), (1, 6, 7), (1, 5, 7), (1, 5, 6), direction="undecided"
    )
    assert MagRecovery().score(cliques, seed=0).value == 1
    assert EdgeRecovery().score(cliques, seed=0).value < 0.5
    tree = with_graph(perfect, (2, 3, 4), (5, 6, 7), *LEAVES, direction="independent children")
    found = MagRecovery().score(tree, seed=0)
    assert found.value == pytest.approx(2 * 6 / (12 + 6))
    assert (found.parts["to composites"], found.parts["between constituents"], found.parts["SHD"]) == (1, 0, 6)


def test_without_selection_the_mag_is_the_tree(make_world, with_graph):
    caused = make_world(direction="independent_children", direction_class=["independent_children"])
    tree = with_graph(caused, (2, 3, 4), (5, 6, 7), *LEAVES, direction="independent children")
    assert MagRecovery().score(tree, seed=0).value == 1
    assert "between constituents" not in MagRecovery().score(tree, seed=0).parts
    assert MagRecovery().score(GRAPH_ORACLE.make(caused, 0), seed=0).value == 1


def test_ancestor_sets_and_trees(perfect, with_graph):
    half = AncestorDistance().score(with_graph(perfect, (2, 3, 4), (), *LEAVES), seed=0)
    assert half.value == pytest.approx(1 / 2)
    assert half.parts == pytest.approx({"tree": 1 / 3, "missing": 1 / 2, "surplus": 0})
    moved = AncestorDistance().score(with_graph(perfect, (2, 3), (4, 5, 6, 7), *LEAVES), seed=0)
    assert moved.value == pytest.approx(1 - 5 / 7)
    assert moved.parts["tree"] == 1
    assert AncestorDistance().score(with_graph(perfect, (), (), *LEAVES), seed=0).value == 1


def test_intervention_distances(perfect, with_graph):
    pytest.importorskip("gadjid")
    empty = with_graph(perfect, (), (), *LEAVES)
    for strategy in ("ancestor", "parent", "sid"):
        found = InterventionDistance(strategy).score(empty, seed=0)
        # With no edge "no effect" is claimed of all 56 pairs, which is wrong for the 6 that have one.
        assert found.value == pytest.approx(found.parts["empty graph"])
        assert found.parts["mistakes"] == 6
        assert found.value == pytest.approx(6 / 56)
    cycle = InterventionDistance().score(with_graph(perfect, (2, 3, 4), (5, 6, 7), (0,), *LEAVES[1:]), seed=0)
    assert (cycle.value, cycle.parts["cyclic"]) == (1, 1)
    with pytest.raises(InvalidInput, match="strategy"):
        InterventionDistance("luck").score(perfect, seed=0)


@pytest.mark.parametrize(
    ("told", "claimed", "value"),
    [
        (["selection", "joint_emission"], "selection", 1.0),
        (["selection", "joint_emission"], "independent children", 0.0),
        (["independent_children"], "independent children", 1.0),
        (["independent_children"], "selection", 0.0),
        (["selection"], "undecided", 0.5),
    ],
)
def test_direction_by_classes(make_world, told, claimed, value):
    outcome = make_world(direction_class=told)
    found = Direction().score(replace(outcome, structure=replace(outcome.structure, direction=claimed)), seed=0)
    assert found.value == value
    assert sum(found.parts.values()) == 1
    assert found.parts["undecided"] == float(claimed == "undecided")


def test_no_direction_where_nothing_is_selected_or_caused(make_world):
    with pytest.raises(NotApplicable, match="no direction"):
        Direction().score(make_world(direction_class=["none"]), seed=0)


def test_what_generators_say_of_direction_and_selection():
    assert true_direction(SparseConcepts.small().draw(0).truth) == "selection"
    assert true_direction(JointEmissionTwin.small().draw(0).truth) == "selection"
    assert true_direction(ClassicHierarchy.small().draw(0).truth) == "independent children"
    assert true_direction(Unselected.small().draw(0).truth) is None
    assert true_direction(DiscreteHierarchy(depth=2, synonyms=2).draw(0).truth) == "selection"
    whole = DiscreteHierarchy(depth=2).draw(0).truth  # all tuples are synonyms of some state, equally
    assert true_direction(whole) is None or any(map(any, selected(whole).values()))


def test_simple_rules_find_the_tree_on_both_kinds_of_codes(perfect):
    found = GraphBaselines().score(perfect, seed=0)
    assert found.value == 1
    assert set(found.parts) == {
        f"{rule} on {codes} codes"
        for rule in ("correlation", "P(higher | lower)", "PMI", "clustering")
        for codes in ("estimated", "oracle")
    }
    # Codes without levels get those of the concepts they are matched to.
    assert GraphBaselines().score(replace(perfect, structure=None), seed=0).value == 1


def test_wrong_codes_cost_the_estimated_part_and_leave_the_oracles(perfect):
    shuffled = replace(perfect, codes=perfect.codes[torch.randperm(2000, generator=torch.Generator().manual_seed(1))])
    found = GraphBaselines().score(shuffled, seed=0)
    assert found.value == 0
    assert found.parts["correlation on oracle codes"] == 1


def test_a_surplus_edge_towards_the_abstract_costs_no_intervention(perfect, with_graph):
    pytest.importorskip("gadjid")
    more = with_graph(perfect, (2, 3, 4, 5), (5, 6, 7), *LEAVES)
    assert InterventionDistance("parent").score(more, seed=0).value == 0
    assert EdgeRecovery().score(more, seed=0).value < 1
