"""How far apart the found and the true hierarchy are as sets of sets."""

from __future__ import annotations

from evaluators.graph.score import GraphScore
from testbed.contracts import Outcome, Scores
from testbed.numerics.graphs import closure, leaf_sets, robinson_foulds


class AncestorDistance(GraphScore):
    r"""Jaccard distance of the relations "is below" of the found and the true hierarchy; 0 where they are the same.

    .. math:: 1 - \frac{|R \cap \hat R|}{|R \cup \hat R|}, \qquad R = \{(j, i) : j \text{ is a constituent of } i, \text{ or below one}\}

    Pairs of codes that are matched to no concept count as false ones. A level left out costs the pairs of that level alone, and not the
    pairs above and below it, as it does in `EdgeRecovery`. The part ``tree`` is the Robinson-Foulds distance [1]_ of the forests, divided
    by the largest that it could be: sets of leaves below composites that only one of the two has. It looks at leaves only, so that it needs
    no match of composites; where constituents are shared it compares the sets all the same.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`.
    least : float
        As for `NodeRecovery`.

    References
    ----------
    .. [1] Robinson & Foulds (1981), Comparison of phylogenetic trees, Mathematical Biosciences 53.
    """

    direction = "lower"

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``tree`` (Robinson-Foulds, normalised), ``missing`` and ``surplus``: shares of true and of found pairs."""
        graph = self.matched(outcome)
        label = graph.label_of
        nodes = len(graph.code_of) + len(label)
        true, found = closure(graph.true_edges, nodes), closure(graph.found_edges, nodes)
        both = true.multiply(found).nnz
        leaves = [frozenset(int(label[j]) for j in below) for below in leaf_sets(graph.found.constituents)]
        apart, most = robinson_foulds(leaf_sets(graph.true.constituents), leaves)
        parts = {
            "tree": apart / max(most, 1),
            "missing": 1 - both / true.nnz,
            "surplus": 1 - both / found.nnz if found.nnz else 0.0,
        }
        return Scores(1 - both / (true.nnz + found.nnz - both), parts)
