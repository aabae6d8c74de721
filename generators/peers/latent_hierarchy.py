"""Linear latent hierarchies, as rank-based causal discovery is tested on them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.peers.latent_graphs import PUBLISHED, LatentGraph, layered, published
from testbed.contracts import BLOCK, BlockInstance, Generator, InvalidInput, Level, Observed, Sample, Shows, Truth, View, seed_of
from testbed.numerics.matching import dense

NOISES = ("gaussian", "uniform", "laplace")
DEFAULT_COVERS = ((2,), (1, 2, 1))


class LatentHierarchy(Generator):
    r"""Latent causes of latent causes of measured variables, all linear: :math:`V = F^\top V + \varepsilon`.

    Weights are uniform on :math:`\pm[\mathrm{low}, \mathrm{high}]`, variances of the noises uniform on an interval, and noises Gaussian
    or not. The view ``measured`` shows the measured variables; in published graphs these cause others too, even latent ones. It is no
    selection model: abstract variables cause concrete ones, and children are independent given them.

    `LatentHierarchy()` draws weights and variances as the code of latent hierarchical causal discovery by rank constraints does [1]_,
    `LatentHierarchy.rlcd()` as that of RLCD [2]_ does, on one of its graphs.

    Parameters
    ----------
    graph : {"layered", "measurement", "tree", "hierarchy"}
        Layers of covers, or a graph of [2]_; see `generators.peers.latent_graphs`.
    covers : list of list of int, or None
        Sizes of the covers of each layer of a layered graph; None for [[2], [1, 2, 1]].
    spare : int
        Measured children of each cover beyond those that ranks need.
    weight_low, weight_high : float
    variance_low, variance_high : float
    noise : {"gaussian", "uniform", "laplace"}
        Law of every noise, with mean 0.
    standardise : bool
        Whether measured variables are divided by their standard deviations.

    References
    ----------
    .. [1] Huang, Low, Xie, Glymour & Zhang (2022), Latent hierarchical causal structure discovery with rank constraints, arXiv 2210.01798.
    .. [2] Dong et al. (2024), A versatile causal discovery framework to allow causally-related hidden variables, arXiv 2312.11001.
    """

    def __init__(
        self,
        graph: Literal["layered", "measurement", "tree", "hierarchy"] = "layered",
        covers: list[list[int]] | None = None,
        spare: int = 0,
        weight_low: float = 0.5,
        weight_high: float = 5.0,
        variance_low: float = 1.0,
        variance_high: float = 5.0,
        noise: Literal["gaussian", "uniform", "laplace"] = "gaussian",
        standardise: bool = False,
    ) -> None:
        self.graph = graph
        self.covers = covers
        self.spare = spare
        self.weight_low = weight_low
        self.weight_high = weight_high
        self.variance_low = variance_low
        self.variance_high = variance_high
        self.noise = noise
        self.standardise = standardise

    @classmethod
    def rlcd(cls, graph: Literal["measurement", "tree", "hierarchy"] = "hierarchy", **changes: Any) -> Self:
        """Weights in ±[1, 5], variances in [.1, 1], standardised, as RLCD's code draws them; `changes` are other parameters."""
        law = {"weight_low": 1.0, "weight_high": 5.0, "variance_low": 0.1, "variance_high": 1.0, "standardise": True}
        return cls(**{"graph": graph, **law, **changes})

    def draw(self, seed: int) -> LatentHierarchyInstance:
        """Draw weights and variances.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or the covers make no graph.
        """
        self._check()
        graph = published(self.graph) if self.graph in PUBLISHED else layered(self.covers or DEFAULT_COVERS, self.spare)
        order = {name: i for i, name in enumerate(graph.names)}
        n = len(order)
        cause, effect = ([order[edge[side]] for edge in graph.edges] for side in (0, 1))
        generator = torch.Generator().manual_seed(seed_of("weights", seed))
        size = torch.rand(len(cause), generator=generator, dtype=torch.float64) * (self.weight_high - self.weight_low) + self.weight_low
        sign = torch.randint(2, (len(cause),), generator=generator, dtype=torch.int64) * 2 - 1
        weights = torch.zeros(n, n, dtype=torch.float64)
        weights[cause, effect] = size * sign
        generator = torch.Generator().manual_seed(seed_of("variances", seed))
        variances = self.variance_low + (self.variance_high - self.variance_low) * torch.rand(n, generator=generator, dtype=torch.float64)
        if self.standardise:
            weights, variances = _standardised(weights, variances, len(graph.latent))
        return LatentHierarchyInstance(graph, weights, variances, self.noise)

    def _check(self) -> None:
        if self.graph != "layered" and self.graph not in PUBLISHED:
            raise InvalidInput(f"graph must be layered or one of {', '.join(PUBLISHED)}, not {self.graph!r}")
        if self.noise not in NOISES:
            raise InvalidInput(f"noise must be one of {', '.join(NOISES)}, not {self.noise!r}")
        if not (0 < self.weight_low <= self.weight_high < math.inf and 0 < self.variance_low <= self.variance_high < math.inf):
            raise InvalidInput(
                "weights and variances need 0 < low <= high, not "
                f"{self.weight_low}, {self.weight_high}, {self.variance_low} and {self.variance_high}"
            )


def total_effects(weights: Tensor) -> Tensor:
    r"""Effect of every noise on every variable, :math:`(I - F)^{-1}`: row i is what noise i adds, shape (v, v)."""
    effects: Tensor = torch.linalg.inv(torch.eye(len(weights), dtype=weights.dtype) - weights)
    return effects


def covariance(weights: Tensor, variances: Tensor) -> Tensor:
    r"""Closed form :math:`(I - F)^{-\top} \Omega (I - F)^{-1}`, shape (v, v)."""
    effects = total_effects(weights)
    return effects.T @ (variances[:, None] * effects)


def _standardised(weights: Tensor, variances: Tensor, latent: int) -> tuple[Tensor, Tensor]:
    """The same model with measured variables, those from `latent` on, in units of their standard deviations."""
    unit = covariance(weights, variances).diagonal().sqrt()
    unit[:latent] = 1.0
    return weights * unit[:, None] / unit, variances / unit.square()


@dataclass(frozen=True)
class LatentHierarchyTruth(Truth):
    """Truth of a linear latent hierarchy.

    Level l holds the latents whose longest chain of latent causes has l edges; ``constituents`` are their children on the level below. The
    dictionary rows are total effects of a latent on the measured variables through measured ones only. `facts`: ``names`` (latents level by
    level, then measured variables), ``edges``, ``weights`` F (v, v), ``variances`` (v,), ``covariance`` (v, v), ``covers``, ``noise_law``.
    """

    def oracle(self, observed: Observed, view: str) -> Tensor:
        """Best linear estimate of every latent, the posterior mean where noises are Gaussian, shape (n, c), float32."""
        x = dense(observed.views[view].values).double()
        c = sum(level.size for level in self.levels)
        spread = self.facts["covariance"].to(x.device)
        gain: Tensor = torch.linalg.solve(spread[c:, c:], spread[c:, :c])  # (d, c)
        return (x @ gain).float()


class LatentHierarchyInstance(BlockInstance):
    """A linear model of one graph."""

    def __init__(self, graph: LatentGraph, weights: Tensor, variances: Tensor, noise: str) -> None:
        self._effects, self._deviations, self._noise = total_effects(weights), variances.sqrt(), noise
        c = len(graph.latent)
        sizes = [sum(level == depth for level in graph.level.values()) for depth in range(max(graph.level.values()) + 1)]
        starts = [sum(sizes[:depth]) for depth in range(len(sizes) + 1)]
        lower = [
            [j - starts[graph.level[name] + 1] for j in range(c) if _edge(graph, weights, i, j)] for i, name in enumerate(graph.latent)
        ]
        shown = weights[:c, c:] @ total_effects(weights[c:, c:])  # (c, d)
        self.truth: LatentHierarchyTruth = LatentHierarchyTruth(
            levels=tuple(Level("real", size) for size in sizes),
            constituents={at: tuple(map(tuple, lower[a:b])) for at, (a, b) in enumerate(itertools.pairwise(starts))},
            dictionaries={"measured": {at: shown[a:b].float() for at, (a, b) in enumerate(itertools.pairwise(starts))}},
            settings={"concepts": c},
            facts={
                "direction": "independent_children",
                "direction_class": ["independent_children"],
                "names": list(graph.names),
                "edges": [list(edge) for edge in graph.edges],
                "weights": weights,
                "variances": variances,
                "covariance": covariance(weights, variances),
                "covers": [list(cover) for cover in graph.covers],
                "noise_law": noise,
            },
        )

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._effects, other._deviations = self._effects.to(device), self._deviations.to(device)
        return other

    def block(self, seed: int) -> Sample:
        generator = torch.Generator(self.device).manual_seed(seed_of("noise", seed))
        shape = (BLOCK, len(self._deviations))
        if self._noise == "gaussian":
            noise = torch.randn(shape, generator=generator, device=self.device, dtype=torch.float64)
        else:
            u = 2 * torch.rand(shape, generator=generator, device=self.device, dtype=torch.float64) - 1
            noise = math.sqrt(3) * u if self._noise == "uniform" else -u.sign() * torch.log1p(-u.abs()) / math.sqrt(2)
        values = ((noise * self._deviations) @ self._effects).float()
        c = int(self.truth.settings["concepts"])
        latents = torch.split(values[:, :c], [level.size for level in self.truth.levels], dim=1)
        shows = Shows(tuple(range(len(self.truth.levels))))
        return Sample(Observed({"measured": View(values[:, c:].contiguous(), shows)}), dict(enumerate(latents)))


def _edge(graph: LatentGraph, weights: Tensor, i: int, j: int) -> bool:
    """Whether latent i causes latent j, one level below it."""
    return bool(weights[i, j]) and graph.level[graph.latent[j]] == graph.level[graph.latent[i]] + 1
