"""Where data are and how large: what is taken off and divided by before training, and how much rows far out count."""

from __future__ import annotations

import torch
from torch import Tensor

from testbed.estimators.sparse.autoencoder import SparseAutoencoder

HEAVY = 4.0
"""Rows further from the mean than this many median distances are weighed down to it."""


class Frame:
    """Where the data are: centre and scale, per column.

    Parameters
    ----------
    head : Tensor, shape (n, d)
    model : SparseAutoencoder
    """

    def __init__(self, head: Tensor, model: SparseAutoencoder) -> None:
        self.parts = model.parts(head.shape[1])
        centre, scale = [], []
        for part in self.parts:
            mean, size = location_and_scale(head[:, part])
            if model.bias == "none":
                mean = torch.zeros_like(mean)
                size = float(head[:, part].norm(dim=1).median()) or 1.0
            centre.append(mean)
            scale.append(torch.full_like(mean, size if model.scale == "median" else 1.0))
        self.centre, self.scale = torch.cat(centre), torch.cat(scale)
        self.dtype = torch.float64 if model.precision == "double" else torch.float32
        # Only to weigh rows: without scaling the median norm is still what counts as ordinary.
        self.ordinary = float(((head - self.centre) / self.scale).norm(dim=1).median()) or 1.0

    def state(self) -> dict[str, Tensor]:
        """Centre, scale and ordinary norm, for a checkpoint."""
        ordinary = torch.tensor([self.ordinary], dtype=torch.float64)
        return {"frame/centre": self.centre.clone(), "frame/scale": self.scale.clone(), "frame/ordinary": ordinary}

    def load(self, state: dict[str, Tensor]) -> bool:
        """Take back what `state` gave, to the bit, if it is of the same data: up to the order in which sums are taken."""
        for name, mine in self.state().items():
            if mine.shape != state[name].shape or not torch.allclose(
                mine.cpu(), state[name], rtol=1e-3, atol=1e-3 * float(self.scale.max())
            ):
                return False
        self.centre, self.scale = state["frame/centre"].to(self.centre), state["frame/scale"].to(self.scale)
        self.ordinary = float(state["frame/ordinary"])
        return True

    def scaled(self, x: Tensor) -> Tensor:
        return ((x - self.centre) / self.scale).to(self.dtype)

    def weights(self, scaled: Tensor) -> Tensor:
        return weights(scaled, self.ordinary)


def location_and_scale(x: Tensor) -> tuple[Tensor, float]:
    """Mean of the rows, and their median distance from it (1 if that is 0).

    Rows far out, by the median, count as if they were nearer: one attention sink in a hundred tokens would own the mean otherwise.
    """
    mean = x.mean(dim=0)
    weight = weights(x - x.median(dim=0).values)
    if (weight < 1).any():
        mean = (weight[:, None] * x).sum(dim=0) / weight.sum()
    scale = float((x - mean).norm(dim=1).median())
    return mean, scale if scale > 0 else 1.0


def weights(centred: Tensor, scale: float | None = None) -> Tensor:
    r""":math:`\min(1, (4\, \mathrm{scale} / \|x_t\|)^2)`, shape (n,); `scale` is the median norm unless given."""
    norm = centred.norm(dim=1)
    limit = HEAVY * (norm.median() if scale is None else scale)
    return torch.where(norm > limit, (limit / norm.clamp_min(torch.finfo(norm.dtype).tiny)).square(), 1.0)
