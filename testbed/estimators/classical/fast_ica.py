"""Independent component analysis, by scikit-learn's FastICA."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.estimators.classical.pca import principal_directions
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense
from testbed.numerics.moments import Moments

RANK = 1e-10
"""Share of the largest variance below which a direction is taken for rounding."""


class FastICA(Estimator):
    """Linear codes that are as independent as possible [1]_, by the contrast log cosh.

    Data are whitened here, with directions of no variance left out, so that constant columns and data of low rank are no trouble.
    Sources that are skewed but have the fourth moment of a Gaussian escape this contrast.

    Parameters
    ----------
    n_components : int, optional
        Number of components; None takes the rank of the data, which is also the most there can be.
    samples : int
        Most rows to use, the first ones.
    max_iter : int
    tol : float
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Rows of the mixing matrix; codes have variance 1.
    unmixing_ : Tensor, shape (m, d)
    mean_ : Tensor, shape (d,)
    converged_ : bool
        False if `max_iter` ended it; the result is kept.

    References
    ----------
    .. [1] Hyvarinen (1999), Fast and robust fixed-point algorithms for independent component analysis.
    """

    environment = ("scikit-learn",)

    def __init__(
        self,
        n_components: int | None = None,
        samples: int = 10_000,
        max_iter: int = 200,
        tol: float = 1e-3,
        view: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.samples = samples
        self.max_iter = max_iter
        self.tol = tol
        self.view = view

    def fit(self, data: Data, *, seed: int) -> FastICA:
        """Whiten, then rotate; `seed` draws the rotation to start from.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.samples < 1 or self.max_iter < 1 or (self.n_components is not None and self.n_components < 1):
            raise InvalidInput(
                f"samples, max_iter and n_components must be at least 1, not {self.samples}, {self.max_iter} and {self.n_components}"
            )
        x = rows(data, self.view, limit=self.samples)
        moments = Moments.of(x)
        variance, directions = principal_directions(moments)
        rank = int((variance > RANK * variance[0]).sum()) if variance[0] > 0 else 0
        m = min(rank, len(x) - 1) if self.n_components is None else min(rank, len(x) - 1, self.n_components)
        self.mean_ = moments.mean.float()
        if m == 0:  # the data do not vary: one code that is always 0
            self.dictionary_ = torch.zeros_like(x[:1], dtype=torch.float32)
            self.unmixing_, self.converged_ = self.dictionary_.clone(), True
            return self
        deviation = variance[:m].sqrt()
        white = (x.double() - moments.mean) @ directions[:m].T / deviation  # (n, m)
        rotation = self._rotation(white, seed)
        self.unmixing_ = (rotation / deviation @ directions[:m]).float()
        self.dictionary_ = (rotation * deviation @ directions[:m]).float()  # inverse of an orthogonal matrix: its transpose
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float()
        return (x - self.mean_) @ self.unmixing_.T

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes) @ self.dictionary_ + self.mean_

    def _rotation(self, white: Tensor, seed: int) -> Tensor:
        """Orthogonal matrix that makes the columns of `white` independent, shape (m, m)."""
        import numpy as np
        from sklearn.decomposition import FastICA as Fixpoint
        from sklearn.exceptions import ConvergenceWarning

        start = np.random.default_rng(seed).standard_normal((white.shape[1], white.shape[1]))
        ica = Fixpoint(whiten=False, max_iter=self.max_iter, tol=self.tol, w_init=start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            ica.fit(white.cpu().numpy())
        self.converged_ = bool(ica.n_iter_ < self.max_iter)
        # Rounding in the last iteration leaves the matrix a little off the orthogonal ones.
        u, _, vh = torch.linalg.svd(torch.as_tensor(ica.components_, dtype=white.dtype, device=white.device))
        nearest: Tensor = u @ vh
        return nearest
