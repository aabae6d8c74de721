"""Transcoder: from one view to another through sparse codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, SparseRows
from testbed.estimators.sparse.autoencoder import Params, require
from testbed.estimators.sparse.rows_of import Reading
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.views import SeveralViews
from testbed.numerics.batches import rows

RIDGE = 1e-3
"""Share of the inputs' variance that is added to it when the views are regressed on each other."""


@dataclass(kw_only=True, eq=False, repr=False)
class Transcoder(SeveralViews, TopKSAE):
    r"""Codes read off one view that write another [1]_.

    .. math::
        a = \mathrm{TopK}(W_e (x - b) + b_e), \qquad \hat y = W_d^\top a + c, \qquad
        \min \sum_t w_t \|y_t - \hat y_t\|^2 \ \text{subject to rows of norm 1 in } W_d.

    `view` is the *target*, y: the dictionary is made of its directions, `decode` gives its rows, and so evaluators that compare a
    dictionary or reconstructions with "the view" mean this one. `encode` reads `input_view` alone. To ask which concepts of the input the
    codes follow, compare codes with latents (activation MCC), not dictionaries.

    The encoder starts at what predicts the motion along each atom from the input by linear regression, :math:`W_e = W_d M` with
    :math:`y \approx M x`; a revived latent starts there again.

    Parameters
    ----------
    input_view : str
        The view that is encoded, x.
    view : str
        The view that is written, y.
    bias : {"mean", "learned", "none"}
        The target's bias c; b is the input's mean with the first two.
    **others
        See `TopKSAE`; `tied` and `inference` have no other value than their default.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d_y)
    encoder_ : Tensor, shape (m, d_x)
    bias_ : Tensor, shape (d_x + d_y,)
        b and c.
    regression_ : Tensor, shape (d_y, d_x)
        M.

    References
    ----------
    .. [1] Dunefsky, Chlenski & Nanda (2024), Transcoders find interpretable LLM feature circuits, section 3.1; there with ReLU and an
       L1 penalty in the place of TopK.
    """

    input_view: str | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256, input_view="level_1", view="level_0")

    def check(self) -> None:
        super().check()
        named = self.input_view is not None and self.view is not None
        require(
            named, "a transcoder goes from one view to another: set input_view to the one that is read and view to the one that is written"
        )

    def reading(self) -> Reading:
        return (self.input_view, self.view)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.widths_[0]], x[:, self.widths_[0] :]

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        x, y = self.split(head.to(atoms.dtype))
        moment = x.T @ x
        ridge = RIDGE * moment.trace().clamp_min(torch.finfo(x.dtype).tiny) / len(moment)
        regression = torch.linalg.solve(moment + ridge * torch.eye(len(moment), dtype=x.dtype), x.T @ y).T  # (d_y, d_x)
        start = super().initial(normalize(atoms @ regression, dim=1), generator, head)
        start |= {"decoder": atoms.clone(), "regression": regression.contiguous()}
        if self.bias == "learned":
            start["bias"] = torch.zeros(atoms.shape[1], dtype=atoms.dtype)
        return start

    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen(), "regression")

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        touched = super().reset(params, dead, living)
        if self.encoder_depth == 1:
            towards = normalize(params["decoder"][dead] @ params["regression"], dim=1)
            params["encoder"][dead] = params["encoder"][dead].norm(dim=1, keepdim=True) * towards
        return touched

    def loss(self, params: Params, x: Tensor, target: Tensor, weight: Tensor, share: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        codes = self.codes(params, x, share)
        error = self.reconstruct(params, codes) + params.get("bias", 0.0) - target
        return (weight * error.square().sum(dim=1)).mean(), (codes, error)

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        """Codes are in the unit of the target, so that rows of the dictionary keep norm 1; the first layer takes the input to it."""
        unit = scale[[-1]] / scale[[0]]
        for name in ("layer0" if self.encoder_depth > 1 else "encoder", "regression"):
            params[name] = params[name] * unit
        if "bias" in params:
            params["bias"] = torch.cat([torch.zeros_like(centre[: self.widths_[0]]), params["bias"].to(centre.dtype)])
        super().set_fitted(params, centre, scale[[-1]].expand_as(scale), history)

    def encode(self, observed: Any) -> Codes:
        self._require_fitted()
        x = rows(observed, self.input_view, columns=self.widths_[0]).float() - self.bias_[: self.widths_[0]]
        return SparseRows.cat([self.own_codes(part) for part in torch.split(x, BLOCK)])

    def output_bias(self) -> Tensor:
        return self.bias_[self.widths_[0] :]
