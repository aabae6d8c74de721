"""Sparse autoencoder whose penalty goes from L1 towards L0 while it trains."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from testbed.estimators.sparse.autoencoder import Params, require
from testbed.estimators.sparse.relu_sae import ReLUSAE

SMALL = 1e-3
"""Added to codes before they are raised to p < 1, whose slope at 0 is infinite."""


@dataclass(kw_only=True, eq=False, repr=False)
class PAnnealingSAE(ReLUSAE):
    r"""ReLU autoencoder with penalty :math:`\lambda_p \sum_j a_j^p`, p falling from 1 to `p_end` [1]_.

    So that a change of p changes the penalty's shape and not its size, :math:`\lambda_p` is set batch by batch to what makes it as large as
    :math:`\lambda \sum_j a_j` is (the paper rescales by a queue of batches at each change of p).

    Parameters
    ----------
    p_end : float in (0, 1]
    anneal_from : float
        Share of training from which p falls, linearly until the end.
    **others
        See `ReLUSAE`; `penalise` and `bend` have no part in it.

    References
    ----------
    .. [1] Karvonen et al. (2024), Measuring progress in dictionary learning for language model interpretability with board game models,
       section 3.
    """

    p_end: float = 0.2
    anneal_from: float = 0.3

    def check(self) -> None:
        super().check()
        require(0 < self.p_end <= 1, f"p_end must lie in (0, 1], not be {self.p_end}")
        require(0 <= self.anneal_from < 1, f"anneal_from is a share below 1, not {self.anneal_from}")

    def p_at(self, share: float) -> float:
        """The exponent when `share` of training is done."""
        gone = max(0.0, (share - self.anneal_from) / (1 - self.anneal_from))
        return 1 + (self.p_end - 1) * min(1.0, gone)

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        p = self.p_at(share)
        bent = ((codes + SMALL) ** p - SMALL**p).sum(dim=-1)
        size = codes.sum() / bent.sum().clamp_min(1e-12)
        out: Tensor = self.price(share) * size.detach() * bent
        return out
