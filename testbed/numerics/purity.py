"""Whether a code depends on its own concept, or on others: what each explains beyond the other."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""Added to the variances of standardised columns, so that copies among them do no harm."""

MOST = 64
"""Other concepts that a code may be regressed on; more are screened on the rows that regressions are fitted on."""

POWERS = 5
"""Degree of the polynomial by which a code may depend on its own concept."""


def own_and_leak(fit: tuple[Tensor, Tensor], score: tuple[Tensor, Tensor], concept: Tensor) -> tuple[Tensor, Tensor]:
    r"""Shares of each code's variance that only its own concept explains, and that only the others do, on held-out rows.

    With :math:`e(S)` the held-out squared error of code j regressed on concepts S, i its concept and -i the others,

    .. math:: \mathrm{own}_j = e(-i) - e(\text{all}), \qquad \mathrm{leak}_j = e(i) - e(\text{all}).

    The own concept enters as a polynomial, so that a bend is not taken for a leak. Where there are more than `MOST` others (or an
    eighth of the rows), those enter that tell most of what the own concept leaves, and those closest to it.

    Parameters
    ----------
    fit, score : (Tensor, Tensor), shapes (n, c) and (n, p)
        Concepts, and one code for each entry of `concept`, on two sets of rows; columns have mean 0 and variance 1, or are 0.
    concept : Tensor, shape (p,)
        The concept of each code.

    Returns
    -------
    own, leak : Tensor, shape (p,), float64
    """
    (z, a), (z_score, a_score) = fit, score
    bent, bent_score = _bent(z[:, concept], a, z_score[:, concept])
    moments, moments_score = _Moments(z, bent, a), _Moments(z_score, bent_score, a_score)
    others = _others(moments, concept, len(z))  # (p, k)
    gram, target = moments.of(concept, others)
    gram_score, target_score = moments_score.of(concept, others)
    k = others.shape[1]
    everything = slice(0, k + 2)

    def error(columns: slice) -> Tensor:
        g, t = gram[:, columns, columns], target[:, columns]
        weights = torch.linalg.solve(g + RIDGE * torch.eye(g.shape[1], dtype=g.dtype, device=g.device), t[:, :, None])[:, :, 0]
        explained = 2 * (weights * target_score[:, columns]).sum(dim=1)
        left: Tensor = moments_score.variance - explained + torch.einsum("pk,pkl,pl->p", weights, gram_score[:, columns, columns], weights)
        return left

    if not k:
        return (moments_score.variance - error(everything)).clamp_min(0), torch.zeros(len(concept), dtype=torch.float64)
    whole = error(everything)
    return (error(slice(2, k + 2)) - whole).clamp_min(0), (error(slice(0, 2)) - whole).clamp_min(0)


def purity(own: Tensor, leak: Tensor) -> Tensor:
    """own / (own + leak), 0 where a code depends on nothing."""
    total = own + leak
    return torch.where(total > 1e-6, own / total.clamp_min(1e-6), 0.0)


class _Moments:
    """Second moments of concepts z (n, c), bent own concepts b (n, p) and codes a (n, p)."""

    def __init__(self, z: Tensor, b: Tensor, a: Tensor) -> None:
        n = len(z)
        self.zz, self.zb, self.za = ((z.T @ other).double() / n for other in (z, b, a))
        self.bb, self.ba, self.variance = ((x * y).double().mean(dim=0) for x, y in ((b, b), (b, a), (a, a)))

    def of(self, concept: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Gram matrices of [bent own, own, others], shape (p, k + 2, k + 2), and their moments with the code, shape (p, k + 2)."""
        p, k = others.shape
        pair = torch.arange(p, device=others.device)
        chosen = torch.cat([concept[:, None], others], dim=1)  # (p, k + 1)
        gram = self.zz.new_zeros(p, k + 2, k + 2)
        gram[:, 1:, 1:] = self.zz[chosen[:, :, None], chosen[:, None, :]]
        gram[:, 0, 1:] = gram[:, 1:, 0] = self.zb[chosen, pair[:, None]]
        gram[:, 0, 0] = self.bb
        target = torch.cat([self.ba[:, None], self.za[chosen, pair[:, None]]], dim=1)
        return gram, target


def _others(moments: _Moments, concept: Tensor, n: int) -> Tensor:
    """The other concepts that each code is regressed on, shape (p, k)."""
    c = len(moments.zz)
    usable = concept[:, None] != torch.arange(c, device=concept.device)
    k = min(MOST, max(1, n // 8), c - 1)
    told = (moments.za - moments.zb).abs().T.masked_fill(~usable, -1.0)  # (p, c): what the bent own concept leaves
    near = moments.zz[concept].abs().masked_fill(~usable, -1.0)
    first = told.topk(k - k // 2, dim=1).indices
    second = near.scatter(1, first, -1.0).topk(k // 2, dim=1).indices
    return torch.cat([first, second], dim=1)


def _bent(z: Tensor, a: Tensor, z_score: Tensor) -> tuple[Tensor, Tensor]:
    """Each code as a polynomial of its own concept, fitted on the first rows, on both, shapes (n, p)."""
    pieces = [_polynomial(*three) for three in zip(*(torch.split(t, 256, dim=1) for t in (z, a, z_score)), strict=True)]
    if not pieces:
        return z, z_score
    return torch.cat([piece[0] for piece in pieces], dim=1), torch.cat([piece[1] for piece in pieces], dim=1)


def _polynomial(z: Tensor, a: Tensor, z_score: Tensor) -> tuple[Tensor, Tensor]:
    powers = range(POWERS + 1)
    basis = torch.stack([z**power for power in powers])  # (powers, n, p)
    scale = basis.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
    basis = basis / scale
    gram = torch.einsum("inp,jnp->pij", basis, basis).double() / len(z)
    target = torch.einsum("inp,np->pi", basis, a).double() / len(z)
    weights = torch.linalg.solve(gram + RIDGE * torch.eye(len(powers), dtype=gram.dtype, device=z.device), target)  # (p, powers)
    coefficient = (weights.T / scale[:, 0].double()).to(z)  # (powers, p)
    return _value(coefficient, z), _value(coefficient, z_score)


def _value(coefficient: Tensor, z: Tensor) -> Tensor:
    out = torch.zeros_like(z)
    for c in coefficient.flip(0):  # Horner's rule, from the highest power
        out = out * z + c
    return out
