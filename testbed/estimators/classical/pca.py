"""Principal component analysis on streaming moments."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import chunks, rows
from testbed.numerics.matching import dense
from testbed.numerics.moments import Moments


class PCA(Estimator):
    """Directions of largest variance [1]_; codes are the centred scores.

    Parameters
    ----------
    n_components : int, optional
        Number of components; None takes all d.
    samples : int
        Most rows to read, in their order; each is read once.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Orthonormal rows, by falling variance; the largest entry of each is positive.
    variance_ : Tensor, shape (m,)
    mean_ : Tensor, shape (d,)

    References
    ----------
    .. [1] Hotelling (1933), Analysis of a complex of statistical variables into principal components.
    """

    def __init__(self, n_components: int | None = None, samples: int = 200_000, view: str | None = None) -> None:
        self.n_components = n_components
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> PCA:
        """Eigenvectors of the covariance; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If more components are asked for than there are columns.
        """
        moments = moments_of(data, self.view, self.samples)
        d = len(moments.mean)
        m = d if self.n_components is None else self.n_components
        if not 1 <= m <= d:
            raise InvalidInput(f"n_components must lie between 1 and the {d} columns of the data, not be {m}")
        variance, directions = principal_directions(moments)
        self.dictionary_ = directions[:m].float()
        self.variance_ = variance[:m].float()
        self.mean_ = moments.mean.float()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float()
        return (x - self.mean_) @ self.dictionary_.T

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes) @ self.dictionary_ + self.mean_


def moments_of(data: Data, view: str | None, samples: int) -> Moments:
    """Moments of (at most the first `samples`) rows."""
    if samples < 1:
        raise InvalidInput(f"samples must be at least 1, not {samples}")
    return reduce(Moments.merge, map(Moments.of, chunks(data, view, limit=samples)))


def principal_directions(moments: Moments) -> tuple[Tensor, Tensor]:
    """Eigenvalues (falling, shape (d,)) and eigenvectors (rows, shape (d, d)) of the covariance, float64, with signs fixed."""
    variance, vectors = torch.linalg.eigh(moments.covariance)
    directions = vectors.T.flip(0)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return variance.flip(0).clamp_min(0), directions * torch.where(largest < 0, -1.0, 1.0)
