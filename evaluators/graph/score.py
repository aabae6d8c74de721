"""What scores of found graphs share."""

from __future__ import annotations

from typing import ClassVar, cast

from evaluators.graph.matching import Match, MatchedGraph, matched_graph
from evaluators.graph.references import GRAPH_ORACLE, RANDOM_GRAPH
from testbed.contracts import Evaluator, Outcome


class GraphScore(Evaluator):
    """A score of a found graph whose codes are first matched to the concepts of the true one.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        Smallest similarity of a pair: absolute correlation, adjusted mutual information of states, or Jaccard index of leaves.
    """

    equivalence = "permutation, sign and scale of each code; relabelling of states"
    invariances: ClassVar[tuple[str, ...]] = ("permutation", "sign", "scale", "shift", "state relabelling")
    kinds: ClassVar[tuple[str, ...]] = ("states", "real", "sparse")
    chance = RANDOM_GRAPH
    ceiling = GRAPH_ORACLE

    def __init__(self, match: str = "activity", least: float = 0.5) -> None:
        self.match = match
        self.least = least

    def matched(self, outcome: Outcome) -> MatchedGraph:
        """Both graphs, and which code is which concept; see `matched_graph` for what it raises."""
        return matched_graph(outcome, cast(Match, self.match), self.least)
