"""The true dictionary: what is left to lose once the dictionary is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, Observed, Truth
from testbed.numerics.batches import chunks, rows
from testbed.numerics.matching import dense
from testbed.numerics.pursuit import orthogonal_matching_pursuit


class OracleDictionary(Estimator):
    """Non-negative matching pursuit on the truth's dictionary: the codes of `Truth.oracle`, as an estimator.

    Parameters
    ----------
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (c, d)
    bias_ : Tensor, shape (d,)
    max_active_ : int
    threshold_ : float
    """

    needs_truth = True

    def __init__(self, view: str | None = None) -> None:
        self.view = view

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> OracleDictionary:
        """Take over dictionary, bias, and what is known of noise and rates; of the data only the view's name is read.

        Raises
        ------
        InvalidInput
            If `truth` is missing, or holds no dictionary to pursue.
        """
        if truth is None:
            raise InvalidInput("oracle_dictionary was given no truth: fit it on an instance whose truth is known")
        view = self._view(data, truth)
        pursuit = truth.facts.get(f"pursuit/{view}")
        if pursuit is None or view not in truth.dictionaries:
            raise InvalidInput(f"the truth holds no dictionary and pursuit for view {view!r}: this oracle is for sparse concepts")
        device = next(chunks(data, self.view, limit=1)).device
        self.dictionary_ = truth.dictionary(view).to(device)
        self.bias_ = truth.facts.get(f"bias/{view}", torch.zeros(self.dictionary_.shape[1])).to(device)
        self.max_active_ = int(pursuit["max_active"])
        self.threshold_ = float(pursuit["threshold"])
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float()
        return orthogonal_matching_pursuit(x - self.bias_, self.dictionary_, max_active=self.max_active_, threshold=self.threshold_)

    def decode(self, codes: Codes) -> Tensor:
        pieces = [dense(codes[i : i + BLOCK]) @ self.dictionary_ for i in range(0, len(codes), BLOCK)]
        described: Tensor = torch.cat(pieces) + self.bias_
        return described

    def _view(self, data: Data, truth: Truth) -> str:
        if self.view is not None:
            return self.view
        if isinstance(data, Observed):
            return data.name_of(None)
        if len(truth.dictionaries) != 1:
            raise InvalidInput(f"no view was named: set view to one of {', '.join(map(repr, truth.dictionaries))}")
        return next(iter(truth.dictionaries))
