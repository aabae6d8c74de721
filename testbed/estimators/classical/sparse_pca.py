"""Sparse principal components, by scikit-learn's mini-batch solver."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.decoding import linear_decode


class SparsePCA(Estimator):
    r"""Components with few entries [1]_: dictionary learning [2]_ with the penalty on the dictionary.

    .. math:: \min_{A, D} \tfrac1{2n} \|X - A D\|^2 + \alpha \sum_j \|d_j\|_1 \ \text{subject to } \tfrac1n \sum_t a_{tj}^2 \le 1

    on centred rows, scaled to variance 1 per coordinate on average, so that `alpha` has no units: it is about what the penalty takes
    off each loading. Codes are the ridge regression of a row on the components.

    Parameters
    ----------
    n_components : int, optional
        m; None takes the number of columns.
    alpha : float
        Weight of the penalty.
    ridge : float
        Of the regression that encodes.
    samples : int
        Most rows to use, the first ones.
    max_iter : int
        Passes over them.
    batch_size : int
        Coordinates that scikit-learn updates together: it goes through the transposed data.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Components of norm 1, or of zeros where the penalty left nothing.
    mean_ : Tensor, shape (d,)
    ridge_ : float
        The regression's ridge in the data's units.

    References
    ----------
    .. [1] Zou, Hastie & Tibshirani (2006), Sparse principal component analysis.
    .. [2] Mairal, Bach, Ponce & Sapiro (2009), Online dictionary learning for sparse coding.
    """

    environment = ("scikit-learn",)

    def __init__(
        self,
        n_components: int | None = None,
        alpha: float = 0.1,
        ridge: float = 0.01,
        samples: int = 10_000,
        max_iter: int = 50,
        batch_size: int = 8,
        view: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.ridge = ridge
        self.samples = samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.view = view

    @classmethod
    def small(cls) -> SparsePCA:
        return cls(n_components=6, samples=500, max_iter=10)

    def fit(self, data: Data, *, seed: int) -> SparsePCA:
        """Alternate between codes and components, from a start by singular vectors; `seed` draws the batches.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        counts = (self.samples, self.max_iter, self.batch_size, 1 if self.n_components is None else self.n_components)
        if min(counts) < 1 or self.alpha < 0 or self.ridge <= 0:
            raise InvalidInput(
                "samples, max_iter, batch_size and n_components must be at least 1, alpha at least 0 and ridge above 0, "
                f"not {self.samples}, {self.max_iter}, {self.batch_size}, {self.n_components}, {self.alpha} and {self.ridge}"
            )
        x = rows(data, self.view, limit=self.samples).double()
        mean = x.mean(dim=0)
        scale = float((x - mean).square().mean().sqrt())
        m = x.shape[1] if self.n_components is None else self.n_components
        self.mean_, self.ridge_ = mean.float(), self.ridge
        if scale <= 1e-7 * float(x.abs().max()):  # the data do not vary: codes that are always 0
            self.dictionary_ = torch.zeros(m, x.shape[1], device=x.device)
            return self
        self.dictionary_ = self._components((x - mean) / (scale * len(x) ** 0.5), m, seed).float()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float() - self.mean_
        gram = self.dictionary_ @ self.dictionary_.T
        gram = gram + self.ridge_ * torch.eye(len(gram), device=gram.device)
        codes: Tensor = torch.linalg.solve(gram, self.dictionary_ @ x.T).T
        return codes

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.mean_)

    def _components(self, x: Tensor, m: int, seed: int) -> Tensor:
        from sklearn.decomposition import MiniBatchSparsePCA

        solver = MiniBatchSparsePCA(
            m, alpha=self.alpha, ridge_alpha=self.ridge, max_iter=self.max_iter, batch_size=self.batch_size, random_state=seed % 2**32
        )
        solver.fit(x.cpu().numpy())
        return torch.as_tensor(solver.components_, device=x.device)
