"""An estimator under names that are taken."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

from testbed import Estimator
from testbed.contracts import Codes, Data
from testbed.numerics.batches import rows


class First(Estimator):
    """The first column is the code."""

    def fit(self, data: Data, *, seed: int) -> Self:
        self.mean_ = rows(data).float().mean(dim=0)
        return self

    def encode(self, observed: Any) -> Codes:
        return rows(observed, columns=len(self.mean_)).float()[:, :1]

    def decode(self, codes: Codes) -> Tensor:
        return self.mean_.expand(len(codes), -1)
