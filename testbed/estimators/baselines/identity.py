"""The view itself as codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator
from testbed.numerics.batches import chunks, rows
from testbed.numerics.decoding import linear_decode


class Identity(Estimator):
    """Codes are the view's own coordinates: the "default basis" that every learned one must beat [1]_.

    Parameters
    ----------
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (d, d)
        The unit matrix.

    References
    ----------
    .. [1] Cunningham et al. (2023), Sparse autoencoders find highly interpretable features in language models, section 3.
    """

    def __init__(self, view: str | None = None) -> None:
        self.view = view

    def fit(self, data: Data, *, seed: int) -> Identity:
        """Read how many columns the first chunk has; nothing is learned, and `seed` changes nothing."""
        first = next(chunks(data, self.view))
        self.dictionary_ = torch.eye(first.shape[1], device=first.device)
        return self

    def encode(self, observed: Any) -> Codes:
        return rows(observed, self.view, columns=len(self.dictionary_)).float()

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_)
