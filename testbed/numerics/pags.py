"""Marks at the ends of edges: graphs of ancestors with hidden causes and selection (PAGs), and FCI's rules, which find them.

``marks[i, j]`` is the mark at j of the edge between i and j, 0 where there is none. A tail at j says that j is an ancestor of i or of the
selection, an arrowhead that it is neither, a circle that some graphs of the same law say this and some say that. So an edge with two
tails is one that selection made, or both of whose ends selection acts on; one with two circles is undetermined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.independence import IndependenceTest
from testbed.numerics.skeletons import Skeleton

Marks = NDArray[np.int8]
Matrix = NDArray[np.bool_]
Separators = Mapping[tuple[int, int], tuple[int, ...]]
Demands = list[tuple[int, int, int]]

CIRCLE, ARROW, TAIL = 1, 2, 3
PATHS = 20_000
"""Steps of one search for an uncovered path; what is not found within them is taken not to be there, which leaves a circle."""
SETS = 4_096
"""Conditioning sets tested at once."""


def arrows_of(marks: Marks, levels: NDArray[np.int64] | None = None) -> Matrix:
    """Arrows from constituents to composites, shape (p, p): both ways where no end, or each end, has an arrowhead.

    One arrowhead is enough for a direction: what it points to is no constituent of the other. Edges between levels run from the concrete
    (larger number) to the abstract.
    """
    arrows = (marks > 0) & ((marks == ARROW) | (marks.T != ARROW))
    if levels is not None:
        between = (marks > 0) & (levels[:, None] != levels[None, :])
        arrows = np.where(between, levels[:, None] > levels[None, :], arrows)
    return np.asarray(arrows, dtype=bool)


def pag(found: Skeleton, levels: NDArray[np.int64] | None = None) -> Marks:
    """Marks that a skeleton and its separators imply: unshielded colliders, then rules 1 to 10 of Zhang [1]_, shape (p, p).

    Rules 5 to 7 tell selection; without them tails are found only where an arrowhead is at the other end. With correct separators the
    rules are sound, and complete: every circle that is left is a tail in one graph of the same law and an arrowhead in another.
    Each rule is applied everywhere at once; where it demands a tail and an arrowhead of one mark, which only errors of tests bring
    about, the circle stays. So the order of variables changes nothing.

    Parameters
    ----------
    found : Skeleton
    levels : array of int, shape (p,), optional
        0 the most abstract: of an edge between levels the concrete end is then a tail, since it is an ancestor of the other.

    References
    ----------
    .. [1] Zhang (2008), On the completeness of orientation rules for causal discovery in the presence of latent confounders and selection
       bias, Artificial Intelligence 172.
    """
    marks = colliders(found, levels)
    rules = (_rule_1, _rule_2, _rule_3, _rule_5, _rule_6, _rule_7, _rule_8, _rule_9, _rule_10)
    while True:
        before = marks
        for rule in rules:
            marks = _mark(marks, rule(marks))
        marks = _mark(marks, _rule_4(marks, found.separators))
        if (marks == before).all():
            return marks


def colliders(found: Skeleton, levels: NDArray[np.int64] | None = None) -> Marks:
    """Circles, what levels say, then arrowheads at b of unshielded a - b - c whose b is not in the set that separates a and c."""
    adjacent = found.adjacent
    marks = adjacent.astype(np.int8) * CIRCLE
    if levels is not None:
        marks[adjacent & (levels[:, None] < levels[None, :])] = TAIL
    demands: Demands = []
    for b in range(len(adjacent)):
        around = np.flatnonzero(adjacent[b])
        for i, j in np.argwhere(np.triu(~adjacent[np.ix_(around, around)], 1)).tolist():
            a, c = int(around[i]), int(around[j])
            if b not in found.separators.get((a, c), ()):
                demands += [(a, b, ARROW), (c, b, ARROW)]
    return _mark(marks, demands)


def without_hidden_separators(test: IndependenceTest, found: Skeleton, max_depth: int | None, budget: int) -> Skeleton:
    """The skeleton less the pairs that only sets beyond their neighbours separate, as hidden causes make necessary [1]_.

    Of a pair (x, y) the sets are those of nodes v to which a path leads from x, or from y, each of whose inner nodes is a collider on it or
    has its two neighbours on the path adjacent: *possible d-separators*, found once for all pairs.

    References
    ----------
    .. [1] Spirtes, Glymour & Scheines (2000), Causation, prediction, and search, section 6.7.
    """
    marks = colliders(found)
    near = found.adjacent
    adjacent, separators, tests = near.copy(), dict(found.separators), found.tests
    reach = [_possible_separators(marks, x) for x in range(len(near))]
    most = min(test.deepest, max_depth if max_depth is not None else test.deepest)
    for x, y in np.argwhere(np.triu(near)).tolist():
        for one, other in ((x, y), (y, x)):
            pool = sorted(reach[one] - {x, y})
            known = set(np.flatnonzero(near[one]).tolist()), set(np.flatnonzero(near[other]).tolist())
            for depth in range(1, min(len(pool), most) + 1):
                given, done = _separator(test, one, other, pool, known, depth, budget - tests)
                tests += done
                if given is not None:
                    adjacent[x, y] = adjacent[y, x] = False
                    separators[x, y] = given
                    break
                if tests >= budget:
                    stopped = f"{tests:,} tests were done, which is the budget: not all sets beyond neighbours were tried"
                    return Skeleton(adjacent, separators, found.depth, tests, found.stopped or stopped)
            if not adjacent[x, y]:
                break
    return Skeleton(adjacent, separators, found.depth, tests, found.stopped)


def _separator(
    test: IndependenceTest, x: int, y: int, pool: list[int], known: tuple[set[int], set[int]], depth: int, budget: int
) -> tuple[tuple[int, ...] | None, int]:
    """The set of `depth` out of a pool that separates x and y with the largest margin among the first that do; and how many were tried."""
    every = (one for one in combinations(pool, depth) if not (set(one) <= known[0] or set(one) <= known[1]))
    done = 0
    while done < budget and (piece := list(islice(every, min(SETS, budget - done)))):
        given = np.array(piece, dtype=np.int64)
        margin = test.margin(np.full(len(given), x), given, np.full((len(given), 1), y))[:, 0]
        done += len(given)
        if margin.max() > 0:
            return tuple(given[int(margin.argmax())].tolist()), done
    return None, done


def _possible_separators(marks: Marks, x: int) -> set[int]:
    """Nodes that a path of colliders and triangles leads to from x."""
    near = marks > 0
    edges = [(x, int(v)) for v in np.flatnonzero(near[x])]
    seen = set(edges)
    while edges:
        u, v = edges.pop()
        onward = near[v] & (near[u] | ((marks[u, v] == ARROW) & (marks[:, v] == ARROW)))
        for w in np.flatnonzero(onward).tolist():
            if w not in (x, u) and (v, w) not in seen:
                seen.add((v, w))
                edges.append((v, w))
    return {v for _, v in seen}


# ------------------------------------------------------------------------------------------------------------------- rules


def _mark(marks: Marks, demands: Demands) -> Marks:
    """Replace circles by what is demanded of them, unless it is both."""
    wanted = np.zeros((2, *marks.shape), dtype=bool)
    for i, j, mark in demands:
        wanted[mark - ARROW, i, j] = True
    out = marks.copy()
    free = (marks == CIRCLE) & (wanted[0] != wanted[1])
    out[free & wanted[0]] = ARROW
    out[free & wanted[1]] = TAIL
    return out


def _apart(marks: Marks) -> Matrix:
    return np.asarray((marks == 0) & ~np.eye(len(marks), dtype=bool))


def _count(a: Matrix, b: Matrix) -> NDArray[np.float32]:
    return np.asarray(a.astype(np.float32) @ b.astype(np.float32))


def _directed(marks: Marks) -> Matrix:
    return np.asarray((marks == ARROW) & (marks.T == TAIL))


def _rule_1(marks: Marks) -> Demands:
    """a *-> b o-* c, a and c apart: b -> c."""
    at = (_count((marks == ARROW).T, _apart(marks)) > 0) & (marks.T == CIRCLE)
    return [demand for b, c in np.argwhere(at).tolist() for demand in ((c, b, TAIL), (b, c, ARROW))]


def _rule_2(marks: Marks) -> Demands:
    """a -> b *-> c or a *-> b -> c, and a *-o c: a *-> c."""
    into, directed = marks == ARROW, _directed(marks)
    at = ((_count(directed, into) + _count(into, directed)) > 0) & (marks == CIRCLE)
    return [(a, c, ARROW) for a, c in np.argwhere(at).tolist()]


def _rule_3(marks: Marks) -> Demands:
    """a *-> b <-* c and a *-o d o-* c, a and c apart, d *-o b: d *-> b."""
    apart = _apart(marks)
    return [
        (d, b, ARROW)
        for d, b in np.argwhere(marks == CIRCLE).tolist()
        if apart[np.ix_(*[np.flatnonzero((marks[:, b] == ARROW) & (marks[:, d] == CIRCLE))] * 2)].any()
    ]


def _rule_4(marks: Marks, separators: Separators) -> Demands:
    """A path d ... a b c that discriminates b, with b o-* c: b -> c if b is in the set that separates d and c, else a <-> b <-> c.

    It does so if d and c are apart and every node between d and b is a collider on it and a parent of c.
    """
    demands: Demands = []
    directed = _directed(marks)
    for c, b in np.argwhere(marks == CIRCLE).tolist():  # the mark at b
        for a in np.flatnonzero((marks[b] == ARROW) & directed[:, c]).tolist():
            edge, seen = [a], {a, b, c}
            while edge:
                v = edge.pop()
                for u in np.flatnonzero(marks[:, v] == ARROW).tolist():
                    if u in seen:
                        continue
                    if not marks[u, c]:
                        inside = b in separators.get((min(u, c), max(u, c)), ())
                        demands += [(c, b, TAIL), (b, c, ARROW)] if inside else [(a, b, ARROW), (c, b, ARROW), (b, c, ARROW)]
                    elif directed[u, c] and marks[v, u] == ARROW:
                        seen.add(u)
                        edge.append(u)
    return demands


def _rule_5(marks: Marks) -> Demands:
    """a o-o b, and an uncovered path of such edges a c ... d b with a, d apart and b, c apart: all these edges are undirected.

    Every edge of the circle is found so on its own turn.
    """
    step = (marks == CIRCLE) & (marks.T == CIRCLE)
    apart = _apart(marks)
    demands: Demands = []
    for a, b in np.argwhere(np.triu(step)).tolist():
        seconds = np.flatnonzero(step[a] & apart[b])
        if len(seconds) and (step[b] & apart[a]).any() and any(_path(step, apart, a, c, b, closed=True) for c in seconds.tolist()):
            demands += [(a, b, TAIL), (b, a, TAIL)]
    return demands


def _rule_6(marks: Marks) -> Demands:
    """a - b o-* c: b -* c."""
    at = (marks == CIRCLE) & ((marks == TAIL) & (marks.T == TAIL)).any(axis=0)[None, :]
    return [(c, b, TAIL) for c, b in np.argwhere(at).tolist()]


def _rule_7(marks: Marks) -> Demands:
    """a -o b o-* c, a and c apart: b -* c."""
    half = (marks == CIRCLE) & (marks.T == TAIL)
    at = (_count(half.T, _apart(marks)) > 0) & (marks.T == CIRCLE)
    return [(c, b, TAIL) for b, c in np.argwhere(at).tolist()]


def _rule_8(marks: Marks) -> Demands:
    """a -> b -> c or a -o b -> c, and a o-> c: a -> c."""
    directed = _directed(marks)
    half = (marks == CIRCLE) & (marks.T == TAIL)
    at = (_count(directed | half, directed) > 0) & (marks == ARROW) & (marks.T == CIRCLE)
    return [(c, a, TAIL) for a, c in np.argwhere(at).tolist()]


def _rule_9(marks: Marks) -> Demands:
    """a o-> c and an uncovered potentially directed path a b ... c with b and c apart: a -> c."""
    step, apart = _potentially_directed(marks), _apart(marks)
    return [
        (c, a, TAIL)
        for a, c in np.argwhere((marks == ARROW) & (marks.T == CIRCLE)).tolist()
        if any(_path(step, apart, a, b, c) for b in np.flatnonzero(step[a] & apart[c]).tolist())
    ]


def _rule_10(marks: Marks) -> Demands:
    """a o-> c <- b, c <- d, uncovered potentially directed paths from a to b and to d that begin with m and w, m and w apart: a -> c."""
    step, apart, directed = _potentially_directed(marks), _apart(marks), _directed(marks)
    demands: Demands = []
    for a, c in np.argwhere((marks == ARROW) & (marks.T == CIRCLE)).tolist():
        first = [int(m) for m in np.flatnonzero(step[a]) if m != c]
        causes = [int(b) for b in np.flatnonzero(directed[:, c]) if b != a]
        if len(causes) < 2 or not apart[np.ix_(first, first)].any():
            continue
        leads = [{m for m in first if m == b or _path(step, apart, a, m, b)} for b in causes]
        if any(apart[m, w] for one, other in combinations(leads, 2) for m in one for w in other):
            demands.append((c, a, TAIL))
    return demands


def _potentially_directed(marks: Marks) -> Matrix:
    """Steps from i to j of edges with no arrowhead at i and no tail at j."""
    return np.asarray((marks > 0) & (marks.T != ARROW) & (marks != TAIL))


def _path(step: Matrix, apart: Matrix, start: int, second: int, goal: int, closed: bool = False) -> bool:
    """Whether a simple path from start over second to goal has all its consecutive triples apart; `closed`: also around goal and start."""
    for path in islice(_paths(step, apart, start, second), PATHS):
        if path[-1] == goal and (not closed or (len(path) > 3 and apart[path[-2], start])):
            return True
    return False


def _paths(step: Matrix, apart: Matrix, start: int, second: int) -> Iterator[tuple[int, ...]]:
    """Simple uncovered paths, the shorter ones first."""
    paths: list[tuple[int, ...]] = [(start, second)]
    while paths:
        longer = []
        for path in paths:
            yield path
            for w in np.flatnonzero(step[path[-1]] & apart[path[-2]]).tolist():
                if w not in path:
                    longer.append((*path, w))
        paths = longer
