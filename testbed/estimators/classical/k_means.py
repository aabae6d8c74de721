"""K-means, by scikit-learn: a dictionary of which each row uses one atom."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, SparseRows
from testbed.numerics.batches import require_rows, rows
from testbed.numerics.decoding import linear_decode


class KMeans(Estimator):
    """Vector quantisation [1]_ [2]_: a row's code is 1 for the nearest centre and 0 for all others.

    What a method scores that knows no superposition: a centre is a combination of concepts that occurs, not a concept.

    Parameters
    ----------
    n_codes : int
        Number of centres, no more than there are rows.
    samples : int
        Most rows to use, the first ones.
    max_iter : int
        Passes over them.
    batch_size : int
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Centres less the mean.
    mean_ : Tensor, shape (d,)

    References
    ----------
    .. [1] Lloyd (1982), Least squares quantization in PCM; Sculley (2010), Web-scale k-means clustering.
    .. [2] Coates & Ng (2012), Learning feature representations with k-means.
    """

    environment = ("scikit-learn",)

    def __init__(
        self, n_codes: int = 256, samples: int = 50_000, max_iter: int = 100, batch_size: int = 2048, view: str | None = None
    ) -> None:
        self.n_codes = n_codes
        self.samples = samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.view = view

    @classmethod
    def small(cls) -> KMeans:
        return cls(n_codes=16, samples=2_000)

    def fit(self, data: Data, *, seed: int) -> KMeans:
        """Mini-batch k-means from a k-means++ start drawn from `seed`.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or there are fewer rows than centres.
        """
        if min(self.n_codes, self.samples, self.max_iter, self.batch_size) < 1:
            raise InvalidInput(
                "n_codes, samples, max_iter and batch_size must be at least 1, "
                f"not {self.n_codes}, {self.samples}, {self.max_iter} and {self.batch_size}"
            )
        if self.samples < self.n_codes:
            raise InvalidInput(f"samples = {self.samples} rows are fewer than n_codes = {self.n_codes} centres: raise samples")
        x = rows(data, self.view, limit=self.samples).double()
        require_rows(x, None, self.n_codes, f"k-means with {self.n_codes} centres")
        mean = x.mean(dim=0)
        self.mean_ = mean.float()
        self.dictionary_ = self._centres(x - mean, seed).float()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float() - self.mean_
        half = self.dictionary_.square().sum(dim=1) / 2
        nearest = torch.cat([(part @ self.dictionary_.T - half).argmax(dim=1) for part in torch.split(x, BLOCK)])
        return SparseRows(torch.arange(len(x) + 1, device=x.device), nearest, torch.ones_like(x[:, 0]), (len(x), len(half)))

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.mean_)

    def _centres(self, x: Tensor, seed: int) -> Tensor:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

        size = x.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)  # scikit-learn's tolerances are absolute in part
        solver = MiniBatchKMeans(
            self.n_codes, n_init=1, max_iter=self.max_iter, batch_size=max(self.batch_size, self.n_codes), random_state=seed % 2**32
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than centres: some centres coincide
            solver.fit((x / size).cpu().numpy())
        return torch.as_tensor(solver.cluster_centers_, device=x.device) * size
