"""Gated sparse autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from testbed.estimators.sparse.autoencoder import Params
from testbed.estimators.sparse.relu_sae import ReLUSAE


@dataclass(kw_only=True, eq=False, repr=False)
class GatedSAE(ReLUSAE):
    r"""Autoencoder that decides whether a code is active apart from how large it is [1]_.

    .. math::
        \pi = W_e (x - b) + b_e, \qquad a_j = \mathbb 1[\pi_j > 0]\, \mathrm{ReLU}(e^{r_j} (\pi_j - b_{e,j}) + b_{m,j}), \qquad
        \min \sum_t \|x_t - \hat x_t\|^2 + \lambda \|\mathrm{ReLU}(\pi_t)\|_1 + \|x_t - b - \bar W_d^\top \mathrm{ReLU}(\pi_t)\|^2

    where the last term does not move the dictionary: the penalty shrinks the gate, not the code.

    Parameters
    ----------
    **others
        See `ReLUSAE`; `penalise` and `bend` have no part in it.

    Attributes
    ----------
    gain_, magnitude_bias_ : Tensor, shape (m,)
        r and :math:`b_m`.

    References
    ----------
    .. [1] Rajamanoharan et al. (2024), Improving dictionary learning with gated sparse autoencoders, equations 6 to 8.
    """

    BIASES: ClassVar[tuple[str, ...]] = ("encoder_bias", "magnitude_bias")

    sparsity: float = 0.3

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        zeros = torch.zeros(len(atoms), dtype=atoms.dtype)
        return {**super().initial(atoms, generator, head), "gain": zeros.clone(), "magnitude_bias": zeros.clone()}

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        for name in ("gain", "magnitude_bias"):
            params[name][dead] = 0.0
        return [*super().reset(params, dead, living), "gain", "magnitude_bias"]

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        size = params["gain"].exp() * (pre - params["encoder_bias"]) + params["magnitude_bias"]
        return torch.where(pre > 0, size.relu(), 0.0)

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        return self.price(share) * pre.relu().sum(dim=-1)

    def loss(self, params: Params, x: Tensor, target: Tensor, weight: Tensor, share: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        total, seen = super().loss(params, x, target, weight, share)
        shift = params.get("bias")
        inside, wanted = (x, target) if shift is None else (x - shift, target - shift)
        gate = self.preactivations(params, inside).relu()
        error = gate @ params["decoder"].detach() - wanted
        return total + (weight * error.square().sum(dim=1)).mean(), seen

    def compiled(self) -> bool:
        return False
