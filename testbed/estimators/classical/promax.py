"""Principal components rotated to simple structure, obliquely."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import InvalidInput
from testbed.estimators.classical.varimax import Varimax
from testbed.numerics.rotation import promax


class Promax(Varimax):
    r"""`Varimax`, then made oblique towards its own entries raised to a power [1]_: codes may correlate, as selected concepts do.

    Parameters
    ----------
    n_components : int, optional
        Components to keep, at most the rank; None keeps all.
    of : {"loadings", "scores"}
        What is made simple, see `Varimax`.
    power : float
        Above 1; the higher, the more oblique.
    samples : int
        Most rows to use, the first ones.
    max_iter : int
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Pattern loadings; codes have variance 1.
    reader_ : Tensor, shape (m, d)
    mean_ : Tensor, shape (d,)
    converged_ : bool

    References
    ----------
    .. [1] Hendrickson & White (1964), Promax: a quick method for rotation to oblique simple structure.
    """

    def __init__(
        self,
        n_components: int | None = None,
        of: Literal["loadings", "scores"] = "loadings",
        power: float = 4.0,
        samples: int = 20_000,
        max_iter: int = 500,
        view: str | None = None,
    ) -> None:
        super().__init__(n_components, of, samples, max_iter, view)
        self.power = power

    def _check(self) -> None:
        super()._check()
        if not self.power > 1:
            raise InvalidInput(f"power must be above 1, not {self.power}: at 1 it is varimax")

    def _oblique(self, rotated: Tensor) -> tuple[Tensor, Tensor]:
        change = promax(rotated, self.power)
        inverse = torch.linalg.inv(change).T
        if self.of == "loadings":
            return inverse, change
        scale = change.norm(dim=0)  # codes f T have variance 1 when the columns of T have norm 1
        return change / scale, inverse * scale
