"""Composition graphs as lists of edges: sets of leaves, structural Hamming distance, the selected MAG, matching, tree distance.

An edge runs from a constituent to the composite that it is a part of, an array of shape (E, 2) of node numbers. Hierarchies have few
edges, so that nothing here is as large as the square of the number of nodes unless it says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from testbed.contracts import InvalidInput

Edges: TypeAlias = NDArray[np.int64]


def edges_of(constituents: Sequence[Iterable[int]]) -> Edges:
    """Edges (constituent, composite) of tuples of constituents, one per node, each once, shape (E, 2)."""
    pairs = [(j, i) for i, tuple_ in enumerate(constituents) for j in tuple_]
    return np.unique(np.array(pairs, dtype=np.int64).reshape(-1, 2), axis=0)


def constituents_of(edges: Edges, nodes: int) -> tuple[tuple[int, ...], ...]:
    """Tuples of constituents, one per node, of edges (constituent, composite)."""
    found: list[list[int]] = [[] for _ in range(nodes)]
    for j, i in edges.tolist():
        found[i].append(j)
    return tuple(map(tuple, found))


def closure(edges: Edges, nodes: int) -> csr_array:
    """Which nodes are below which: entry (j, i) is stored where a path of one edge or more leads from j up to i, shape (nodes, nodes)."""
    step = csr_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(nodes, nodes))
    step.data[:] = 1
    reach = step
    while True:
        longer = reach + reach @ reach
        longer.data = np.ones_like(longer.data, dtype=np.int8)
        if longer.nnz == reach.nnz:
            return csr_array(longer)
        reach = longer


def is_acyclic(edges: Edges, nodes: int) -> bool:
    return not closure(edges, nodes).diagonal().any()


def leaf_sets(constituents: Sequence[Iterable[int]]) -> list[frozenset[int]]:
    """For each node the nodes without constituents at or below it; a node that has none is its own leaf."""
    below = closure(edges_of(constituents), len(constituents)).tocsc()
    leaf = np.array([not tuple(tuple_) for tuple_ in constituents], dtype=bool)
    sets = []
    for i in range(len(constituents)):
        column = below.indices[below.indptr[i] : below.indptr[i + 1]]
        sets.append(frozenset([i] if leaf[i] else column[leaf[column]].tolist()))
    return sets


# --------------------------------------------------------------------------------------------------------------- distances


def structural_hamming_distance(true: Edges, found: Edges) -> int:
    """Pairs of nodes between which the graphs differ: a missing, a surplus or a reversed edge counts 1 [1]_.

    References
    ----------
    .. [1] Tsamardinos, Brown & Aliferis (2006), The max-min hill-climbing Bayesian network structure learning algorithm.
    """
    a, b = _pair_states(true), _pair_states(found)
    return sum(a.get(pair, 0) != b.get(pair, 0) for pair in a.keys() | b.keys())


def overlap(true: Edges, found: Edges) -> int:
    """Number of edges, direction included, that both have."""
    return len(set(map(tuple, true.tolist())) & set(map(tuple, found.tolist())))


def undirected(edges: Edges) -> Edges:
    """The same edges without direction, the smaller node first, each once."""
    return np.unique(np.sort(edges, axis=1), axis=0)


def robinson_foulds(true: Collection[frozenset[Any]], found: Collection[frozenset[Any]]) -> tuple[int, int]:
    r"""Robinson-Foulds distance of two rooted forests with labelled leaves [1]_, and the largest that it could be.

    .. math:: |A \mathbin{\triangle} B|, \qquad |A| + |B|

    where A and B are the sets of leaves below each inner node: those with two leaves or more, each once.

    References
    ----------
    .. [1] Robinson & Foulds (1981), Comparison of phylogenetic trees, Mathematical Biosciences 53.
    """
    a, b = ({leaves for leaves in sets if len(leaves) > 1} for sets in (true, found))
    return len(a ^ b), len(a) + len(b)


def _pair_states(edges: Edges) -> dict[tuple[int, int], int]:
    """For each unordered pair with an edge: 1 upwards in number, 2 downwards, 3 both."""
    states: dict[tuple[int, int], int] = {}
    for j, i in edges.tolist():
        pair, state = ((j, i), 1) if j < i else ((i, j), 2)
        states[pair] = states.get(pair, 0) | state
    return states


# ------------------------------------------------------------------------------------------------------------ selected MAG


def selected_mag(
    constituents: Sequence[Sequence[int]], selected: Sequence[bool] | None = None, jointly: Sequence[Sequence[int]] = ()
) -> tuple[Edges, Edges]:
    """The maximal ancestral graph of all nodes given selection: what tests of conditional independence can at best find [1]_.

    Nodes are adjacent where one is a constituent of the other, or where they have a common effect that is selected upon: a potential
    of their own tuple, or a composite below which (towards the abstract) something is selected. No longer inducing path exists, since
    without hidden causes a path has no two colliders in a row. An edge is undirected where both ends are ancestors of the selection.

    Parameters
    ----------
    constituents : sequence of sequence of int
    selected : sequence of bool, optional
        Of each node, whether a potential weighs its tuple; everyone's by default.
    jointly : sequence of sequence of int
        Further sets of nodes that one potential weighs, such as that on level 0; one node alone is a set, too.

    Returns
    -------
    undirected : array, shape (E, 2)
        The smaller node first.
    directed : array, shape (D, 2)
        From a constituent to a composite that nothing selects upon.

    References
    ----------
    .. [1] Richardson & Spirtes (2002), Ancestral graph Markov models, Annals of Statistics 30, section 4.2.
    """
    nodes = len(constituents)
    weighed = [True] * nodes if selected is None else list(selected)
    if len(weighed) != nodes:
        raise InvalidInput(f"there are {nodes} nodes, but selected has {len(weighed)} entries: give one each")
    edges = edges_of(constituents)
    under = {j for i in range(nodes) if weighed[i] for j in constituents[i]} | {j for together in jointly for j in together}
    below = closure(edges, nodes).tocsc()
    ancestors = set(under)
    for i in under:
        ancestors.update(below.indices[below.indptr[i] : below.indptr[i + 1]].tolist())
    pairs = [(j, i) for j, i in edges.tolist() if i in ancestors]
    for i in range(nodes):
        if weighed[i] or i in ancestors:
            pairs += _pairs(constituents[i])
    for together in jointly:
        pairs += _pairs(together)
    free = [(j, i) for j, i in edges.tolist() if i not in ancestors]
    return undirected(np.array(pairs, dtype=np.int64).reshape(-1, 2)), np.array(free, dtype=np.int64).reshape(-1, 2)


def _pairs(nodes: Sequence[int]) -> list[tuple[int, int]]:
    return [(a, b) for k, a in enumerate(nodes) for b in nodes[k + 1 :]]


# ---------------------------------------------------------------------------------------------------------------- matching


def one_to_one(similarity: NDArray[Any], least: float = 0.0) -> NDArray[np.int64]:
    """The code of each concept, -1 where it has none, shape (c,), that maximise the sum of similarities.

    Parameters
    ----------
    similarity : array, shape (c, m)
    least : float
        Pairs less similar than this, or not similar at all (0), are never matched.
    """
    allowed = np.where(similarity >= least, similarity, 0.0)
    concept, code = linear_sum_assignment(allowed, maximize=True)
    found = np.full(len(similarity), -1, dtype=np.int64)
    used = allowed[concept, code] > 0
    found[concept[used]] = code[used]
    return found


def set_similarity(true: Sequence[frozenset[Any]], found: Sequence[frozenset[Any]]) -> NDArray[np.float64]:
    """Jaccard index |A and B| / |A or B| of every set with every other one, shape (len(true), len(found)); 0 where both are empty."""
    number = {item: k for k, item in enumerate(sorted({item for sets in (true, found) for one in sets for item in one}, key=repr))}

    def incidence(sets: Sequence[frozenset[Any]]) -> csr_array:
        column = [number[item] for one in sets for item in one]
        indptr = np.cumsum([0, *map(len, sets)])
        return csr_array((np.ones(len(column)), column, indptr), shape=(len(sets), len(number)))

    a, b = incidence(true), incidence(found)
    both = (a @ b.T).toarray()
    either = np.asarray(a.sum(axis=1))[:, None] + np.asarray(b.sum(axis=1))[None] - both
    return np.asarray(both / np.maximum(either, 1), dtype=np.float64)


def relabelled(edges: Edges, label_of: NDArray[np.int64]) -> Edges:
    """Edges with each node by its label; `label_of` has shape (nodes,)."""
    return np.unique(label_of[edges].reshape(-1, 2), axis=0)


def labels_of_codes(code_of: NDArray[np.int64], codes: int) -> NDArray[np.int64]:
    """What each code is called among c concepts: the concept it is matched to, or a number from c on, shape (codes,)."""
    label = np.arange(codes, dtype=np.int64) + len(code_of)
    has = code_of >= 0
    label[code_of[has]] = np.flatnonzero(has)
    return label


def random_edges(edges: Edges, levels: Sequence[int], generator: np.random.Generator) -> Edges:
    """As many edges between each pair of levels as there are, drawn anew among all pairs of their nodes without replacement."""
    level = np.asarray(levels, dtype=np.int64)
    if not len(edges):
        return edges
    of_edge = level[edges]  # (E, 2)
    kinds, counts = np.unique(of_edge, axis=0, return_counts=True)
    drawn = []
    for (low, high), count in zip(kinds.tolist(), counts.tolist(), strict=True):
        sources, targets = np.flatnonzero(level == low), np.flatnonzero(level == high)
        if low == high:  # no node is its own constituent
            place = generator.choice(len(sources) * (len(sources) - 1), size=count, replace=False)
            j, i = np.divmod(place, len(sources) - 1)
            i = i + (i >= j)
        else:
            place = generator.choice(len(sources) * len(targets), size=count, replace=False)
            j, i = np.divmod(place, len(targets))
        drawn.append(np.stack([sources[j], targets[i]], axis=1))
    return np.concatenate(drawn).astype(np.int64)


def levels_of(levels: Sequence[int] | None, p: int) -> NDArray[np.int64]:
    """Given levels of p columns, shape (p,); all 0 where none are given.

    Raises
    ------
    InvalidInput
        If they are not as many as columns, or one is negative.
    """
    out = np.zeros(p, dtype=np.int64) if levels is None else np.asarray(levels, dtype=np.int64)
    if out.shape != (p,) or (out < 0).any():
        raise InvalidInput(f"levels has {out.size} entries for {p} columns: give one number from 0 on for each")
    return out
