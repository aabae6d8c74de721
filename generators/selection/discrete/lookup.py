"""Drawing from many categorical laws at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lookup:
    """Categorical laws laid end to end: law k occupies the interval [k, k + 1], so that one sorted search draws from all of them.

    Attributes
    ----------
    bounds : Tensor, shape (laws * m,), float64
        k + P(outcome <= j), not decreasing.
    end : Tensor, shape (laws,), int64
        Last outcome with a probability above 0, as an index into `bounds`.
    """

    bounds: Tensor
    end: Tensor

    @classmethod
    def of(cls, probability: Tensor) -> Self:
        """From weights, shape (laws, m); a law without any weight must not be drawn from."""
        laws, m = probability.shape
        cumulative = probability.cumsum(1)
        total = cumulative[:, -1:]
        cumulative = torch.where(total > 0, cumulative / total.clamp_min(torch.finfo(total.dtype).tiny), 1.0).clamp_max(1.0)
        place = torch.arange(m, device=probability.device)
        end = torch.where(probability > 0, place, 0).amax(dim=1)
        cumulative = torch.where(place >= end[:, None], 1.0, cumulative)  # exactly 1, whatever rounding says
        law = torch.arange(laws, device=probability.device)
        return cls((cumulative + law[:, None]).flatten(), law * m + end)

    def draw(self, law: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from ``law``, any shape; the result indexes `bounds`, of the same shape."""
        u = torch.rand(law.shape, generator=generator, device=law.device, dtype=torch.float64)
        return torch.minimum(torch.searchsorted(self.bounds, law + u, right=True), self.end[law])
