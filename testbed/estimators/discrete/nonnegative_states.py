"""States from a non-negative factorisation of each block's table of tuples and contexts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.estimators.discrete.layerwise import Array, Layerwise, States, most_telling
from testbed.numerics.compositions import best_classes, fewest_classes
from testbed.numerics.latent_classes import tuple_classes


@dataclass(kw_only=True, eq=False, repr=False)
class NonnegativeStates(Layerwise):
    r"""As many states as non-negative rank-one tables add up to p(tuple, context); a tuple's state is the one with most of its share.

    .. math:: p(t, x) = \sum_k \pi_k\, \theta_k(t)\, \phi_k(x)

    is probabilistic latent semantic analysis [1]_, the factorisation that minimises the Kullback-Leibler divergence, found by EM. The
    number of states is the smallest that leaves at most `misfit` nats a row unexplained, without the bias of counts. Where the composition
    is a function each tuple belongs to one state, and the non-negative rank is the number of distinct context laws at most; where it is
    stochastic it is the number of states.

    Parameters
    ----------
    misfit : float
        Nats per row.
    max_states : int
    starts, rounds : int
        Runs of EM, and rounds of the best of them.
    arity, tuples, depth, n_states, bins, samples, view
        See `testbed.estimators.discrete.layerwise.Layerwise`, also for attributes.

    References
    ----------
    .. [1] Hofmann (1999), Probabilistic latent semantic indexing; Cohen & Rothblum (1993), Nonnegative ranks.
    """

    misfit: float = 0.004
    max_states: int = 16
    starts: int = 6
    rounds: int = 200

    @classmethod
    def small(cls) -> NonnegativeStates:
        return cls(depth=2, bins=2, max_states=3, starts=2, rounds=50)

    def grouped(self, beside: list[list[Array]], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        out = []
        for tables in beside:
            table = most_telling(tables)
            flat, rows = table[None], (len(table),)
            how = {"starts": self.starts, "rounds": self.rounds, "seed": seed}
            k = self.n_states or fewest_classes(flat, rows, [min(self.max_states, len(table))], self.misfit, **how)[0]
            shares = tuple_classes(best_classes(flat, rows, [k], **how))[0]  # (T, k)
            out.append(np.asarray(shares.argmax(axis=1), dtype=np.int64))
        return out
