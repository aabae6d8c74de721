"""No hierarchy: concepts whose states hang together by a Gaussian copula, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from generators.controls.copula import Copula
from generators.controls.instances import StateInstance, control_world, facts_beside, intervention, settings_of
from generators.controls.settings import Values
from generators.selection.sparse import SparseConcepts
from generators.selection.sparse_truth import SparseTruth, binary_entropy, describe
from generators.selection.world import World
from testbed.contracts import InvalidInput, seed_of


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

    No concept is a cause of another: setting one by force changes it alone. Conditioning on states moves the common f, and with it all.

    References
    ----------
    .. [1] Emrich & Piedmonte (1991), A method for generating high-dimensional multivariate binary variates.
    """

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(3, 12), dimension=16, correlation=0.3, correlation_rank=1)

    def draw(self, seed: int) -> CopulaInstance:  # type: ignore[override]
        loadings = copula_loadings(sum(self.levels), self.correlation, self.correlation_rank, seed)
        return CopulaInstance.beside(super().draw(seed).world, loadings, {}, {})


class CopulaInstance(StateInstance):
    """Concepts drawn from a Gaussian copula of low rank, which is independence where it has no loadings."""

    def __init__(self, truth: SparseTruth, world: World, copula: Copula, done: Values | None = None, given: Values | None = None) -> None:
        super().__init__(truth, world, done, given)
        self._copula = copula

    @classmethod
    def beside(cls, world: World, loadings: Tensor, done: Values, given: Values) -> Self:
        """The concepts of a selected world with their rates and atoms, composed of nothing."""
        selected = describe(world)
        by_node = torch.cat([selected.rates[level] for level in range(len(selected.levels))])
        start = world.forest.start
        states = {start(level) + i: value > 0 for (level, i), value in given.items()}
        copula = Copula.of(loadings, by_node, states)
        found, error = copula.rates()
        for (level, i), value in done.items():
            found[start(level) + i] = float(value > 0)
        rates = dict(enumerate(torch.split(found, [level.size for level in selected.levels])))
        free: dict[int, tuple[tuple[int, ...], ...]] = {i: ((),) * level.size for i, level in enumerate(selected.levels)}
        truth = replace(selected, constituents=free, rates=rates, settings=settings_of(selected.settings, rates))
        more: dict[str, Any] = {"loadings": loadings, **intervention(done, given)}
        if error:
            more["rates_error"] = error
        if not loadings.shape[1]:
            more |= {"entropy": float(binary_entropy(found).sum()), "total_correlation": 0.0}
        instance = cls(replace(truth, facts=facts_beside(truth, "none", ("none",), **more)), world, copula, done, given)
        instance.allow_for_counts()
        return instance

    @classmethod
    def of(cls, world: World, done: Values, given: Values) -> Self:
        return cls.beside(world, torch.zeros(sum(world.forest.sizes), 0, dtype=torch.float64), done, given)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._copula = self._copula.to(device)
        return other

    def states(self, n: int, generator: torch.Generator) -> list[Tensor]:
        levels = list(torch.split(self._copula.draw(n, generator), [level.size for level in self.truth.levels], dim=1))
        for (level, i), value in self.done.items():
            levels[level][:, i] = value > 0
        return levels

    def _steered(self, done: Values, given: Values) -> Self:
        made = self.beside(self.world, self.truth.facts["loadings"], done, given)
        return made if self.device == "cpu" else made.to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays, plain = super().state()
        return {**arrays, "copula": self.truth.facts["loadings"]}, plain

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        world, done, given = control_world(arrays, plain)
        loadings, concepts = arrays.get("copula"), sum(world.forest.sizes)
        if loadings is None or loadings.ndim != 2 or len(loadings) != concepts or not bool((loadings.square().sum(dim=1) < 1).all()):
            raise InvalidInput(f"the saved control lacks the loadings of its {concepts} concepts, or has others: save it again")
        return cls.beside(world, loadings, done, given)
