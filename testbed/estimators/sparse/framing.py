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
