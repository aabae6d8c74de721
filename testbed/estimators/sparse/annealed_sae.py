"""BatchTopK sparse autoencoder that finds its own k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from testbed.estimators.sparse.autoencoder import Array, Params, require
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.refinement import typical

MEMORY = 0.99
"""How much of the running number of codes worth having each batch keeps."""


@dataclass(kw_only=True, eq=False, repr=False)
class AnnealedSAE(BatchTopKSAE):
    r"""BatchTopK autoencoder that finds its k: twice the number of codes that are worth having, as training goes on.

    It starts with d/4 active codes, and from halfway on allows d/8 at most: noise alone would keep more busy. A code is worth having from
    `reach` times the size of a typical one; their running mean number per row is c, and k is the smallest 2 c seen so far. Twice, since
    with c itself concepts that nearly always fire together would be one atom.

    Parameters
    ----------
    reach : float
        Smallest code worth having, as a share of a typical one.
    **others
        See `BatchTopKSAE`; `k` and `k_start` have no part in it.
    """

    BIASES: ClassVar[tuple[str, ...]] = (*BatchTopKSAE.BIASES, "typical")

    reach: float = 0.3
    k: int = 1
    k_start: float = 1.0

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, samples=20_000, batch_size=256)

    def check(self) -> None:
        super().check()
        require(0 <= self.reach <= 1, f"reach must lie between 0 and 1, not be {self.reach}")

    def k_now(self, params: Mapping[str, Any], share: float) -> int:
        columns: int = params["decoder"].shape[1]
        most = columns / 4 * max(0.5, 1 - share)
        return max(1, round(min(float(params["k"][0]), most)))

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        start = torch.tensor([min(atoms.shape[1] / 4, atoms.shape[0] / 2)], dtype=atoms.dtype)
        return {**super().initial(atoms, generator, head), "k": start, "active": start / 2, "typical": start * 0}

    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen(), "k", "active", "typical")

    def stackable(self) -> bool:
        return False

    def _count(self, params: Any, values: Any, rows: int) -> None:
        """Update the number of codes worth having from the active codes of a batch, and k with it."""
        found = torch.as_tensor(values)
        size = typical(found)
        worth = int((found > self.reach * size).sum()) / rows
        params["typical"][0] = MEMORY * float(params["typical"][0]) + (1 - MEMORY) * size
        params["active"][0] = MEMORY * float(params["active"][0]) + (1 - MEMORY) * worth
        params["k"][0] = max(1.0, min(float(params["k"][0]), 2 * float(params["active"][0])))

    def after(self, params: Params, codes: Tensor, share: float) -> None:
        super().after(params, codes, share)
        self._count(params, codes[codes > 0], len(codes))

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        found = super().entries(params, pre, share)
        self._count(params, found[2], len(pre))
        return found
