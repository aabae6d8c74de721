r"""Tables for drawing the trees of a forest that are not all off, and no others.

Beside on, a node has two ways of being off: with something on below it ("some"), or all off. With :math:`P_j = \mu_j(0)` and
:math:`Z_j` the part of it in which all is off below j,

.. math::
    \mu_i(\text{all off}) = \phi(0) \prod_j Z_j, \qquad
    \mu_i(\text{some}) = \sum_{k \ge 1 : g(k) = 0} \phi(k)\, e_k + \phi(0) \sum_j \prod_{i < j} Z_i\, (P_j - Z_j) \prod_{i > j} P_i,

so that no small probability is a difference of large ones. The terms of the last sum are the law of the *first* constituent with
something on below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.messages import Evidence, cumulative, inclusion, polynomial
from generators.selection.randomness import Floats, Ints, uniform
from generators.selection.rules import Compositions, weights


@dataclass(frozen=True)
class Descent:
    """What is looked up on the way down. Nodes are numbered level by level; composites come first.

    Attributes
    ----------
    root : ndarray, shape (T,)
        Node at the top of each tree. A node that is forced before selection is the leaf of one tree and the top of another.
    hidden : ndarray of bool, shape (T,)
        Whether the top is such a node, whose own state in this tree nobody sees.
    active : ndarray, shape (T,)
        P(not all off).
    on : ndarray, shape (T,)
        P(top on | not all off).
    some : ndarray, shape (N,)
        P(something on below | off).
    cut : ndarray of bool, shape (N,)
        Nodes from above which nothing is drawn below.
    constituents : ndarray, shape (C, s)
        Nodes of which each composite is composed, -1 beyond their number.
    count_on, count_some : ndarray, shape (C, s + 1)
        P(at most k constituents on | composite on), and | composite off with something on below.
    first : ndarray, shape (C, s)
        P(the first constituent with something on below is at most j | all of them off, not all off below them).
    include : ndarray, shape (C, s, s + 1)
        P(constituent j is on | k of the constituents j ... are on).
    """

    root: Ints
    hidden: NDArray[np.bool_]
    active: Floats
    on: Floats
    some: Floats
    cut: NDArray[np.bool_]
    constituents: Ints
    count_on: Floats
    count_some: Floats
    first: Floats
    include: Floats


def descent(forest: Forest, composition: Compositions, tilts: Tensor, evidence: Evidence) -> Descent:
    """Tables of a forest whose tilts are known, under evidence that is possible."""
    last, nodes = len(forest.sizes) - 1, sum(forest.sizes)
    composites, widest = forest.start(last), max((lower.shape[1] for lower in forest.constituents), default=1)
    own = torch.empty(nodes, 3, dtype=torch.float64)  # on, some, all off: of each node by what is below it
    seen = torch.empty_like(own)  # the same as what is above it sees
    kids = torch.full((composites, widest), -1)
    count_on = torch.ones(composites, widest + 1, dtype=torch.float64)
    count_some, first = count_on.clone(), torch.ones(composites, widest, dtype=torch.float64)
    include = torch.zeros(composites, widest, widest + 1, dtype=torch.float64)
    for level in reversed(range(last + 1)):
        here = slice(forest.start(level), forest.start(level) + forest.sizes[level])
        if level == last:
            on = torch.sigmoid(tilts[here])
            raw = torch.stack([on, torch.zeros_like(on), torch.sigmoid(-tilts[here])], dim=1)
        else:
            lower = forest.constituents[level] + forest.start(level + 1)
            s = lower.shape[1]
            pairs, some, none = torch.stack([1 - seen[lower, 0], seen[lower, 0]], -1), seen[lower, 1], seen[lower, 2]
            pairs[..., 0] = some + none
            holds, phi = weights(composition, level, forest.sizes[level])
            weight = phi * polynomial(pairs)
            weight_on = torch.where(holds, weight, 0.0) * tilts[here].exp()[:, None]
            weight_some = torch.where(holds, 0.0, weight)
            terms = _first_terms(pairs[..., 0], some, none)  # (n_l, s)
            weight_some[:, 0] = phi[:, 0] * terms.sum(dim=1)
            raw = torch.stack([weight_on.sum(dim=1), weight_some.sum(dim=1), phi[:, 0] * none.prod(dim=1)], dim=1)
            kids[here, :s] = lower
            count_on[here, : s + 1], count_some[here, : s + 1] = cumulative(weight_on), cumulative(weight_some)
            first[here, :s], include[here, :s, : s + 1] = cumulative(terms), inclusion(pairs)
        clamp, cut = evidence.clamp[here, None], evidence.cut[here, None]
        raw = raw * torch.cat([clamp != 0, clamp != 1, clamp != 1], dim=1)
        own[here] = raw / raw.sum(dim=1, keepdim=True)
        forced = torch.cat([cut == 1, torch.zeros_like(cut, dtype=torch.bool), cut == 0], dim=1).double()
        seen[here] = torch.where(cut >= 0, forced, own[here])
    roots = torch.cat([forest.roots(level) + forest.start(level) for level in range(last + 1)])
    hidden = (evidence.cut[:composites] >= 0).nonzero()[:, 0]
    law = torch.cat([seen[roots], own[hidden]])
    active = 1 - law[:, 2]
    active = torch.where(active < 0.5, law[:, 0] + law[:, 1], active)
    return Descent(
        torch.cat([roots, hidden]).numpy(),
        np.arange(len(law)) >= len(roots),
        active.numpy(),
        (law[:, 0] / (law[:, 0] + law[:, 1])).nan_to_num(0.0).numpy(),
        (seen[:, 1] / (seen[:, 1] + seen[:, 2])).nan_to_num(0.0).numpy(),
        (evidence.cut >= 0).numpy(),
        kids.numpy(),
        count_on.numpy(),
        count_some.numpy(),
        first.numpy(),
        include.numpy(),
    )


def _first_terms(off: Tensor, some: Tensor, none: Tensor) -> Tensor:
    r""":math:`\prod_{i < j} Z_i (P_j - Z_j) \prod_{i > j} P_i`, shape (n, s)."""
    one = torch.ones_like(off[:, :1])
    before = torch.cat([one, none.cumprod(dim=1)[:, :-1]], dim=1)
    after = torch.cat([off.flip(1).cumprod(dim=1).flip(1)[:, 1:], one], dim=1)
    return before * some * after


def draw_nodes(tables: Descent, start: Ints, trees: Ints, seed: int) -> tuple[Ints, Ints]:
    """Nodes that are on: row i has ``nodes[begin[i]:begin[i + 1]]``, ascending."""
    found: tuple[Ints, Ints] = _descend(start, trees, seed, *vars(tables).values())
    return found


@numba.njit(cache=True)
def _descend(
    start: Ints,
    trees: Ints,
    seed: int,
    root: Ints,
    hidden: NDArray[np.bool_],
    active: Floats,
    on: Floats,
    some: Floats,
    cut: NDArray[np.bool_],
    constituents: Ints,
    count_on: Floats,
    count_some: Floats,
    first: Floats,
    include: Floats,
) -> Any:
    n = len(start) - 1
    state = np.array([seed], np.uint64)
    begin = np.zeros(n + 1, np.int64)
    nodes = np.empty(4 * len(trees) + len(some) + 64, np.int64)
    stack = np.empty(len(some) + 1, np.int64)  # nodes to go on from: v if on, -1 - v if off with something on below
    composites, size = len(constituents), 0
    for row in range(n):
        if size + len(some) > len(nodes):
            wider = np.empty(2 * len(nodes), np.int64)
            wider[:size] = nodes[:size]
            nodes = wider
        for entry in range(start[row], start[row + 1]):
            tree = trees[entry]
            top = root[tree]
            up = on[tree] >= 1.0 or uniform(state) < on[tree]
            if up and not hidden[tree]:
                nodes[size] = top
                size += 1
            height = 0
            if top < composites and (hidden[tree] or not cut[top]):
                stack[0] = top if up else -1 - top
                height = 1
            while height > 0:
                height -= 1
                node = stack[height]
                up = node >= 0
                node = node if up else -1 - node
                left = 0
                if up and count_on[node, 0] < 1.0:
                    if count_on[node, 1] >= 1.0:
                        left = 1
                    else:
                        u = uniform(state)
                        while u >= count_on[node, left]:
                            left += 1
                elif not up and count_some[node, 0] < 1.0:
                    u = uniform(state)
                    while u >= count_some[node, left]:
                        left += 1
                below, forced = 0, -1  # constituents before `below` are all off; `forced` has something on below it
                if left == 0 and not up:
                    u = uniform(state)
                    while u >= first[node, below]:
                        below += 1
                    forced = below
                for j in range(below, constituents.shape[1]):
                    lower = constituents[node, j]
                    if lower < 0:
                        break
                    chance = include[node, j, left] if left > 0 else 0.0
                    if chance > 0.0 and (chance >= 1.0 or uniform(state) < chance):
                        left -= 1
                        nodes[size] = lower
                        size += 1
                        if lower < composites and not cut[lower]:
                            stack[height] = lower
                            height += 1
                    elif j == forced or (some[lower] > 0.0 and uniform(state) < some[lower]):
                        stack[height] = -1 - lower
                        height += 1
        low = begin[row]
        for i in range(low + 1, size):  # ascending, by insertion: rows are short
            node = nodes[i]
            k = i - 1
            while k >= low and nodes[k] > node:
                nodes[k + 1] = nodes[k]
                k -= 1
            nodes[k + 1] = node
        begin[row + 1] = size
    return begin, nodes[:size]
