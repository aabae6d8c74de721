"""What estimators share whose fitted state is a `SparseCoder`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from testbed.contracts import Codes, Estimator, InvalidInput
from testbed.estimators.sparse.coder import TENSORS, SparseCoder
from testbed.numerics.batches import rows


class CodedEstimator(Estimator):
    """Encodes and decodes with the weights that it holds, wherever they came from.

    Attributes
    ----------
    encoder_ : Tensor, shape (m, d)
    encoder_bias_ : Tensor, shape (m,)
    dictionary_ : Tensor, shape (m, d)
    bias_ : Tensor, shape (d,)
    threshold_, gain_, magnitude_bias_ : Tensor, shape (m,)
        Where the activation has them; see `SparseCoder`.
    coding_ : dict
        The settings of the coder.
    """

    view: str | None
    dictionary_: Tensor
    coding_: dict[str, Any]

    @property
    def coder_(self) -> SparseCoder:
        """The coder that the fitted attributes make up."""
        if not hasattr(self, "coding_"):
            raise InvalidInput(f"{type(self).__name__} is not fitted: call fit first")
        arrays = {name: getattr(self, f"{name}_") for name in TENSORS if hasattr(self, f"{name}_")}
        return SparseCoder.from_state(arrays, self.coding_)

    def encode(self, observed: Any) -> Codes:
        coder = self.coder_
        return coder.encode(rows(observed, self.view, columns=coder.dictionary.shape[1]))

    def decode(self, codes: Codes) -> Tensor:
        return self.coder_.decode(codes)

    def _take(self, coder: SparseCoder) -> None:
        for name in TENSORS:
            vars(self).pop(f"{name}_", None)  # a second fit may bring another activation
        for name, value in coder.arrays().items():
            setattr(self, f"{name}_", value)
        self.coding_ = coder.settings()
