"""Sparse autoencoder whose encoder is matching pursuit in its own dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import SparseRows
from testbed.estimators.sparse.autoencoder import Params, SparseAutoencoder, require
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.numerics.pursuit import orthogonal_matching_pursuit


@dataclass(kw_only=True, eq=False, repr=False)
class PursuitSAE(TopKSAE):
    r"""Autoencoder without an encoder: codes are k steps of non-negative matching pursuit in the dictionary [1]_.

    .. math::
        r_0 = x - b, \qquad j_t = \arg\max_j d_j \cdot r_{t-1}, \quad z_t = \mathrm{ReLU}(d_{j_t} \cdot r_{t-1}), \quad
        a_{j_t} \mathrel{+}= z_t, \quad r_t = r_{t-1} - z_t d_{j_t},

    and the loss is :math:`\|r_k\|^2`, whose slope goes through all k steps. What an atom explains is taken off before the next is chosen,
    so correlated atoms, a composite's and its constituents', do not fire on each other's account.

    Parameters
    ----------
    k : int
        Steps, and so most active latents per row; an atom may be chosen again.
    k_start : float
        Multiple of k that training starts with.
    orthogonal : bool
        Refit all coefficients after each step by non-negative least squares (orthogonal matching pursuit). Codes are then held while the
        dictionary learns: a step is one of alternating minimisation, as in K-SVD's predecessors [2]_.
    **others
        See `SparseAutoencoder`; `tied`, `encoder_depth` and `inference` have no other value than their default.

    References
    ----------
    .. [1] Costa et al. (2025), From flat to hierarchical: extracting sparse representations with matching pursuit, section 3.
    .. [2] Engan, Aase & Husoy (1999), Method of optimal directions for frame design.
    """

    orthogonal: bool = False

    def check(self) -> None:
        super().check()
        plain = not self.tied and self.encoder_depth == 1 and self.inference == "encoder"
        require(
            plain, "a pursuit autoencoder has no encoder to tie, deepen or replace: leave tied, encoder_depth and inference as they are"
        )
        mixed = self.orthogonal and self.precision == "mixed"
        require(not mixed, "orthogonal pursuit solves small linear systems, which bfloat16 is too coarse for: set precision to 'single'")

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        start = super().initial(atoms, generator, head)
        return {name: value for name, value in start.items() if name in ("decoder", "bias")}

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        return []

    def stackable(self) -> bool:
        return not self.orthogonal

    def preactivations(self, params: Params, x: Tensor) -> Tensor:
        """The rows themselves, shape (b, d): pursuit looks at them again after each step."""
        return x

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        k = self.k_at(share)
        if self.orthogonal:
            held: Tensor = _Orthogonal.apply(pre, params["decoder"], k)  # type: ignore[no-untyped-call]
            return held
        return matching_pursuit(pre, params["decoder"], k)

    def compiled(self) -> bool:
        return False

    def own_codes(self, x: Tensor) -> SparseRows:
        if self.orthogonal:
            return orthogonal_matching_pursuit(x, self.fitted()["decoder"], max_active=self.k, threshold=0.0)
        return SparseAutoencoder.own_codes(self, x)


def matching_pursuit(x: Tensor, atoms: Tensor, steps: int) -> Tensor:
    """Codes by `steps` steps of non-negative matching pursuit, shape (b, m); `atoms` (m, d) have norm 1.

    All steps work on correlations with the residual, which a step changes by a row of the Gram matrix. Slopes in `atoms` are exact.
    """
    correlation = x @ atoms.T  # (b, m)
    gram = atoms @ atoms.T
    codes = torch.zeros_like(correlation)
    for _ in range(steps):
        value, index = correlation.max(dim=-1, keepdim=True)
        step = value.relu()  # 0 once nothing correlates any more: the row stays as it is from there on
        codes = codes.scatter_add(-1, index, step)
        correlation = correlation - step * gram[index[..., 0]]
    return codes


class _Orthogonal(torch.autograd.Function):
    """Orthogonal matching pursuit as a constant: codes through which no slope goes."""

    @staticmethod
    def forward(x: Tensor, atoms: Tensor, steps: int) -> Tensor:
        return orthogonal_matching_pursuit(x.contiguous(), atoms.contiguous(), max_active=steps, threshold=0.0).dense()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        return None, None, None
