"""Successive projection: the purest rows stand for the profiles that all rows are blends of."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed import Estimator
from testbed.contracts import Codes, Data, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense


class PurestRows(Estimator):
    """Rows that no other rows can be blended to, one after the other [1]_; codes are least squares, cut at 0.

    Rows are scaled to sum to 1, so that the profiles are the corners of what they span; the faintest half, mostly noise, is left out.

    Parameters
    ----------
    n_codes : int
        Profiles to find, at most as many as there are columns.
    view : str, optional

    Attributes
    ----------
    dictionary_ : ndarray, shape (m, d)
        Rows of unit length.

    References
    ----------
    .. [1] Araujo et al. (2001), The successive projections algorithm for variable selection in spectroscopic multicomponent analysis.
    """

    def __init__(self, n_codes: int = 6, view: str | None = None) -> None:
        self.n_codes = n_codes
        self.view = view

    def fit(self, data: Data, *, seed: int) -> Self:
        """Find the profiles; `seed` changes nothing."""
        x = rows(data, self.view).double().cpu().numpy()
        if not 1 <= self.n_codes <= min(x.shape):
            raise InvalidInput(f"n_codes is {self.n_codes}: {x.shape[0]} rows of {x.shape[1]} columns hold 1 to {min(x.shape)} profiles")
        size = np.abs(x).sum(axis=1)
        if size.max() == 0:
            raise InvalidInput("every row is 0: there is nothing to find")
        bright = (size >= np.median(size)) & (size > 0)
        picked = _corners(x[bright] / size[bright, None], self.n_codes)
        found = x[bright][picked]
        self.dictionary_ = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=self.dictionary_.shape[1]).float().cpu().numpy()
        return torch.from_numpy(np.maximum(x @ np.linalg.pinv(self.dictionary_), 0))

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes) @ torch.from_numpy(self.dictionary_)


def _corners(x: NDArray[np.float64], m: int) -> list[int]:
    """Indices of m rows: each the longest of what is left when the directions of those before are taken out."""
    left, picked = x.copy(), []
    for _ in range(m):
        length = np.einsum("ij,ij->i", left, left)
        length[picked] = -1.0
        picked.append(int(length.argmax()))
        direction = left[picked[-1]] / max(np.linalg.norm(left[picked[-1]]), np.finfo(float).tiny)
        left -= np.outer(left @ direction, direction)
    return picked
