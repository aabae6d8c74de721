"""States to a budget: rows of a table of counts grouped into K states for a given K, and the K under which other rows are most likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.contexts import state_sums

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

MANY = 256
"""Rows from which on the rarest are first put with the most similar of the others."""
ROUNDS = 10
"""Of moving rows to where they fit better."""


def merged_path(counts: Array, starts: Labels, most: int) -> dict[int, Labels]:
    r"""For K = 1 ... `most`, rows grouped into K states, shape (T,) each.

    From singletons on, the two states are merged whose merging costs the least likelihood of the contexts,

    .. math:: \Delta(a, b) = \sum_j n_{ja} \mathrm{KL}(p_{ja} \| p_{j,ab}) + n_{jb} \mathrm{KL}(p_{jb} \| p_{j,ab}),

    contexts j taken as if independent (the agglomerative information bottleneck, Slonim & Tishby 2000); then single rows move to where
    they are more likely, while no state is left empty.

    Parameters
    ----------
    counts : array, shape (T, S)
        Contexts side by side; not necessarily whole numbers.
    starts : array, shape (J,)
        First column of each context.
    most : int
    """
    t = len(counts)
    labels = _frequent(counts, starts) if t > MANY else np.arange(t)
    out = {}
    k = int(labels.max()) + 1
    states = state_sums(counts, labels)
    own = _length(states, starts)
    cost = _costs(states, own, starts)
    while True:
        if k <= most:
            out[k] = moved(counts, starts, labels)
        if k == 1:
            break
        a, b = divmod(int(cost.argmin()), k)
        a, b = min(a, b), max(a, b)
        labels = np.where(labels == b, a, labels)
        labels = labels - (labels > b)
        states[a] += states[b]
        states, own = np.delete(states, b, axis=0), np.delete(own, b)
        cost = np.delete(np.delete(cost, b, axis=0), b, axis=1)
        own[a] = _length(states[a : a + 1], starts)[0]
        cost[a] = cost[:, a] = _length(states[a] + states, starts) - own[a] - own
        cost[a, a] = np.inf
        k -= 1
    return out


def moved(counts: Array, starts: Labels, labels: Labels) -> Labels:
    """Rows moved to the state under which they are most likely, each state keeping its most frequent row."""
    labels = labels.copy()
    totals = np.add.reduceat(counts, starts, axis=1)[:, 0]
    for _ in range(ROUNDS):
        states = state_sums(counts, labels)
        fit = counts @ np.log(laws(states, starts)).T
        best = fit.argmax(axis=1)
        for k in range(len(states)):
            mine = np.flatnonzero(labels == k)
            best[mine[totals[mine].argmax()]] = k
        if (best == labels).all():
            break
        labels = best
    return labels


def held_out_likelihoods(counts: Sequence[Array], starts: Labels, most: int) -> Array:
    """Log-likelihood of the contexts of rows that states and their laws were not fitted to, for K = 1 ... `most`; shape (most,).

    Each of two tables of counts, of two parts of the rows, is fitted, and the other scored; the sum of both.

    Parameters
    ----------
    counts : two arrays, shape (T, S)
    """
    out = np.zeros(most)
    for fitted, held in ((counts[0], counts[1]), (counts[1], counts[0])):
        for k, labels in merged_path(fitted, starts, most).items():
            law = np.log(laws(state_sums(fitted, labels), starts))
            out[k - 1] += float((held * law[labels]).sum())
    return out


def laws(states: Array, starts: Labels) -> Array:
    """Law of each context given the state, shape (K, S), smoothed by one draw from all states' law."""
    widths = np.diff(np.append(starts, states.shape[1]))
    everything = states.sum(axis=0) + 1e-3
    prior = everything / np.repeat(np.add.reduceat(everything, starts), widths)
    total = np.repeat(np.add.reduceat(states, starts, axis=1), widths, axis=1)
    out: Array = (states + prior) / (total + 1)
    return out


def _frequent(counts: Array, starts: Labels) -> Labels:
    """The most frequent rows apart, each of the others with the one under whose law it is most likely."""
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    law = np.log(laws(counts[order[:MANY]], starts))
    labels = (counts @ law.T).argmax(axis=1)
    labels[order[:MANY]] = np.arange(MANY)
    return np.asarray(labels, np.int64)


def _costs(states: Array, own: Array, starts: Labels) -> Array:
    out = np.full((len(states), len(states)), np.inf)
    for a in range(len(states)):
        out[a] = _length(states[a] + states, starts) - own[a] - own
        out[a, a] = np.inf
    return out


def _length(states: Array, starts: Labels) -> Array:
    """Total count times entropy, summed over contexts, shape (K,)."""
    total = np.add.reduceat(states, starts, axis=1)
    out: Array = _xlogx(total).sum(axis=1) - _xlogx(states).sum(axis=1)
    return out


def _xlogx(x: Array) -> Array:
    return np.asarray(x * np.log(np.where(x > 0, x, 1.0)), dtype=np.float64)
