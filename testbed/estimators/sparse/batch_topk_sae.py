"""BatchTopK sparse autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import SparseRows
from testbed.estimators.sparse import kernels
from testbed.estimators.sparse.autoencoder import Array, Params, SparseAutoencoder
from testbed.estimators.sparse.topk_sae import TopKSAE

GUESS = 0.6
"""Share of the running threshold above which the entries that may be kept are looked for first; if too few are found, below."""
MEMORY = 0.99
"""How much of the running threshold each batch keeps."""


@dataclass(kw_only=True, eq=False, repr=False)
class BatchTopKSAE(TopKSAE):
    r"""Autoencoder that keeps the b k largest pre-activations of a batch of b rows [1]_, so that rows may differ in how many they need.

    After training a row must not depend on the others: a code is active above one threshold, the running mean of each batch's smallest
    kept value. That inference form is what is saved and scored.

    Parameters
    ----------
    k : int
        Mean number of active latents per row.
    k_start : float
        Multiple of k that training starts with.
    **others
        See `SparseAutoencoder`.

    Attributes
    ----------
    threshold_ : Tensor, shape (1,)

    References
    ----------
    .. [1] Bussmann, Leask & Nanda (2024), BatchTopK sparse autoencoders.
    """

    BIASES: ClassVar[tuple[str, ...]] = ("encoder_bias", "threshold")

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        return {**super().initial(atoms, generator, head), "threshold": torch.zeros(1, dtype=atoms.dtype)}

    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen(), "threshold")

    def k_now(self, params: Mapping[str, Any], share: float) -> int:
        """Mean number of codes that a row keeps when `share` of training is done."""
        return self.k_at(share)

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        if share >= 1.0:
            return torch.where(pre > params["threshold"], pre, 0.0).relu()
        kept = min(pre.numel(), self.k_now(params, share) * pre.shape[0])
        value, index = pre.flatten().topk(kept, sorted=False)
        return torch.zeros_like(pre).flatten().scatter(0, index, value.relu()).view_as(pre)

    def after(self, params: Params, codes: Tensor, share: float) -> None:
        smallest = torch.where(codes > 0, codes, torch.inf).min()
        if bool(smallest.isfinite()):
            self._remember(params["threshold"], float(smallest))

    @staticmethod
    def _remember(threshold: Tensor | Array, smallest: float) -> None:
        threshold[0] = smallest if float(threshold[0]) == 0 else MEMORY * float(threshold[0]) + (1 - MEMORY) * smallest

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        kept = min(pre.size, self.k_now(params, share) * len(pre))
        guess = GUESS * float(params["threshold"][0])
        while True:
            bar = np.full(pre.shape[1], guess, pre.dtype)
            indptr, columns, values = kernels.entries_above(pre, params["encoder_bias"], bar, 2 * kept)
            if len(values) >= kept or guess == 0:
                break
            guess = guess / 2 if guess > 1e-3 else 0.0
        if len(values) > kept:
            bar = np.partition(values, len(values) - kept)[len(values) - kept]
            used = values >= bar
            if used.sum() > kept:  # equal values at the edge: those met last go
                used[np.flatnonzero(values == bar)[kept - int(used.sum()) :]] = False
            before = np.concatenate([[0], np.cumsum(used)])
            indptr, columns, values = before[indptr], columns[used], values[used]
        if len(values):
            self._remember(params["threshold"], float(values.min()))
        return indptr, columns, values

    def own_codes(self, x: Tensor) -> SparseRows:
        return SparseAutoencoder.own_codes(self, x)
