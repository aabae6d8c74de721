"""How often the found graph gives the wrong answer to a question about interventions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from evaluators.graph.score import GraphScore
from testbed.contracts import InvalidInput, NotApplicable, Outcome, Scores
from testbed.numerics.graphs import is_acyclic

Strategy = Literal["ancestor", "oset", "parent", "sid"]
STRATEGIES = ("ancestor", "oset", "parent", "sid")


class InterventionDistance(GraphScore):
    r"""Adjustment identification distance: the share of pairs of concepts whose effect the found graph would have one compute wrongly.

    For every ordered pair of concepts (s, t) the found graph names an adjustment set for the effect of s on t (``"ancestor"``: ancestors
    of s; ``"oset"``: the optimal set; ``"parent"``: its parents), or says that there is no effect; the pair is wrong where the true DAG
    does not license that [1]_. With ``"sid"`` it is the structural intervention distance of DAGs [2]_.

    Nodes are the true concepts. A concept without a code is isolated in the found graph, and edges of codes that are matched to no concept
    are left out. Both graphs run from constituents to composites, whatever direction anybody claims (`Direction` asks that), and the
    distance speaks of the base law: adjusting in a selected sample is another matter. A found graph with a cycle answers nothing, and has
    distance 1. In a hierarchy most pairs have no effect on each other, so that the *empty* graph is close too: read it against chance.
    And a surplus edge that runs from concrete to abstract costs nothing, since to adjust for more than one must is allowed: read it beside
    `EdgeRecovery`.

    Parameters
    ----------
    strategy : {"ancestor", "oset", "parent", "sid"}
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        As for `NodeRecovery`.

    References
    ----------
    .. [1] Henckel, Wuertzen & Weichwald (2024), Adjustment identification distance: a gadjid for causal structure learning, UAI,
       definition 4 and section 4.
    .. [2] Peters & Buhlmann (2015), Structural intervention distance for evaluating causal graphs, Neural Computation 27.
    """

    environment = ("gadjid",)
    direction = "lower"

    def __init__(self, strategy: str = "ancestor", match: str = "activity", least: float = 0.5) -> None:
        super().__init__(match, least)
        self.strategy = strategy

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``mistakes`` (pairs), ``empty graph`` (the distance of a graph without edges) and ``cyclic`` (1 if it is)."""
        distance = _distance(self.strategy)
        graph = self.matched(outcome)
        c = len(graph.code_of)
        true, found = np.zeros((2, c, c), dtype=np.int8)
        true[graph.true_edges[:, 0], graph.true_edges[:, 1]] = 1
        edges = graph.found_edges
        edges = edges[(edges < c).all(axis=1)]
        empty = float(distance(true, found)[0])
        if not is_acyclic(edges, c):
            return Scores(1.0, {"mistakes": float(c * (c - 1)), "empty graph": empty, "cyclic": 1.0})
        found[edges[:, 0], edges[:, 1]] = 1
        share, mistakes = distance(true, found)
        return Scores(float(share), {"mistakes": float(mistakes), "empty graph": empty, "cyclic": 0.0})


def _distance(strategy: str) -> Any:
    """From two DAGs as matrices (entry (j, i) is 1 for an edge from j to i) to the share of wrong pairs and their number."""
    if strategy not in STRATEGIES:
        raise InvalidInput(f"strategy is {strategy!r}: one of {', '.join(STRATEGIES)}")
    try:
        import gadjid
    except ModuleNotFoundError:
        raise NotApplicable("intervention distances need the package gadjid: install identifiability-testbed[causal]") from None
    function = gadjid.sid if strategy == "sid" else getattr(gadjid, f"{strategy}_aid")
    return lambda true, found: function(true, found, edge_direction="from row to column")
