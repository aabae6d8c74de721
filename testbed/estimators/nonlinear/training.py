r"""Training of a variational autoencoder by stochastic gradients, with or without a penalty on its edges or its codes.

Per row, in nats, up to a constant, with standardised rows x, codes u = mu(x) + deviation * noise and s = W u:

.. math:: \mathcal L = \tfrac12 \sum_i \log \overline{(x_i - f_i(s))^2} + \overline{\mathrm{KL}}(q(u \mid x) \| p(u)) + \lambda\, \Omega

The mean over the batch inside the logarithm stands for each coordinate's noise variance at its optimum [1]_. Rows of W have norm 1, so that
the prior of s has unit variances and correlations :math:`W W^\top`, which are learned where there is a penalty.

.. [1] Rybkin, Daniilidis & Levine (2021), Simple and effective VAE training with calibrated decoders, ICML, equation 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.estimators.nonlinear.networks import Weights, decoded, encoded, jacobian

FLOOR = 1e-4
"""Least noise variance, as a share of a coordinate's variance."""
JACOBIANS = 64
"""Rows of a batch on which the Jacobian is penalised."""
STRETCH, HEAT = 0.1, 2 / 3
"""Of hard concrete gates: how far they are stretched beyond [0, 1], and their temperature (Louizos et al. 2018)."""
OPEN = 2.0
"""Logit that gates start from."""
PACE = 0.02
"""How fast the weight of a constrained penalty moves, in logarithms per step."""


@dataclass(frozen=True)
class Penalty:
    r"""What is penalised, besides the loss.

    Attributes
    ----------
    kind : {"none", "edges", "gates", "codes", "topk"}
        Omega: :math:`\sum_{ij} (E (\partial x_i / \partial s_j)^2)^{p/2}`; the expected number of open gates, one per edge (i, j);
        :math:`\sum_j E |s_j|`; nothing, but all codes of a row are 0 except for the k largest.
    weight : float
        lambda, in nats per row.
    power : float
        p of ``"edges"``.
    k : int
        Of ``"topk"``.
    slack : float or None
        With a number, lambda moves so that the loss without the penalty rises by so many nats per row and no further: the constrained form.
    """

    kind: str = "none"
    weight: float = 0.1
    power: float = 0.5
    k: int = 1
    slack: float | None = None


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes
    ----------
    weights : dict of str to Tensor
    turn : Tensor, shape (m, m)
        W, with rows of norm 1.
    gates : Tensor, shape (d, m), or None
        In [0, 1].
    loss : float
        Without the penalty, a mean over the last tenth of the steps; lower is better.
    """

    weights: Weights
    turn: Tensor
    gates: Tensor | None
    loss: float


def train(
    x: Tensor,
    start: Weights,
    generator: torch.Generator,
    *,
    steps: int,
    batch: int,
    rate: float,
    groups: Tensor | None = None,
    plain: bool = False,
    turn: Tensor | None = None,
    penalty: Penalty | None = None,
    bound: float = math.inf,
) -> Trained:
    """Train an autoencoder.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Standardised rows.
    start : dict of str to Tensor
    generator : torch.Generator
        Order of the rows and noise; on the CPU.
    steps, batch, rate : int, int, float
        Of Adam; the rate rises for 50 steps and then falls to 0.
    groups : Tensor, shape (n,), int64, optional
        A known variable; with it the prior of each code is a Gaussian of its own for every value.
    plain : bool
        Neither noise nor KL divergence: an autoencoder.
    turn : Tensor, shape (m, m), optional
        W to start from; with none, s = u.
    penalty : Penalty, optional
    bound : float
        Loss without the penalty that a constrained penalty may not exceed.
    """
    penalty = penalty or Penalty()
    p = {name: weight.detach().clone().requires_grad_() for name, weight in start.items()}
    m = len(p["e"])
    more: Weights = {}
    if groups is not None:
        values = int(groups.max()) + 1
        more["prior_mean"], more["prior_deviation"] = x.new_zeros(values, m), x.new_zeros(values, m)
    if turn is not None and penalty.kind != "none":
        more["turn"] = turn.clone()
    if penalty.kind == "gates":
        more["gates"] = torch.full_like(p["a"], OPEN).detach()
    more = {name: weight.requires_grad_() for name, weight in more.items()}
    adam = torch.optim.Adam([*p.values(), *more.values()], lr=rate, betas=(0.9, 0.99), fused=True)
    weight, tail = penalty.weight, []
    order, at = torch.randperm(len(x), generator=generator), 0
    for step in range(steps):
        left = 1 - step / steps
        adam.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50) * left + 1e-5
        if at + batch > len(x) and at > 0:
            order, at = torch.randperm(len(x), generator=generator), 0
        rows = order[at : at + batch].to(x.device)
        at += batch
        xb = x[rows]
        u, gap = _posterior(p, more, xb, groups[rows] if groups is not None else None, plain, generator)
        s = u @ normalize(more["turn"], dim=1).T if "turn" in more else u
        if penalty.kind == "topk":
            s = largest(s, penalty.k)
        gates = _noisy_gates(more["gates"], generator) if "gates" in more else None
        loss = 0.5 * ((xb - decoded(p, s, gates)).square().mean(dim=0) + FLOOR).log().sum() + gap
        if step >= 0.9 * steps:
            tail.append(float(loss.detach()))
        adam.zero_grad(set_to_none=True)
        total = loss + weight * omega(penalty, p, s, more.get("gates"), left)
        total.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if penalty.slack is not None:
            over = (float(loss.detach()) - bound) / max(penalty.slack, 1e-6)
            weight *= math.exp(-PACE * max(-1.0, min(1.0, over)))
    turned = normalize(more["turn"].detach(), dim=1) if "turn" in more else turn if turn is not None else torch.eye(m).to(x)
    closed = still_gates(more["gates"].detach()) if "gates" in more else None
    return Trained({name: w.detach() for name, w in p.items()}, turned, closed, sum(tail) / max(len(tail), 1))


def omega(penalty: Penalty, p: Weights, s: Tensor, gates: Tensor | None, left: float = 0.0) -> Tensor:
    """The penalty's Omega, a scalar; an edge's cost is quadratic near 0, within a width that falls as `left` goes from 1 to 0."""
    if penalty.kind == "edges":
        blur = 0.1 * left + 0.01
        return (jacobian(p, s[:JACOBIANS]).square().mean(dim=0) + blur**2).pow(penalty.power / 2).sum()
    if penalty.kind == "gates":
        assert gates is not None
        return (gates - HEAT * math.log(STRETCH / (1 + STRETCH))).sigmoid().sum()  # P(gate > 0)
    if penalty.kind == "codes":
        return s.abs().mean(dim=0).sum()
    return s.new_zeros(())


def largest(s: Tensor, k: int) -> Tensor:
    """Each row with all but its k largest entries, in size, set to 0, shape (n, m)."""
    if k >= s.shape[1]:
        return s
    keep = s.abs().topk(k, dim=1).indices
    return torch.zeros_like(s).scatter(1, keep, s.gather(1, keep))


def held_out(p: Weights, x: Tensor, generator: torch.Generator) -> float:
    """Loss of rows that training did not see, without a known variable, in nats per row."""
    mean, deviation = encoded(p, x), p["deviation"]
    u = mean + deviation.exp() * torch.randn(mean.shape, generator=generator).to(mean)
    gap = 0.5 * (mean.square().mean(dim=0) + (2 * deviation).exp() - 2 * deviation - 1).sum()
    return float(0.5 * ((x - decoded(p, u)).square().mean(dim=0) + FLOOR).log().sum() + gap)


def still_gates(logits: Tensor) -> Tensor:
    """Gates without noise, in [0, 1]."""
    return ((1 + 2 * STRETCH) * logits.sigmoid() - STRETCH).clamp(0, 1)


def _noisy_gates(logits: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.rand(logits.shape, generator=generator).clamp(1e-6, 1 - 1e-6).logit().to(logits)
    return ((1 + 2 * STRETCH) * ((noise + logits) / HEAT).sigmoid() - STRETCH).clamp(0, 1)


def _posterior(
    p: Weights, more: Weights, x: Tensor, group: Tensor | None, plain: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A draw of u, shape (b, m), and the mean KL divergence from its prior."""
    mean = encoded(p, x)
    if plain:
        return mean, mean.new_zeros(())
    deviation = p["deviation"]
    u = mean + deviation.exp() * torch.randn(mean.shape, generator=generator).to(mean)
    if group is None:
        return u, 0.5 * (mean.square().mean(dim=0) + (2 * deviation).exp() - 2 * deviation - 1).sum()
    centre, spread = more["prior_mean"][group], more["prior_deviation"][group]
    scaled = ((mean - centre).square() + (2 * deviation).exp()) * (-2 * spread).exp()
    return u, 0.5 * (scaled + 2 * spread - 2 * deviation - 1).sum(dim=1).mean()
