"""No hierarchy: concepts whose states hang together by a Gaussian copula, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from generators.controls.instances import StateInstance, facts_beside
from generators.selection.sparse import SparseConcepts, SparseInstance
from generators.selection.sparse_truth import SparseTruth
from generators.selection.world import World
from testbed.contracts import Instance, InvalidInput, seed_of


def copula_loadings(concepts: int, correlation: float, rank: int, seed: int) -> Tensor:
    r"""Loadings :math:`\Lambda` of a Gaussian copula with correlations :math:`\Lambda \Lambda^\top` off the diagonal, shape (N, rank).

    Rank 1: every pair has the correlation rho itself. Higher rank: pairs have :math:`\rho\, u_i \cdot u_j` with random unit vectors u,
    of either sign.

    Raises
    ------
    InvalidInput
        If the correlation is not in (0, 1) or the rank is below 1.
    """
    if not 0 < correlation < 1 or rank < 1:
        raise InvalidInput(
            f"correlation must lie strictly between 0 and 1 and correlation_rank be at least 1, not {correlation} and {rank}: "
            "for no correlation at all take IndependentConcepts"
        )
    directions = torch.ones(concepts, 1, dtype=torch.float64)
    if rank > 1:
        generator = torch.Generator().manual_seed(seed_of("loadings", seed))
        directions = normalize(torch.randn(concepts, rank, generator=generator, dtype=torch.float64), dim=1)
    return float(correlation**0.5) * directions


class CorrelatedConcepts(SparseConcepts):
    r"""Concepts with the selected firing rates that are correlated with each other, and of which none is composed of others.

    Same parameters, rates, dictionary and noise as `SparseConcepts` drawn with the same seed. A concept i of rate r_i is on iff
    :math:`\Lambda_i \cdot f + \sqrt{1 - |\Lambda_i|^2}\, \eta_i > \Phi^{-1}(1 - r_i)`, with f and eta standard normal: marginals are
    exact. `correlation`, which must be above 0, is that of the normals behind any two *concepts* here (there, of trees), and with
    `correlation_rank` above 1 its bound, of either sign. Magnitudes are independent, all from the leaves' law. A method that sees a
    hierarchy here takes correlation for composition.

    References
    ----------
    .. [1] Emrich & Piedmonte (1991), A method for generating high-dimensional multivariate binary variates.
    """

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(3, 12), dimension=16, correlation=0.3, correlation_rank=1)

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        loadings = copula_loadings(sum(self.levels), self.correlation, self.correlation_rank, seed)
        return without_hierarchy(super().draw(seed), loadings, seed)


def without_hierarchy(selected: SparseInstance, loadings: Tensor, seed: int) -> CopulaInstance:
    """The concepts of a selected instance with their rates and atoms, composed of nothing."""
    free: dict[int, tuple[tuple[int, ...], ...]] = {i: ((),) * level.size for i, level in enumerate(selected.truth.levels)}
    facts = facts_beside(selected.truth, "none", ("none",), loadings=loadings)
    instance = CopulaInstance(replace(selected.truth, constituents=free, facts=facts), selected.world)
    instance.allow_for_counts(seed)
    return instance


class CopulaInstance(StateInstance):
    """Concepts drawn from a Gaussian copula of low rank, which is independence where it has no loadings."""

    def __init__(self, truth: SparseTruth, world: World) -> None:
        super().__init__(truth, world)
        self._loadings: Tensor = truth.facts["loadings"]
        self._threshold: Tensor = -torch.special.ndtri(torch.cat([truth.rates[level] for level in range(len(truth.levels))]))

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._loadings, other._threshold = self._loadings.to(device), self._threshold.to(device)
        return other

    def states(self, n: int, generator: torch.Generator) -> list[Tensor]:
        device = generator.device
        loadings, threshold = self._loadings.to(device), self._threshold.to(device)
        common = torch.randn(n, loadings.shape[1], generator=generator, device=device, dtype=torch.float64)
        own = torch.randn(n, len(threshold), generator=generator, device=device, dtype=torch.float64)
        z = common @ loadings.T + (1 - loadings.square().sum(dim=1)).sqrt() * own
        return list(torch.split(z > threshold, [level.size for level in self.truth.levels], dim=1))
