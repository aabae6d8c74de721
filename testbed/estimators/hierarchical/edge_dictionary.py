"""A dictionary from level to level, trained jointly: sparsity of its edges against sparsity of its codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from testbed.contracts import InvalidInput
from testbed.estimators.hierarchical.edge_learner import Bools, EdgeLearner, in_range, small_levels
from testbed.numerics.firing import two_parts

PENALTIES = (0.03, 0.01, 0.003, 0.001, 0.0003)
"""Weights of the penalty that are tried, from the largest."""
HELD_OUT = 0.25
"""Share of the rows by which one of them is chosen."""
ROWS = 8192
"""Rows that are used, at most, the first ones."""


@dataclass(kw_only=True, eq=False, repr=False)
class EdgeDictionary(EdgeLearner):
    r"""Composites read off the level below and written back onto it, with a penalty on edges, on codes, or on nothing.

    .. math:: \min_{W, b, D, c} \frac1n \sum_t \Big[ \sum_i H(y_{ti}, \sigma(s_{ti})) + \|x_t - D^\top \sigma(s_t) - c\|^2 \Big]
              + \lambda P, \qquad s_t = W x_t + b,

    with x what is on below, y what is on above and H the cross-entropy. *Edge sparsity* is :math:`P = \sum_{ij} |W_{ij}| + |D_{ij}|`
    (``norm="l1"``, by proximal steps) or the number of edges that are not 0 (``"l0"``, by hard thresholds); *code sparsity* is the mean of
    :math:`\sum_i \log(1 + e^{s_{ti}})`; the third kind has none. The theorem asks for few edges and autoencoders enforce few active codes:
    this is the same objective with either. All kinds are trained alike, and :math:`\lambda` is the largest whose held-out loss is
    within one standard error of the best. Edges are the weights W of a composite above the threshold of least error between two parts of
    all weights of the level, if they have two; else those that are not 0.

    Parameters
    ----------
    penalty : {"edges", "codes", "none"}
    norm : {"l1", "l0"}
        Of the penalty on edges.
    steps : int
        Full-batch steps of Adam per penalty.
    lr : float
    levels, samples, view
        See `EdgeLearner`; ``strength_`` is :math:`|W_{ij}|`. At most 8,192 rows are used.
    """

    penalty: Literal["edges", "codes", "none"] = "edges"
    norm: Literal["l1", "l0"] = "l1"
    steps: int = 100
    lr: float = 0.1

    @classmethod
    def small(cls) -> Self:
        return cls(levels=small_levels(), steps=30)

    def check(self) -> None:
        super().check()
        if self.penalty not in ("edges", "codes", "none") or self.norm not in ("l1", "l0"):
            raise InvalidInput(f"penalty must be 'edges', 'codes' or 'none' and norm 'l1' or 'l0', not {self.penalty!r} and {self.norm!r}")
        in_range("steps", self.steps, 1, 1_000_000)
        in_range("lr", self.lr, 1e-12, 10)

    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        generator = torch.Generator().manual_seed(seed)
        n = min(len(upper), ROWS)
        x, y = torch.from_numpy(lower[:n]).float(), torch.from_numpy(upper[:n]).float()
        order = torch.randperm(n, generator=generator)
        held, used = order[: max(1, int(HELD_OUT * n))], order[max(1, int(HELD_OUT * n)) :]
        start = torch.randn(y.shape[1], x.shape[1], generator=generator) * 0.01
        found: list[tuple[float, float, Tensor]] = []  # held-out loss, its standard error, W
        for weight in (0.0,) if self.penalty == "none" else PENALTIES:
            model = self._trained(x[used], y[used], start, weight)
            loss = _losses(model, x[held], y[held])
            found.append((float(loss.mean()), float(loss.std() / max(1, len(held)) ** 0.5), model["W"]))
        best = min(found, key=lambda one: one[0])
        chosen = next(weights for loss, _, weights in found if loss <= best[0] + best[1])
        size = chosen.abs().double().numpy()
        cut = two_parts(size[size > 0]) if (size > 0).any() else 0.0
        return np.where(size > cut, size, 0.0)

    def _trained(self, x: Tensor, y: Tensor, start: Tensor, weight: float) -> dict[str, Tensor]:
        """Parameters W (u, m), b, D (u, m), c that minimise the objective, by Adam with proximal steps after it."""
        model = {"W": start.clone(), "b": y.mean(dim=0).clamp(1e-4, 1 - 1e-4).logit(), "D": start.clone(), "c": x.mean(dim=0)}
        for value in model.values():
            value.requires_grad_()
        adam = torch.optim.Adam(model.values(), lr=self.lr)
        for step in range(self.steps):
            lr = self.lr * (1 - step / self.steps)
            adam.param_groups[0]["lr"] = lr
            adam.zero_grad()
            loss = _losses(model, x, y).mean()
            if self.penalty == "codes":
                loss = loss + weight * softplus(x @ model["W"].T + model["b"]).sum(dim=1).mean()
            torch.autograd.backward(loss)
            adam.step()
            if self.penalty == "edges":
                with torch.no_grad():
                    for name in ("W", "D"):
                        _proximal(model[name], 30 * lr * weight, self.norm)
        return {name: value.detach() for name, value in model.items()}


def _losses(model: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy and squared error of each row, shape (n,)."""
    scores = x @ model["W"].T + model["b"]
    told = binary_cross_entropy_with_logits(scores, y, reduction="none").sum(dim=1)
    return told + (x - scores.sigmoid() @ model["D"] - model["c"]).square().sum(dim=1)


def _proximal(weights: Tensor, step: float, norm: str) -> None:
    """In place: the soft threshold, or the hard one of the same penalty."""
    if norm == "l1":
        weights.copy_(weights.sign() * (weights.abs() - step).clamp_min(0))
    else:
        weights[weights.abs() < (2 * step) ** 0.5] = 0.0
