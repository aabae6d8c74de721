"""TopK sparse autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import SparseRows
from testbed.estimators.sparse.autoencoder import Array, Params, SparseAutoencoder, packed, require
from testbed.numerics.top_k import lanes, top_k, top_k_kernel


@dataclass(kw_only=True, eq=False, repr=False)
class TopKSAE(SparseAutoencoder):
    r"""Autoencoder whose code keeps the k largest pre-activations [1]_.

    .. math::
        a = \mathrm{ReLU}(\mathrm{TopK}(W_e (x - b) + b_e)), \qquad
        \min \sum_t w_t \|x_t - \hat x_t\|^2 \ \text{subject to rows of norm 1 in } W_d.

    Training starts with `k_start` times k active codes and comes down to k over the first half, since early on a small k starves most
    latents.

    Parameters
    ----------
    k : int
        Most active latents per row.
    k_start : float
        Multiple of k that training starts with; 1 keeps k fixed.
    **others
        See `SparseAutoencoder`.

    References
    ----------
    .. [1] Gao et al. (2024), Scaling and evaluating sparse autoencoders, section 2.3.
    """

    k: int = 16
    k_start: float = 1.5
    samples: int = 400_000

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256)

    def check(self) -> None:
        super().check()
        require(1 <= self.k <= self.n_codes, f"k must lie between 1 and n_codes = {self.n_codes}, not be {self.k}")
        require(self.k_start >= 1, f"k_start must be at least 1, not {self.k_start}")

    def k_at(self, share: float) -> int:
        """From k_start * k down to k over the first half of training."""
        k = self.k * (1 + (self.k_start - 1) * max(0.0, 1 - 2 * share))
        return min(self.n_codes, round(k))

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        return top_k_codes(pre, self.k_at(share))

    def compiled(self) -> bool:
        return not self.tied and self.encoder_depth == 1

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        k = self.k_at(share)
        columns, kept, counts = np.empty((len(pre), k), np.int32), np.empty((len(pre), k), pre.dtype), np.empty(len(pre), np.int64)
        top_k_kernel(pre, params["encoder_bias"], k, lanes(k, self.n_codes), columns, kept, counts)
        return packed(columns, kept, counts)

    def own_codes(self, x: Tensor) -> SparseRows:
        pre = self.preactivations(self.fitted(), x)
        return SparseRows.from_entries(*top_k(pre, self.k), (len(pre), self.n_codes))


def top_k_codes(preactivations: Tensor, k: int) -> Tensor:
    """Keep the k largest entries of each row where they are positive, 0 elsewhere, shape (n, m)."""
    value, index = preactivations.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(preactivations).scatter(-1, index, value.relu())
