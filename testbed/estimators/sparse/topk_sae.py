"""TopK sparse autoencoder, in plain torch."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, SparseRows, seed_of
from testbed.numerics.batches import batches, require_rows, rows
from testbed.numerics.matching import dense

HEAD_ROWS = 8192
"""Rows read ahead of training, from which mean and scale of the data are taken."""
HEAVY = 4.0
"""Rows further from the mean than this many median distances are weighed down to it."""
BETAS = (0.9, 0.99)
LAST_REVIVAL = 0.75
"""Share of training after which dead latents are left dead: what is revived later has no time to learn."""


class TopKSAE(Estimator):
    r"""Autoencoder whose code keeps the k largest pre-activations [1]_.

    .. math::
        a = \mathrm{ReLU}(\mathrm{TopK}(W_e (x - b) + b_e)), \qquad \hat x = W_d^\top a + b, \qquad
        \min \sum_t w_t \|x_t - \hat x_t\|^2 \ \text{subject to rows of norm 1 in } W_d.

    b is the mean of the data (of 8,192 shuffled rows, and fixed). Training starts with `k_start` times k and comes down to k over the
    first half, since early on a small k starves most latents. Latents that fire for no row of a while are pointed at rows that are badly
    reconstructed. Rows far from the mean (attention sinks) are weighed down to the weight of ordinary ones:
    :math:`w_t = \min(1, (4 \cdot \mathrm{median} / \|x_t - b\|)^2)`.

    Parameters
    ----------
    n_codes : int
        m, the number of latents.
    k : int
        Most active latents per row.
    k_start : float
        Multiple of k that training starts with; 1 keeps k fixed.
    samples : int
        Budget in rows, repeated ones counted.
    batch_size : int
    lr : float
        Highest learning rate of Adam, on data scaled to a median distance of 1 per row; it falls linearly to 0.
    warm_up : float
        Share of training in which the learning rate rises.
    revivals : int
        How often dead latents are looked for.
    view : str, optional
        Which view to learn; None where there is only one.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Decoder rows, of norm 1.
    encoder_ : Tensor, shape (m, d)
    encoder_bias_ : Tensor, shape (m,)
    bias_ : Tensor, shape (d,)
    history_ : dict of lists
        ``samples``, ``k``, ``loss``, ``explained_variance`` (weighed, on the training batches) and ``dead`` (share of latents) in time.

    References
    ----------
    .. [1] Gao et al. (2024), Scaling and evaluating sparse autoencoders, section 2.3.
    """

    def __init__(
        self,
        n_codes: int = 256,
        k: int = 16,
        k_start: float = 1.5,
        samples: int = 400_000,
        batch_size: int = 512,
        lr: float = 1e-2,
        warm_up: float = 0.1,
        revivals: int = 30,
        view: str | None = None,
    ) -> None:
        self.n_codes = n_codes
        self.k = k
        self.k_start = k_start
        self.samples = samples
        self.batch_size = batch_size
        self.lr = lr
        self.warm_up = warm_up
        self.revivals = revivals
        self.view = view

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256)

    def fit(self, data: Data, *, seed: int) -> Self:
        """Train on shuffled batches.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or the data have fewer rows than k.
        """
        self._check_parameters()
        require_rows(data, self.view, self.k, f"k = {self.k}")
        source = batches(data, self.view, self.batch_size, seed_of("batches", seed), self.samples)
        head: list[Tensor] = []
        while sum(map(len, head)) < min(HEAD_ROWS, self.samples):
            head.append(next(source))
        self.bias_, scale = location_and_scale(torch.cat(head))
        training = _Training(self, self.bias_, scale, seed)
        while head:
            training.step(head.pop(0))
        for batch in source:
            training.step(batch)
        self.dictionary_ = training.decoder.detach()
        self.encoder_ = training.encoder.detach()
        self.encoder_bias_ = training.encoder_bias.detach() * scale
        self.history_ = training.history
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=self.dictionary_.shape[1]).float()
        return SparseRows.cat([SparseRows.from_dense(self._codes(part)) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        return torch.cat([dense(codes[i : i + BLOCK]) @ self.dictionary_ for i in range(0, len(codes), BLOCK)]) + self.bias_

    def _codes(self, x: Tensor) -> Tensor:
        return top_k_codes((x - self.bias_) @ self.encoder_.T + self.encoder_bias_, self.k)

    def _check_parameters(self) -> None:
        if not 1 <= self.k <= self.n_codes:
            raise InvalidInput(f"k must lie between 1 and n_codes = {self.n_codes}, not be {self.k}")
        if self.samples < self.k or self.batch_size < 1:
            raise InvalidInput(f"samples must be at least k = {self.k} and batch_size at least 1, not {self.samples} and {self.batch_size}")
        if not (self.k_start >= 1 and self.lr > 0 and 0 <= self.warm_up <= 1 and self.revivals >= 0):
            raise InvalidInput(
                "k_start must be at least 1, lr above 0, warm_up between 0 and 1 and revivals at least 0, "
                f"not {self.k_start}, {self.lr}, {self.warm_up} and {self.revivals}"
            )


def top_k_codes(preactivations: Tensor, k: int) -> Tensor:
    """Keep the k largest entries of each row where they are positive, 0 elsewhere, shape (n, m)."""
    value, index = preactivations.topk(k, dim=1, sorted=False)
    return torch.zeros_like(preactivations).scatter(1, index, value.relu())


def location_and_scale(x: Tensor) -> tuple[Tensor, float]:
    """Mean of the rows, and their median distance from it (1 if that is 0).

    Rows far out, by the median, count as if they were nearer: one attention sink in a hundred tokens would own the mean otherwise.
    """
    mean = x.mean(dim=0)
    weight = weights(x - x.median(dim=0).values)
    if (weight < 1).any():
        mean = (weight[:, None] * x).sum(dim=0) / weight.sum()
    scale = float((x - mean).norm(dim=1).median())
    return mean, scale if scale > 0 else 1.0


def weights(centred: Tensor, scale: float | None = None) -> Tensor:
    r""":math:`\min(1, (4\, \mathrm{scale} / \|x_t\|)^2)`, shape (n,); `scale` is the median norm unless given."""
    norm = centred.norm(dim=1)
    limit = HEAVY * (norm.median() if scale is None else scale)
    return torch.where(norm > limit, (limit / norm.clamp_min(torch.finfo(norm.dtype).tiny)).square(), 1.0)


class _Training:
    """Parameters and optimiser of one fit; works on rows centred and scaled to a median norm of 1."""

    def __init__(self, spec: TopKSAE, bias: Tensor, scale: float, seed: int) -> None:
        self.spec, self.bias, self.scale = spec, bias, scale
        self.generator = torch.Generator().manual_seed(seed_of("init", seed))
        start = normalize(torch.randn(spec.n_codes, len(bias), generator=self.generator), dim=1).to(bias.device)
        self.decoder = start.clone().requires_grad_()
        self.encoder = start.clone().requires_grad_()  # tied at first
        self.encoder_bias = torch.zeros(spec.n_codes, device=bias.device, requires_grad=True)
        self.adam = torch.optim.Adam([self.encoder, self.encoder_bias, self.decoder], lr=spec.lr, betas=BETAS, eps=1e-8)
        self.steps = math.ceil(spec.samples / spec.batch_size)
        self.done = self.seen = 0
        self.fired = torch.zeros(spec.n_codes, dtype=torch.bool, device=bias.device)
        self.history: dict[str, list[float]] = {name: [] for name in ("samples", "k", "loss", "explained_variance", "dead")}
        self.window = max(1, round(LAST_REVIVAL * self.steps / (spec.revivals + 1)))

    def step(self, batch: Tensor) -> None:
        """One step of Adam, on every row of the parameters."""
        x = (batch - self.bias) / self.scale
        weight = weights(x, 1.0)
        k = self._k()
        codes = top_k_codes(x @ self.encoder.T + self.encoder_bias, k)  # (b, m)
        error = x - codes @ self.decoder
        squared = weight * error.square().sum(dim=1)
        loss = squared.mean()
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.adam.param_groups:
            group["lr"] = self.spec.lr * self._schedule()
        with torch.no_grad():
            assert self.decoder.grad is not None
            # Only the part of the gradient along the sphere: the rest would fill Adam's moments with what normalising undoes.
            self.decoder.grad -= (self.decoder.grad * self.decoder).sum(dim=1, keepdim=True) * self.decoder
            self.adam.step()
            self.decoder.copy_(normalize(self.decoder, dim=1))
            self.fired |= (codes > 0).any(dim=0)
        self.done += 1
        self.seen += len(batch)
        if self.done % self.window == 0 or self.done == self.steps:
            self._record(k, float(loss.detach()), float((weight * x.square().sum(dim=1)).mean()))
            if self.done <= LAST_REVIVAL * self.steps and self.spec.revivals:
                self._revive(error.detach(), squared.detach())
            self.fired.zero_()

    def _k(self) -> int:
        """From k_start * k down to k over the first half of training."""
        k = self.spec.k * (1 + (self.spec.k_start - 1) * max(0.0, 1 - 2 * self.done / self.steps))
        return min(self.spec.n_codes, round(k))

    def _schedule(self) -> float:
        rise = max(1.0, self.spec.warm_up * self.steps)
        return min(1.0, (self.done + 1) / rise) * (1 - self.done / self.steps)

    def _record(self, k: int, loss: float, variance: float) -> None:
        explained = 1 - loss / variance if variance > 0 else 0.0
        dead = float((~self.fired).float().mean())
        for name, value in zip(self.history, (self.seen, k, loss, explained, dead), strict=True):
            self.history[name].append(value)

    @torch.no_grad()
    def _revive(self, error: Tensor, squared: Tensor) -> None:
        """Point latents that fired for no row of the window at residuals, drawn in proportion to their squared norm."""
        dead = (~self.fired).nonzero()[:, 0]
        if not len(dead) or not float(squared.sum()) > 0:
            return
        draw = squared.cpu().multinomial(len(dead), replacement=True, generator=self.generator)
        direction = normalize(error[draw.to(error.device)], dim=1)
        living = self.encoder[self.fired].norm(dim=1).mean() if self.fired.any() else self.encoder.new_ones(())
        for parameter, value in ((self.decoder, direction), (self.encoder, living * direction), (self.encoder_bias, 0.0)):
            parameter[dead] = value
            for moment in ("exp_avg", "exp_avg_sq"):
                self.adam.state[parameter][moment][dead] = 0.0
