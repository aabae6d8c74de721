"""Latent classes, level by level: each composite a cause whose constituents and context are independent given it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.estimators.discrete.layerwise import Array, Layerwise, States, most_telling
from testbed.numerics.compositions import best_classes, misfit_of
from testbed.numerics.latent_classes import tuple_classes


@dataclass(kw_only=True, eq=False, repr=False)
class LatentClass(Layerwise):
    r"""The best latent-class model of each block beside the block that it tells most of; a tuple's state is its most probable class.

    .. math:: p(t, x) = \sum_k \pi_k\, \phi_k(x) \prod_j \theta_{jk}(t_j)

    by EM from several starts, the number of classes by BIC. It is what hierarchies *with independent children* are made of, and a baseline
    where constituents are selected together: classes that cannot fit their dependence are multiplied or smeared.

    Parameters
    ----------
    max_states : int
        Most classes that BIC is asked about.
    starts, rounds : int
        Runs of EM, and rounds of the best of them.
    arity, tuples, depth, n_states, bins, samples, view
        See `testbed.estimators.discrete.layerwise.Layerwise`, also for attributes.

    References
    ----------
    .. [1] Lazarsfeld & Henry (1968), Latent Structure Analysis; Zhang (2004), Hierarchical latent class models for cluster analysis.
    """

    max_states: int = 10
    starts: int = 4
    rounds: int = 200

    @classmethod
    def small(cls) -> LatentClass:
        return cls(depth=2, bins=2, max_states=3, starts=2, rounds=50)

    def grouped(self, beside: list[list[Array]], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        return [self._classes(most_telling(tables), shape, seed) for tables, shape in zip(beside, shapes, strict=True)]

    def _classes(self, table: Array, shape: tuple[int, ...], seed: int) -> States:
        tried = list(range(1, self.max_states + 1)) if self.n_states is None else [self.n_states]
        every = np.tile(table, (len(tried), 1, 1))
        model = best_classes(every, shape, tried, starts=self.starts, rounds=self.rounds, seed=seed)
        n = table.sum()
        found = misfit_of(every, model)
        best = int((found.parameters * np.log(n) / 2 - found.likelihood * n).argmin())
        return np.asarray(tuple_classes(model)[best].argmax(axis=1), dtype=np.int64)
