"""How strongly an active concept is expressed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import InvalidInput

FLOOR = 0.01
"""Smallest magnitude, as a share of the mean: an active concept is never written as 0, since 0 means off."""

Law = Literal["rectified_normal", "lognormal", "student", "pareto"]
LAWS = ("rectified_normal", "lognormal", "student", "pareto")


@dataclass(frozen=True)
class Magnitudes:
    r"""Magnitudes of active concepts; composites follow their constituents.

    A concept's own magnitude :math:`a_0` is, with :math:`\xi` standard normal and a floor of 0.01 mean on all of them,

    - ``rectified_normal``: :math:`\mathrm{mean} + \mathrm{spread}\, \xi`;
    - ``lognormal``: :math:`\exp(m + s \xi)` with this mean and standard deviation;
    - ``student``: :math:`\mathrm{mean} + \mathrm{spread}\, t \sqrt{(\nu - 2) / \nu}`, t of Student's law with :math:`\nu` = tail degrees
      of freedom (standard deviation spread, before the floor);
    - ``pareto``: :math:`P(a_0 > a) = (a_m / a)^{\mathrm{tail}}` from :math:`a_m = \mathrm{mean}\, (\mathrm{tail} - 1) / \mathrm{tail}` on;
      spread plays no part.

    A composite has :math:`((1 - \mathrm{tie})\, a_0 + \mathrm{tie}\, \bar a) \exp(\sigma \xi)`, where :math:`\bar a` is the mean magnitude
    of its active constituents.

    Attributes
    ----------
    mean, spread : float
    tie : float in [0, 1]
    sigma : float
    law : {"rectified_normal", "lognormal", "student", "pareto"}
    tail : float
        Above 2 for ``student``, above 1 for ``pareto``.
    """

    mean: float
    spread: float
    tie: float
    sigma: float
    law: Law = "rectified_normal"
    tail: float = 3.0

    def __post_init__(self) -> None:
        if not (0 < self.mean < float("inf") and 0 <= self.spread < float("inf")):
            raise InvalidInput(f"magnitude must be above 0 and spread at least 0, not {self.mean} and {self.spread}")
        if not (0 <= self.tie <= 1 and 0 <= self.sigma < float("inf")):
            raise InvalidInput(f"tie must lie in [0, 1] and jitter be at least 0, not {self.tie} and {self.sigma}")
        if self.law not in LAWS:
            raise InvalidInput(f"magnitude_law must be one of {', '.join(map(repr, LAWS))}, not {self.law!r}")
        least = {"student": 2, "pareto": 1}.get(self.law, 0)
        if not least < self.tail < float("inf"):
            raise InvalidInput(f"tail must be a finite number above {least} for magnitude_law {self.law!r}, not {self.tail}: raise it")

    def own(self, count: int, generator: torch.Generator) -> Tensor:
        """Magnitudes :math:`a_0` of `count` active concepts, shape (count,), float32."""
        if self.law == "pareto":
            u = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64).neg_().add_(1)  # in (0, 1]
            values: Tensor = u.pow_(-1 / self.tail) * (self.mean * (self.tail - 1) / self.tail)
            return values.float()
        if self.law == "student":
            u, v = 1 - torch.rand(2, count, generator=generator, device=generator.device, dtype=torch.float64)
            # Bailey (1994), Polar generation of random variates with the t-distribution.
            t = (self.tail * (u ** (-2 / self.tail) - 1)).sqrt() * (2 * math.pi * v).cos()
            heavy: Tensor = self.mean + self.spread * math.sqrt((self.tail - 2) / self.tail) * t
            return heavy.clamp_min(FLOOR * self.mean).float()
        xi = torch.randn(count, generator=generator, device=generator.device)
        if self.law == "lognormal":
            s = math.sqrt(math.log1p((self.spread / self.mean) ** 2))
            return xi.mul_(s).add_(math.log(self.mean) - s * s / 2).exp_().clamp_min_(FLOOR * self.mean)
        return xi.mul_(self.spread).add_(self.mean).clamp_min_(FLOOR * self.mean)

    def of_composite(self, own: Tensor, mean: Tensor, xi: Tensor) -> Tensor:
        """Magnitudes of composites from their own, the mean of their active constituents (NaN: none) and the noise, of one shape."""
        return torch.where(mean.isnan(), own, (1 - self.tie) * own + self.tie * mean) * (self.sigma * xi).exp()

    def draw(self, states: list[Tensor], constituents: tuple[Tensor, ...], generator: torch.Generator) -> list[Tensor]:
        """Magnitudes of every level, shape (n, n_l), float32, 0 where a concept is off: the plain sampler, on dense states."""
        out: list[Tensor] = []
        for level in reversed(range(len(states))):  # bottom-up: composition runs from concrete to abstract
            row, concept = states[level].nonzero(as_tuple=True)
            value = self.own(len(row), generator)
            if level < len(constituents):
                below = out[0][row[:, None], constituents[level][concept]]  # (nnz, s)
                xi = torch.randn(len(row), generator=generator, device=generator.device)
                value = self.of_composite(value, below.sum(dim=1) / (below > 0).sum(dim=1), xi)
            magnitude = torch.zeros(states[level].shape, device=generator.device)
            magnitude[row, concept] = value
            out.insert(0, magnitude)
        return out

    def draw_active(
        self,
        begin: NDArray[np.int64],
        nodes: NDArray[np.int64],
        constituents: NDArray[np.int64],
        fixed: NDArray[np.float32],
        generator: torch.Generator,
    ) -> NDArray[np.float32]:
        """Magnitude of every active node.

        Parameters
        ----------
        begin : ndarray, shape (n + 1,)
            Row i has the entries ``begin[i]:begin[i + 1]``.
        nodes : ndarray, shape (nnz,)
            Ascending in each row: a composite comes before what it is composed of.
        constituents : ndarray, shape (C, s)
            Nodes that each composite is composed of, -1 beyond their number.
        fixed : ndarray, shape (N,)
            Magnitudes that are given; -1 where they are not.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        ndarray, shape (nnz,), float32
        """
        values: NDArray[np.float32] = self.own(len(nodes), generator).numpy()
        if self.tie or self.sigma or (fixed >= 0).any():
            composites = int((nodes < len(constituents)).sum())
            noise = torch.randn(composites, generator=generator).mul_(self.sigma).exp_().numpy()
            _compose(begin, nodes, values, noise, constituents, fixed, self.tie)
        return values


RectifiedNormal = Magnitudes
"""The default law under its own name."""


@numba.njit(cache=True)
def _compose(
    begin: NDArray[np.int64],
    nodes: NDArray[np.int64],
    values: NDArray[np.float32],
    noise: NDArray[np.float32],
    constituents: NDArray[np.int64],
    fixed: NDArray[np.float32],
    tie: float,
) -> Any:
    """Turn own magnitudes into final ones, in place, bottom-up: composition runs from concrete to abstract."""
    current = np.zeros(len(fixed) + 1, np.float32)  # magnitudes of the row at hand
    weight = np.float32(tie)
    composites, drawn = len(constituents), 0
    for row in range(len(begin) - 1):
        for entry in range(begin[row + 1] - 1, begin[row] - 1, -1):
            node = nodes[entry]
            value = values[entry]
            if node < composites:
                total, count = np.float32(0), 0
                for j in range(constituents.shape[1]):
                    below = current[constituents[node, j]]  # -1, no constituent, reads the last entry, which stays 0
                    total += below
                    count += below > 0
                if count:
                    value += weight * (total / np.float32(count) - value)
                value *= noise[drawn]
                drawn += 1
            if fixed[node] >= 0:
                value = fixed[node]
            current[node] = value
            values[entry] = value
        for entry in range(begin[row], begin[row + 1]):
            current[nodes[entry]] = 0
