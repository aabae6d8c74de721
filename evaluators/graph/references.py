"""What scores of graphs are read against: edges at random, and the true graph among the best codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from evaluators.calibration import true_structure, truth_of
from evaluators.graph.matching import structure_of
from testbed.contracts import Codes, Outcome, Reference, Rows, SparseRows, side_by_side
from testbed.numerics.graphs import constituents_of, edges_of, random_edges, undirected
from testbed.numerics.matching import dense


def _random_graph(outcome: Outcome, seed: int) -> Outcome:
    found = structure_of(outcome)
    edges, generator = edges_of(found.constituents), np.random.default_rng(seed)
    # An edge that is written both ways is undirected, and stays so.
    there = set(map(tuple, edges.tolist()))
    mutual = np.array([(i, j) in there for j, i in edges.tolist()], dtype=bool)
    pairs = random_edges(undirected(edges[mutual]), found.levels, generator)
    drawn = np.concatenate([random_edges(edges[~mutual], found.levels, generator), pairs, pairs[:, ::-1]])
    constituents = constituents_of(np.unique(drawn, axis=0), len(found.levels))
    return replace(outcome, structure=replace(found, constituents=constituents))


def _graph_oracle(outcome: Outcome, seed: int) -> Outcome:
    truth = truth_of(outcome)
    levels = tuple(sorted(outcome.sample.latents))
    told = truth.codes(outcome.sample.observed, outcome.view)
    which = truth.written(outcome.view) or tuple(range(len(truth.levels)))
    width = [truth.levels[level].size for level in which]
    pieces: dict[int, Codes] = {}
    if sum(width) == told.shape[1]:
        sparse = isinstance(told, SparseRows)
        split = torch.split(dense(told), width, dim=1)
        pieces = {level: SparseRows.from_dense(x) if sparse else x for level, x in zip(which, split, strict=True)}
    codes: list[Rows] = [pieces.get(level, outcome.sample.latents[level]) for level in levels]
    return replace(outcome, codes=side_by_side(codes), dictionary=None, decode=None, encode=None, structure=true_structure(truth, levels))


RANDOM_GRAPH = Reference("random_graph", "trial", _random_graph)
"""The trial's codes with as many edges as its graph has between each two levels, placed at random between codes of these levels."""

GRAPH_ORACLE = Reference("graph_oracle", "instance", _graph_oracle)
"""The true graph among the best codes that knowledge of the truth gives; levels that no code of the view tells are their concepts."""
