"""What simple rules find among the same codes, and among the oracle's: the bar for a graph method."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from evaluators.calibration import PERMUTED_CODES, checked_codes, truth_of
from evaluators.graph.matching import Match, graph_levels, matched_graph
from evaluators.graph.references import GRAPH_ORACLE
from evaluators.graph.score import GraphScore
from testbed.contracts import NotApplicable, Outcome, Scores, Structure
from testbed.numerics.edges import FINDERS, structure_by
from testbed.numerics.graphs import overlap

ROWS = 16_384
"""Rows that the rules and the oracle see, at most."""


class GraphBaselines(GraphScore):
    """F1 of composition edges that four simple rules find: plain correlation, P(higher | lower), PMI, agglomerative clustering.

    Every rule is run twice: on the estimator's codes and on the oracle's, so that what is lost by wrong codes and what is lost by a
    simple rule stand apart. In each, a lower code becomes a constituent of the one upper code that it scores highest with, if that could
    not be luck at a level of 1 % between two levels (see `testbed.numerics.edges`); nothing is tuned on the truth. An estimator that finds
    no graph has no levels either: its codes then get the level of the concept that they are matched to, *which is read off the truth* and
    flatters; on the oracle's codes levels are the true ones. Edges are scored as in `EdgeRecovery`; rules and oracle see the first
    16,384 rows at most.

    The value is the best of the four on the estimator's codes: what a graph method must beat with the same codes. It says nothing about the
    estimator's own graph.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        As for `NodeRecovery`.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("real", "sparse")
    chance = PERMUTED_CODES

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``correlation on estimated codes``, ``correlation on oracle codes``, and so for each rule."""
        truth, levels = truth_of(outcome), graph_levels(outcome)
        if any(truth.levels[level].kind not in self.kinds for level in levels):
            raise NotApplicable("baselines of graphs need concepts that are on or off, or real, not states")
        checked_codes(outcome)
        parts = self._scores(outcome, "estimated codes")
        best = max(parts.values())
        fewer = replace(outcome, codes=outcome.codes[:ROWS], sample=outcome.sample[:ROWS])
        return Scores(best, parts | self._scores(GRAPH_ORACLE.make(fewer, seed), "oracle codes"))

    def _scores(self, outcome: Outcome, where: str) -> dict[str, float]:
        m = outcome.codes.shape[1]
        if outcome.structure is None:
            blank = replace(outcome, structure=Structure((0,) * m, ((),) * m))
            code_of = matched_graph(blank, "activity", self.least)
            levels = np.full(m, -1)
            has = code_of.code_of >= 0
            levels[code_of.code_of[has]] = np.array(code_of.true.levels)[has]
        else:
            levels = np.array(outcome.structure.levels)
        scores = {}
        graph = None
        for name, finder in FINDERS.items():
            structure = structure_by(finder, outcome.codes[:ROWS], levels.tolist())
            if graph is None or self.match != "activity":
                graph = matched_graph(replace(outcome, structure=structure), cast(Match, self.match), self.least)
            # Matching by activity does not look at edges: once is enough.
            edges = replace(graph, found=structure).found_edges
            scores[f"{name} on {where}"] = 2 * overlap(graph.true_edges, edges) / (len(graph.true_edges) + len(edges))
        return scores
