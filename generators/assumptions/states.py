"""Conditions on discrete states: are they told apart by their contexts, and are there as many as there need be."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import torch
from torch import Tensor

from generators.assumptions.finding import TOLERANCE, Finding
from generators.assumptions.information import checked_law
from testbed.contracts import InvalidInput, NotApplicable

CLIQUE = 64
"""Positive entries up to which the largest fooling set is found exactly; beyond, one is grown greedily (a bound as well)."""


def total_variation(laws: Tensor) -> Tensor:
    r""":math:`\tfrac12 \sum_c |p_c - q_c|` between all rows, shape (k, b) -> (k, k)."""
    return torch.cdist(laws, laws, p=1) / 2


def chi_square(laws: Tensor) -> Tensor:
    r""":math:`\tfrac12 \sum_c (p_c - q_c)^2 / (p_c + q_c)` between all rows: between TV squared and TV [1]_.

    References
    ----------
    .. [1] Le Cam (1986), Asymptotic methods in statistical decision theory, section 4.2.
    """
    p, q = laws[:, None], laws[None]
    both = p + q
    return 0.5 * torch.where(both > 0, (p - q) ** 2 / both.clamp_min(torch.finfo(laws.dtype).tiny), 0.0).sum(dim=2)


def no_twins(joint: Tensor) -> Finding:
    r"""Distinct states have distinct context laws [1]_: :math:`\min_{u \ne v} TV(p(c \mid u), p(c \mid v)) > 0`.

    Parameters
    ----------
    joint : Tensor, shape (states, contexts)
        Joint probabilities (or counts) of state and context; states that never occur are left out.

    Returns
    -------
    Finding
        Margin: that minimum. Witness: the deciding pair, and the chi-square distance of its laws.

    References
    ----------
    .. [1] Kong et al. (2025), arXiv 2512.10720, discrete case; the same as Crutchfield & Young's (1989) causal states being distinct.
    """
    laws, alive = _context_laws(joint)
    if len(alive) < 2:
        raise NotApplicable("fewer than two states occur: there is no pair to tell apart")
    distance = total_variation(laws).fill_diagonal_(torch.inf)
    a, b = divmod(int(distance.argmin()), len(alive))
    pair = sorted((int(alive[a]), int(alive[b])))
    return Finding.of(float(distance[a, b]), pair=pair, chi_square=float(chi_square(laws[[a, b]])[0, 1]), states=len(alive))


def states_are_context_laws(joint: Tensor, states: Tensor) -> Finding:
    r"""For deterministic g: as many states as distinct context laws of tuples, and the same partition of tuples.

    A composite can be seen from below only as the minimal sufficient statistic of its tuple for the rest: tuples with one context law are
    one state, whatever g says [1]_.

    Parameters
    ----------
    joint : Tensor, shape (tuples, contexts)
    states : Tensor, shape (tuples,), int64
        g.

    Returns
    -------
    Finding
        Margin: the smallest distance (TV) between tuples of different states, if tuples of one state have one law; else minus the largest
        distance within a state. Witness: the pair of tuples that decides, the number of states and of laws.

    References
    ----------
    .. [1] Kong et al. (2025), arXiv 2512.10720, discrete case, as stated in the testbed's design; Lehmann & Scheffe (1950) for minimal
       sufficiency.
    """
    laws, alive = _context_laws(joint)
    if states.shape != (len(joint),):
        raise InvalidInput(f"g names {tuple(states.shape)} states for {len(joint)} tuples: one each is wanted")
    g = states[alive]
    distance = total_variation(laws)
    same = g[:, None] == g[None]
    within = torch.where(same, distance, 0.0)
    between = torch.where(same, torch.inf, distance)
    count = {"states": len(torch.unique(g)), "context_laws": number_of_laws(laws)}
    if float(within.max()) > TOLERANCE:
        a, b = divmod(int(within.argmax()), len(alive))
        return Finding.of(-float(within.max()), tuples=[int(alive[a]), int(alive[b])], split=int(g[a]), **count)
    if count["states"] < 2:
        raise NotApplicable("only one state occurs: there is nothing to tell apart")
    a, b = divmod(int(between.argmin()), len(alive))
    return Finding.of(float(between.min()), tuples=[int(alive[a]), int(alive[b])], twins=[int(g[a]), int(g[b])], **count)


def number_of_laws(laws: Tensor, tolerance: float = TOLERANCE) -> int:
    """Rows that differ by more than `tolerance` in total variation, joined transitively."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(laws)))
    graph.add_edges_from((total_variation(laws) <= tolerance).nonzero().tolist())
    return nx.number_connected_components(graph)


def nonnegative_rank_bounds(joint: Tensor) -> tuple[int, int]:
    r"""Bounds on how few states explain a joint table, :math:`J = \sum_v p(v)\, p(t \mid v)\, p(c \mid v)^\top`, when g is stochastic.

    Below: the rank, and the largest fooling set of the support (positive entries no two of which lie in one positive rectangle) [1]_.
    Above: the number of rows (columns) that are not multiples of each other. Rank alone under-counts for ever: it may be less than the
    non-negative rank, to which it is equal up to 2.

    Parameters
    ----------
    joint : Tensor, shape (tuples, contexts)

    Returns
    -------
    low, high : int

    References
    ----------
    .. [1] Cohen & Rothblum (1993), Nonnegative ranks, decompositions, and factorizations of nonnegative matrices, Linear Algebra Appl.;
       Fiorini, Kaibel, Pashkovich & Theis (2013), Combinatorial bounds on nonnegative rank, Discrete Math.
    """
    law = checked_law(joint)
    law = law[law.sum(dim=1) > 0][:, law.sum(dim=0) > 0]
    s = torch.linalg.svdvals(law)
    rank = int((s > 1e-10 * s[0]).sum())
    high = min(number_of_laws(_rows_of(law)), number_of_laws(_rows_of(law.T)))
    if rank <= 2:
        return rank, rank
    return min(high, max(rank, _fooling_set(law > 0))), high


def states_by_rank(joint: Tensor, states: int) -> Finding:
    """For stochastic g: no fewer states than `states` explain the joint table.

    Returns
    -------
    Finding
        Margin: lower bound - states + 1. Fails if the upper bound is below `states`.

    Raises
    ------
    NotApplicable
        If the bounds leave it open: the non-negative rank is NP-hard to find (Vavasis 2009).
    """
    low, high = nonnegative_rank_bounds(joint)
    if low >= states:
        return Finding.of(float(low - states + 1), bounds=[low, high], states=states)
    if high < states:
        return Finding.of(float(high - states), bounds=[low, high], states=states)
    raise NotApplicable(f"the non-negative rank lies between {low} and {high}, and there are {states} states: it cannot be told")


def _fooling_set(support: Tensor) -> int:
    cells = [(int(i), int(j)) for i, j in support.nonzero()]

    def apart(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return not (support[a[0], b[1]] and support[b[0], a[1]])

    if len(cells) <= CLIQUE:
        graph: nx.Graph[tuple[int, int]] = nx.Graph()
        graph.add_nodes_from(cells)
        graph.add_edges_from((a, b) for a, b in combinations(cells, 2) if apart(a, b))
        return int(nx.max_weight_clique(graph, weight=None)[1])
    chosen: list[tuple[int, int]] = []
    for cell in cells:
        if all(apart(cell, other) for other in chosen):
            chosen.append(cell)
    return len(chosen)


def _context_laws(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Context law of each row that occurs, and which rows these are."""
    if joint.dim() != 2:
        raise InvalidInput(f"a table of states and contexts has two axes, not shape {tuple(joint.shape)}")
    law = checked_law(joint)
    alive = (law.sum(dim=1) > 0).nonzero()[:, 0]
    return _rows_of(law[alive]), alive


def _rows_of(law: Tensor) -> Tensor:
    return law / law.sum(dim=1, keepdim=True)
