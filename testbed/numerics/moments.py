"""Mean and covariance of rows that arrive in chunks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    r"""Count, mean and scatter :math:`S = \sum_t (x_t - \bar x)(x_t - \bar x)^\top` of the rows seen so far, in float64.

    Two of them merge without touching the rows again [1]_: with :math:`\delta = \bar x_b - \bar x_a`,

    .. math:: S = S_a + S_b + \delta \delta^\top \frac{n_a n_b}{n_a + n_b}.

    No difference of large squares is ever taken, so that a mean far from 0 costs no digits.

    Attributes
    ----------
    count : int
    mean : Tensor, shape (d,)
    scatter : Tensor, shape (d, d)

    References
    ----------
    .. [1] Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, eq. 2.1.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Moments of one chunk, shape (n, d), n >= 1."""
        x = rows.double()
        mean = x.mean(dim=0)
        x = x - mean
        return cls(len(rows), mean, x.T @ x)

    def merge(self, other: Moments) -> Moments:
        """Moments of both together."""
        n = self.count + other.count
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(delta, delta) * (self.count * other.count / n)
        return Moments(n, self.mean + delta * (other.count / n), scatter)

    @property
    def covariance(self) -> Tensor:
        """Covariance with denominator n, shape (d, d)."""
        return self.scatter / self.count
