r"""The smallest set of events that tells whether another one happens: code lengths of truth tables, searched by a beam.

The rows of an event y given a set S of other events are coded one after the other, by one counter per combination c of the events in S,
with the estimator of Krichevsky and Trofimov [1]_:

.. math:: L(y \mid S) = -\sum_c \log \frac{\Gamma(a_c + \frac12) \Gamma(b_c + \frac12)}{\pi \, \Gamma(a_c + b_c + 1)}
          + \log (m + 1) + \log \binom{m}{|S|},

where y happens in :math:`a_c` of the rows with combination c and does not in :math:`b_c`, and the last two terms name S among m events.
A combination costs about :math:`\frac12 \log n` nats whether or not it helps, so that the shortest code has no member more than it needs
[2]_: where y is a function of S no threshold is needed.

Where events are read with errors, every event that goes with a constituent says a little more about y than the constituent's own code does,
and with many rows the shortest code has them all. So a member must save a share `effect` of what would be left without it,
:math:`L(y \mid S \setminus j) - L(y \mid S) > \text{effect} \cdot L(y \mid S \setminus j)`: an effect size, whatever the number of rows.
Where y is a function of S the right-hand side is small beside what any constituent saves. Errors that are few but not at random (a
concept taken for two others) leave little behind and bring in bystanders none the less: hence also a smallest share `least` of the code
length of y without members.

References
----------
.. [1] Krichevsky & Trofimov (1981), The performance of universal encoding, IEEE Transactions on Information Theory 27.
.. [2] Rissanen (1978), Modeling by shortest data description, Automatica 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import gammaln

Array = NDArray[Any]
Members = tuple[int, ...]

PATIENCE = 2
"""Sizes in a row that may bring nothing before the search ends: a rule can need two more events at once."""


@dataclass(frozen=True)
class Events:
    """Which of m events happen in each of n rows.

    Attributes
    ----------
    begin, active : array, shape (n + 1,) and (nnz,)
        Row r has the events ``active[begin[r]:begin[r + 1]]``.
    together : array, shape (m, m), float64
        Rows in which both happen.
    logs, halves : array, shape (n + 2,)
        :math:`\\log \\Gamma(k + 1)` and :math:`\\log \\Gamma(k + 1/2) - \\frac12 \\log \\pi` by k.
    """

    begin: Array
    active: Array
    together: Array
    logs: Array
    halves: Array

    @classmethod
    def of(cls, happens: Array) -> Events:
        """From a boolean array, shape (n, m)."""
        rows = csr_array(happens.astype(np.float64))
        count = np.arange(len(happens) + 2, dtype=np.float64)
        return cls(
            rows.indptr.astype(np.int64),
            rows.indices.astype(np.int64),
            np.asarray((rows.T @ rows).toarray()),
            gammaln(count + 1),
            gammaln(count + 0.5) - 0.5 * np.log(np.pi),
        )

    @property
    def rows(self) -> int:
        return len(self.begin) - 1

    @property
    def size(self) -> int:
        return len(self.together)

    def price(self, members: int) -> float:
        """What naming so many of the events costs, in nats."""
        m = self.size
        return float(np.log(m + 1) + gammaln(m + 1) - gammaln(members + 1) - gammaln(m - members + 1))


@dataclass(frozen=True)
class Found:
    """A set of events and the code length of the event that it tells, in nats; `alone` is that without any."""

    members: Members
    length: float
    alone: float

    @property
    def explained(self) -> float:
        """Share of the code length that the members save, in [0, 1]."""
        return max(0.0, 1 - self.length / self.alone) if self.alone > 0 else 0.0


def smallest_sufficient(
    events: Events, y: Array, *, beam: int = 20, largest: int = 10, effect: float = 0.0, least: float = 0.0, allowed: Array | None = None
) -> Found:
    """The set of at most `largest` events with the shortest code of y.

    All pairs are tried, since a rule may show in no single event (exclusive choice of two does not, where both are on half of the time).
    The `beam` best sets of each size are widened by every event, until wider sets have brought nothing for two sizes.

    Parameters
    ----------
    events : Events
    y : array of bool, shape (n,)
    beam, largest : int
    effect, least : float
        Smallest shares that a member must save, see above.
    allowed : array of bool, shape (m,), optional
        Events that may be members; all by default.

    Returns
    -------
    Found
    """
    y = np.ascontiguousarray(y, dtype=bool)
    usable = np.ones(events.size, dtype=bool) if allowed is None else allowed.copy()
    usable &= (np.diag(events.together) > 0) & (np.diag(events.together) < events.rows)
    alone = float(_lengths(events, np.array([[float(y.sum())]]), np.array([[float(len(y))]]))[0, 0]) + events.price(0)
    best = Found((), alone, alone)
    if not usable.any() or not y.any() or y.all() or largest < 1:
        return best
    one, two = _small(events, y, usable)
    first = int(one.argmin())
    best = _shorter(best, (first,), float(one[first]) + events.price(1), alone)
    if largest < 2 or not np.isfinite(two).any():
        return best
    j, k = np.triu_indices(events.size, 1)
    order = np.argsort(two[j, k], kind="stable")[:beam]
    sets: list[tuple[Members, float]] = [((int(j[i]), int(k[i])), float(two[j[i], k[i]])) for i in order if np.isfinite(two[j[i], k[i]])]
    idle = 0
    while sets:
        size = len(sets[0][0])
        before = best.length
        best = _shorter(best, sets[0][0], sets[0][1] + events.price(size), alone)
        idle = 0 if before - best.length > max(effect * before, least * alone) else idle + 1
        if idle >= PATIENCE or size >= largest or size >= int(usable.sum()):
            break
        sets = _widened(events, y, sets, usable, beam)
    return pruned(events, y, best, effect, least)


def pruned(events: Events, y: Array, found: Found, effect: float = 0.0, least: float = 0.0) -> Found:
    """The same set without the members that save too little, the least needed first."""
    y = np.ascontiguousarray(y, dtype=bool)
    while found.members:
        without = [tuple(k for k in found.members if k != j) for j in found.members]
        lengths = [code_length(events, y, rest) for rest in without]
        worst = int(np.argmin(lengths))
        if lengths[worst] - found.length > max(effect * lengths[worst], least * found.alone):
            return found
        found = Found(without[worst], lengths[worst], found.alone)
    return found


def code_length(events: Events, y: Array, members: Members) -> float:
    """L(y | members), in nats."""
    y = np.ascontiguousarray(y, dtype=bool)
    on, all_rows = _cells(events.begin, events.active, y, _places(events.size, members), len(members))
    return float(_lengths(events, on, all_rows).sum()) + events.price(len(members))


def told_share(events: Events, y: Array, members: Members) -> float:
    r"""Share of the rows of y that its most likely value in each combination tells, false alarms being taken off:
    :math:`1 - \sum_c \min(a_c, b_c) / \min(\sum a_c, \sum b_c)`; 1 for a function of the members, 0 if y never varies."""
    y = np.ascontiguousarray(y, dtype=bool)
    on, every = _cells(events.begin, events.active, y, _places(events.size, members), len(members))
    rarer = min(int(on.sum()), int((every - on).sum()))
    return 1 - float(np.minimum(on, every - on).sum()) / rarer if rarer else 0.0


def interchangeable(events: Events, y: Array, found: Found) -> Members:
    """Further events each of which could stand in the place of a member: the code would lengthen by less than naming one event costs.

    So it is where constituents never fire alone: each of them tells all that any other does, no data tell them apart, and the smallest
    set holds one of them. Minimality is silent there.
    """
    more: list[int] = []
    for member in found.members:
        rest = tuple(k for k in found.members if k != member)
        widened = _extended(events.begin, events.active, y, _places(events.size, rest), len(rest), events.logs, events.halves, events.size)
        swapped = widened + events.price(len(found.members))
        swapped[list(found.members)] = np.inf
        more += np.flatnonzero(swapped - found.length < np.log(events.size)).tolist()
    return tuple(sorted(set(more)))


def _shorter(best: Found, members: Members, length: float, alone: float) -> Found:
    return Found(tuple(sorted(members)), length, alone) if length < best.length else best


def _lengths(events: Events, on: Array, rows: Array) -> Array:
    """Code length of each table cell with so many rows, of which the event happens in `on`; all of one shape."""
    a, n = on.astype(np.int64), rows.astype(np.int64)
    return np.asarray(events.logs[n] - events.halves[a] - events.halves[n - a])


def _small(events: Events, y: Array, usable: Array) -> tuple[Array, Array]:
    """Code lengths, without the price of names, of y given each event, (m,), and each pair, (m, m); infinite where not usable."""
    m, n, n_y = events.size, float(events.rows), float(y.sum())
    rows = csr_array((np.ones(len(events.active)), events.active, events.begin), shape=(events.rows, m))[y]
    both, both_y = events.together, np.asarray((rows.T @ rows).toarray())
    single, single_y = np.diag(both), np.diag(both_y)
    one = _lengths(events, single_y, single) + _lengths(events, n_y - single_y, n - single)
    only, only_y = single[:, None] - both, single_y[:, None] - both_y
    none, none_y = n - single[:, None] - single[None] + both, n_y - single_y[:, None] - single_y[None] + both_y
    two = _lengths(events, both_y, both) + _lengths(events, only_y, only)
    two += _lengths(events, only_y.T, only.T) + _lengths(events, none_y, none)
    two[~usable], two[:, ~usable] = np.inf, np.inf
    return np.where(usable, one, np.inf), two


def _widened(events: Events, y: Array, sets: list[tuple[Members, float]], usable: Array, beam: int) -> list[tuple[Members, float]]:
    """The `beam` best sets that have one event more than one of `sets`, with their code lengths."""
    found: dict[Members, float] = {}
    for members, _ in sets:
        place = _places(events.size, members)
        lengths = _extended(events.begin, events.active, y, place, len(members), events.logs, events.halves, events.size)
        lengths[~usable] = np.inf
        for j in np.argsort(lengths, kind="stable")[: beam + len(members)].tolist():
            if j not in members and np.isfinite(lengths[j]):
                found[tuple(sorted((*members, j)))] = float(lengths[j])
    return sorted(found.items(), key=lambda pair: (pair[1], pair[0]))[:beam]


def _places(m: int, members: Members) -> Array:
    """Bit of each event in the number of a combination, -1 for events that are no members, shape (m,)."""
    place = np.full(m, -1, dtype=np.int64)
    place[list(members)] = np.arange(len(members))
    return place


@njit(cache=True, nogil=True, inline="always")
def _cell(begin: Array, active: Array, place: Array, r: int) -> int:
    """Number of the combination of members that row r has."""
    cell = 0
    for e in range(begin[r], begin[r + 1]):
        if place[active[e]] >= 0:
            cell |= 1 << place[active[e]]
    return cell


@njit(cache=True, nogil=True)
def _cells(begin: Array, active: Array, y: Array, place: Array, size: int) -> tuple[Array, Array]:
    """Rows of each combination with the event and all of them, shape (2**size,) each."""
    on, every = np.zeros(1 << size, np.int64), np.zeros(1 << size, np.int64)
    for r in range(len(begin) - 1):
        cell = _cell(begin, active, place, r)
        every[cell] += 1
        if y[r]:
            on[cell] += 1
    return on, every


@njit(cache=True, nogil=True)
def _extended(begin: Array, active: Array, y: Array, place: Array, size: int, logs: Array, halves: Array, m: int) -> Array:
    """Code length given the members and one event more, for each of the m events, shape (m,)."""
    cells = 1 << size
    on, every = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    on_with, every_with = np.zeros((cells, m), np.int64), np.zeros((cells, m), np.int64)
    for r in range(len(begin) - 1):
        cell = _cell(begin, active, place, r)
        every[cell] += 1
        if y[r]:
            on[cell] += 1
            for e in range(begin[r], begin[r + 1]):
                on_with[cell, active[e]] += 1
        for e in range(begin[r], begin[r + 1]):
            every_with[cell, active[e]] += 1
    out = np.zeros(m)
    for cell in range(cells):
        n, a = every[cell], on[cell]
        if n == 0:
            continue
        for j in range(m):
            n_1, a_1 = every_with[cell, j], on_with[cell, j]
            n_0, a_0 = n - n_1, a - a_1
            out[j] += logs[n_1] - halves[a_1] - halves[n_1 - a_1] + logs[n_0] - halves[a_0] - halves[n_0 - a_0]
    return out
