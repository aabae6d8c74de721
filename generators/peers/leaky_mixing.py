"""An injective network with orthogonal weights and leaky rectifiers, and its exact inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAK = 0.2


@dataclass(frozen=True)
class LeakyMixing:
    r""":math:`x = (\mathrm{net}(z) - m) / s`: linear maps without bias, a leaky rectifier between any two of them.

    Attributes
    ----------
    weights : tuple of Tensor
        Shapes (c, d), (d, d), (d, d), (d, d), with orthogonal rows times a gain, float64.
    mean, scale : Tensor, shape (d,)
        m and s, which standardise the rows.
    """

    weights: tuple[Tensor, ...]
    mean: Tensor
    scale: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Rows of concepts, shape (n, c), to rows of the view, shape (n, d)."""
        h = z @ self.weights[0]
        for weight in self.weights[1:]:
            h = torch.maximum(h, LEAK * h) @ weight
        return (h - self.mean) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """The concepts behind rows without noise, shape (n, d) -> (n, c); of noisy rows, an estimate."""
        h = x * self.scale + self.mean
        for weight in reversed(self.weights[1:]):
            h = torch.linalg.solve(weight.T, h.T).T
            h = torch.minimum(h, h / LEAK)
        inverse: Tensor = torch.linalg.pinv(self.weights[0])
        return h @ inverse

    def to(self, device: str) -> LeakyMixing:
        return LeakyMixing(tuple(w.to(device) for w in self.weights), self.mean.to(device), self.scale.to(device))


def draw_leaky(concepts: int, dimension: int, generator: torch.Generator) -> LeakyMixing:
    """Four layers as in the code of [1]_: orthogonal by QR, times the gain that keeps variances through leaky rectifiers.

    References
    ----------
    .. [1] Lachapelle et al. (2022), Disentanglement via mechanism sparsity regularization, arXiv 2107.10098.
    """
    weights = []
    for rows in (concepts, dimension, dimension, dimension):
        normal = torch.randn(dimension, rows, generator=generator, dtype=torch.float64)
        gain = math.sqrt(2 / (1 + LEAK**2)) * math.sqrt(2 / (rows + dimension))
        weights.append(torch.linalg.qr(normal)[0].T * gain)
    return LeakyMixing(tuple(weights), torch.zeros(dimension, dtype=torch.float64), torch.ones(dimension, dtype=torch.float64))
