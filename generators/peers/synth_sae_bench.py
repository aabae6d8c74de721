"""SynthSAEBench: sparse concepts in superposition whose children fire only where their parent does."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from generators.mixing import random_directions
from generators.peers.gated_instance import GatedInstance, gated_truth
from generators.peers.gated_law import GatedLaw, check_shape, compensation, zipf_rates
from generators.peers.orthogonal import orthogonalised
from testbed.contracts import Generator, InvalidInput, seed_of


class SynthSAEBench(Generator):
    r"""The generative process of SynthSAEBench [1]_; the defaults are its 16k model, version 2.

    Concepts are ranked by rate and stand in a forest: roots are the most frequent, then come their children, breadth first, then free
    concepts. Each draws for itself whether it fires, from a Gaussian copula of low rank; a child whose parent is off is silenced, and of
    exclusive siblings one chosen uniformly stays. A child's magnitude is multiplied by its parent's, over that one's mean. It is no
    selection model: parents cause children here (see `generators.peers.gated_law`), and exclusive siblings are emitted jointly.
    Level 0 holds the roots, the last level their remotest descendants and the free concepts.

    ``truth.rates`` are realised marginals, not nominal ones: exact for independent draws, and under the copula averaged over its common
    factors with the standard error in ``facts["rates_error"]`` (0 for roots and free concepts). Sampling costs what the active concepts
    cost, and under the copula what the proposed ones cost, and a product of each row's factors with the loadings of frequent concepts.

    ``SynthSAEBench.miniature()`` is the same with 1,024 concepts in 128 dimensions and 8 roots.

    Parameters
    ----------
    concepts, dimension : int
        n, and d of the view ``mixed``.
    roots, branching, depth : int
        Trees, children per parent, generations below the roots; 0 roots for free concepts only.
    exclusive : float in [0, 1]
        Share of parents whose children exclude each other.
    compensate : bool
        Whether children's firing probabilities are raised to make up for gating and exclusion (to first order, and to 1 at most).
    scaled : bool
        Whether children's magnitudes are scaled by their parent's.
    rate, rate_floor, zipf : float
        Nominal rates run from `rate` to `rate_floor` like ``r ** -zipf``.
    correlation_rank, correlation_scale : int, float
        Loadings are normal with this standard deviation; rank 0 for independent draws.
    orthogonal_steps, orthogonal_rate : int, float
        Adam's steps, and their size, on the dictionary's squared cosines.
    magnitude_first, magnitude_last : float
        Mean magnitudes run linearly from the most to the least frequent concept.
    spread, spread_spread : float
        Each concept's standard deviation of magnitudes is \|N(spread, spread_spread^2)\|.
    bias : float
        Norm of a constant added to every row.

    References
    ----------
    .. [1] Chanin & Garriga-Alonso (2026), SynthSAEBench: evaluating sparse autoencoders on scalable realistic synthetic data,
       arXiv 2602.14687.
    """

    def __init__(
        self,
        concepts: int = 16_384,
        dimension: int = 768,
        roots: int = 128,
        branching: int = 4,
        depth: int = 3,
        exclusive: float = 1.0,
        compensate: bool = True,
        scaled: bool = True,
        rate: float = 0.4,
        rate_floor: float = 5e-4,
        zipf: float = 0.5,
        correlation_rank: int = 25,
        correlation_scale: float = 0.1,
        orthogonal_steps: int = 100,
        orthogonal_rate: float = 3e-4,
        magnitude_first: float = 5.0,
        magnitude_last: float = 4.0,
        spread: float = 0.5,
        spread_spread: float = 0.5,
        bias: float = 0.5,
    ) -> None:
        self.concepts = concepts
        self.dimension = dimension
        self.roots = roots
        self.branching = branching
        self.depth = depth
        self.exclusive = exclusive
        self.compensate = compensate
        self.scaled = scaled
        self.rate = rate
        self.rate_floor = rate_floor
        self.zipf = zipf
        self.correlation_rank = correlation_rank
        self.correlation_scale = correlation_scale
        self.orthogonal_steps = orthogonal_steps
        self.orthogonal_rate = orthogonal_rate
        self.magnitude_first = magnitude_first
        self.magnitude_last = magnitude_last
        self.spread = spread
        self.spread_spread = spread_spread
        self.bias = bias

    @classmethod
    def miniature(cls, **changes: Any) -> Self:
        """The miniature: 1,024 concepts, d = 128, 8 roots; `changes` are other parameters."""
        return cls(**{"concepts": 1024, "dimension": 128, "roots": 8, **changes})

    @classmethod
    def small(cls) -> Self:
        return cls(concepts=60, dimension=16, roots=2, branching=3, depth=2, correlation_rank=4)

    def draw(self, seed: int) -> GatedInstance:
        """Draw dictionary, bias, spreads, loadings and who is exclusive; every role has a seed of its own.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or the hierarchy needs more concepts than there are.
        """
        law = self.law(seed)
        atoms = random_directions(self.concepts, self.dimension, _generator("dictionary", seed))
        atoms = orthogonalised(atoms, self.orthogonal_steps, self.orthogonal_rate)
        bias = self.bias * random_directions(1, self.dimension, _generator("bias", seed))[0]
        mean, spread = self.magnitudes(seed)
        return GatedInstance(gated_truth(law, atoms, bias, mean, spread, seed), law, self.scaled)

    def magnitudes(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each concept's magnitude before rectification, shape (n,) each."""
        mean = torch.linspace(self.magnitude_first, self.magnitude_last, self.concepts, dtype=torch.float64)
        xi = torch.randn(self.concepts, generator=_generator("spread", seed), dtype=torch.float64)
        return mean, (self.spread + self.spread_spread * xi).abs()

    def law(self, seed: int) -> GatedLaw:
        """Who may fire, and when."""
        check_shape(self.concepts, self.roots, self.branching, self.depth)
        self._check()
        parents = self.roots * sum(self.branching**g for g in range(self.depth))
        order = torch.randperm(parents, generator=_generator("exclusive", seed))
        exclusive = torch.zeros(parents, dtype=torch.bool)
        exclusive[order[: int(parents * self.exclusive)]] = True
        children = self.roots + torch.arange(parents * self.branching).reshape(-1, self.branching)
        fire = zipf_rates(self.concepts, self.zipf, self.rate, self.rate_floor)
        if self.compensate:
            fire = (fire * compensation(fire, children, exclusive)).clamp_max(1.0)
        mean, spread = self.magnitudes(seed)
        return GatedLaw(
            roots=self.roots,
            branching=self.branching,
            depth=self.depth,
            concepts=self.concepts,
            exclusive=exclusive,
            fire=fire,
            keep=torch.special.ndtr(mean / spread),
            loadings=self._loadings(seed),
        )

    def _loadings(self, seed: int) -> Tensor:
        """Loadings of the copula, rows of norm at most sqrt(.99), shape (n, r)."""
        shape = (self.concepts, self.correlation_rank)
        loadings = self.correlation_scale * torch.randn(shape, generator=_generator("loadings", seed), dtype=torch.float64)
        square = loadings.square().sum(dim=1, keepdim=True)
        return torch.where(square > 0.99, loadings * (0.99 / square.clamp_min(1e-300)).sqrt(), loadings)

    def _check(self) -> None:
        if self.dimension < 1 or self.orthogonal_steps < 0 or self.correlation_rank < 0 or self.correlation_scale < 0:
            raise InvalidInput(
                "dimension must be at least 1, and orthogonal_steps, correlation_rank and correlation_scale at least 0, not "
                f"{self.dimension}, {self.orthogonal_steps}, {self.correlation_rank} and {self.correlation_scale}"
            )
        if not (0 <= self.exclusive <= 1 and min(self.magnitude_first, self.magnitude_last) > 0):
            raise InvalidInput(
                "exclusive must lie in [0, 1] and mean magnitudes be above 0, not "
                f"{self.exclusive}, {self.magnitude_first} and {self.magnitude_last}"
            )
        if not (0 <= self.spread < math.inf and 0 <= self.spread_spread < math.inf):
            raise InvalidInput(f"spread and spread_spread must be at least 0, not {self.spread} and {self.spread_spread}")


def _generator(role: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(role, seed))
