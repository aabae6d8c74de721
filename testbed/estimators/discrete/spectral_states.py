"""States from the singular vectors of each block's table of tuples and contexts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from testbed.contracts import InvalidInput
from testbed.estimators.discrete.layerwise import Array, Layerwise, States


@dataclass(kw_only=True, eq=False, repr=False)
class SpectralStates(Layerwise):
    r"""Clusters of tuples in the leading singular vectors of the table of correspondences.

    .. math:: M_{tx} = \frac{p(t, x) - p(t)\, p(x)}{\sqrt{p(t)\, p(x)}}, \qquad M \approx U S V^T

    Rows of :math:`p(t)^{-1/2} U S` are equal for tuples with equal context laws: k-means, weighted by p(t), groups them. The number of
    states is one more than the number of singular values above :math:`\kappa (\sqrt{T} + \sqrt{X}) / \sqrt{n}`, which counts of
    independent t and x hardly pass. That numerical rank is a lower bound only: laws that are mixtures of others add none. A context is all
    other blocks side by side.

    Parameters
    ----------
    above : float
        kappa.
    arity, tuples, depth, n_states, bins, samples, view
        See `testbed.estimators.discrete.layerwise.Layerwise`, also for attributes.

    References
    ----------
    .. [1] Benzecri (1973), L'analyse des correspondances.
    .. [2] Hsu, Kakade & Zhang (2012), A spectral algorithm for learning hidden Markov models.
    """

    above: float = 1.0

    @classmethod
    def small(cls) -> SpectralStates:
        return cls(depth=2, bins=2)

    def grouped(self, beside: list[list[Array]], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        if not self.above > 0:
            raise InvalidInput(f"above must be above 0, not {self.above}")
        return [self._clusters(tables, seed) for tables in beside]

    def _clusters(self, tables: list[Array], seed: int) -> States:
        seen = tables[0].sum(axis=1) > 0
        parts, most = [], 0.0
        n = tables[0].sum()
        for table in tables:
            p = table[seen][:, table.sum(axis=0) > 0] / n
            r, c = p.sum(axis=1, keepdims=True), p.sum(axis=0, keepdims=True)
            parts.append((p - r * c) / np.sqrt(r * c))
            most += p.shape[1]
        u, s, _ = np.linalg.svd(np.hstack(parts), full_matrices=False)
        rank = int((s > self.above * (np.sqrt(len(u)) + np.sqrt(most)) / np.sqrt(n)).sum())
        k = min(self.n_states or rank + 1, int(seen.sum()))
        state = np.zeros(len(seen), np.int64)
        if k > 1:
            weight = tables[0][seen].sum(axis=1)
            width = max(rank, k - 1)
            place = u[:, :width] * s[:width] / np.sqrt(weight / n)[:, None]
            found = KMeans(k, n_init=10, random_state=seed % 2**32).fit(place, sample_weight=weight)
            state[seen] = found.labels_
        return state
