"""Whether codes are composed of each other as concepts are."""

from __future__ import annotations

import numpy as np

from evaluators.graph.score import GraphScore
from testbed.contracts import Outcome, Scores
from testbed.numerics.graphs import overlap, structural_hamming_distance, undirected


class EdgeRecovery(GraphScore):
    r"""F1 of the edges, constituent to composite, of the found graph and of the true composition DAG.

    Nodes are matched first. An edge is found where both its ends are matched to the ends of a true edge, the right way round; an edge of a
    code that is matched to no concept is a false one, and so is a reversed one. Beside it stands the structural Hamming distance [1]_:
    pairs of nodes (concepts, and codes matched to none) that are joined otherwise, a reversed edge counting 1.

    An edge is wrong when either of its nodes is, so that this cannot tell a wrong graph among right codes from wrong codes; see
    `NodeRecovery`, and `GraphBaselines` for the same on the oracle's codes. Methods built on conditional independence cannot find the
    composition DAG: they are scored by `MagRecovery`. What makes constituents depend on each other is `Direction`'s question.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        As for `NodeRecovery`.

    References
    ----------
    .. [1] Tsamardinos, Brown & Aliferis (2006), The max-min hill-climbing Bayesian network structure learning algorithm.
    """

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``precision``, ``recall``, ``F1 undirected``, ``SHD``, and ``level_0`` ...: recall of edges into composites of a level.

        Details: ``graph``, both graphs for the report to draw.
        """
        graph = self.matched(outcome)
        true, found = graph.true_edges, graph.found_edges
        hits = overlap(true, found)
        plain_true, plain_found = undirected(true), undirected(found)
        parts = {
            "precision": hits / max(len(found), 1),
            "recall": hits / len(true),
            "F1 undirected": 2 * overlap(plain_true, plain_found) / (len(plain_true) + len(plain_found)),
            "SHD": float(structural_hamming_distance(true, found)),
        }
        into = np.array(graph.true.levels)[true[:, 1]]
        parts |= {f"level_{level}": overlap(true[into == level], found) / int((into == level).sum()) for level in np.unique(into)}
        return Scores(2 * hits / (len(true) + len(found)), parts, details={"graph": graph.picture()})
