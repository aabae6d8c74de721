"""What all evaluators of graphs share: order of codes, references, sentences."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES
from evaluators.discrete.state_recovery import StateRecovery
from evaluators.graph.ancestor_distance import AncestorDistance
from evaluators.graph.direction import Direction
from evaluators.graph.edge_recovery import EdgeRecovery
from evaluators.graph.graph_baselines import GraphBaselines
from evaluators.graph.intervention_distance import InterventionDistance
from evaluators.graph.mag_recovery import MagRecovery
from evaluators.graph.node_recovery import NodeRecovery
from evaluators.graph.references import GRAPH_ORACLE, RANDOM_GRAPH
from testbed.contracts import InvalidInput, NotApplicable, Outcome, SparseRows, Structure
from testbed.registry import load

pytest.importorskip("gadjid")

MATCHED = [
    kind(match=match) for kind in (NodeRecovery, EdgeRecovery, AncestorDistance, MagRecovery) for match in ("activity", "descendants")
]
MATCHED += [InterventionDistance(strategy) for strategy in ("ancestor", "oset", "parent", "sid")]
ALL = [*MATCHED, GraphBaselines(), Direction()]
every = pytest.mark.parametrize("evaluator", ALL, ids=repr)
matched = pytest.mark.parametrize("evaluator", MATCHED, ids=repr)

BEST = {"higher": 1.0, "lower": 0.0}


@every
def test_the_truth_scores_best_and_other_orders_signs_and_scales_score_alike(evaluator, perfect, pick):
    best = evaluator.score(perfect, seed=0)
    assert best.value == pytest.approx(BEST[evaluator.direction])
    other = evaluator.score(pick(perfect, [5, 0, 7, 3, 1, 2, 6, 4]), seed=0)
    assert other.value == pytest.approx(best.value)
    assert other.parts == pytest.approx(best.parts)


@matched
def test_a_wrong_graph_scores_the_same_in_every_order(evaluator, perfect, pick, with_graph):
    wrong = with_graph(perfect, (2, 3), (5, 4, 6), (), (), (), (), (), ())
    value = evaluator.score(wrong, seed=0)
    other = evaluator.score(pick(wrong, [5, 0, 7, 3, 1, 2, 6, 4]), seed=0)
    assert other.value == pytest.approx(value.value)
    assert other.parts == pytest.approx(value.parts)


@every
def test_sparse_and_dense_codes_score_alike(evaluator, perfect):
    sparse = replace(perfect, codes=SparseRows.from_dense(perfect.codes))
    assert evaluator.score(sparse, seed=0).value == pytest.approx(evaluator.score(perfect, seed=0).value)


@matched
def test_permuted_rows_and_random_edges_are_worse(evaluator, perfect):
    sign = 1 if evaluator.direction == "higher" else -1
    best = evaluator.score(perfect, seed=0).value
    assert sign * (best - evaluator.score(PERMUTED_CODES.make(perfect, 1), seed=0).value) > 0.1
    if not isinstance(evaluator, NodeRecovery):
        assert sign * (best - evaluator.score(RANDOM_GRAPH.make(perfect, 1), seed=0).value) > 0.04


@every
def test_sentences_for_what_is_missing(evaluator, perfect):
    with pytest.raises(NotApplicable, match="truth"):
        evaluator.score(replace(perfect, truth=None), seed=0)
    with pytest.raises(NotApplicable, match="composed"):
        evaluator.score(replace(perfect, truth=replace(perfect.truth, constituents={})), seed=0)
    with pytest.raises(InvalidInput, match="check the encoder"):
        evaluator.score(replace(perfect, codes=perfect.codes * float("nan")), seed=0)
    if not isinstance(evaluator, GraphBaselines):
        with pytest.raises(NotApplicable, match="finds no graph"):
            evaluator.score(replace(perfect, structure=None), seed=0)
        with pytest.raises(InvalidInput, match="one entry each"):
            evaluator.score(replace(perfect, structure=Structure((0,), ((),))), seed=0)


def test_an_unknown_match_is_refused(perfect):
    with pytest.raises(InvalidInput, match="activity or descendants"):
        EdgeRecovery(match="luck").score(perfect, seed=0)


def test_random_edges_keep_direction_levels_and_undirected_edges(perfect, with_graph):
    made = RANDOM_GRAPH.make(perfect, 4).structure
    assert made.direction == "selection"
    assert sum(map(len, made.constituents)) == 6
    assert not any(made.constituents[2:])
    ring = with_graph(perfect, (2,), (), (0,), (), (), (), (), ())
    constituents = RANDOM_GRAPH.make(ring, 4).structure.constituents
    pairs = {(j, i) for i, tuple_ in enumerate(constituents) for j in tuple_}
    assert len(pairs) == 2
    assert pairs == {(i, j) for j, i in pairs}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("generators.selection.discrete.family:DiscreteHierarchy", {"depth": 2, "roots": 2}),
        ("generators.selection.continuous.family:ContinuousHierarchy", {"levels": (2, 5), "branching": 2, "dimension": 8, "cells": 128}),
        ("generators.controls.classic_hierarchy:ClassicHierarchy", {"levels": (3, 12), "dimension": 16, "noise": 0.0}),
    ],
)
def test_the_oracle_has_the_graph_of_every_family(name, settings):
    """Hidden levels are among its codes, whether the view shows them or not."""
    instance = load(name)(**settings).draw(0)
    sample = instance.sample(1000, 0, "test")
    outcome = Outcome(torch.zeros(1000, 0), sample, sorted(sample.observed.views)[0], truth=instance.truth, instance=instance)
    best = GRAPH_ORACLE.make(outcome, 0)
    for evaluator in MATCHED:
        assert evaluator.score(best, seed=0).value == pytest.approx(BEST[evaluator.direction])
    assert Direction().score(best, seed=0).value == 1.0


def test_level_0_of_states_is_matched_by_what_is_below_it_alone():
    """Its partition is invisible from below: a code of level 0 with other states is the same node."""
    instance = load("generators.selection.discrete.family:DiscreteHierarchy")(depth=2, roots=2).draw(0)
    sample = instance.sample(1000, 0, "test")
    best = GRAPH_ORACLE.make(Outcome(torch.zeros(1000, 0), sample, "tokens", truth=instance.truth, instance=instance), 0)
    codes = best.codes.clone()
    codes[:, :2] = codes[:, :2] % 2
    assert EdgeRecovery().score(replace(best, codes=codes), seed=0).value == pytest.approx(1.0)
    assert StateRecovery().score(replace(best, codes=codes), seed=0).value == pytest.approx(1.0)
