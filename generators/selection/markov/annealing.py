r"""Rows to start chains from, by population annealing: from the base law to the selected one in small steps.

Weights :math:`w^\beta` are raised from :math:`\beta = 0` to 1 so that each step keeps most of the effective population; rows are resampled
by the ratio of the weights and moved by a few sweeps. The product of the mean ratios is an unbiased estimate of the partition function
[1]_. Populations are independent of each other, which gives the estimate an error and the chains overdispersed starts.

References
----------
.. [1] Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, Journal of the Royal Statistical Society B 68, 411-436.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from generators.selection.markov.factors import Factors
from generators.selection.markov.sweeps import Rows, draw_base, log_weights, sweep
from generators.selection.randomness import Floats
from testbed.contracts import InvalidInput, seed_of

POPULATIONS, SIZE = 8, 128
KEPT = 0.9
"""Share of the effective population that a step keeps."""
FLOOR = -12.0
"""Log weight of what is not admissible, relative to the least weight that is, until the last step."""
STEPS, SWEEPS = 400, 2
"""Most steps, and sweeps after each."""


class Nothing(InvalidInput):
    """No population came to a configuration that survives selection."""


@dataclass(frozen=True)
class Annealed:
    """Populations after annealing.

    Attributes
    ----------
    rows : ndarray, shape (populations * size, nodes), int32
        One population after the other.
    log_partition, error : float
        Log of the partition function, and its standard error over populations.
    """

    rows: Rows
    log_partition: float
    error: float


def anneal(factors: Factors, seed: int) -> Annealed:
    """Anneal independent populations.

    Raises
    ------
    Nothing
        If a population holds no configuration that survives selection in the end.
    """
    rows = draw_base(factors, POPULATIONS * SIZE, seed_of("base", seed))
    finite = np.isfinite(factors.log_weight)
    if not finite.any():
        raise Nothing(_sentence())
    soft = np.where(finite, factors.log_weight, factors.log_weight[finite].min() + FLOOR)
    generator = np.random.default_rng(seed_of("resampling", seed))
    beta, log_partition = 0.0, np.full(POPULATIONS, factors.log_mass)
    for step in range(STEPS):
        value = log_weights(factors, rows, soft)
        after = _next(value, beta)
        hard = after == 1.0
        ratio = (log_weights(factors, rows, factors.log_weight) if hard else after * value) - beta * value
        ratio = ratio.reshape(POPULATIONS, SIZE)
        mean = logsumexp(ratio, axis=1) - math.log(SIZE)
        if not np.isfinite(mean).all():
            raise Nothing(_sentence())
        log_partition += mean
        rows = rows[np.concatenate([p * SIZE + _systematic(r, generator) for p, r in enumerate(ratio)])]
        beta = after
        sweep(factors, rows, factors.log_weight if hard else beta * soft, SWEEPS, seed_of("annealing", seed, step))
        if hard:
            top = log_partition.max()
            share = np.exp(log_partition - top)
            error = float(share.std(ddof=1) / math.sqrt(POPULATIONS) / share.mean())
            return Annealed(rows, float(top + math.log(share.mean())), error)
    raise Nothing(_sentence())


def _next(value: Floats, beta: float) -> float:
    """The largest next beta at which the effective population of all rows is still `KEPT` of them."""

    def kept(after: float) -> float:
        w = np.exp((after - beta) * (value - value.max()))
        return float(w.sum() ** 2 / (w**2).sum() / len(w))

    if kept(1.0) >= KEPT:
        return 1.0
    low, high = beta, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) >= KEPT else (low, middle)
    return low


def _systematic(log_ratio: Floats, generator: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Systematic resampling, shape (size,)."""
    share = np.exp(log_ratio - log_ratio.max())
    places = (generator.random() + np.arange(len(share))) / len(share)
    # Its end is 1 exactly, and is reached where the last weight above 0 stands.
    bounds = np.cumsum(share) / share.sum()
    bounds[np.flatnonzero(share)[-1] :] = 1.0
    return np.searchsorted(bounds, places, side="right").astype(np.int64)


def _sentence() -> str:
    return (
        "no configuration that survives selection was found by annealing (acceptance 0, or too rare to find): change the setting, soften "
        "the potentials, or share fewer constituents"
    )
