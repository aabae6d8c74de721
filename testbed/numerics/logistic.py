"""Logistic regression of many events on the same rows at once, and where to cut its scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

RANK = 1e-10
"""Share of the largest variance below which a direction is taken for rounding."""
TOLERANCE = 1e-6
"""Largest slope in a coefficient, per row, at which the fit is taken for converged."""


def logistic_readouts(x: Tensor, events: Tensor, *, ridge: float, max_iter: int) -> tuple[Tensor, Tensor, bool]:
    r"""Log-odds of every event as a linear function of the rows.

    .. math:: \min_{w, v} \frac1n \sum_t \Big[ \log(1 + e^{s_t}) - y_t s_t \Big] + \frac\rho2 \|w\|^2, \qquad s_t = w^\top u_t + v

    for each event y by itself, with u the whitened rows, so that :math:`\rho` has no units. All are fitted together by L-BFGS [1]_, in
    the precision of the rows.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    events : Tensor of bool, shape (n, c)
    ridge : float
        :math:`\rho`, which keeps events that can be told apart without error from growing for ever.
    max_iter : int

    Returns
    -------
    weights : Tensor, shape (d, c)
        Of the rows as they are given.
    intercept : Tensor, shape (c,)
    converged : bool
        False if `max_iter` ended it.

    References
    ----------
    .. [1] Liu & Nocedal (1989), On the limited memory BFGS method for large scale optimization.
    """
    n, c = events.shape
    y = events.to(x.dtype)
    mean = x.double().mean(dim=0)
    off = x.double() - mean
    variance, directions = torch.linalg.eigh(off.T @ off / n)
    used = variance > RANK * variance[-1].clamp_min(torch.finfo(torch.float64).tiny)
    whiten = directions[:, used] / variance[used].sqrt()  # (d, r)
    u = (off @ whiten).to(x.dtype)
    rate = (y.sum(dim=0) + 0.5) / (n + 1)
    w, v = u.new_zeros(u.shape[1], c).requires_grad_(), (rate / (1 - rate)).log().requires_grad_()
    fit = torch.optim.LBFGS(
        [w, v], max_iter=max_iter, history_size=20, tolerance_grad=TOLERANCE, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    slope = torch.tensor(torch.inf)

    def loss() -> Tensor:
        nonlocal slope
        scores = (u @ w + v).detach()
        value = (softplus(scores) - y * scores).sum() / n + ridge / 2 * w.detach().square().sum()
        error = (scores.sigmoid() - y) / n
        w.grad, v.grad = u.T @ error + ridge * w.detach(), error.sum(dim=0)
        slope = torch.maximum(w.grad.abs().max() if w.numel() else value.new_zeros(()), v.grad.abs().max())
        out: Tensor = value
        return out

    with torch.no_grad():
        fit.step(loss)  # type: ignore[no-untyped-call]
        loss()
    weights = whiten @ w.detach().double()
    return weights.to(x.dtype), (v.detach().double() - mean @ weights).to(x.dtype), bool(slope <= 10 * TOLERANCE)


def best_cut(scores: Tensor, events: Tensor) -> Tensor:
    """For each column of `scores`, (n, c), the value above which calling it an event has the highest F1 on these rows, shape (c,).

    Halfway between two scores; above all of them where there is no event.
    """
    n = len(scores)
    ranked, order = scores.sort(dim=0, descending=True)
    hits = events.gather(0, order).cumsum(dim=0)  # among the k highest scores, k = 1 ... n
    called = torch.arange(1, n + 1, device=scores.device)[:, None]
    f1 = 2 * hits / (called + events.sum(dim=0))
    following = torch.cat([ranked[1:], ranked[-1:] - 1])
    f1 = torch.where(ranked > following, f1, -1.0)  # equal scores stand on the same side
    best = f1.argmax(dim=0, keepdim=True)
    cut = (ranked.gather(0, best) + following.gather(0, best))[0] / 2
    return torch.where(events.any(dim=0), cut, ranked[0] + 1)
