"""Frames of codes in which a decoder has few edges: oblique rotations by a component loss of the decoder's Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

ROUGH, FINE = 150, 400
"""Steps of Adam from all starts, and from the best of them."""
KEPT = 8
"""Starts that are gone on with."""
BLUR = 0.2
"""Width, in units of the root mean square entry, within which an edge's cost is quadratic at first; it falls to `SHARP`."""
SHARP = 0.005


@dataclass(frozen=True)
class Frame:
    """Codes :math:`s = W u` of unit-variance, uncorrelated u.

    Attributes
    ----------
    turn : Tensor, shape (m, m)
        W; rows have norm 1, so that codes have variance 1.
    losses : Tensor, shape (k,)
        What was minimised, at the best ends of the search, best first: ends that agree show that it is likely to be the minimum.
    """

    turn: Tensor
    losses: Tensor


def profile(moments: Tensor, turn: Tensor) -> Tensor:
    r"""Strength of every edge, :math:`\sqrt{E\,(\partial x_i / \partial s_j)^2} = \sqrt{v_j^\top G_i v_j}`, :math:`V = W^{-1}`.

    Parameters
    ----------
    moments : Tensor, shape (d, m, m)
        :math:`G_i = E\, J_i^\top J_i`, J_i the row of coordinate i in the decoder's Jacobian in u.
    turn : Tensor, shape (..., m, m)
        W.

    Returns
    -------
    Tensor, shape (..., d, m)
    """
    return _squares(moments, torch.linalg.inv(turn)).clamp_min(0).sqrt()


def fewest_edges(moments: Tensor, generator: torch.Generator, starts: int = 128, power: float = 0.5, oblique: bool = True) -> Frame:
    r"""The frame in which a decoder has the fewest edges, by a component loss of its Jacobian [1]_ [2]_.

    .. math:: \min_W \sum_{ij} \Big( E \Big[ \Big( \frac{\partial x_i}{\partial s_j} \Big)^2 \Big] \Big)^{p / 2},
              \qquad \operatorname{var}(s_j) = \|w_j\|^2 = 1

    For p = 1 it is the group L1 norm; smaller p comes closer to counting edges. Codes may be correlated (W need not be orthogonal), as
    concepts that are selected together are; that they have unit variance is what keeps the sum from falling by scale. The data enter
    through d matrices (m, m) only, so that hundreds of starts cost less than one more fit of a decoder.

    Parameters
    ----------
    moments : Tensor, shape (d, m, m)
        See `profile`.
    generator : torch.Generator
        Of random orthogonal starts; on the CPU.
    starts : int
    power : float
        p, in (0, 1].
    oblique : bool
        False keeps W orthogonal: codes stay uncorrelated.

    Returns
    -------
    Frame

    References
    ----------
    .. [1] Jennrich (2006), Rotation to simple loadings using component loss functions: the oblique case, Psychometrika 71; the Jacobian in
       place of the loadings.
    .. [2] Zheng, Ng & Zhang (2022), On the identifiability of nonlinear ICA: sparsity and beyond, NeurIPS, theorem 1: the sparsest
       Jacobian.
    """
    m = moments.shape[1]
    unit = moments / moments.diagonal(dim1=1, dim2=2).mean().clamp_min(torch.finfo(moments.dtype).tiny)
    turns = torch.linalg.qr(torch.randn(starts, m, m, generator=generator))[0].to(moments)

    def feasible(free: Tensor) -> Tensor:
        return normalize(free, dim=-1) if oblique else torch.linalg.qr(free)[0]

    def cost(free: Tensor, blur: float) -> Tensor:
        turn = feasible(free)
        back = torch.linalg.inv(turn) if oblique else turn.mT
        return (_squares(unit, back).clamp_min(0) + blur**2).pow(power / 2).sum(dim=(-2, -1))

    losses = torch.zeros(0)
    for steps, rate in ((ROUGH, 0.05), (FINE, 0.02)):
        free = turns.clone().requires_grad_()
        adam = torch.optim.Adam([free], lr=rate)
        for step in range(steps):
            left = 1 - step / steps
            adam.param_groups[0]["lr"] = rate * left + 1e-4
            adam.zero_grad()
            cost(free, BLUR * left + SHARP).sum().backward()  # type: ignore[no-untyped-call]
            adam.step()
        with torch.no_grad():
            ends = cost(free, SHARP).nan_to_num(torch.inf)  # a start may end where W is singular
            best = ends.argsort()[:KEPT]
            turns, losses = feasible(free[best]).detach(), ends[best]
    return Frame(turns[0], losses)


def smallest_codes(codes: Tensor, generator: torch.Generator, starts: int = 8, steps: int = 200) -> Frame:
    r"""The orthogonal frame in which codes are smallest in L1, :math:`\min_{W^\top W = I} E \sum_j |w_j \cdot u|`: sparse codes, not edges.

    Parameters
    ----------
    codes : Tensor, shape (n, m)
        u, of mean 0, uncorrelated, with variance 1.
    generator : torch.Generator
        Of random orthogonal starts; on the CPU.
    starts, steps : int
    """
    m = codes.shape[1]
    free = torch.randn(starts, m, m, generator=generator).to(codes).requires_grad_()
    adam = torch.optim.Adam([free], lr=0.05)
    ends = torch.zeros(starts)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        adam.zero_grad()
        ends = (codes @ torch.linalg.qr(free)[0].mT).abs().mean(dim=1).sum(dim=1)
        ends.sum().backward()
        adam.step()
    order = ends.detach().argsort()
    return Frame(torch.linalg.qr(free.detach()[order[0]])[0], ends.detach()[order])


def strong(strength: Tensor) -> Tensor:
    r"""Which strengths are edges: the split of their logarithms into two groups with the smallest variance within [1]_.

    Strengths below a thousandth of the largest count as that. No truth is needed, but two groups are always found: where all edges are
    there, weak ones are called absent.

    Parameters
    ----------
    strength : Tensor, any shape
        At least 0.

    Returns
    -------
    Tensor, same shape, bool
        All False if all are 0; all True if all are equal.

    References
    ----------
    .. [1] Otsu (1979), A threshold selection method from gray-level histograms.
    """
    largest = strength.max()
    if largest <= 0:
        return torch.zeros_like(strength, dtype=torch.bool)
    logs = (strength / largest).clamp_min(1e-3).log()
    ordered = logs.flatten().double().sort().values
    n = len(ordered)
    if n < 2 or ordered[-1] - ordered[0] < 1e-9:
        return torch.ones_like(strength, dtype=torch.bool)
    below = torch.arange(1, n, dtype=torch.float64, device=ordered.device)
    total = ordered.cumsum(0)
    low, high = total[:-1] / below, (total[-1] - total[:-1]) / (n - below)
    cut = int((below * (n - below) * (high - low) ** 2).argmax())
    return logs > float((ordered[cut] + ordered[cut + 1]) / 2)


def _squares(moments: Tensor, back: Tensor) -> Tensor:
    """v_j' G_i v_j of the columns v_j of `back`, shape (d, m, m) and (..., m, m) -> (..., d, m)."""
    return (torch.matmul(moments, back[..., None, :, :]) * back[..., None, :, :]).sum(dim=-2)
