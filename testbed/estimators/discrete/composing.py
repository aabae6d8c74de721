"""One level of composites, from the states of its constituents: admissible tuples, their states, and what each state emits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.budgets import held_out_likelihoods, merged_path
from testbed.numerics.channels import admissible, inverted, noise_rate, refined_rate, symmetric, through, without_noise
from testbed.numerics.contexts import RULES as TESTS
from testbed.numerics.contexts import merged_states
from testbed.numerics.state_counts import StateColumns, check_cells, pair_counts, tuple_counts
from testbed.numerics.tree_posteriors import Emission

States = NDArray[np.int64]
Array = NDArray[np.float64]
Pairs = dict[tuple[int, int], Array]

RULES = (*TESTS, "held_out")
"""What decides on the number of states."""
MOST_HELD_OUT = 64
"""Numbers of states that held-out likelihood compares, at most."""
FLOOR = 1e-6
"""Noise that encoding always reckons with, so that tuples never seen get the state of their neighbours."""
LEAST_COUNT = 0.5
"""Of an admissible tuple, once noise is taken out."""


@dataclass(frozen=True)
class Settings:
    """What decides on states; see `ContextStates`."""

    rule: str
    alpha: float
    tolerance: float
    noise: float | None
    n_states: int | None


@dataclass(frozen=True)
class Composed:
    """Composites of one level.

    Attributes
    ----------
    blocks : list of list of int
        Their constituents.
    shapes : list of tuple of int
    tables : list of array, shape (P,)
        The state of each tuple.
    channels : list of array, shape (K, K)
        p(state as encoded | state as meant).
    emissions : list of Emission
        Laws of tuples given the state.
    priors : list of array, shape (K,)
    noise : float
        Of the level below, where that is the leaves'.
    """

    blocks: list[list[int]]
    shapes: list[tuple[int, ...]]
    tables: list[States]
    channels: list[Array]
    emissions: list[Emission]
    priors: list[Array]
    noise: float

    @property
    def sizes(self) -> list[int]:
        return [len(channel) for channel in self.channels]


def compose(
    columns: StateColumns, blocks: list[list[int]], sizes: Sequence[int], channels: list[Array] | None, settings: Settings
) -> Composed:
    """Merge the tuples of each block whose context laws do not differ.

    Parameters
    ----------
    columns : StateColumns
        States of the level below.
    blocks : list of list of int
    sizes : sequence of int
        Numbers of states of the columns.
    channels : list of array, or None
        Of the columns; None for leaves, whose noise is estimated.
    """
    shapes = [tuple(sizes[j] for j in block) for block in blocks]
    check_cells(shapes)
    counts = tuple_counts(columns, blocks, shapes)
    noise = 0.0
    if channels is None:
        if settings.noise != 0:
            noise = refined_rate(counts, noise_rate(counts), settings.alpha) if settings.noise is None else settings.noise
        channels = [symmetric(k, noise) for k in sizes]
    inner = [[channels[j] for j in block] for block in blocks]
    kept = [admissible(n, c, settings.alpha) for n, c in zip(counts, inner, strict=True)]
    folds = pair_counts(columns, blocks, shapes, 2 if settings.rule == "held_out" and settings.n_states is None else 1)
    for pairs in folds:
        for (i, j), table in pairs.items():
            pairs[i, j] = _deconvolved(table, [*inner[i], *inner[j]], kept[i], kept[j])
    worth = [_worth(n, c, where) for n, c, where in zip(counts, inner, kept, strict=True)]
    labels = _labels(folds, kept, counts, worth, settings)
    done = [_completed(n, c, where, label) for n, c, where, label in zip(counts, inner, kept, labels, strict=True)]
    return Composed(
        blocks,
        shapes,
        [table for table, _, _, _ in done],
        [channel for _, channel, _, _ in done],
        [Emission(tuple(block), tuples, law) for block, (_, _, (tuples, law), _) in zip(blocks, done, strict=True)],
        [prior for _, _, _, prior in done],
        noise,
    )


def _labels(folds: list[Pairs], kept: list[NDArray[np.bool_]], counts: list[Array], worth: list[Array], settings: Settings) -> list[States]:
    """States of the admissible tuples of each block: beside the tuples of other blocks first, then beside their states."""
    blocks = range(len(kept))
    labels = [np.arange(int(where.sum())) for where in kept]
    for _ in range(2):
        found = []
        for i in blocks:
            contexts = [
                [_beside(pairs[i, j], labels[j]) if i < j else _beside(pairs[j, i].T, labels[j]) for j in blocks if j != i]
                for pairs in folds
            ]
            contexts = [[table for table in fold if table.shape[1] > 1] for fold in contexts]
            if not contexts[0]:
                found.append(np.zeros(len(labels[i]), np.int64))
                continue
            starts = np.cumsum([0] + [table.shape[1] for table in contexts[0][:-1]])
            found.append(_states([worth[i][:, None] * np.hstack(fold) for fold in contexts], starts, counts[i][kept[i]], settings))
        labels = found
    return labels


def _states(folds: list[Array], starts: States, totals: Array, settings: Settings) -> States:
    """States of the rows of a table of contexts, by the rule or to the budget; the most frequent first."""
    counts = np.sum(folds, axis=0)
    if settings.n_states is None and settings.rule != "held_out":
        return merged_states(counts, starts, rule=settings.rule, alpha=settings.alpha, tolerance=settings.tolerance, totals=totals)
    most = min(len(counts), MOST_HELD_OUT)
    if settings.n_states is None:
        k = int(held_out_likelihoods(folds, starts, most).argmax()) + 1
    else:
        k = min(len(counts), settings.n_states)
    labels = merged_path(counts, starts, k)[k]
    rank = np.argsort(np.argsort(-np.bincount(labels, weights=totals), kind="stable"))
    return np.asarray(rank[labels], np.int64)


def _deconvolved(table: Array, channels: list[Array], kept: NDArray[np.bool_], beside: NDArray[np.bool_]) -> Array:
    """Counts of admissible tuples of two blocks, sent back through the noise, shape (T, T')."""
    if any(np.count_nonzero(c) > len(c) for c in channels):
        table = without_noise(table, channels, np.multiply.outer(kept, beside))
    return table.reshape(kept.size, beside.size)[kept.ravel()][:, beside.ravel()]


def _worth(counts: Array, channels: list[Array], kept: NDArray[np.bool_]) -> Array:
    r"""How many rows a row of each admissible tuple is worth once noise is taken out: the share of its rows that mean it, shape (T,).

    Taking c noisy rows out of m + c leaves m with the variance of m + c: as much as is known from m m / (m + c) clean rows.
    """
    if not any(np.count_nonzero(c) > len(c) for c in channels):
        return np.ones(int(kept.sum()))
    stays = np.ones(counts.shape)
    for axis, channel in enumerate(channels):
        stays *= channel.diagonal().reshape([-1 if a == axis else 1 for a in range(counts.ndim)])
    meant = stays * without_noise(counts, channels, kept)
    share: Array = np.minimum(meant[kept] / np.maximum(counts[kept], LEAST_COUNT), 1.0)
    return share


def _beside(table: Array, labels: States) -> Array:
    """Columns of `table`, shape (T, T'), summed by their state; shape (T, K)."""
    if len(labels) == int(labels.max()) + 1:
        return table
    out = np.zeros((table.shape[0], int(labels.max()) + 1))
    np.add.at(out.T, labels, table.T)
    return out


def _completed(
    counts: Array, channels: list[Array], kept: NDArray[np.bool_], labels: States
) -> tuple[States, Array, tuple[States, Array], Array]:
    r"""The most probable state of every tuple, admissible or not, shape (P,); the composite's channel, shape (K, K); laws of its tuples.

    A state sends :math:`\sum_t p(t \mid v) C[o, t]` to tuple o, t over the admissible tuples that stand for it.
    """
    states = int(labels.max()) + 1
    true = np.where(kept, np.maximum(through(counts, inverted(channels)), LEAST_COUNT), 0.0)
    meant = np.zeros((*counts.shape, states))
    meant[(*np.nonzero(kept), labels)] = true[kept]
    floored = [(1 - FLOOR) * channel + FLOOR / len(channel) for channel in channels]
    seen = through(meant, floored)
    table = seen.reshape(-1, states).argmax(axis=1)
    table[kept.ravel()] = labels  # noise on a frequent neighbour never takes a tuple from its state, so that no state is left without one
    total = meant.reshape(-1, states).sum(axis=0)
    sent = through(meant, channels).reshape(-1, states) / total  # p(o | v)
    channel = np.zeros((states, states))
    np.add.at(channel, table, sent)
    tuples = np.argwhere(kept)
    law = meant.reshape(math.prod(counts.shape), states)[kept.ravel()] / total
    return table, channel, (tuples, law), total / total.sum()
