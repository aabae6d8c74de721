"""Principal components rotated to simple structure, orthogonally."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.estimators.classical.fast_ica import RANK
from testbed.estimators.classical.pca import principal_directions
from testbed.numerics.batches import rows
from testbed.numerics.decoding import linear_decode
from testbed.numerics.moments import Moments
from testbed.numerics.rotation import varimax


class Varimax(Estimator):
    r"""Principal components under a varimax rotation.

    With mean :math:`\mu`, principal directions V and deviations s, data are :math:`x = \mu + f\, \mathrm{diag}(s) V` and so are
    :math:`\mu + (f R)(R^\top \mathrm{diag}(s) V)` for every rotation R. ``of = "loadings"`` chooses the one that makes rows of
    :math:`R^\top \mathrm{diag}(s) V` sparse [1]_: each concept touches few coordinates. ``of = "scores"`` makes the codes f R sparse, which
    finds independent sources with heavy tails, as ICA by kurtosis does [2]_.

    Parameters
    ----------
    n_components : int, optional
        Components to keep, at most the rank; None keeps all.
    of : {"loadings", "scores"}
    samples : int
        Most rows to use, the first ones.
    max_iter : int
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Rotated loadings; codes have variance 1.
    reader_ : Tensor, shape (m, d)
        Codes are :math:`(x - \mu)` times its transpose.
    mean_ : Tensor, shape (d,)
    converged_ : bool
        False if `max_iter` ended it; the result is kept.

    References
    ----------
    .. [1] Kaiser (1958), The varimax criterion for analytic rotation in factor analysis.
    .. [2] Rohe & Zeng (2023), Vintage factor analysis with varimax performs statistical inference, JRSS B 85.
    """

    def __init__(
        self,
        n_components: int | None = None,
        of: Literal["loadings", "scores"] = "loadings",
        samples: int = 20_000,
        max_iter: int = 500,
        view: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.of = of
        self.samples = samples
        self.max_iter = max_iter
        self.view = view

    def fit(self, data: Data, *, seed: int) -> Self:
        """Whiten, then rotate from the principal axes; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        self._check()
        x = rows(data, self.view, limit=self.samples)
        moments = Moments.of(x)
        variance, directions = principal_directions(moments)
        rank = int((variance > RANK * variance[0]).sum()) if variance[0] > 0 else 0
        m = min(rank, len(x) - 1) if self.n_components is None else min(rank, len(x) - 1, self.n_components)
        self.mean_ = moments.mean.float()
        if m == 0:  # the data do not vary: one code that is always 0
            self.dictionary_ = torch.zeros_like(x[:1], dtype=torch.float32)
            self.reader_, self.converged_ = self.dictionary_.clone(), True
            return self
        deviation, basis = variance[:m].sqrt(), directions[:m]
        loadings = (basis * deviation[:, None]).T  # (d, m)
        scores = (x.double() - moments.mean) @ (basis / deviation[:, None]).T  # (n, m)
        written = loadings if self.of == "loadings" else scores
        rotation, self.converged_ = varimax(written, max_iter=self.max_iter)
        to_codes, to_atoms = self._oblique(written @ rotation)
        self.reader_ = ((rotation @ to_codes).T @ (basis / deviation[:, None])).float()
        self.dictionary_ = (loadings @ rotation @ to_atoms).T.contiguous().float()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float()
        return (x - self.mean_) @ self.reader_.T

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.mean_)

    def _check(self) -> None:
        if self.samples < 1 or self.max_iter < 1 or (self.n_components is not None and self.n_components < 1):
            raise InvalidInput(
                f"samples, max_iter and n_components must be at least 1, not {self.samples}, {self.max_iter} and {self.n_components}"
            )
        if self.of not in ("loadings", "scores"):
            raise InvalidInput(f"what is rotated is 'loadings' or 'scores', not {self.of!r}")

    def _oblique(self, rotated: Tensor) -> tuple[Tensor, Tensor]:
        """What rotated scores, and rotated loadings, are further multiplied by from the right, shape (m, m) each."""
        eye = torch.eye(rotated.shape[1], dtype=rotated.dtype, device=rotated.device)
        return eye, eye
