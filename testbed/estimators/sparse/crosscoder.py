"""Crosscoder: one code for several views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, SparseRows
from testbed.estimators.sparse.autoencoder import Params, SparseAutoencoder, require
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.rows_of import Reading, side_by_side
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.views import SeveralViews
from testbed.numerics.batches import rows


@dataclass(kw_only=True, eq=False, repr=False)
class Crosscoder(SeveralViews, BatchTopKSAE):
    r"""Codes that read several views at once and write each of them [1]_.

    .. math::
        a = \sigma\Bigl(\sum_v W_e^v (x^v - b^v) + b_e\Bigr), \qquad \hat x^v = W_d^{v\top} a + b^v, \qquad
        \min \sum_t w_t \sum_v \|x_t^v - \hat x_t^v\|^2 + \lambda \sum_{t,j} a_{tj} \sum_v \|d_j^v\|,

    each view scaled to a median norm of 1 by itself. With ``sparsify="l1"`` :math:`\sigma` is ReLU and decoders have any norm, which the
    penalty weighs; with ``"topk"`` and ``"batch_topk"`` there is no penalty and the whole row :math:`(d_j^1, d_j^2, \dots)` has norm 1, so
    that an atom may be of one view, or of all.

    `view` names the view that `dictionary_` and `decode` stand for; `decode_views` gives all of them.

    Parameters
    ----------
    views : sequence of str
        The views that are read and written, two or more.
    view : str
        One of them.
    sparsify : {"topk", "batch_topk", "l1"}
    sparsity : float
        :math:`\lambda`, for ``"l1"``.
    sparsity_warm_up : float
        Share of training in which :math:`\lambda` rises from 0.
    k, k_start
        For the other two, see `TopKSAE` and `BatchTopKSAE`.
    **others
        See `SparseAutoencoder`; `tied` and `inference` have no other value than their default.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        The columns of `decoders_` that write `view`, in the units of the data: rows have no norm in particular.
    decoders_ : Tensor, shape (m, sum of d)
    encoder_ : Tensor, shape (m, sum of d)
    norms_ : Tensor, shape (m, number of views)
        Norm of each atom in each view, on scaled views: which views a latent is about.

    References
    ----------
    .. [1] Lindsey, Templeton, Marcus, Conerly, Batson & Olah (2024), Sparse crosscoders for cross-layer features and model diffing.
    """

    views: Sequence[str] = ()
    sparsify: Literal["topk", "batch_topk", "l1"] = "topk"
    sparsity: float = 0.3
    sparsity_warm_up: float = 0.1

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256, views=("level_0", "level_1"), view="level_0")

    def check(self) -> None:
        super().check()
        several = not isinstance(self.views, str) and len(set(self.views)) == len(self.views) >= 2
        require(several, f"views must name two different views at least, not {self.views!r}")
        require(self.view in self.views, f"view must be one of views, {', '.join(map(repr, self.views))}, not {self.view!r}")
        require(self.sparsify in ("topk", "batch_topk", "l1"), f"sparsify must be 'topk', 'batch_topk' or 'l1', not {self.sparsify!r}")
        require(self.sparsity >= 0, f"sparsity must be at least 0, not {self.sparsity}")
        require(0 <= self.sparsity_warm_up <= 1, f"sparsity_warm_up is a share, not {self.sparsity_warm_up}")

    def reading(self) -> Reading:
        return tuple(self.views)

    def price(self, share: float) -> float:
        """The penalty's weight when `share` of training is done."""
        return self.sparsity * (min(1.0, share / self.sparsity_warm_up) if self.sparsity_warm_up else 1.0)

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        start = super().initial(atoms, generator, head)
        if self.sparsify != "batch_topk":
            del start["threshold"]
        return start

    def on_sphere(self) -> bool:
        return self.sparsify != "l1"

    def project(self, params: Params, start: Params) -> None:
        if self.sparsify != "l1":
            super().project(params, start)

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        if self.sparsify == "l1":
            return pre.relu()
        return super().activate(params, pre, share) if self.sparsify == "batch_topk" else TopKSAE.activate(self, params, pre, share)

    def after(self, params: Params, codes: Tensor, share: float) -> None:
        if self.sparsify == "batch_topk":
            super().after(params, codes, share)

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        if self.sparsify != "l1":
            return super().penalty(params, pre, codes, share)
        return self.price(share) * codes @ self._norms(params["decoder"]).sum(dim=1)

    def _norms(self, decoder: Tensor) -> Tensor:
        """Norm of each atom in each view, shape (m, number of views)."""
        # A tiny constant under the root: the slope of a norm at 0 is undefined.
        return torch.stack([(part.square().sum(dim=1) + 1e-12).sqrt() for part in torch.split(decoder, self.widths_, dim=1)], dim=1)

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        """Codes are in the unit of the first view; columns of encoders and decoders take the other views to theirs."""
        self.norms_ = self._norms(params["decoder"]).float()
        unit = (scale / scale[0]).to(params["decoder"].dtype)
        first = "layer0" if self.encoder_depth > 1 else "encoder"
        params[first] = params[first] / unit
        self.decoders_ = (params.pop("decoder") * unit).float().contiguous()
        self.dictionary_ = self.decoders_[:, self._written()].contiguous()
        super().set_fitted(params, centre, scale, history)

    def _written(self) -> slice:
        """Columns of `view`."""
        return self.parts(sum(self.widths_))[list(self.views).index(str(self.view))]

    def fitted(self) -> Params:
        return {**super().fitted(), "decoder": self.decoders_}

    def own_codes(self, x: Tensor) -> SparseRows:
        return TopKSAE.own_codes(self, x) if self.sparsify == "topk" else SparseAutoencoder.own_codes(self, x)

    def encode(self, observed: Any) -> Codes:
        self._require_fitted()
        x = rows(side_by_side(observed, self.reading()), columns=len(self.bias_)).float() - self.bias_
        return SparseRows.cat([self.own_codes(part) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        return super().decode(codes)[:, self._written()]

    def decode_views(self, codes: Codes) -> dict[str, Tensor]:
        """Every view that the codes describe, by name, shape (n, d) each."""
        return dict(zip(self.views, torch.split(super().decode(codes), self.widths_, dim=1), strict=True))
