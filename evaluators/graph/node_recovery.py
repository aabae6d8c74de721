"""Whether the nodes of a found graph are the true concepts."""

from __future__ import annotations

import numpy as np

from evaluators.calibration import PERMUTED_CODES
from evaluators.graph.score import GraphScore
from testbed.contracts import Outcome, Scores


class NodeRecovery(GraphScore):
    r"""F1 of true concepts and the nodes of the found graph that they are matched to, one to one.

    .. math:: F = \frac{2 H}{c + m}, \qquad \text{precision } H / m, \quad \text{recall } H / c

    with H the pairs that are at least `least` similar on both halves of the rows, c the concepts of all levels and m the codes that vary or
    have an edge. Level error is the mean of :math:`|l - \hat l|` over these pairs, with levels counted from the most abstract one.

    Correlated concepts are similar to each other's codes, so that copies of a common factor can pass for nodes: read it beside chance
    and beside edges.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        Smallest similarity of a pair: absolute correlation, adjusted mutual information of states, or Jaccard index of leaves.
    """

    chance = PERMUTED_CODES

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``precision``, ``recall``, ``level error``, and ``level_0`` ...: recall of the concepts of each level."""
        graph = self.matched(outcome)
        has = graph.code_of >= 0
        levels, found = np.array(graph.true.levels), np.array(graph.found.levels)
        hits, m = int(has.sum()), int(graph.alive.sum())
        error = np.abs(levels[has] - found[graph.code_of[has]])
        parts = {"precision": hits / max(m, 1), "recall": hits / len(has)}
        # Where no pair is found the error is the largest that one could have.
        parts["level error"] = float(error.mean()) if hits else float(levels.max())
        parts |= {f"level_{level}": float(has[levels == level].mean()) for level in np.unique(levels)}
        return Scores(2 * hits / (len(has) + m), parts)
