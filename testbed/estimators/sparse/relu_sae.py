"""Sparse autoencoder with ReLU and a penalty on the size of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from testbed.estimators.sparse import kernels
from testbed.estimators.sparse.autoencoder import Array, Params, SparseAutoencoder, require


@dataclass(kw_only=True, eq=False, repr=False)
class ReLUSAE(SparseAutoencoder):
    r"""Autoencoder with ReLU codes that are paid for [1]_.

    .. math::
        a = \mathrm{ReLU}(W_e (x - b) + b_e), \qquad \min \sum_t w_t \|x_t - \hat x_t\|^2 + \lambda \sum_{t,j} P(a_{tj}),

    with :math:`P(a) = a` (l1), :math:`c \tanh(a / c)` (tanh) or :math:`c \log(1 + a / c)` (log): the latter two take less from large codes.

    Parameters
    ----------
    sparsity : float
        :math:`\lambda`, on rows of median norm 1.
    penalise : {"l1", "tanh", "log"}
    bend : float
        c, the size of codes beyond which tanh and log flatten.
    sparsity_warm_up : float
        Share of training in which :math:`\lambda` rises from 0.
    **others
        See `SparseAutoencoder`.

    References
    ----------
    .. [1] Bricken et al. (2023), Towards monosemanticity; Cunningham et al. (2023), Sparse autoencoders find highly interpretable
       features in language models. Unit-norm rows make the penalty that of the decoder's norm times the code.
    """

    sparsity: float = 0.1
    penalise: Literal["l1", "tanh", "log"] = "l1"
    bend: float = 0.1
    sparsity_warm_up: float = 0.1

    def check(self) -> None:
        super().check()
        require(self.sparsity >= 0, f"sparsity must be at least 0, not {self.sparsity}")
        require(self.penalise in ("l1", "tanh", "log"), f"penalise must be 'l1', 'tanh' or 'log', not {self.penalise!r}")
        require(self.bend > 0, f"bend must be above 0, not {self.bend}")
        require(0 <= self.sparsity_warm_up <= 1, f"sparsity_warm_up is a share, not {self.sparsity_warm_up}")

    def price(self, share: float) -> float:
        """The penalty's weight when `share` of training is done."""
        return self.sparsity * (min(1.0, share / self.sparsity_warm_up) if self.sparsity_warm_up else 1.0)

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        return pre.relu()

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        if self.penalise == "tanh":
            size = self.bend * (codes / self.bend).tanh()
        else:
            size = codes if self.penalise == "l1" else self.bend * (1 + codes / self.bend).log()
        return self.price(share) * size.sum(dim=-1)

    def compiled(self) -> bool:
        return not self.tied and self.encoder_depth == 1

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        return kernels.entries_above(pre, params["encoder_bias"], np.zeros(pre.shape[1], pre.dtype), pre.size // 4)

    def slopes(
        self, params: Mapping[str, Array], pre: Array, indptr: Array, columns: Array, values: Array, slopes: Array, share: float
    ) -> tuple[dict[str, Array], float]:
        codes = torch.from_numpy(values).requires_grad_()
        paid = self.penalty({}, codes, codes, share) / len(pre)
        paid.backward()  # type: ignore[no-untyped-call]
        assert codes.grad is not None
        slopes += codes.grad.numpy()
        return {}, float(paid.detach())
