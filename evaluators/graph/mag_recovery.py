"""Whether a graph of conditional independences is the one that selection leaves."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from evaluators.calibration import truth_of
from evaluators.graph.matching import graph_levels
from evaluators.graph.score import GraphScore
from evaluators.graph.truths import selected
from testbed.contracts import Outcome, Scores
from testbed.numerics.graphs import Edges, edges_of, overlap, selected_mag, undirected


class MagRecovery(GraphScore):
    r"""F1 of the adjacencies of the found graph and of the selected MAG: the target of methods built on conditional independence.

    Every constrained concept is an ancestor of the selection. So under faithfulness tests of conditional independence can at best find
    the maximal ancestral graph given selection, which is undirected and joins a composite to its constituents *and these to each
    other* (`selected_mag`) [1]_. A method that finds such a graph writes each undirected edge both ways, each end a constituent of the
    other, and these edges are compared as they are. Constituents written one way are a composition: they stand for the MAG that they imply,
    with edges between constituents of one composite unless the method says that children are independent. So the true composition DAG
    reaches 1 as well, but nobody needs its arrows to do so.

    Composition by a function is a case where faithfulness can fail: given all constituents a composite is constant. Where the truth selects
    nothing (controls) the composition DAG's own adjacencies are the target.

    Parameters
    ----------
    match : {"activity", "descendants"}
        See `matched_graph`. A graph of dependences has no levels, so that descendants mean little in it.
    least : float
        As for `NodeRecovery`.

    References
    ----------
    .. [1] Richardson & Spirtes (2002), Ancestral graph Markov models, Annals of Statistics 30, section 4.2.
    """

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``precision``, ``recall``, ``SHD``, and the recall of edges ``to composites`` and ``between constituents``."""
        graph = self.matched(outcome)
        mag = true_mag(outcome)
        found = _implied(graph.found_edges, graph.found.direction)
        hits = overlap(mag, found)
        up = undirected(graph.true_edges)
        pairs = set(map(tuple, up.tolist()))
        across = np.array([pair for pair in mag.tolist() if tuple(pair) not in pairs], dtype=np.int64).reshape(-1, 2)
        parts = {
            "precision": hits / max(len(found), 1),
            "recall": hits / len(mag),
            "SHD": float(len(mag) + len(found) - 2 * hits),
            "to composites": overlap(up, found) / len(up),
        }
        if len(across):
            parts["between constituents"] = overlap(across, found) / len(across)
        return Scores(2 * hits / (len(mag) + len(found)), parts)


def _implied(edges: Edges, direction: str) -> Edges:
    """Adjacencies that a found graph stands for, the smaller node first, shape (E, 2)."""
    there = set(map(tuple, edges.tolist()))
    above: dict[int, list[int]] = {}
    for j, i in there:
        if (i, j) not in there:
            above.setdefault(i, []).append(j)
    pairs = [] if direction == "independent children" else [pair for tuple_ in above.values() for pair in combinations(tuple_, 2)]
    return undirected(np.concatenate([edges, np.array(pairs, dtype=np.int64).reshape(-1, 2)]))


def true_mag(outcome: Outcome) -> Edges:
    """Adjacencies of the selected MAG of all concepts, level 0 first, the smaller number first, shape (E, 2)."""
    truth, levels = truth_of(outcome), graph_levels(outcome)
    weighed = selected(truth)
    number: dict[tuple[int, int], int] = {}
    constituents, flags = [], []
    for level in levels:
        number |= {(level, i): len(number) + i for i in range(truth.levels[level].size)}
    for level in levels:
        for i in range(truth.levels[level].size):
            tuples = truth.constituents.get(level, ())
            tuple_ = tuples[i] if i < len(tuples) else ()
            constituents.append([number[level + 1, j] for j in tuple_ if (level + 1, j) in number])
            flags.append(weighed[level][i] if level in weighed and i < len(weighed[level]) else False)
    roots = [[number[0, i] for i in range(truth.levels[0].size)]] if "root_potential_joint" in truth.facts and 0 in levels else []
    both, free = selected_mag(constituents, flags, roots)
    return undirected(np.concatenate([both, free])) if len(free) else both if len(both) else edges_of(constituents)
