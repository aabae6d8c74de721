"""Matryoshka sparse autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from testbed.estimators.sparse import kernels
from testbed.estimators.sparse.autoencoder import Array, Params, require
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE


@dataclass(kw_only=True, eq=False, repr=False)
class MatryoshkaSAE(BatchTopKSAE):
    r"""BatchTopK autoencoder each prefix of whose dictionary must reconstruct by itself [1]_.

    .. math::
        \min \frac1G \sum_{g=1}^G \Bigl\| x - b - \sum_{j \le m_g} a_j d_j \Bigr\|^2, \qquad m_g = m / 2^{G - g},

    so that early latents are not absorbed by later, more special ones.

    Parameters
    ----------
    prefixes : int
        G; each prefix is half as long as the next.
    **others
        See `BatchTopKSAE`.

    References
    ----------
    .. [1] Bussmann, Nabeshima, Karvonen & Nanda (2025), Learning multi-level features with Matryoshka sparse autoencoders.
    """

    prefixes: int = 5

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256, prefixes=3)

    def check(self) -> None:
        super().check()
        require(self.prefixes >= 1, f"prefixes must be at least 1, not {self.prefixes}")
        least = 2 ** (self.prefixes - 1)
        require(self.n_codes >= least, f"{self.prefixes} prefixes need {least} codes at least, not {self.n_codes}: lower prefixes")

    def ends(self) -> list[int]:
        return [self.n_codes // 2 ** (self.prefixes - 1 - g) for g in range(self.prefixes)]

    def loss(self, params: Params, x: Tensor, target: Tensor, weight: Tensor, share: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        shift = params.get("bias")
        inside, wanted = (x, target) if shift is None else (x - shift, target - shift)
        codes = self.codes(params, inside, share)
        error, total, start = -wanted, torch.zeros_like(weight), 0
        for end in self.ends():
            error = error + codes[:, start:end] @ params["decoder"][start:end]
            total = total + weight * error.square().sum(dim=1) / self.prefixes
            start = end
        return total.mean(), (codes, error)

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        found = super().entries(params, pre, share)
        kernels.sort_within_rows(*found)
        return found
