r"""States seen through noise: a concept in state u is seen as o with probability C[o, u]; a tuple through the product of its channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

Array = NDArray[np.float64]

FIRST, HIGHEST = 0.2, 0.1
"""Where the search for the rate of noise begins, and above which an estimate is not believed: then it is tuples that are rare."""
ROUNDS = 50
SLACK = 0.5
"""By which noise may exceed what channels say, before a tuple counts as meant."""
CONSISTENT = 0.01
"""Tail probability above which a count is put down to noise, when its rate is estimated."""


def symmetric(states: int, noise: float) -> Array:
    """Another state, each as likely, with probability `noise`; shape (states, states)."""
    if states == 1:
        return np.ones((1, 1))
    return np.full((states, states), noise / (states - 1)) + np.eye(states) * (1 - noise - noise / (states - 1))


def through(counts: Array, channels: Sequence[Array]) -> Array:
    """Send a table, one axis for each channel (further axes last), through them."""
    for axis, channel in enumerate(channels):
        counts = np.moveaxis(np.tensordot(channel, counts, axes=(1, axis)), 0, axis)
    return counts


def inverted(channels: Sequence[Array]) -> list[Array]:
    return [np.asarray(np.linalg.inv(channel), dtype=np.float64) for channel in channels]


def without_noise(counts: Array, channels: Sequence[Array], possible: NDArray[np.bool_], rounds: int = 50) -> Array:
    r"""The most likely counts before the channels, of the cells that are `possible`; the shape of `counts`.

    From counts o seen, :math:`m_u \leftarrow m_u \sum_o C[o, u]\, o / (C m)_o`, which is expectation maximisation for Poisson counts
    (Richardson 1972, Lucy 1974). Unlike inverted channels it gives no cell a negative count, and none a positive one for being cut
    off at 0.

    Parameters
    ----------
    counts : array, one axis for each channel
    channels : sequence of array, shape (k, k)
    possible : array of bool, the shape of `counts`
    """
    back = [channel.T for channel in channels]
    meant = np.where(possible, np.maximum(counts, 1e-3), 0.0)
    reach = through(np.ones(counts.shape), back)  # 1, columns of channels being laws
    for _ in range(rounds):
        ratio = counts / np.maximum(through(meant, channels), 1e-12)
        meant = meant * through(ratio, back) / reach
    return meant


def noise_rate(tables: Sequence[Array]) -> float:
    r"""Probability that a state is replaced by another, from tables of tuples some of which are inadmissible.

    To first order a tuple that is never meant is seen :math:`\epsilon\, e` times, :math:`e_o = \sum_j \sum_{t_j \ne o_j} n(t_j, o_{-j}) /
    (k_j - 1)` being the rows that are one replacement away. The rate is that of all tuples whose counts it explains (a Poisson law's
    tail), found as a fixed point from above. 0 where no tuple is that rare: then every one is admissible, and noise cannot be told.

    Parameters
    ----------
    tables : sequence of array, shape (k_1, ..., k_s)
        Counts of the tuples of each block; one rate for all.
    """
    seen, away = [], []
    for n in tables:
        e = np.zeros_like(n)
        for axis, k in enumerate(n.shape):
            if k > 1:
                e += (n.sum(axis=axis, keepdims=True) - n) / (k - 1)
        seen.append(n[e > 0])
        away.append(e[e > 0])
    count, exposure = np.concatenate(seen), np.concatenate(away)
    rate = FIRST
    for _ in range(ROUNDS):
        noise = np.asarray(poisson.sf(count - 1, rate * exposure) >= CONSISTENT)
        if noise.sum() < 3:
            return 0.0
        new = float(count[noise].sum() / exposure[noise].sum())
        if abs(new - rate) <= 1e-9:
            break
        rate = new
    return rate if rate <= HIGHEST else 0.0


def refined_rate(tables: Sequence[Array], rate: float, alpha: float) -> float:
    """The rate at which tuples that are not admissible are seen as often as they are, noise on two leaves at once included.

    Parameters
    ----------
    tables : sequence of array, shape (k_1, ..., k_s)
    rate : float
        A first guess, as `noise_rate` gives it.
    alpha : float
        As for `admissible`.
    """
    for _ in range(10 if rate > 0 else 0):
        seen = expected = 0.0
        for n in tables:
            channels = [symmetric(k, rate) for k in n.shape]
            kept = admissible(n, channels, alpha)
            seen += float(n[~kept].sum())
            expected += float(through(without_noise(n, channels, kept), channels)[~kept].sum())
        new = min(rate * seen / expected, HIGHEST) if expected > 0 else rate
        if abs(new - rate) <= 1e-4 * rate:
            break
        rate = new
    return rate


def admissible(counts: Array, channels: Sequence[Array], alpha: float) -> NDArray[np.bool_]:
    """Tuples that are seen more often than noise on others explains, at level `alpha` over all of them; the shape of `counts`.

    Channels are estimates, and so is what noise explains: up to `SLACK` more is put down to it.
    """
    back = inverted(channels)
    stays = np.ones(counts.shape)
    for axis, channel in enumerate(channels):
        stays *= channel.diagonal().reshape([-1 if a == axis else 1 for a in range(counts.ndim)])
    meant: NDArray[np.bool_] = counts > 0
    for _ in range(3):
        true = np.where(meant, np.maximum(through(counts, back), 0.0), 0.0)
        expected = np.maximum(through(true, channels) - stays * true, 0.0)
        expected[expected < 1e-9 * counts.sum()] = 0.0  # rounding
        meant = (counts > 0) & (poisson.sf(counts - 1, (1 + SLACK) * expected) < alpha / counts.size)
    return meant
