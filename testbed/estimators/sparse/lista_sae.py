"""Sparse autoencoder whose encoder is a few learned steps of iterative shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import SparseRows
from testbed.estimators.sparse.autoencoder import Params, SparseAutoencoder, require
from testbed.estimators.sparse.topk_sae import TopKSAE, top_k_codes


@dataclass(kw_only=True, eq=False, repr=False)
class ListaSAE(TopKSAE):
    r"""Autoencoder whose encoder unrolls iterative shrinkage, with weights of its own [1]_.

    .. math::
        z_0 = 0, \qquad z_{s+1} = \mathrm{ReLU}(W_e (x - b) + S z_s - \theta), \qquad
        \min \sum_t w_t \|x_t - \hat x_t\|^2 + \lambda \|a_t\|_1,

    ReLU of a shift being the non-negative soft threshold. All weights start where the steps are exactly those of ISTA for the dictionary
    that training starts from: :math:`W_e = W_d / L`, :math:`S = I - W_d W_d^\top / L`, :math:`\theta = \lambda / 2L` (the error above is
    not halved), L the largest eigenvalue of :math:`W_d W_d^\top`.

    Parameters
    ----------
    steps : int
        Steps of shrinkage; 1 is a plain ReLU encoder.
    coupling : {"free", "dictionary"}
        S as learned weights, m x m, as in [1]_; or :math:`S = I - W_e W_d^\top`, which the weights of an exact unrolled encoder tend
        to [2]_ and which costs 2 m d instead of m^2 per row and step.
    end : {"topk", "l1"}
        Whether the last step keeps the k largest values in place of the threshold alone, without a penalty; or pays for codes.
    k, k_start
        For ``end="topk"``, see `TopKSAE`.
    sparsity : float
        :math:`\lambda`, on rows of median norm 1. With ``"topk"`` it only sets where thresholds start.
    **others
        See `SparseAutoencoder`; `tied` and `encoder_depth` have no other value than their default.

    Attributes
    ----------
    inhibition_ : Tensor, shape (m, m)
        S, with ``coupling="free"``.

    References
    ----------
    .. [1] Gregor & LeCun (2010), Learning fast approximations of sparse coding, equation 4 and section 3.
    .. [2] Chen, Liu, Wang & Yin (2018), Theoretical linear convergence of unfolded ISTA and its practical weights and thresholds,
       theorem 1.
    """

    steps: int = 3
    coupling: Literal["free", "dictionary"] = "dictionary"
    end: Literal["topk", "l1"] = "topk"
    sparsity: float = 0.1
    sparsity_warm_up: float = 0.1

    def check(self) -> None:
        super().check()
        require(self.steps >= 1, f"steps must be at least 1, not {self.steps}")
        require(self.coupling in ("free", "dictionary"), f"coupling must be 'free' or 'dictionary', not {self.coupling!r}")
        require(self.end in ("topk", "l1"), f"end must be 'topk' or 'l1', not {self.end!r}")
        require(self.sparsity >= 0, f"sparsity must be at least 0, not {self.sparsity}")
        require(0 <= self.sparsity_warm_up <= 1, f"sparsity_warm_up is a share, not {self.sparsity_warm_up}")
        plain = not self.tied and self.encoder_depth == 1
        require(plain, "the encoder's depth is its number of steps: leave tied and encoder_depth as they are, and set steps")

    def price(self, share: float) -> float:
        """The penalty's weight when `share` of training is done."""
        return self.sparsity * (min(1.0, share / self.sparsity_warm_up) if self.sparsity_warm_up else 1.0)

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        start = super().initial(atoms, generator, head)
        step = 1 / float(torch.linalg.matrix_norm(atoms, 2) ** 2)  # 1 / L
        start["encoder"] = step * atoms
        start["encoder_bias"] = torch.full((len(atoms),), -step * self.sparsity / 2, dtype=atoms.dtype)
        if self.coupling == "free":
            start["inhibition"] = torch.eye(len(atoms), dtype=atoms.dtype) - step * atoms @ atoms.T
        return start

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        """A revived latent stands to the others as encoder and dictionary say, and has the living latents' mean threshold."""
        bias = params["encoder_bias"]
        bias[dead] = bias[living].mean() if bool(living.any()) else 0.0
        if self.coupling == "dictionary":
            return ["encoder_bias"]
        encoder, atoms, inhibition = params["encoder"], params["decoder"], params["inhibition"]
        inhibition[dead] = -encoder[dead] @ atoms.T
        inhibition[:, dead] = -encoder @ atoms[dead].T
        inhibition[dead, dead] += 1
        return ["encoder_bias", "inhibition"]

    def preactivations(self, params: Params, x: Tensor) -> Tensor:
        """What the last step shrinks, less its threshold, shape (b, m)."""
        driven = x @ params["encoder"].T + params["encoder_bias"]
        inside = driven
        for _ in range(self.steps - 1):
            z = inside.relu()
            if "inhibition" in params:
                inside = driven + z @ params["inhibition"].T
            else:
                inside = driven + z - (z @ params["decoder"]) @ params["encoder"].T
        return inside

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        return pre.relu() if self.end == "l1" else top_k_codes(pre, self.k_at(share))

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        if self.end == "topk":
            return super().penalty(params, pre, codes, share)
        return self.price(share) * codes.sum(dim=-1)

    def compiled(self) -> bool:
        return False

    def own_codes(self, x: Tensor) -> SparseRows:
        return super().own_codes(x) if self.end == "topk" else SparseAutoencoder.own_codes(self, x)
