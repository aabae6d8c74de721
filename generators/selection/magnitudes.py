"""How strongly an active concept is expressed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

FLOOR = 0.01
"""Smallest magnitude, as a share of the mean: an active concept is never written as 0, since 0 means off."""


@dataclass(frozen=True)
class RectifiedNormal:
    r"""Magnitude :math:`\max(\mathrm{mean} + \mathrm{spread}\, \xi,\ 0.01\, \mathrm{mean})`; composites follow their constituents.

    A composite has :math:`((1 - \mathrm{tie})\, a_0 + \mathrm{tie}\, \bar a) \exp(\sigma \xi)`, where :math:`a_0` is drawn by the law
    above and :math:`\bar a` is the mean magnitude of its active constituents.

    Attributes
    ----------
    mean, spread : float
    tie : float in [0, 1]
    sigma : float
    """

    mean: float
    spread: float
    tie: float
    sigma: float

    def __post_init__(self) -> None:
        if not (0 < self.mean < float("inf") and 0 <= self.spread < float("inf")):
            raise InvalidInput(f"magnitude must be above 0 and spread at least 0, not {self.mean} and {self.spread}")
        if not (0 <= self.tie <= 1 and 0 <= self.sigma < float("inf")):
            raise InvalidInput(f"tie must lie in [0, 1] and jitter be at least 0, not {self.tie} and {self.sigma}")

    def draw(self, states: list[Tensor], constituents: tuple[Tensor, ...], generator: torch.Generator) -> list[Tensor]:
        """Magnitudes of every level, shape (n, n_l), float32, 0 where a concept is off."""
        out: list[Tensor] = []
        for level in reversed(range(len(states))):  # bottom-up: composition runs from concrete to abstract
            row, concept = states[level].nonzero(as_tuple=True)
            value = self._own(len(row), generator)
            if level < len(constituents):
                below = out[0][row[:, None], constituents[level][concept]]  # (nnz, s)
                mean = below.sum(dim=1) / (below > 0).sum(dim=1)
                xi = torch.randn(len(row), generator=generator, device=generator.device)
                value = ((1 - self.tie) * value + self.tie * mean) * (self.sigma * xi).exp()
            magnitude = torch.zeros(states[level].shape, device=generator.device)
            magnitude[row, concept] = value
            out.insert(0, magnitude)
        return out

    def _own(self, count: int, generator: torch.Generator) -> Tensor:
        xi = torch.randn(count, generator=generator, device=generator.device)
        return (self.mean + self.spread * xi).clamp_min(FLOOR * self.mean)
