"""Non-negative matrix factorisation, by scikit-learn, on signed data."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense

SWEEPS = 100
"""Rounds of coordinate descent per row encoded."""


class NMF(Estimator):
    r"""Non-negative codes and parts [1]_, on the positive and negative parts of the data side by side.

    Activations are signed, NMF wants non-negative data. So :math:`[x^+, x^-] \approx a [H^+, H^-]`, with
    :math:`x^\pm = \max(\pm x, 0)` and everything at least 0, which implies :math:`x \approx a (H^+ - H^-)`: that difference is the
    dictionary. Data that are non-negative already are left as they are.

    Parameters
    ----------
    n_components : int
        m, at most min(n, 2 d) are used.
    samples : int
        Most rows to fit on, the first ones.
    max_iter : int
    tol : float
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    parts_ : Tensor, shape (m, 2 d)
        :math:`[H^+, H^-]`.
    converged_ : bool
        False if `max_iter` ended the fit; the result is kept.

    References
    ----------
    .. [1] Lee & Seung (1999), Learning the parts of objects by non-negative matrix factorization.
    """

    environment = ("scikit-learn",)

    def __init__(
        self, n_components: int = 64, samples: int = 10_000, max_iter: int = 100, tol: float = 1e-3, view: str | None = None
    ) -> None:
        self.n_components = n_components
        self.samples = samples
        self.max_iter = max_iter
        self.tol = tol
        self.view = view

    @classmethod
    def small(cls) -> NMF:
        return cls(n_components=8, samples=2_000)

    def fit(self, data: Data, *, seed: int) -> NMF:
        """Coordinate descent from a start by singular vectors, its zeros filled at random from `seed`.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.samples < 1 or self.max_iter < 1 or self.n_components < 1:
            raise InvalidInput(
                f"samples, max_iter and n_components must be at least 1, not {self.samples}, {self.max_iter} and {self.n_components}"
            )
        x = rows(data, self.view, limit=self.samples)
        split = _signs_apart(x)
        parts, iterations = self._factorise(split, min(self.n_components, *split.shape), seed)
        self.parts_ = parts.float()
        self.dictionary_ = self.parts_[:, : x.shape[1]] - self.parts_[:, x.shape[1] :]
        self.converged_ = iterations < self.max_iter
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=self.dictionary_.shape[1]).float()
        return torch.cat([nonnegative_codes(_signs_apart(part), self.parts_) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes) @ self.dictionary_

    def _factorise(self, split: Tensor, m: int, seed: int) -> tuple[Tensor, int]:
        from sklearn.decomposition import NMF as Factorisation
        from sklearn.exceptions import ConvergenceWarning

        if not split.any():
            return split.new_zeros(m, split.shape[1]), 0
        nmf = Factorisation(m, init="nndsvdar", tol=self.tol, max_iter=self.max_iter, random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            nmf.fit(split.double().cpu().numpy())
        return torch.as_tensor(nmf.components_, device=split.device), int(nmf.n_iter_)


def nonnegative_codes(x: Tensor, parts: Tensor) -> Tensor:
    r"""Minimise :math:`\|x_t - a_t H\|^2` over :math:`a_t \ge 0`, row by row.

    Coordinate descent from 0 in a fixed number of sweeps, so that a row's codes do not depend on the rows it is encoded with, as they would
    under scikit-learn's stopping rule.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    parts : Tensor, shape (m, d)

    Returns
    -------
    Tensor, shape (n, m)
    """
    gram, target = parts @ parts.T, parts @ x.T  # (m, m), (m, n)
    codes = torch.zeros_like(target)
    for _ in range(SWEEPS):
        for j in (gram.diagonal() > 0).nonzero()[:, 0].tolist():
            codes[j] = (codes[j] + (target[j] - gram[j] @ codes) / gram[j, j]).clamp_min(0)
    return codes.T.contiguous()


def _signs_apart(x: Tensor) -> Tensor:
    """Positive and negative parts side by side, shape (n, d) -> (n, 2 d)."""
    return torch.cat([x.clamp_min(0), (-x).clamp_min(0)], dim=1)
