"""Ridge regression of many targets from second moments, its penalty chosen by generalised cross-validation; R2 on other rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from testbed.contracts import Rows
from testbed.numerics.covariances import covariance, mean, variance

PENALTIES = tuple(10.0**power for power in range(-8, 7))
"""Candidates, in units of the variance 1 of a standardised predictor times the number of rows."""


@dataclass(frozen=True, slots=True)
class Joint:
    """First and second moments of predictors x and targets y on the same n rows.

    Attributes
    ----------
    n : int
    mean_x, mean_y : Tensor, shapes (m,) and (c,)
    xx, xy : Tensor, shapes (m, m) and (m, c)
        Covariances, denominator n.
    yy : Tensor, shape (c,)
        Variances of the targets; 0 where constant.
    """

    n: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Rows, y: Rows) -> Joint:
        return cls(len(x), mean(x), mean(y), covariance(x, x), covariance(x, y), variance(y))

    def take(self, x: Tensor | None = None, y: Tensor | None = None) -> Joint:
        """The same of some predictors and some targets, by their indices."""
        x = torch.arange(len(self.mean_x)) if x is None else x
        y = torch.arange(len(self.mean_y)) if y is None else y
        return Joint(self.n, self.mean_x[x], self.mean_y[y], self.xx[x][:, x], self.xy[x][:, y], self.yy[y])


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear predictions ``x @ weights + intercept`` of c targets.

    Attributes
    ----------
    weights : Tensor, shape (m, c)
    intercept : Tensor, shape (c,)
    """

    weights: Tensor
    intercept: Tensor

    def r2(self, rows: Joint) -> Tensor:
        r"""Of each target, :math:`R^2 = 1 - \sum_t (y_t - \hat y_t)^2 / \sum_t (y_t - \bar y)^2` on rows with these moments, shape (c,).

        Below 0 where the prediction is worse than the mean of these rows; 0 for a target that does not vary.
        """
        spread = rows.yy - (self.weights * (2 * rows.xy - rows.xx @ self.weights)).sum(dim=0)
        bias = rows.mean_y - rows.mean_x @ self.weights - self.intercept
        error = spread.clamp_min(0.0) + bias.square()
        return torch.where(rows.yy > 0, 1 - error / torch.where(rows.yy > 0, rows.yy, 1.0), 0.0)


def ridge(rows: Joint, *, intercept: bool = True) -> Linear:
    r"""Ridge regression of each target, with the penalty that generalised cross-validation prefers for it [1]_.

    .. math:: \mathrm{GCV}(\lambda) = \frac{\frac1n \|y - \hat y_\lambda\|^2}{(1 - \mathrm{df}(\lambda) / n)^2}, \qquad
              \mathrm{df}(\lambda) = \sum_k \frac{s_k}{s_k + \lambda} \; (+ 1 \text{ for an intercept})

    with s the eigenvalues of the covariance of standardised predictors: one decomposition serves all penalties (`PENALTIES`) and targets.
    A penalty that leaves fewer than 1 % of the rows as degrees of freedom is not considered.

    Parameters
    ----------
    rows : Joint
    intercept : bool
        Without one, moments about 0 take the place of covariances, and predictors are scaled to mean square 1.

    References
    ----------
    .. [1] Golub, Heath & Wahba (1979), Generalized cross-validation as a method for choosing a good ridge parameter, eq. 1.4.
    """
    xx, xy, yy = rows.xx, rows.xy, rows.yy
    if not intercept:
        xx = xx + torch.outer(rows.mean_x, rows.mean_x)
        xy, yy = xy + torch.outer(rows.mean_x, rows.mean_y), yy + rows.mean_y.square()
    if not len(xx):
        return Linear(torch.zeros_like(xy), rows.mean_y if intercept else torch.zeros_like(yy))
    size = xx.diagonal()
    alive = size > 1e-14 * (size + rows.mean_x.square())  # else constant up to rounding, see `covariances.variance`
    scale = torch.where(alive, size.clamp_min(torch.finfo(size.dtype).tiny).rsqrt(), 0.0)
    s, directions = torch.linalg.eigh(xx * scale[:, None] * scale)
    s = s.clamp_min(0.0)[:, None]
    q = directions.T @ (xy * scale[:, None])  # (m, c)
    best, shrunk = torch.full_like(yy, torch.inf), torch.zeros_like(q)
    for penalty in PENALTIES:
        kept = s / (s + penalty)
        error = yy - (q.square() * (2 - kept) / (s + penalty)).sum(dim=0)
        left = 1 - (float(kept.sum()) + intercept) / rows.n
        if left < 0.01 and penalty < PENALTIES[-1]:
            continue
        score = error.clamp_min(0.0) / max(left, 0.01) ** 2
        better = score < best
        best = torch.where(better, score, best)
        shrunk = torch.where(better, q / (s + penalty), shrunk)
    weights = (directions @ shrunk) * scale[:, None]
    return Linear(weights, rows.mean_y - rows.mean_x @ weights if intercept else torch.zeros_like(yy))
