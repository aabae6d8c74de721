"""JumpReLU sparse autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from testbed.estimators.sparse import kernels
from testbed.estimators.sparse.autoencoder import Array, Params, SparseAutoencoder, require


@dataclass(kw_only=True, eq=False, repr=False)
class JumpReLUSAE(SparseAutoencoder):
    r"""Autoencoder whose codes are 0 up to a threshold of their own, and pre-activations beyond [1]_.

    .. math::
        a_j = \pi_j\, H(\pi_j - \theta_j), \qquad \pi = W_e (x - b) + b_e, \qquad
        \min \sum_t w_t \|x_t - \hat x_t\|^2 + \lambda \Bigl(\frac{\|a\|_0}{k} - 1\Bigr)^2,

    with :math:`\|a\|_0` the mean number of active codes per row. Thresholds learn through straight-through estimators: a rectangle of
    width :math:`\varepsilon` stands for the derivative of the step, :math:`\partial a_j / \partial \theta_j = -(\theta_j / \varepsilon)
    K((\pi_j - \theta_j) / \varepsilon)` and :math:`\partial H / \partial \theta_j = -(1 / \varepsilon) K(\cdot)`.

    Parameters
    ----------
    k : float
        Number of active codes per row that is aimed at.
    sparsity : float
        :math:`\lambda`.
    aim : {"target", "fewest"}
        The penalty above, or :math:`\lambda \|a\|_0 / k`, which has no target.
    threshold : float
        Where thresholds start, in units of the rows' median norm.
    bandwidth : float
        :math:`\varepsilon`, in the same unit.
    sparsity_warm_up : float
        Share of training in which :math:`\lambda` rises from 0.
    **others
        See `SparseAutoencoder`.

    Attributes
    ----------
    threshold_ : Tensor, shape (m,)

    References
    ----------
    .. [1] Rajamanoharan et al. (2024), Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders, equations 9 to
       13; the target is that of its appendix.
    """

    BIASES: ClassVar[tuple[str, ...]] = ("encoder_bias", "threshold")

    k: float = 16.0
    sparsity: float = 0.3
    aim: Literal["target", "fewest"] = "target"
    threshold: float = 0.05
    bandwidth: float = 0.05
    sparsity_warm_up: float = 0.1

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256)

    def check(self) -> None:
        super().check()
        require(0 < self.k <= self.n_codes, f"k must lie between 0 and n_codes = {self.n_codes}, not be {self.k}")
        require(self.sparsity >= 0, f"sparsity must be at least 0, not {self.sparsity}")
        require(self.aim in ("target", "fewest"), f"aim must be 'target' or 'fewest', not {self.aim!r}")
        require(
            self.threshold > 0 and self.bandwidth > 0, f"threshold and bandwidth must be above 0, not {self.threshold}, {self.bandwidth}"
        )
        require(0 <= self.sparsity_warm_up <= 1, f"sparsity_warm_up is a share, not {self.sparsity_warm_up}")

    def price(self, share: float) -> float:
        """The penalty's weight when `share` of training is done."""
        return self.sparsity * (min(1.0, share / self.sparsity_warm_up) if self.sparsity_warm_up else 1.0)

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        start = torch.full((len(atoms),), self.threshold, dtype=atoms.dtype).log()
        return {**super().initial(atoms, generator, head), "log_threshold": start}

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        params["log_threshold"][dead] = float(np.log(self.threshold))
        return [*super().reset(params, dead, living), "log_threshold"]

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        params["threshold"] = params.pop("log_threshold").exp()
        super().set_fitted(params, centre, scale, history)

    def _through(self, params: Params, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Whether codes are on, (b, m), and a term that is 0 and whose slope in the threshold is that of the step."""
        theta = params["log_threshold"].exp() if "log_threshold" in params else params["threshold"]
        on = (pre > theta).to(pre.dtype)
        near = ((pre - theta).abs() < self.bandwidth / 2).to(pre.dtype) / self.bandwidth
        return on.detach(), -near.detach() * (theta - theta.detach())

    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        on, step = self._through(params, pre)
        theta = params["log_threshold"].exp() if "log_threshold" in params else params["threshold"]
        return on * pre.relu() + theta.detach() * step

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        on, step = self._through(params, pre)
        mean = (on + step).sum() / len(pre)
        paid = (mean / self.k - 1).square() if self.aim == "target" else mean / self.k
        return self.price(share) * paid.expand(len(pre))

    def compiled(self) -> bool:
        return not self.tied and self.encoder_depth == 1

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        theta = np.exp(params["log_threshold"])
        low = np.minimum(theta, theta - self.bandwidth / 2).astype(pre.dtype)
        indptr, columns, values = kernels.entries_above(pre, params["encoder_bias"], low, int(4 * self.k * len(pre)))
        values[(values <= theta[columns]) | (values <= 0)] = 0
        return indptr, columns, values

    def slopes(
        self, params: Mapping[str, Array], pre: Array, indptr: Array, columns: Array, values: Array, slopes: Array, share: float
    ) -> tuple[dict[str, Array], float]:
        theta = np.exp(params["log_threshold"])
        row = np.repeat(np.arange(len(pre)), np.diff(indptr))
        seen = pre[row, columns] + params["encoder_bias"][columns]  # `entries` wrote 0 over what is below its threshold
        near = np.abs(seen - theta[columns]) < self.bandwidth / 2
        mean = np.count_nonzero(seen > theta[columns]) / len(pre)
        price = self.price(share)
        paid = price * ((mean / self.k - 1) ** 2 if self.aim == "target" else mean / self.k)
        per_code = price * (2 * (mean / self.k - 1) if self.aim == "target" else 1.0) / (self.k * len(pre))
        at = columns[near]
        slope = np.bincount(at, weights=theta[at] * slopes[near] + per_code, minlength=len(theta)) / -self.bandwidth
        slopes[values == 0] = 0
        return {"log_threshold": (slope * theta).astype(pre.dtype)}, float(paid)
